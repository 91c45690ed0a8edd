package container

import (
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
	"github.com/davit-engine/davit/cli/prune"
)

// NewPruneCmd returns "container prune".
func NewPruneCmd(e *env.Env) *cobra.Command {
	var force bool
	var filter flags.Filter
	cmd := &cobra.Command{
		Use: "prune [OPTIONS]", Short: "Remove all stopped containers",
		Args: env.Arguments(0, 0), ValidArgsFunction: complete.Words(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return prune.Run(cmd.Context(), e, force, "WARNING! This will remove all stopped containers.", prune.Filters(filter, e.Config()), prune.Containers)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&force, "force", "f", false, "Do not prompt for confirmation")
	f.Var(&filter, "filter", `Provide filter values (e.g. "until=<timestamp>")`)
	_ = cmd.RegisterFlagCompletionFunc("filter", complete.Keys("label=", "label!=", "until="))
	return cmd
}
