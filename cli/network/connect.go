package network

import (
	"errors"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
)

type connectOptions struct {
	ip, ip6             flags.Address
	linkLocal           flags.Addresses
	mac                 flags.MAC
	links               flags.List
	aliases, driverOpts []string
	priority            int
}

// NewConnectCmd returns "network connect".
func NewConnectCmd(e *env.Env) *cobra.Command {
	o := &connectOptions{links: flags.List{Check: flags.Link}}
	cmd := &cobra.Command{
		Use: "connect [OPTIONS] NETWORK CONTAINER", Short: "Connect a container to a network",
		Args: env.Arguments(2, 2), ValidArgsFunction: complete.NetworkThen(e, complete.Containers(e, true)),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, e, args[0], args[1]) },
	}
	f := cmd.Flags()
	f.Var(&o.ip, "ip", `IPv4 address (e.g., "172.30.100.104")`)
	f.Var(&o.ip6, "ip6", `IPv6 address (e.g., "2001:db8::33")`)
	f.Var(&o.linkLocal, "link-local-ip", "Add a link-local address for the container")
	f.Var(&o.mac, "mac-address", `MAC address (e.g., "92:d0:c6:0a:29:33")`)
	f.Var(&o.links, "link", "Add link to another container")
	f.StringSliceVar(&o.aliases, "alias", nil, "Add network-scoped alias for the container")
	f.StringSliceVar(&o.driverOpts, "driver-opt", nil, "driver options for the network")
	f.IntVar(&o.priority, "gw-priority", 0, "Highest gw-priority provides the default gateway. Accepts positive and negative values.")
	_ = cmd.RegisterFlagCompletionFunc("driver-opt", complete.Keys("com.docker.network.endpoint.ifname=", "com.docker.network.endpoint.sysctls=", "davit.rate="))
	return cmd
}

func (o *connectOptions) run(cmd *cobra.Command, e *env.Env, ref, container string) error {
	options := map[string]string{}
	for _, option := range o.driverOpts {
		key, value, ok := strings.Cut(option, "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			return errors.New("invalid key/value pair format in driver options")
		}
		options[key] = strings.TrimSpace(value)
	}
	api, err := e.Client()
	if err != nil {
		return err
	}
	return api.Networks.Connect(cmd.Context(), ref, container, &network.EndpointSettings{
		IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: o.ip.Value, IPv6Address: o.ip6.Value, LinkLocalIPs: o.linkLocal.Values},
		MacAddress: o.mac.Value, Links: o.links.Values, Aliases: o.aliases, DriverOpts: options, GwPriority: o.priority,
	})
}
