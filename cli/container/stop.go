package container

import (
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
)

type stopOptions struct {
	signal  string
	timeout int
}

func (o *stopOptions) addTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.signal, "signal", "s", "", "Signal to send to the container")
	f.IntVarP(&o.timeout, "timeout", "t", 0, "Seconds to wait before killing the container")
	f.IntVar(&o.timeout, "time", 0, "Seconds to wait before killing the container")
	_ = f.MarkHidden("time") // Docker's older name of --timeout
	_ = cmd.RegisterFlagCompletionFunc("signal", complete.Signals)
}

// seconds is the timeout, nil where the container's own is to be used.
func (o *stopOptions) seconds(cmd *cobra.Command) *int {
	if cmd.Flags().Changed("timeout") || cmd.Flags().Changed("time") {
		return &o.timeout
	}
	return nil
}

// NewStopCmd returns "stop".
func NewStopCmd(e *env.Env) *cobra.Command {
	o := &stopOptions{}
	cmd := &cobra.Command{
		Use: "stop [OPTIONS] CONTAINER [CONTAINER...]", Short: "Stop one or more running containers",
		Args: env.Arguments(1, -1), ValidArgsFunction: complete.Containers(e, false),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := e.Client()
			if err != nil {
				return err
			}
			return each(e, args, func(name string) error {
				return api.Containers.Stop(cmd.Context(), name, client.StopOptions{Signal: o.signal, Timeout: o.seconds(cmd)})
			})
		},
	}
	o.addTo(cmd)
	return cmd
}
