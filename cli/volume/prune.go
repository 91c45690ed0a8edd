package volume

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
	"github.com/davit-engine/davit/cli/prune"
)

// NewPruneCmd returns "volume prune".
func NewPruneCmd(e *env.Env) *cobra.Command {
	var all, force bool
	var filter flags.Filter
	cmd := &cobra.Command{
		Use: "prune [OPTIONS]", Short: "Remove unused local volumes",
		Args: env.Arguments(0, 0), ValidArgsFunction: complete.Words(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			filters, warning := prune.Filters(filter, e.Config()), "WARNING! This will remove anonymous local volumes not used by at least one container."
			if all {
				if len(filters["all"]) > 0 {
					return errors.New("conflicting options: cannot specify both --all and --filter all=1")
				}
				filters.Add("all", "true")
				warning = "WARNING! This will remove all local volumes not used by at least one container."
			}
			return prune.Run(cmd.Context(), e, force, warning, filters, prune.Volumes)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&all, "all", "a", false, "Remove all unused volumes, not just anonymous ones")
	f.BoolVarP(&force, "force", "f", false, "Do not prompt for confirmation")
	f.Var(&filter, "filter", `Provide filter values (e.g. "label=<label>")`)
	_ = cmd.RegisterFlagCompletionFunc("filter", complete.Keys("all=", "label=", "label!="))
	return cmd
}
