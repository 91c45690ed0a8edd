package network

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
	"github.com/davit-engine/davit/cli/prune"
)

// NewPruneCmd returns "network prune".
func NewPruneCmd(e *env.Env) *cobra.Command {
	var force bool
	var filter flags.Filter
	cmd := &cobra.Command{
		Use: "prune [OPTIONS]", Short: "Remove all unused networks",
		Args: env.Arguments(0, 0), ValidArgsFunction: complete.Words(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !force {
				const warning = "WARNING! This will remove all custom networks not used by at least one container.\nAre you sure you want to continue?"
				if ok, err := prune.Confirm(e, warning); err != nil || !ok {
					return err
				}
			}
			api, err := e.Client()
			if err != nil {
				return err
			}
			report, _, err := prune.Networks(cmd.Context(), api, prune.Filters(filter, e.Config()))
			if err != nil {
				return err
			}
			if report != "" {
				fmt.Fprintln(e.Out, report)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&force, "force", "f", false, "Do not prompt for confirmation")
	f.Var(&filter, "filter", `Provide filter values (e.g. "until=<timestamp>")`)
	_ = cmd.RegisterFlagCompletionFunc("filter", complete.Keys("label=", "label!=", "until="))
	return cmd
}
