package container

import (
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

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
				_, err := api.ContainerRestart(cmd.Context(), name, client.ContainerRestartOptions{Signal: o.signal, Timeout: o.seconds(cmd)})
				return err
			})
		},
	}
	o.addTo(cmd)
	return cmd
}
