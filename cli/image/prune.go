package image

import (
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
	"github.com/davit-engine/davit/cli/prune"
)

// NewPruneCmd returns "image prune".
func NewPruneCmd(e *env.Env) *cobra.Command {
	var all, force bool
	var filter flags.Filter
	cmd := &cobra.Command{
		Use: "prune [OPTIONS]", Short: "Remove unused images",
		Args: env.Arguments(0, 0), ValidArgsFunction: complete.Words(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			warning := "WARNING! This will remove all dangling images."
			if all {
				warning = "WARNING! This will remove all images without at least one container associated to them."
			}
			return prune.Run(cmd.Context(), e, force, warning, prune.Filters(filter, e.Config()), prune.Images(all))
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&all, "all", "a", false, "Remove all unused images, not just dangling ones")
	f.BoolVarP(&force, "force", "f", false, "Do not prompt for confirmation")
	f.Var(&filter, "filter", `Provide filter values (e.g. "until=<timestamp>")`)
	_ = cmd.RegisterFlagCompletionFunc("filter", complete.Keys("label=", "label!=", "until="))
	return cmd
}
