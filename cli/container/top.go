package container

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/format"
	"github.com/davit-engine/davit/cli/term"
)

// NewTopCmd returns "top".
func NewTopCmd(e *env.Env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "top CONTAINER [ps OPTIONS]", Short: "Display the running processes of a container",
		Args: env.Arguments(1, -1), ValidArgsFunction: complete.OneContainer(e, false),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := e.Client()
			if err != nil {
				return err
			}
			list, err := api.Containers.Top(cmd.Context(), args[0], strings.Join(args[1:], " "))
			if err != nil {
				return err
			}
			return printTop(e, list, asJSON)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows the container is for ps
	f.BoolVar(&asJSON, "json", false, "Print one JSON object per process")
	return cmd
}

func printTop(e *env.Env, list container.TopResponse, asJSON bool) error {
	if asJSON {
		for _, p := range list.Processes {
			object := make(map[string]string, len(list.Titles))
			for i, value := range p {
				if i < len(list.Titles) {
					object[list.Titles[i]] = value
				}
			}
			if err := format.JSONLine(e.Out, object); err != nil {
				return err
			}
		}
		return nil
	}
	table := term.NewProcessTable(e.Out)
	for _, row := range append([][]string{list.Titles}, list.Processes...) {
		if _, err := table.Write([]byte(strings.Join(row, "\t") + "\n")); err != nil {
			return err
		}
	}
	return table.Flush()
}
