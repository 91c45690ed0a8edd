package volume

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
)

// NewRmCmd returns "volume rm".
func NewRmCmd(e *env.Env) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "rm [OPTIONS] VOLUME [VOLUME...]", Aliases: []string{"remove"}, Short: "Remove one or more volumes",
		Long: "Remove one or more volumes. You cannot remove a volume that is in use by a container.",
		Args: env.Arguments(1, -1), ValidArgsFunction: complete.Volumes(e),
		RunE: func(cmd *cobra.Command, names []string) error {
			api, err := e.Client()
			if err != nil {
				return err
			}
			var failures []error
			for _, name := range names {
				if err := api.Volumes.Remove(cmd.Context(), name, force); err != nil {
					failures = append(failures, err)
					continue
				}
				fmt.Fprintln(e.Out, name)
			}
			return errors.Join(failures...)
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Force the removal of one or more volumes")
	return cmd
}
