package system

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
	"github.com/davit-engine/davit/cli/prune"
)

type pruneOptions struct {
	all, force, volumes bool
	filter              flags.Filter
}

// NewPruneCmd returns "system prune".
func NewPruneCmd(e *env.Env) *cobra.Command {
	o := &pruneOptions{}
	cmd := &cobra.Command{
		Use: "prune [OPTIONS]", Short: "Remove unused data",
		Args: env.Arguments(0, 0), ValidArgsFunction: complete.Words(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			filters := prune.Filters(o.filter, e.Config())
			if o.volumes && len(filters["until"]) > 0 {
				return errors.New(`ERROR: The "until" filter is not supported with "--volumes"`)
			}
			return prune.Run(cmd.Context(), e, o.force, o.warning(filters), filters, o.kinds()...)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.all, "all", "a", false, "Remove all unused images not just dangling ones")
	f.BoolVarP(&o.force, "force", "f", false, "Do not prompt for confirmation")
	f.BoolVar(&o.volumes, "volumes", false, "Prune anonymous volumes")
	f.Var(&o.filter, "filter", `Provide filter values (e.g. "label=<key>=<value>")`)
	_ = cmd.RegisterFlagCompletionFunc("filter", complete.Keys("label=", "label!=", "until="))
	return cmd
}

// kinds are in this order so that what one kind lets go of the next removes.
func (o *pruneOptions) kinds() []prune.Kind {
	kinds := []prune.Kind{prune.Containers, prune.Networks}
	if o.volumes {
		kinds = append(kinds, prune.Volumes)
	}
	return append(kinds, prune.Images(o.all), prune.BuildCache(o.all))
}

func (o *pruneOptions) warning(filters client.Filters) string {
	lines := []string{"WARNING! This will remove:", "  - all stopped containers", "  - all networks not used by at least one container"}
	if o.volumes {
		lines = append(lines, "  - all anonymous volumes not used by at least one container")
	}
	if o.all {
		lines = append(lines, "  - all images without at least one container associated to them", "  - all build cache")
	} else {
		lines = append(lines, "  - all dangling images", "  - unused build cache")
	}
	lines = append(lines, "")
	if len(filters) > 0 {
		lines = append(lines, "  Items to be pruned will be filtered with:")
		var given []string
		for name, values := range filters {
			for value := range values {
				given = append(given, "  - "+name+"="+value)
			}
		}
		slices.Sort(given)
		lines = append(append(lines, given...), "")
	}
	return strings.Join(lines, "\n")
}
