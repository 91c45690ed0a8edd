package container

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
)

// NewRenameCmd returns "rename".
func NewRenameCmd(e *env.Env) *cobra.Command {
	return &cobra.Command{
		Use: "rename CONTAINER NEW_NAME", Short: "Rename a container",
		Args: env.Arguments(2, 2), ValidArgsFunction: complete.OneContainer(e, true),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := e.Client()
			if err != nil {
				return err
			}
			return api.Containers.Rename(cmd.Context(), strings.TrimSpace(args[0]), strings.TrimSpace(args[1]))
		},
	}
}
