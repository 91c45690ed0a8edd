package container

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/format"
)

type portOptions struct{ format string }

// NewPortCmd returns "port".
func NewPortCmd(e *env.Env) *cobra.Command {
	o := &portOptions{}
	cmd := &cobra.Command{
		Use: "port CONTAINER [PRIVATE_PORT[/PROTO]]", Short: "List port mappings or a specific mapping for the container",
		Args: env.Arguments(1, 2), ValidArgsFunction: complete.OneContainer(e, false),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, e, args) },
	}
	format.Flags(cmd.Flags(), &o.format)
	return cmd
}

func (o *portOptions) run(cmd *cobra.Command, e *env.Env, args []string) error {
	api, err := e.Client()
	if err != nil {
		return err
	}
	c, _, err := api.Containers.Inspect(cmd.Context(), args[0], false)
	if err != nil {
		return err
	}
	var ports network.PortMap
	if c.NetworkSettings != nil {
		ports = c.NetworkSettings.Ports
	}
	if len(args) == 2 {
		port, err := network.ParsePort(args[1])
		if err != nil {
			return err
		}
		if len(ports[port]) == 0 {
			return fmt.Errorf("Error: No public port '%s' published for %s", args[1], args[0]) // docker's words
		}
		ports = network.PortMap{port: ports[port]}
	}
	rows := mappings(ports)
	if o.format != "" {
		return format.List[*mapping]{Fields: mappingFields(), Table: []string{"Port", "Address", "Reach"}, Format: o.format}.Write(e.Out, rows)
	}
	for _, m := range rows {
		if len(args) == 1 {
			fmt.Fprint(e.Out, m.Port(), " -> ")
		}
		fmt.Fprintln(e.Out, m.Address())
	}
	return nil
}

// mappings are the ways to a container's ports, by port, IPv4 first.
func mappings(ports network.PortMap) (list []*mapping) {
	for _, port := range slices.SortedFunc(maps.Keys(ports), comparePorts) {
		bindings := slices.SortedFunc(slices.Values(ports[port]), func(a, b network.PortBinding) int {
			return cmp.Or(a.HostIP.Compare(b.HostIP), cmp.Compare(len(a.HostPort), len(b.HostPort)), cmp.Compare(a.HostPort, b.HostPort))
		})
		for _, b := range bindings {
			list = append(list, &mapping{port, b})
		}
	}
	return list
}

func comparePorts(a, b network.Port) int {
	return cmp.Or(cmp.Compare(a.Num(), b.Num()), cmp.Compare(a.Proto(), b.Proto()))
}

func mappingFields() format.Fields[*mapping] {
	return format.Fields[*mapping]{
		{Name: "Address", Header: "ADDRESS", Value: (*mapping).Address},
		{Name: "HostIP", Header: "HOST IP", Value: (*mapping).HostIP},
		{Name: "HostPort", Header: "HOST PORT", Value: (*mapping).HostPort},
		{Name: "Port", Header: "PORT", Value: (*mapping).Port},
		{Name: "Reach", Header: "REACH", Value: (*mapping).Reach},
	}
}

// mapping is one way to a port of a container; its methods are the fields of
// templates.
type mapping struct {
	port    network.Port
	binding network.PortBinding
}

// Port is the container's port with its protocol.
func (m *mapping) Port() string { return m.port.String() }

// Address is where the port is to be reached on the host.
func (m *mapping) Address() string { return net.JoinHostPort(m.HostIP(), m.binding.HostPort) }

// HostIP is the host's address, 0.0.0.0 or :: for all of them.
func (m *mapping) HostIP() string {
	if !m.binding.HostIP.IsValid() {
		return ""
	}
	return m.binding.HostIP.String()
}

// HostPort is the host's port.
func (m *mapping) HostPort() string { return m.binding.HostPort }

// Reach is who can get to the port: "host" means this host alone.
func (m *mapping) Reach() string { return reach(m.binding.HostIP) }

// reach is who can get to a port that is published on an address of the host:
// "world" for all but those of the loopback interface.
func reach(address netip.Addr) string {
	if address.IsLoopback() {
		return "host"
	}
	return "world"
}
