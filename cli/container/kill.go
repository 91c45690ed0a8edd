package container

import (
	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
)

// NewKillCmd returns "kill".
func NewKillCmd(e *env.Env) *cobra.Command {
	var signal string
	cmd := &cobra.Command{
		Use: "kill [OPTIONS] CONTAINER [CONTAINER...]", Short: "Kill one or more running containers",
		Args: env.Arguments(1, -1), ValidArgsFunction: complete.Containers(e, false, container.StateRunning, container.StatePaused),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := e.Client()
			if err != nil {
				return err
			}
			return each(e, args, func(name string) error {
				return api.Containers.Kill(cmd.Context(), name, signal)
			})
		},
	}
	cmd.Flags().StringVarP(&signal, "signal", "s", "", "Signal to send to the container")
	_ = cmd.RegisterFlagCompletionFunc("signal", complete.Signals)
	return cmd
}
