package container

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
	"github.com/davit-engine/davit/cli/format"
	"github.com/davit-engine/davit/cli/term"
)

type psOptions struct {
	all, quiet, size, noTrunc, latest bool
	last                              int
	format                            string
	filter                            flags.Filter
}

// NewPsCmd returns "ps".
func NewPsCmd(e *env.Env) *cobra.Command {
	cmd := newList(e)
	cmd.Use = "ps [OPTIONS]"
	return cmd
}

// NewLsCmd returns "container ls", which is ps.
func NewLsCmd(e *env.Env) *cobra.Command {
	cmd := newList(e)
	cmd.Use, cmd.Aliases = "ls [OPTIONS]", []string{"ps", "list"}
	return cmd
}

func newList(e *env.Env) *cobra.Command {
	o := &psOptions{}
	cmd := &cobra.Command{
		Short: "List containers", Args: env.Arguments(0, 0), ValidArgsFunction: complete.Words(),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, e) },
	}
	f := cmd.Flags()
	f.BoolVarP(&o.all, "all", "a", false, "Show all containers (default shows just running)")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Only display container IDs")
	f.BoolVarP(&o.size, "size", "s", false, "Display total file sizes")
	f.BoolVar(&o.noTrunc, "no-trunc", false, "Don't truncate output")
	f.BoolVarP(&o.latest, "latest", "l", false, "Show the latest created container (includes all states)")
	f.IntVarP(&o.last, "last", "n", -1, "Show n last created containers (includes all states)")
	format.Flags(f, &o.format)
	f.VarP(&o.filter, "filter", "f", "Filter output based on conditions provided")
	_ = cmd.RegisterFlagCompletionFunc("filter", complete.Keys(
		"ancestor=", "before=", "exited=", "expose=", "health=", "id=", "is-task=", "label=", "name=", "network=", "publish=", "since=", "status=", "volume="))
	return cmd
}

func (o *psOptions) run(cmd *cobra.Command, e *env.Env) error {
	api, err := e.Client()
	if err != nil {
		return err
	}
	if o.latest {
		o.last = 1
	}
	if o.format == "" && !o.quiet {
		o.format = e.Config().PsFormat
	}
	size := o.size || strings.Contains(o.format, ".Size")
	list, err := api.Containers.List(cmd.Context(), client.ListOptions{All: o.all, Limit: o.last, Size: size, Brief: o.format == "", Filters: o.filter.Values})
	if err != nil {
		return err
	}
	rows := make([]*row, len(list))
	now := time.Now()
	for i := range list {
		rows[i] = &row{c: &list[i], noTrunc: o.noTrunc, now: now}
	}
	if o.quiet && o.format == "" {
		for _, r := range rows {
			fmt.Fprintln(e.Out, r.ID())
		}
		return nil
	}
	columns := []string{"ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"}
	if o.size {
		columns = append(columns, "Size")
	}
	if o.format == "raw" {
		return errors.New("the format raw is gone, use json or a template")
	}
	return format.List[*row]{Fields: fields(), Table: columns, Format: o.format}.Write(e.Out, rows)
}

func fields() format.Fields[*row] {
	return format.Fields[*row]{
		{Name: "Command", Header: "COMMAND", Value: (*row).Command},
		{Name: "CreatedAt", Header: "CREATED AT", Value: (*row).CreatedAt},
		{Name: "ID", Header: "CONTAINER ID", Value: (*row).ID},
		{Name: "Image", Header: "IMAGE", Value: (*row).Image},
		{Name: "Labels", Header: "LABELS", Value: (*row).Labels},
		{Name: "LocalVolumes", Header: "LOCAL VOLUMES", Value: (*row).LocalVolumes},
		{Name: "Mounts", Header: "MOUNTS", Value: (*row).Mounts},
		{Name: "Names", Header: "NAMES", Value: (*row).Names},
		{Name: "Networks", Header: "NETWORKS", Value: (*row).Networks},
		{Name: "Platform", Header: "PLATFORM", Value: (*row).Platform, JSON: (*row).platform},
		{Name: "Ports", Header: "PORTS", Value: (*row).Ports},
		{Name: "Reach", Header: "REACH", Value: (*row).Reach},
		{Name: "RunningFor", Header: "CREATED", Value: (*row).RunningFor},
		{Name: "Size", Header: "SIZE", Value: (*row).Size},
		{Name: "State", Header: "STATE", Value: (*row).State},
		{Name: "Status", Header: "STATUS", Value: (*row).Status},
	}
}

