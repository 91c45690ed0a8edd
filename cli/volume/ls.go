package volume

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/volume"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
	"github.com/davit-engine/davit/cli/format"
)

type listOptions struct {
	quiet, cluster bool
	format         string
	filter         flags.Filter
}

// NewLsCmd returns "volume ls".
func NewLsCmd(e *env.Env) *cobra.Command {
	o := &listOptions{}
	cmd := &cobra.Command{
		Use: "ls [OPTIONS]", Aliases: []string{"list"}, Short: "List volumes",
		Args: env.Arguments(0, 0), ValidArgsFunction: complete.Words(),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, e) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.cluster, "cluster", false, "Display only cluster volumes, and use cluster volume list formatting")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Only display volume names")
	format.Flags(f, &o.format)
	f.VarP(&o.filter, "filter", "f", `Provide filter values (e.g. "dangling=true")`)
	_ = cmd.RegisterFlagCompletionFunc("filter", complete.Keys("dangling=", "driver=", "label=", "name="))
	return cmd
}

func (o *listOptions) run(cmd *cobra.Command, e *env.Env) error {
	api, err := e.Client()
	if err != nil {
		return err
	}
	if o.format == "" && !o.quiet {
		o.format = e.Config().VolumesFormat
	}
	list, err := api.Volumes.List(cmd.Context(), o.filter.Values)
	if err != nil {
		return err
	}
	columns := []string{"Driver", "Name"}
	if o.cluster { // this engine has none, another one may
		columns = []string{"Name", "Group", "Driver", "Availability", "Status"}
		list = slices.DeleteFunc(list, func(v volume.Volume) bool { return v.ClusterVolume == nil })
	}
	slices.SortFunc(list, func(a, b volume.Volume) int { return format.Natural(a.Name, b.Name) })
	rows := make([]*row, len(list))
	for i := range list {
		rows[i] = &row{&list[i]}
	}
	if o.quiet && o.format == "" {
		for _, r := range rows {
			fmt.Fprintln(e.Out, r.Name())
		}
		return nil
	}
	return format.List[*row]{Fields: fields(), Table: columns, Format: o.format}.Write(e.Out, rows)
}

func fields() format.Fields[*row] {
	return format.Fields[*row]{
		{Name: "Availability", Header: "AVAILABILITY", Value: (*row).Availability},
		{Name: "Driver", Header: "DRIVER", Value: (*row).Driver},
		{Name: "Group", Header: "GROUP", Value: (*row).Group},
		{Name: "Labels", Header: "LABELS", Value: (*row).Labels},
		{Name: "Links", Header: "LINKS", Value: (*row).Links},
		{Name: "Mountpoint", Header: "MOUNTPOINT", Value: (*row).Mountpoint},
		{Name: "Name", Header: "VOLUME NAME", Value: (*row).Name},
		{Name: "Scope", Header: "SCOPE", Value: (*row).Scope},
		{Name: "Size", Header: "SIZE", Value: (*row).Size},
		{Name: "Status", Header: "STATUS", Value: (*row).Status},
	}
}

// row is a volume as ls shows it; its methods are the fields of templates.
type row struct{ volume *volume.Volume }

// Name is the volume's name.
func (r *row) Name() string { return r.volume.Name }

// Driver is who keeps the volume.
func (r *row) Driver() string { return r.volume.Driver }

// Scope is "local": the volume is this engine's alone.
func (r *row) Scope() string { return r.volume.Scope }

// Mountpoint is where the volume lies on the engine's host.
func (r *row) Mountpoint() string { return r.volume.Mountpoint }

// Labels are the volume's labels as KEY=VALUE, joined by commas.
func (r *row) Labels() string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(r.volume.Labels)) {
		out = append(out, k+"="+r.volume.Labels[k])
	}
	return strings.Join(out, ",")
}

// Label is the value of one label.
func (r *row) Label(name string) string { return r.volume.Labels[name] }

// Links is how many containers have the volume, "N/A" if not counted.
func (r *row) Links() string {
	if r.volume.UsageData == nil {
		return "N/A"
	}
	return fmt.Sprint(r.volume.UsageData.RefCount)
}

// Size is what the volume holds, "N/A" if not counted.
func (r *row) Size() string {
	if r.volume.UsageData == nil || r.volume.UsageData.Size < 0 {
		return "N/A"
	}
	return units.HumanSize(float64(r.volume.UsageData.Size))
}

// Availability is that of a volume of a swarm.
func (*row) Availability() string { return "N/A" }

// Group is that of a volume of a swarm.
func (*row) Group() string { return "N/A" }

// Status is that of a volume of a swarm.
func (*row) Status() string { return "N/A" }
