package container

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"

	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
)

// NewPortCmd returns "port".
func NewPortCmd(e *env.Env) *cobra.Command {
	return &cobra.Command{
		Use: "port CONTAINER [PRIVATE_PORT[/PROTO]]", Short: "List port mappings or a specific mapping for the container",
		Args: env.Arguments(1, 2), ValidArgsFunction: complete.OneContainer(e, false),
		RunE: func(cmd *cobra.Command, args []string) error {
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
			if len(args) == 1 {
				for _, port := range slices.SortedFunc(maps.Keys(ports), comparePorts) {
					for _, address := range addresses(ports[port]) {
						fmt.Fprintln(e.Out, port.String()+" -> "+address)
					}
				}
				return nil
			}
			port, err := network.ParsePort(args[1])
			if err != nil {
				return err
			}
			list := addresses(ports[port])
			if len(list) == 0 {
				return fmt.Errorf("Error: No public port '%s' published for %s", args[1], args[0]) // docker's words
			}
			for _, address := range list {
				fmt.Fprintln(e.Out, address)
			}
			return nil
		},
	}
}

func comparePorts(a, b network.Port) int {
	return cmp.Or(cmp.Compare(a.Num(), b.Num()), cmp.Compare(a.Proto(), b.Proto()))
}

// addresses are where a port is to be reached on the host, IPv4 first.
func addresses(bindings []network.PortBinding) (list []string) {
	sorted := slices.SortedFunc(slices.Values(bindings), func(a, b network.PortBinding) int {
		return cmp.Or(a.HostIP.Compare(b.HostIP), cmp.Compare(len(a.HostPort), len(b.HostPort)), cmp.Compare(a.HostPort, b.HostPort))
	})
	for _, b := range sorted {
		host := ""
		if b.HostIP.IsValid() {
			host = b.HostIP.String()
		}
		list = append(list, net.JoinHostPort(host, b.HostPort))
	}
	return list
}
