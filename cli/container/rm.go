package container

import (
	"errors"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/errs"
)

// NewRmCmd returns "rm".
func NewRmCmd(e *env.Env) *cobra.Command {
	var o client.RemoveOptions
	cmd := &cobra.Command{
		Use: "rm [OPTIONS] CONTAINER [CONTAINER...]", Aliases: []string{"remove"}, Short: "Remove one or more containers",
		Args: env.Arguments(1, -1),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if o.Force {
				return complete.Containers(e, true)(cmd, args, word)
			}
			return complete.Containers(e, true, container.StateExited, container.StateCreated, container.StateDead)(cmd, args, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := e.Client()
			if err != nil {
				return err
			}
			return each(e, args, func(name string) error {
				name = strings.Trim(name, "/")
				if name == "" {
					return errors.New("container name cannot be empty")
				}
				err := api.Containers.Remove(cmd.Context(), name, o)
				if o.Force && errs.Is(err, errs.NotFound) {
					// As rm -f: what is not there is a line on stderr, no failure.
					_, _ = e.Err.Write([]byte(err.Error() + "\n"))
					return errAbsent
				}
				return err
			})
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.Volumes, "volumes", "v", false, "Remove anonymous volumes associated with the container")
	f.BoolVarP(&o.Links, "link", "l", false, "Remove the specified link")
	f.BoolVarP(&o.Force, "force", "f", false, "Force the removal of a running container (uses SIGKILL)")
	return cmd
}
