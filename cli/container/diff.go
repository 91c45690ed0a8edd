package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
)

// NewDiffCmd returns "diff".
func NewDiffCmd(e *env.Env) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use: "diff CONTAINER", Short: "Inspect changes to files or directories on a container's filesystem",
		Args: env.Arguments(1, 1), ValidArgsFunction: complete.Containers(e, true),
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.TrimSpace(args[0]) == "" {
				return errors.New("Container name cannot be empty")
			}
			api, err := e.Client()
			if err != nil {
				return err
			}
			list, err := api.Containers.Changes(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			out := json.NewEncoder(e.Out)
			out.SetEscapeHTML(false)
			for _, c := range list {
				if asJSON {
					err = out.Encode(map[string]string{"Kind": c.Kind.String(), "Path": c.Path})
				} else {
					_, err = fmt.Fprintln(e.Out, c.Kind, c.Path)
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print one JSON object per change")
	return cmd
}