// row is a container as ps shows it; its methods are the fields of templates.
type row struct {
	c       *container.Summary
	noTrunc bool
	now     time.Time
}

// ID is the container's ID, twelve characters of it unless told otherwise.
func (r *row) ID() string { return r.short(r.c.ID) }

func (r *row) short(id string) string {
	if !r.noTrunc && len(id) > 12 {
		return id[:12]
	}
	return id
}

// Names are the container's names; those of links only if nothing is cut.
func (r *row) Names() string {
	var names []string
	for _, n := range r.c.Names {
		n = strings.TrimPrefix(n, "/")
		if r.noTrunc || !strings.Contains(n, "/") {
			names = append(names, n)
		}
	}
	return strings.Join(names, ",")
}

// Image is the image's name as it was given at creation.
func (r *row) Image() string {
	switch {
	case r.c.Image == "":
		return "<no image>"
	case r.noTrunc:
		return r.c.Image
	}
	image := r.c.Image
	if id, ok := strings.CutPrefix(image, "sha256:"); ok {
		return r.short(id)
	}
	if bare := strings.TrimPrefix(r.c.ImageID, "sha256:"); bare != "" && strings.HasPrefix(bare, image) {
		return r.short(image)
	}
	if name, _, ok := strings.Cut(image, "@"); ok {
		return name // the digest of a pinned image
	}
	return image
}

// Command is the command line in quotes.
func (r *row) Command() string {
	command := r.c.Command
	if !r.noTrunc {
		command = term.Ellipsis(command, 20)
	}
	return fmt.Sprintf("%q", command)
}

// CreatedAt is the time of creation.
func (r *row) CreatedAt() string { return time.Unix(r.c.Created, 0).String() }

// RunningFor is the time since creation in words.
func (r *row) RunningFor() string {
	return units.HumanDuration(r.now.UTC().Sub(time.Unix(r.c.Created, 0))) + " ago"
}

// Status is the state in words, such as "Up 3 minutes".
func (r *row) Status() string { return r.c.Status }

// State is the state as one word.
func (r *row) State() string { return string(r.c.State) }

// Ports are the exposed and published ports, neighbours as ranges.
func (r *row) Ports() string { return displayPorts(r.c.Ports) }

// Reach is who can get to the published ports: "world" if any is published
// beyond this host, "host" if none is, and "" where there are none.
func (r *row) Reach() string {
	widest := ""
	for _, p := range r.c.Ports {
		if p.PublicPort != 0 && widest != "world" {
			widest = reach(p.IP)
		}
	}
	return widest
}

// Size is what the container wrote, and with its image.
func (r *row) Size() string {
	text := units.HumanSizeWithPrecision(float64(r.c.SizeRw), 3)
	if r.c.SizeRootFs > 0 {
		text += " (virtual " + units.HumanSizeWithPrecision(float64(r.c.SizeRootFs), 3) + ")"
	}
	return text
}

// Labels are all labels.
func (r *row) Labels() string {
	var pairs []string
	for k, v := range r.c.Labels {
		pairs = append(pairs, k+"="+v)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}

// Label is the value of one label.
func (r *row) Label(name string) string { return r.c.Labels[name] }

// Mounts are the names or sources of what is mounted.
func (r *row) Mounts() string {
	var names []string
	for _, m := range r.c.Mounts {
		name := m.Name
		if name == "" {
			name = m.Source
		}
		if !r.noTrunc {
			name = term.Ellipsis(name, 15)
		}
		names = append(names, name)
	}
	return strings.Join(names, ",")
}

// LocalVolumes is how many volumes of the local driver are mounted.
func (r *row) LocalVolumes() string {
	n := 0
	for _, m := range r.c.Mounts {
		if m.Driver == "local" {
			n++
		}
	}
	return fmt.Sprint(n)
}

// Networks are the names of the joined networks.
func (r *row) Networks() string {
	if r.c.NetworkSettings == nil {
		return ""
	}
	var names []string
	for n := range r.c.NetworkSettings.Networks {
		names = append(names, n)
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

// Platform is the platform of the image, "" if the engine does not say.
func (r *row) Platform() string {
	p, ok := r.platform().(*ocispec.Platform)
	switch {
	case !ok:
		return ""
	case p.Variant != "":
		return p.OS + "/" + p.Architecture + "/" + p.Variant
	}
	return p.OS + "/" + p.Architecture
}

func (r *row) platform() any {
	if d := r.c.ImageManifestDescriptor; d != nil && d.Platform != nil {
		return d.Platform
	}
	return nil
}
