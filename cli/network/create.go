package network

import (
	"fmt"

	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
)

type createOptions struct {
	driver, scope, configFrom                 string
	options                                   flags.Map
	labels                                    flags.List
	internal, attachable, ingress, configOnly bool
	ipv4, ipv6                                bool
	addresses                                 addressing
}

// NewCreateCmd returns "network create".
func NewCreateCmd(e *env.Env) *cobra.Command {
	o := &createOptions{labels: flags.List{Check: flags.Label}}
	cmd := &cobra.Command{
		Use: "create [OPTIONS] NETWORK", Short: "Create a network",
		Args: env.Arguments(1, 1), ValidArgsFunction: complete.Words(),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, e, args[0]) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.driver, "driver", "d", "bridge", "Driver to manage the Network")
	f.VarP(&o.options, "opt", "o", "Set driver specific options")
	f.Var(&o.labels, "label", "Set metadata on a network")
	f.BoolVar(&o.internal, "internal", false, "Restrict external access to the network")
	f.BoolVar(&o.ipv4, "ipv4", true, "Enable or disable IPv4 address assignment")
	f.BoolVar(&o.ipv6, "ipv6", false, "Enable or disable IPv6 address assignment")
	f.BoolVar(&o.attachable, "attachable", false, "Enable manual container attachment")
	f.BoolVar(&o.ingress, "ingress", false, "Create swarm routing-mesh network")
	f.StringVar(&o.scope, "scope", "", "Control the network's scope")
	f.BoolVar(&o.configOnly, "config-only", false, "Create a configuration only network")
	f.StringVar(&o.configFrom, "config-from", "", "The network from which to copy the configuration")
	o.addresses.addTo(f)
	for name, function := range map[string]cobra.CompletionFunc{
		"driver":      complete.Words("bridge", "macvlan", "ipvlan", "cni:"),
		"scope":       complete.Words("local"),
		"ipam-driver": complete.Words("default"),
		"config-from": complete.Networks(e, "driver=null", "type=custom"),
		"opt": complete.Keys("com.docker.network.bridge.name=", "com.docker.network.bridge.enable_icc=", "com.docker.network.bridge.enable_ip_masquerade=",
			"com.docker.network.bridge.gateway_mode_ipv4=", "com.docker.network.bridge.gateway_mode_ipv6=", "com.docker.network.bridge.host_binding_ipv4=",
			"com.docker.network.bridge.inhibit_ipv4=", "com.docker.network.bridge.trusted_host_interfaces=", "com.docker.network.container_iface_prefix=",
			"com.docker.network.driver.mtu=", "com.docker.network.host_ipv4=", "com.docker.network.host_ipv6=", "davit.rate=", "parent=", "macvlan_mode=", "ipvlan_mode="),
	} {
		_ = cmd.RegisterFlagCompletionFunc(name, function) // fails only for an option that does not exist
	}
	return cmd
}

func (o *createOptions) run(cmd *cobra.Command, e *env.Env, name string) error {
	ipam, err := o.addresses.ipam()
	if err != nil {
		return err
	}
	request := network.CreateRequest{
		Name: name, Driver: o.driver, Scope: o.scope, IPAM: ipam, Internal: o.internal, Attachable: o.attachable, Ingress: o.ingress,
		ConfigOnly: o.configOnly, Options: o.options.Values, Labels: flags.Pairs(o.labels.Values),
	}
	// The engine decides what is not said.
	if cmd.Flags().Changed("ipv4") {
		request.EnableIPv4 = &o.ipv4
	}
	if cmd.Flags().Changed("ipv6") {
		request.EnableIPv6 = &o.ipv6
	}
	if o.configFrom != "" {
		request.ConfigFrom = &network.ConfigReference{Network: o.configFrom}
	}
	api, err := e.Client()
	if err != nil {
		return err
	}
	made, err := api.Networks.Create(cmd.Context(), request)
	if err != nil {
		return err
	}
	if made.Warning != "" {
		e.Warn(made.Warning)
	}
	fmt.Fprintln(e.Out, made.ID)
	return nil
}
