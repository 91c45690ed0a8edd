package container

import (
	"io"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
)

// NewLogsCmd returns "logs".
func NewLogsCmd(e *env.Env) *cobra.Command {
	var o client.LogsOptions
	cmd := &cobra.Command{
		Use: "logs [OPTIONS] CONTAINER", Short: "Fetch the logs of a container",
		Args: env.Arguments(1, 1), ValidArgsFunction: complete.OneContainer(e, true),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := e.Client()
			if err != nil {
				return err
			}
			// Only the configuration says whether the stream is framed.
			c, _, err := api.Containers.Inspect(cmd.Context(), args[0], false)
			if err != nil {
				return err
			}
			tty := c.Config != nil && c.Config.Tty
			if follows(o) {
				return followLogs(cmd.Context(), e, api, c.ID, tty, o)
			}
			lines, err := api.Containers.Logs(cmd.Context(), c.ID, o)
			if err != nil {
				return err
			}
			defer lines.Close()
			if tty {
				_, err = io.Copy(e.Out, lines)
			} else {
				_, err = stdcopy.StdCopy(e.Out, e.Err, lines)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.Follow, "follow", "f", false, "Follow log output")
	f.StringVar(&o.Since, "since", "", `Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`)
	f.StringVar(&o.Until, "until", "", `Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`)
	f.BoolVarP(&o.Timestamps, "timestamps", "t", false, "Show timestamps")
	f.BoolVar(&o.Details, "details", false, "Show extra details provided to logs")
	f.StringVarP(&o.Tail, "tail", "n", "all", "Number of lines to show from the end of the logs")
	return cmd
}
