package engine

import (
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/errs"
)

func validateNetwork(c *container.Config, h *container.HostConfig) error {
	m := h.NetworkMode
	switch {
	case m.IsContainer() && c.Hostname != "":
		return errs.New(errs.InvalidParameter, "conflicting options: hostname and the network mode")
	case h.UTSMode.IsHost() && c.Hostname != "":
		return errs.New(errs.InvalidParameter, "conflicting options: hostname and the UTS mode")
	case m.IsContainer() && m.ConnectedContainer() == "":
		return errs.New(errs.InvalidParameter, "invalid container format container:<name|id>")
	}
	// Whether the network or the other container exists is asked at the start:
	// Docker's client takes a 404 of create for a missing image, and pulls it.
	return nil
}

// endpointSysctls is the driver option with parameters of an endpoint's
// interface, which stands in them as IFNAME.
const endpointSysctls = "com.docker.network.endpoint.sysctls"

// validateEndpoints checks what is asked of a container's place on its
// network. The texts are Docker's where it has them; a static address on the
// default bridge it does not have.
func validateEndpoints(h *container.HostConfig, nc *network.NetworkingConfig) error {
	if nc == nil {
		return nil
	}
	own := networkOf(h)
	for _, name := range slices.Sorted(maps.Keys(nc.EndpointsConfig)) {
		ep := nc.EndpointsConfig[name]
		switch {
		case name == own, name == network.NetworkDefault && own == networkBridge:
		case h.NetworkMode.IsContainer():
			continue // Docker's clients name it here
		case name == networkBridge, name == networkHost, name == networkNone:
			return errs.New(errs.InvalidParameter, "conflicting options: cannot attach a container to network %s and network %s", own, name)
		default:
			return errs.New(errs.NotFound, "network %s not found", name)
		}
		if ep == nil {
			continue
		}
		if err := validateEndpoint(own, ep); err != nil {
			return err
		}
	}
	return nil
}

func validateEndpoint(on string, ep *network.EndpointSettings) error {
	var ip network.EndpointIPAMConfig
	if ep.IPAMConfig != nil {
		ip = *ep.IPAMConfig
	}
	static := ip.IPv4Address.IsValid() || ip.IPv6Address.IsValid()
	switch {
	case static && on != networkBridge:
		return errs.New(errs.InvalidParameter, "invalid endpoint settings: user specified IP address is supported on user defined networks only")
	case len(ep.Aliases) > 0:
		return errs.New(errs.InvalidParameter, "invalid endpoint settings: network-scoped alias is supported only for containers in user defined networks")
	case len(ep.MacAddress) > 0 && on != networkBridge:
		return errs.New(errs.InvalidParameter, "conflicting options: mac-address and the network mode")
	case ip.IPv4Address.IsValid() && !ip.IPv4Address.Is4():
		return errs.New(errs.InvalidParameter, "invalid endpoint settings: invalid IPv4 address: %s", ip.IPv4Address)
	case ip.IPv6Address.IsValid():
		return errs.New(errs.NotImplemented, "--ip6 is not supported yet: the default bridge has no IPv6")
	case len(ip.LinkLocalIPs) > 0:
		return errs.New(errs.NotImplemented, "--link-local-ip is not supported yet")
	case len(ep.Links) > 0:
		return errs.New(errs.InvalidParameter, "links of an endpoint are for networks that users have made: use HostConfig.Links")
	}
	_, err := interfaceSysctls(ep)
	return err
}

// interfaceSysctls are the parameters of an endpoint's interface, by the names
// that they have in the container.
func interfaceSysctls(ep *network.EndpointSettings) (map[string]string, error) {
	text := ep.DriverOpts[endpointSysctls]
	if text == "" {
		return nil, nil
	}
	out := map[string]string{}
	for setting := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(setting, "=")
		words := strings.SplitN(name, ".", 5)
		if !ok || len(words) != 5 || words[0] != "net" || !strings.EqualFold(words[3], "IFNAME") { // Docker's client writes it small
			return nil, errs.New(errs.InvalidParameter, "unable to parse driver option %s: %q is not of the form net.X.Y.IFNAME.Z=VALUE", endpointSysctls, setting)
		}
		words[3] = "eth0"
		out[strings.Join(words, ".")] = value
	}
	return out, nil
}

// endpointParameters are interfaceSysctls of a container on the default bridge.
func endpointParameters(h *container.HostConfig, nc *network.NetworkingConfig) (map[string]string, error) {
	if nc == nil || networkOf(h) != networkBridge {
		return nil, nil
	}
	var out map[string]string
	for _, ep := range nc.EndpointsConfig {
		if ep == nil || len(ep.DriverOpts) == 0 {
			continue
		}
		var err error
		if out, err = interfaceSysctls(ep); err != nil {
			return nil, err
		}
	}
	return out, nil
}
