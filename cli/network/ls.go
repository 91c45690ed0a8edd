package network

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
	"github.com/davit-engine/davit/cli/format"
)

type listOptions struct {
	quiet, noTrunc bool
	format         string
	filter         flags.Filter
}

// NewLsCmd returns "network ls".
func NewLsCmd(e *env.Env) *cobra.Command {
	o := &listOptions{}
	cmd := &cobra.Command{
		Use: "ls [OPTIONS]", Aliases: []string{"list"}, Short: "List networks",
		Args: env.Arguments(0, 0), ValidArgsFunction: complete.Words(),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, e) },
	}
	f := cmd.Flags()
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Only display network IDs")
	f.BoolVar(&o.noTrunc, "no-trunc", false, "Do not truncate the output")
	format.Flags(f, &o.format)
	f.VarP(&o.filter, "filter", "f", `Provide filter values (e.g. "driver=bridge")`)
	_ = cmd.RegisterFlagCompletionFunc("filter", complete.Keys("dangling=", "driver=", "id=", "label=", "name=", "scope=", "type="))
	return cmd
}

func (o *listOptions) run(cmd *cobra.Command, e *env.Env) error {
	api, err := e.Client()
	if err != nil {
		return err
	}
	if o.format == "" && !o.quiet {
		o.format = e.Config().NetworksFormat
	}
	list, err := api.Networks.List(cmd.Context(), o.filter.Values)
	if err != nil {
		return err
	}
	slices.SortStableFunc(list, func(a, b network.Summary) int { return format.Natural(a.Name, b.Name) })
	rows := make([]*row, len(list))
	for i := range list {
		rows[i] = &row{&list[i], o.noTrunc}
	}
	if o.quiet && o.format == "" {
		for _, r := range rows {
			fmt.Fprintln(e.Out, r.ID())
		}
		return nil
	}
	return format.List[*row]{Fields: fields(), Table: []string{"ID", "Name", "Driver", "Scope"}, Format: o.format}.Write(e.Out, rows)
}

func fields() format.Fields[*row] {
	return format.Fields[*row]{
		{Name: "CreatedAt", Header: "CREATED AT", Value: (*row).CreatedAt},
		{Name: "Driver", Header: "DRIVER", Value: (*row).Driver},
		{Name: "ID", Header: "NETWORK ID", Value: (*row).ID},
		{Name: "IPv4", Header: "IPV4", Value: (*row).IPv4},
		{Name: "IPv6", Header: "IPV6", Value: (*row).IPv6},
		{Name: "Internal", Header: "INTERNAL", Value: (*row).Internal},
		{Name: "Labels", Header: "LABELS", Value: (*row).Labels},
		{Name: "Name", Header: "NAME", Value: (*row).Name},
		{Name: "Scope", Header: "SCOPE", Value: (*row).Scope},
		{Name: "Subnets", Header: "SUBNETS", Value: (*row).Subnets},
	}
}

// row is a network as ls shows it; its methods are the fields of templates.
type row struct {
	network *network.Summary
	noTrunc bool
}

// ID is the network's ID, twelve characters of it unless told otherwise.
func (r *row) ID() string {
	if !r.noTrunc && len(r.network.ID) > 12 {
		return r.network.ID[:12]
	}
	return r.network.ID
}

// Name is the network's name.
func (r *row) Name() string { return r.network.Name }

// Driver is who makes the network.
func (r *row) Driver() string { return r.network.Driver }

// Scope is "local": the network is this engine's alone.
func (r *row) Scope() string { return r.network.Scope }

// IPv4 tells whether endpoints get IPv4 addresses.
func (r *row) IPv4() string { return strconv.FormatBool(r.network.EnableIPv4) }

// IPv6 tells whether endpoints get IPv6 addresses.
func (r *row) IPv6() string { return strconv.FormatBool(r.network.EnableIPv6) }

// Internal tells whether the network ends at this host.
func (r *row) Internal() string { return strconv.FormatBool(r.network.Internal) }

// Labels are the network's labels as KEY=VALUE, joined by commas.
func (r *row) Labels() string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(r.network.Labels)) {
		out = append(out, k+"="+r.network.Labels[k])
	}
	return strings.Join(out, ",")
}

// Label is the value of one label.
func (r *row) Label(name string) string { return r.network.Labels[name] }

// CreatedAt is the time of creation.
func (r *row) CreatedAt() string { return r.network.Created.String() }

// Subnets are the ranges of addresses, joined by commas.
func (r *row) Subnets() string {
	var out []string
	for _, c := range r.network.IPAM.Config {
		if c.Subnet.IsValid() {
			out = append(out, c.Subnet.String())
		}
	}
	return strings.Join(out, ",")
}
