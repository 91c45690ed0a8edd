package engine

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/errs"
)

// Networks is the engine's view of the networks, which are those that exist
// without being created: the default bridge, the host's and none.
type Networks struct{ *core }

// Networks returns the network verbs.
func (e *Engine) Networks() *Networks { return &Networks{e.core} }

// predefined are the networks in the order in which they are listed, with
// their drivers.
var predefined = []struct{ name, driver string }{
	{networkBridge, "bridge"}, {networkHost, "host"}, {networkNone, "null"},
}

// List describes networks with the containers on them. Error: InvalidParameter
// for a filter.
func (n *Networks) List(_ context.Context, filters map[string]map[string]bool) ([]network.Inspect, error) {
	list := []network.Inspect{}
	for _, p := range predefined {
		if p.name != networkBridge || n.bridged() {
			list = append(list, n.describe(p.name, p.driver))
		}
	}
	for key, values := range filters {
		test, err := networkFilter(key, values)
		if err != nil {
			return nil, err
		}
		list = slices.DeleteFunc(list, func(i network.Inspect) bool { return !test(&i) })
	}
	return list, nil
}

// Inspect describes the network of this name or ID, or beginning of an ID.
// Errors: NotFound, InvalidParameter for the beginning of several IDs.
func (n *Networks) Inspect(ctx context.Context, ref string) (network.Inspect, error) {
	list, err := n.List(ctx, nil)
	if err != nil {
		return network.Inspect{}, err
	}
	var found []network.Inspect
	for _, i := range list {
		switch {
		case i.ID == ref || i.Name == ref:
			return i, nil
		case strings.HasPrefix(i.ID, ref):
			found = append(found, i)
		}
	}
	switch len(found) {
	case 0:
		return network.Inspect{}, errs.New(errs.NotFound, "network %s not found", ref)
	case 1:
		return found[0], nil
	}
	return network.Inspect{}, errs.New(errs.InvalidParameter, "network %s is ambiguous (%d matches found based on ID prefix)", ref, len(found))
}

// Remove refuses: none of the networks can be removed. Errors: Forbidden, and
// those of Inspect.
func (n *Networks) Remove(ctx context.Context, ref string) error {
	i, err := n.Inspect(ctx, ref)
	if err != nil {
		return err
	}
	return errs.New(errs.Forbidden, "%s is a pre-defined network and cannot be removed", i.Name)
}

// Prune removes networks that nobody uses, of which there are none. Error:
// InvalidParameter for a filter.
func (n *Networks) Prune(_ context.Context, filters map[string]map[string]bool) (network.PruneReport, error) {
	for key := range filters {
		switch key {
		case "label", "label!", "until":
		default:
			return network.PruneReport{}, errs.New(errs.InvalidParameter, "invalid filter '%s'", key)
		}
	}
	return network.PruneReport{NetworksDeleted: []string{}}, nil
}

// bridged reports whether there is a default bridge.
func (n *Networks) bridged() bool { return n.cfg.Network != nil && n.cfg.Network.Info().Name != "" }

func (n *Networks) describe(name, driver string) network.Inspect {
	i := network.Inspect{
		Network: network.Network{
			Name: name, ID: networkID(n.id, name), Created: n.since(), Scope: "local", Driver: driver, EnableIPv4: true,
			IPAM: network.IPAM{Driver: "default", Config: []network.IPAMConfig{}}, Options: map[string]string{}, Labels: map[string]string{},
		},
		Containers: n.members(name),
	}
	if name != networkBridge {
		return i
	}
	b := n.cfg.Network.Info()
	config := network.IPAMConfig{Subnet: b.Subnet, Gateway: b.Gateway}
	if b.Pool.IsValid() && b.Pool != b.Subnet {
		config.IPRange = b.Pool
	}
	i.IPAM.Config = append(i.IPAM.Config, config)
	i.Options = map[string]string{
		"com.docker.network.bridge.default_bridge":       "true",
		"com.docker.network.bridge.enable_icc":           strconv.FormatBool(b.Interconnect),
		"com.docker.network.bridge.enable_ip_masquerade": strconv.FormatBool(b.Masquerade),
		"com.docker.network.bridge.host_binding_ipv4":    "0.0.0.0",
		"com.docker.network.bridge.name":                 b.Name,
		"com.docker.network.driver.mtu":                  strconv.Itoa(b.MTU),
	}
	// The network's address, the broadcast address and the bridge's own are in use too.
	i.Status = &network.Status{IPAM: network.IPAMStatus{Subnets: network.SubnetStatuses{
		b.Subnet: {IPsInUse: uint64(b.InUse) + 3, DynamicIPsAvailable: uint64(b.Free)},
	}}}
	return i
}

// since is when the networks came to be: with the data root.
func (n *Networks) since() time.Time {
	info, err := os.Stat(filepath.Join(n.cfg.DataRoot, engineIDFile))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime().UTC()
}

// members lists the containers that run on a network.
func (n *Networks) members(name string) map[string]network.EndpointResource {
	out := map[string]network.EndpointResource{}
	for _, c := range n.table.all() {
		rec := c.snapshot()
		if !rec.State.Running() || networkOf(rec.HostConfig) != name {
			continue
		}
		member := network.EndpointResource{Name: rec.Name}
		if p := rec.Endpoint; p != nil {
			member.EndpointID = p.ID
			if a, err := netip.ParsePrefix(p.Address); err == nil {
				member.IPv4Address = a
			}
			if m, err := net.ParseMAC(p.MAC); err == nil {
				member.MacAddress = network.HardwareAddr(m)
			}
		}
		out[rec.ID] = member
	}
	return out
}

// networkFilter is the test of one key of Docker's filters for networks, whose
// values are alternatives, but for labels.
func networkFilter(key string, values map[string]bool) (func(*network.Inspect) bool, error) {
	anyOf := func(test func(i *network.Inspect, v string) bool) (func(*network.Inspect) bool, error) {
		return func(i *network.Inspect) bool {
			for v := range values {
				if test(i, v) {
					return true
				}
			}
			return false
		}, nil
	}
	switch key {
	case "name":
		return anyOf(func(i *network.Inspect, v string) bool { return strings.Contains(i.Name, v) })
	case "id":
		return anyOf(func(i *network.Inspect, v string) bool { return strings.Contains(i.ID, v) })
	case "driver":
		return anyOf(func(i *network.Inspect, v string) bool { return i.Driver == v })
	case "scope":
		return anyOf(func(i *network.Inspect, v string) bool { return i.Scope == v })
	case "label":
		return func(i *network.Inspect) bool {
			for v := range values {
				if !hasLabel(i.Labels, v) {
					return false
				}
			}
			return true
		}, nil
	case "type":
		for v := range values {
			if v != "builtin" && v != "custom" {
				return nil, errs.New(errs.InvalidParameter, "invalid filter: 'type'='%s'", v)
			}
		}
		return anyOf(func(_ *network.Inspect, v string) bool { return v == "builtin" })
	case "dangling":
		for v := range values {
			switch v {
			case "1", "true", "0", "false":
			default:
				return nil, errs.New(errs.InvalidParameter, "invalid value for filter 'dangling', must be \"true\" (or \"1\"), or \"false\" (or \"0\")")
			}
		}
		// What cannot be removed does not dangle, used or not.
		return anyOf(func(_ *network.Inspect, v string) bool { return v == "0" || v == "false" })
	}
	return nil, errs.New(errs.InvalidParameter, "invalid filter '%s'", key)
}
