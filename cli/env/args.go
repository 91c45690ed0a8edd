package env

import (
	"fmt"

	"github.com/spf13/cobra"
)

// Arguments returns a check that a command got between least and most
// arguments; most below zero means any number.
func Arguments(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) >= least && (most < 0 || len(args) <= most) {
			return nil
		}
		var want string
		switch {
		case most == 0:
			want = "accepts no arguments"
		case least == most:
			want = "requires " + count(least)
		case len(args) < least:
			want = "requires at least " + count(least)
		default:
			want = "requires at most " + count(most)
		}
		return UsageError(c, StatusError, fmt.Sprintf("%s: '%s' %s", c.Root().Name(), c.CommandPath(), want))
	}
}

func count(n int) string {
	if n == 1 {
		return "1 argument"
	}
	return fmt.Sprintf("%d arguments", n)
}

// UsageError returns an error that shows how the command is used.
func UsageError(c *cobra.Command, status int, text string) error {
	return &Exit{Status: status, Text: fmt.Sprintf("%s\n\nUsage:  %s\n\nRun '%s --help' for more information", text, UseLine(c), c.CommandPath())}
}

// UseLine is the command's synopsis, such as "davit run [OPTIONS] IMAGE".
func UseLine(c *cobra.Command) string {
	line := c.Use
	if c.HasParent() {
		line = c.Parent().CommandPath() + " " + line
	}
	return line
}
