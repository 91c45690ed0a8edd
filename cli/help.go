package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/env"
)

// help prints a command's help: synopsis, what it does, its other names, the
// commands below it by group, options.
//
// It is code, not a template: text/template stays untouched, which help shares
// with every other command.
func help(cmd *cobra.Command, _ []string) {
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "Usage:  %s\n", synopsis(cmd))
	if about := cmp.Or(cmd.Long, cmd.Short); about != "" {
		fmt.Fprintf(w, "\n%s\n", about)
	}
	printAliases(w, cmd)
	printCommands(w, cmd)
	printOptions(w, cmd)
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\nRun '%s COMMAND --help' for more information on a command.\n", cmd.CommandPath())
	}
}

// usage prints what is shown after a mistake.
func usage(cmd *cobra.Command) error {
	_, err := fmt.Fprintf(cmd.OutOrStderr(), "Usage:  %s\n\nRun '%s --help' for more information\n", synopsis(cmd), cmd.CommandPath())
	return err
}

func synopsis(cmd *cobra.Command) string {
	line := env.UseLine(cmd)
	if cmd.HasParent() && cmd.HasAvailableSubCommands() {
		line += " COMMAND"
	}
	return line
}

// printAliases lists every way to write the command, those by noun as well.
func printAliases(w io.Writer, cmd *cobra.Command) {
	if !cmd.HasParent() {
		return
	}
	paths := []string{}
	add := func(path string) {
		if !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	names := func(c *cobra.Command) {
		for _, n := range append([]string{c.Name()}, c.Aliases...) {
			add(c.Parent().CommandPath() + " " + n)
		}
	}
	for _, twin := range twins(cmd) {
		names(twin)
	}
	if len(paths) > 1 {
		fmt.Fprintf(w, "\nAliases:\n  %s\n", strings.Join(paths, ", "))
	}
}

// twins are cmd and the commands that do the same under another name: nouns'
// commands and those of the root with the same description.
func twins(cmd *cobra.Command) []*cobra.Command {
	var same []*cobra.Command
	for _, c := range cmd.Root().Commands() {
		for _, below := range c.Commands() {
			if below.Short == cmd.Short {
				same = append(same, below)
			}
		}
	}
	for _, c := range cmd.Root().Commands() {
		if c.Short == cmd.Short {
			same = append(same, c)
		}
	}
	return same
}

func printCommands(w io.Writer, cmd *cobra.Command) {
	if !cmd.HasAvailableSubCommands() {
		return
	}
	width := 0
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			width = max(width, len(c.Name()))
		}
	}
	list := func(title, group string) {
		fmt.Fprintf(w, "\n%s\n", title)
		for _, c := range ordered(cmd) {
			if c.GroupID == group && c.IsAvailableCommand() {
				fmt.Fprintf(w, "  %-*s   %s\n", width, c.Name(), c.Short)
			}
		}
	}
	if len(cmd.Groups()) == 0 {
		list("Commands:", "")
	}
	for _, g := range cmd.Groups() {
		list(g.Title, g.ID)
	}
}

// ordered are the commands by name, the common ones of the root by how often
// they are needed.
func ordered(cmd *cobra.Command) []*cobra.Command {
	common := []string{"run", "ps", "pull", "push", "images", "version", "info"}
	place := func(c *cobra.Command) int { return slices.Index(common, c.Name()) }
	commands := slices.Clone(cmd.Commands())
	if !cmd.HasParent() {
		slices.SortStableFunc(commands, func(a, b *cobra.Command) int { return place(a) - place(b) })
	}
	return commands
}

func printOptions(w io.Writer, cmd *cobra.Command) {
	flags := cmd.LocalFlags()
	if !flags.HasAvailableFlags() {
		return
	}
	title := "Options:"
	if !cmd.HasParent() {
		title = "Global Options:"
	}
	if cmd.HasParent() || cmd.HasAvailableSubCommands() {
		if own := cmd.NonInheritedFlags(); !own.HasAvailableFlags() {
			return
		}
	}
	fmt.Fprintf(w, "\n%s\n%s", title, flags.FlagUsagesWrapped(columns(w)))
}

// columns is the width for wrapping: the terminal's, at most 120.
func columns(w io.Writer) int {
	if o, ok := w.(interface{ Size() (int, int) }); ok {
		if width, _ := o.Size(); width > 0 {
			return min(width, 120)
		}
	}
	return 80
}
