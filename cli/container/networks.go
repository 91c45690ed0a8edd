package container

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/cli/flags"
)

// endpoints sets the host configuration's network mode and returns what each
// network is to be joined with.
func (n *networking) endpoints(host *container.HostConfig) (map[string]*network.EndpointSettings, error) {
	wished := n.networks.Values
	if len(wished) == 0 {
		wished = []flags.Attachment{{Target: "default"}}
	}
	// Options beside --network belong to the first network.
	first, err := n.merge(wished[0])
	if err != nil {
		return nil, err
	}
	host.NetworkMode = container.NetworkMode(first.Target)
	host.Links = n.links.Values // of the default network, and what older engines read
	endpoints := map[string]*network.EndpointSettings{}
	for i, a := range wished {
		if i == 0 {
			a = first
		}
		if _, twice := endpoints[a.Target]; twice {
			return nil, fmt.Errorf("network %q is specified multiple times", a.Target)
		}
		if len(a.Aliases) > 0 && !userDefined(a.Target) {
			return nil, errors.New("network-scoped aliases are only supported for user-defined networks")
		}
		if i > 0 && (!joins(a.Target) || !joins(first.Target)) {
			return nil, errors.New("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
		}
		if a.DriverOpts, err = n.withRate(a); err != nil {
			return nil, err
		}
		endpoints[a.Target] = endpoint(a)
	}
	return endpoints, nil
}

// merge adds the options that are given without naming a network to those of
// the first one.
func (n *networking) merge(first flags.Attachment) (flags.Attachment, error) {
	for _, c := range [...]struct {
		both bool
		text string
	}{
		{len(n.aliases.Values) > 0 && len(first.Aliases) > 0, "--network-alias and per-network alias"},
		{n.ip.Value.IsValid() && first.IPv4.IsValid(), "--ip and per-network IPv4 address"},
		{n.ip6.Value.IsValid() && first.IPv6.IsValid(), "--ip6 and per-network IPv6 address"},
		{n.mac.Value != nil && first.MAC != nil, "--mac-address and per-network MAC address"},
		{len(n.linkLocal.Values) > 0 && len(first.LinkLocal) > 0, "--link-local-ip and per-network link-local IP addresses"},
	} {
		if c.both {
			return first, errors.New("conflicting options: cannot specify both " + c.text)
		}
	}
	if userDefined(first.Target) {
		first.Links = n.links.Values
	}
	first.Aliases = append(first.Aliases, n.aliases.Values...)
	first.LinkLocal = append(first.LinkLocal, n.linkLocal.Values...)
	if n.ip.Value.IsValid() {
		first.IPv4 = n.ip.Value
	}
	if n.ip6.Value.IsValid() {
		first.IPv6 = n.ip6.Value
	}
	if n.mac.Value != nil {
		first.MAC = n.mac.Value
	}
	return first, nil
}

// optionRate is the driver option that holds a container to a bandwidth.
const optionRate = "davit.rate"

// withRate adds the rate that is given without naming a network to the driver
// options of one.
func (n *networking) withRate(a flags.Attachment) (map[string]string, error) {
	switch {
	case n.rate == "":
		return a.DriverOpts, nil
	case !joins(a.Target):
		return nil, fmt.Errorf("conflicting options: --network-rate and --network %s: it takes a network of the container's own", a.Target)
	case a.DriverOpts[optionRate] != "":
		return nil, fmt.Errorf("conflicting options: --network-rate and driver-opt=%s of network %s", optionRate, a.Target)
	}
	opts := map[string]string{optionRate: n.rate}
	maps.Copy(opts, a.DriverOpts)
	return opts, nil
}

func endpoint(a flags.Attachment) *network.EndpointSettings {
	s := &network.EndpointSettings{Aliases: a.Aliases, Links: a.Links, DriverOpts: a.DriverOpts, GwPriority: a.GwPriority, MacAddress: a.MAC}
	if a.IPv4.IsValid() || a.IPv6.IsValid() || len(a.LinkLocal) > 0 {
		s.IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: a.IPv4, IPv6Address: a.IPv6, LinkLocalIPs: a.LinkLocal}
	}
	return s
}

// userDefined reports whether a network mode names a network that somebody
// created.
func userDefined(mode string) bool {
	switch mode {
	case "", "default", "bridge", "host", "none":
		return false
	}
	return !strings.HasPrefix(mode, "container:") && !strings.HasPrefix(mode, "ns:")
}

// joins reports whether a network mode is a network that a container can be on
// beside others.
func joins(mode string) bool { return userDefined(mode) || mode == "default" || mode == "bridge" }
