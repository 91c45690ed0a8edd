package network

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/errs"
)

// NewRmCmd returns "network rm".
func NewRmCmd(e *env.Env) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "rm NETWORK [NETWORK...]", Aliases: []string{"remove"}, Short: "Remove one or more networks",
		Args: env.Arguments(1, -1), ValidArgsFunction: complete.Networks(e, "type=custom"),
		RunE: func(cmd *cobra.Command, names []string) error {
			api, err := e.Client()
			if err != nil {
				return err
			}
			var failures []error
			for _, name := range names {
				err := api.Networks.Remove(cmd.Context(), name)
				switch {
				case err == nil:
					fmt.Fprintln(e.Out, name)
				case !force || !errs.Is(err, errs.NotFound):
					failures = append(failures, err)
				}
			}
			return errors.Join(failures...)
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Do not error if the network does not exist")
	return cmd
}
