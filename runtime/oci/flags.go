package oci

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// flags are the options of a command, with where their values go. They are
// written --name value, --name=value, -name or -n value, as runc's.
type flags []*option

type option struct {
	names  []string
	value  string // what stands for the value in the help; empty: a switch
	about  string
	bare   string             // the value of an option without one; empty: it takes the next word
	assign func(string) error // called each time that the option is given
}

// add is the general form of the methods below. names holds the option's
// name, and behind a space its letter.
func (f *flags) add(names, value, about string, assign func(string) error) *option {
	o := &option{names: strings.Fields(names), value: value, about: about, assign: assign}
	*f = append(*f, o)
	return o
}

// toggle adds a switch, which may be given as --name=false as well.
func (f *flags) toggle(p *bool, names, about string) {
	f.add(names, "", about, func(v string) (err error) {
		*p, err = strconv.ParseBool(v)
		return err
	}).bare = "true"
}

// text adds an option with a value, of which the last counts.
func (f *flags) text(p *string, names, value, about string) *option {
	return f.add(names, value, about, func(v string) error {
		*p = v
		return nil
	})
}

// optional is text for an option whose value can only stand behind a "=":
// without it the option says true.
func (f *flags) optional(p *string, names, value, about string) {
	f.text(p, names, value, about).bare = "true"
}

// list adds an option that may be given more than once.
func (f *flags) list(p *[]string, names, value, about string) {
	f.add(names, value, about, func(v string) error {
		*p = append(*p, v)
		return nil
	})
}

func (f flags) find(word string) *option {
	for _, o := range f {
		if slices.Contains(o.names, word) {
			return o
		}
	}
	return nil
}

// parse takes the options out of args and returns what is left. Options stand
// in front of the arguments; unless ends, known ones may stand behind as well.
// "--" ends them.
func (f flags) parse(args []string, ends bool) (rest []string, err error) {
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		switch {
		case word == "--":
			return append(rest, args...), nil
		case len(word) < 2 || word[0] != '-':
			rest = append(rest, word)
			if ends {
				return append(rest, args...), nil
			}
			continue
		}
		key, value, given := strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
		o := f.find(key)
		switch {
		case o == nil && len(rest) > 0 && isNumber(word): // a signal such as -9
			rest = append(rest, word)
			continue
		case o == nil:
			shown, _, _ := strings.Cut(word, "=")
			return rest, fmt.Errorf("unknown option %s", shown)
		case given:
		case o.bare != "":
			value = o.bare
		case len(args) == 0:
			return rest, fmt.Errorf("option %s needs a value", word)
		default:
			value, args = args[0], args[1:]
		}
		if err := o.assign(value); err != nil {
			return rest, fmt.Errorf("option --%s: %w", o.names[0], err)
		}
	}
	return rest, nil
}

func isNumber(s string) bool {
	_, err := strconv.Atoi(s)
	return err == nil
}

// print writes a line for each option.
func (f flags) print(w io.Writer) {
	for _, o := range f {
		left := "--" + o.names[0]
		for _, n := range o.names[1:] {
			left += ", -" + n
		}
		if o.value != "" {
			left += " " + o.value
		}
		fmt.Fprintf(w, "  %-34s %s\n", left, o.about)
	}
}

func printHelp(w io.Writer, global *flags) {
	fmt.Fprintf(w, "%s runs containers from OCI bundles.\n\nUsage: %s [options] command [options] [arguments]\n\nCommands:\n", Name, Name)
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-12s %s\n", c.name, c.about)
	}
	fmt.Fprintf(w, "\nOptions:\n")
	global.print(w)
}

func (c *command) printHelp(w io.Writer) {
	fmt.Fprintf(w, "%s: %s\n\nUsage: %s %s [options] %s\n\nOptions:\n", c.name, c.about, Name, c.name, c.args)
	c.flags.print(w)
}
