package system

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/system"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/container"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/format"
	"github.com/davit-engine/davit/cli/image"
)

type dfOptions struct {
	verbose bool
	format  string
}

// NewDfCmd returns "system df".
func NewDfCmd(e *env.Env) *cobra.Command {
	o := &dfOptions{}
	cmd := &cobra.Command{
		Use: "df [OPTIONS]", Short: "Show disk usage",
		Args: env.Arguments(0, 0), ValidArgsFunction: complete.Words(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := e.Client()
			if err != nil {
				return err
			}
			u, err := api.DiskUsage(cmd.Context(), o.verbose)
			if err != nil {
				return err
			}
			if o.verbose {
				return o.printItems(e.Out, u)
			}
			list := format.List[*usageRow]{Fields: usageFields(), Table: []string{"Type", "TotalCount", "Active", "Size", "Reclaimable"}, Format: o.format}
			return list.Write(e.Out, usageRows(u))
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.verbose, "verbose", "v", false, "Show detailed information on space usage")
	format.Flags(f, &o.format)
	return cmd
}

// usageRow is one kind of object as df shows it; its methods are the fields of
// templates.
type usageRow struct {
	kind              string
	total, active     int64
	size, reclaimable int64
}

func usageRows(u system.DiskUsage) []*usageRow {
	rows := []*usageRow{{kind: "Images"}, {kind: "Containers"}, {kind: "Local Volumes"}, {kind: "Build Cache"}}
	if i := u.ImageUsage; i != nil {
		*rows[0] = usageRow{rows[0].kind, i.TotalCount, i.ActiveCount, i.TotalSize, i.Reclaimable}
	}
	if c := u.ContainerUsage; c != nil {
		*rows[1] = usageRow{rows[1].kind, c.TotalCount, c.ActiveCount, c.TotalSize, c.Reclaimable}
	}
	if v := u.VolumeUsage; v != nil {
		*rows[2] = usageRow{rows[2].kind, v.TotalCount, v.ActiveCount, v.TotalSize, v.Reclaimable}
	}
	if b := u.BuildCacheUsage; b != nil {
		*rows[3] = usageRow{rows[3].kind, b.TotalCount, b.ActiveCount, b.TotalSize, b.Reclaimable}
	}
	return rows
}

func usageFields() format.Fields[*usageRow] {
	return format.Fields[*usageRow]{
		{Name: "Type", Header: "TYPE", Value: (*usageRow).Type},
		{Name: "TotalCount", Header: "TOTAL", Value: (*usageRow).TotalCount},
		{Name: "Active", Header: "ACTIVE", Value: (*usageRow).Active},
		{Name: "Size", Header: "SIZE", Value: (*usageRow).Size},
		{Name: "Reclaimable", Header: "RECLAIMABLE", Value: (*usageRow).Reclaimable},
	}
}

// Type is the kind of object.
func (r *usageRow) Type() string { return r.kind }

// TotalCount is how many there are.
func (r *usageRow) TotalCount() string { return strconv.FormatInt(r.total, 10) }

// Active is how many are in use.
func (r *usageRow) Active() string { return strconv.FormatInt(r.active, 10) }

// Size is what they take on the disk together.
func (r *usageRow) Size() string { return units.HumanSize(float64(r.size)) }

// Reclaimable is what goes with those that are not in use.
func (r *usageRow) Reclaimable() string {
	text := units.HumanSize(float64(r.reclaimable))
	if r.size > 0 && r.kind != "Build Cache" {
		text += fmt.Sprintf(" (%d%%)", r.reclaimable*100/r.size)
	}
	return text
}

// printItems shows each image, container and volume.
func (o *dfOptions) printItems(w io.Writer, u system.DiskUsage) error {
	if u.ImageUsage == nil || u.ContainerUsage == nil || u.VolumeUsage == nil || u.BuildCacheUsage == nil {
		return errors.New("the engine does not tell what takes the space")
	}
	whole := o.format != "" && o.format != "table"
	parts := []struct {
		name, heading string
		section       format.Section
	}{
		{"Images", "Images space usage:", image.Usage(u.ImageUsage.Items, whole)},
		{"Containers", "Containers space usage:", container.Usage(u.ContainerUsage.Items, whole)},
		{"Volumes", "Local Volumes space usage:", volumeUsage(u.VolumeUsage.Items)},
		{"BuildCache", "Build cache usage: " + units.HumanSize(float64(u.BuildCacheUsage.TotalSize)), cacheUsage(u.BuildCacheUsage.Items)},
	}
	switch o.format {
	case "", "table":
		for i, p := range parts {
			if i > 0 {
				fmt.Fprintln(w)
			}
			fmt.Fprintf(w, "%s\n\n", p.heading)
			if err := p.section.Write(w); err != nil {
				return err
			}
		}
		return nil
	case "json":
		all := map[string]any{}
		for _, p := range parts {
			all[p.name] = p.section.Objects()
		}
		return format.JSONLine(w, all)
	}
	all := map[string]any{}
	for _, p := range parts {
		all[p.name] = p.section.Rows()
	}
	return format.Object(w, o.format, all, nil)
}
