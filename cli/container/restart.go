package container

import (
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
)

// NewRestartCmd returns "restart".
func NewRestartCmd(e *env.Env) *cobra.Command {
	o := &stopOptions{}
	cmd := &cobra.Command{
		Use: "restart [OPTIONS] CONTAINER [CONTAINER...]", Short: "Restart one or more containers",
		Args: env.Arguments(1, -1), ValidArgsFunction: complete.Containers(e, true),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := e.Client()
			if err != nil {
				return err
			}
			return each(e, args, func(name string) error {
				return api.Containers.Restart(cmd.Context(), name, client.StopOptions{Signal: o.signal, Timeout: o.seconds(cmd)})
			})
		},
	}
	o.addTo(cmd)
	return cmd
}
