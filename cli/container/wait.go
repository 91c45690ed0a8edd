package container

import (
	"errors"
	"fmt"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
)

// NewWaitCmd returns "wait".
func NewWaitCmd(e *env.Env) *cobra.Command {
	return &cobra.Command{
		Use: "wait CONTAINER [CONTAINER...]", Short: "Block until one or more containers stop, then print their exit codes",
		Args: env.Arguments(1, -1), ValidArgsFunction: complete.Containers(e, false),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := e.Client()
			if err != nil {
				return err
			}
			var failures []error
			for _, name := range args {
				waiting := api.ContainerWait(cmd.Context(), name, client.ContainerWaitOptions{})
				select {
				case answer := <-waiting.Result:
					fmt.Fprintln(e.Out, answer.StatusCode)
				case err := <-waiting.Error:
					failures = append(failures, errors.New(e.Text(err)))
				}
			}
			return errors.Join(failures...)
		},
	}
}
