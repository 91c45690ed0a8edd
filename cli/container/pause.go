package container

import (
	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
)

// NewPauseCmd returns "pause".
func NewPauseCmd(e *env.Env) *cobra.Command {
	return &cobra.Command{
		Use: "pause CONTAINER [CONTAINER...]", Short: "Pause all processes within one or more containers",
		Args: env.Arguments(1, -1), ValidArgsFunction: complete.Containers(e, false, container.StateRunning),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := e.Client()
			if err != nil {
				return err
			}
			return each(e, args, func(name string) error { return api.Containers.Pause(cmd.Context(), name) })
		},
	}
}
