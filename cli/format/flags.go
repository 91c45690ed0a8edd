package format

import "github.com/spf13/pflag"

// Flags adds --format to a command that lists, and --json, which is short for
// it. Of both, the last one counts.
func Flags(f *pflag.FlagSet, format *string) { addFlags(f, format, "", Usage) }

// ObjectFlags is Flags for what is shown one by one.
func ObjectFlags(f *pflag.FlagSet, format *string, shorthand string) {
	addFlags(f, format, shorthand, ObjectUsage)
}

func addFlags(f *pflag.FlagSet, format *string, shorthand, usage string) {
	f.StringVarP(format, "format", shorthand, "", usage)
	f.BoolFunc("json", "Print one JSON object per line (short for --format json)", func(on string) error {
		switch on {
		case "true":
			*format = "json"
		case "false":
			*format = ""
		}
		return nil
	})
}
