package container

import (
	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
)

// NewUnpauseCmd returns "unpause".
func NewUnpauseCmd(e *env.Env) *cobra.Command {
	return &cobra.Command{
		Use: "unpause CONTAINER [CONTAINER...]", Short: "Unpause all processes within one or more containers",
		Args: env.Arguments(1, -1), ValidArgsFunction: complete.Containers(e, false, container.StatePaused),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := e.Client()
			if err != nil {
				return err
			}
			return each(e, args, func(name string) error { return api.Containers.Unpause(cmd.Context(), name) })
		},
	}
}
