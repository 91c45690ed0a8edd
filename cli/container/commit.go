package container

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
)

// NewCommitCmd returns "commit".
func NewCommitCmd(e *env.Env) *cobra.Command {
	var o client.CommitOptions
	var changes flags.List
	pause := true
	cmd := &cobra.Command{
		Use: "commit [OPTIONS] CONTAINER [REPOSITORY[:TAG]]", Short: "Create a new image from a container's changes",
		Args: env.Arguments(1, 2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return complete.Containers(e, true)(cmd, args, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("pause") {
				if cmd.Flags().Changed("no-pause") {
					return errors.New("conflicting options: --no-pause and --pause cannot be used together")
				}
				o.NoPause = !pause
			}
			if len(args) == 2 {
				o.Name = args[1]
			}
			o.Changes = changes.Values
			api, err := e.Client()
			if err != nil {
				return err
			}
			id, err := api.Containers.Commit(cmd.Context(), args[0], o)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(e.Out, id)
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&pause, "pause", "p", true, "Pause container during commit (deprecated: use --no-pause instead)")
	f.BoolVar(&o.NoPause, "no-pause", false, "Disable pausing container during commit")
	f.StringVarP(&o.Comment, "message", "m", "", "Commit message")
	f.StringVarP(&o.Author, "author", "a", "", `Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")`)
	f.VarP(&changes, "change", "c", "Apply Dockerfile instruction to the created image")
	return cmd
}
