package container

import (
	"errors"
	"fmt"

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
				answer, err := api.Containers.Wait(cmd.Context(), name, "").Result()
				if err != nil {
					failures = append(failures, err)
					continue
				}
				fmt.Fprintln(e.Out, answer.StatusCode)
			}
			return errors.Join(failures...)
		},
	}
}
