package engine

import (
	"context"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/errs"
)

// Networks is the engine's view of the networks.
type Networks struct{ *core }

// Networks returns the network verbs.
func (e *Engine) Networks() *Networks { return &Networks{e.core} }

// List describes networks with the containers on them. Error: InvalidParameter
// for a filter.
func (n *Networks) List(_ context.Context, filters map[string]map[string]bool) ([]network.Inspect, error) {
	list := []network.Inspect{}
	for _, each := range n.cfg.Network.List() {
		list = append(list, n.describe(each))
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
func (n *Networks) Inspect(_ context.Context, ref string) (network.Inspect, error) {
	found, err := n.cfg.Network.Find(ref)
	if err != nil {
		return network.Inspect{}, err
	}
	return n.describe(found), nil
}

// Remove takes a network away. Errors: those of network.Store.Remove.
func (n *Networks) Remove(ctx context.Context, ref string) error {
	found, err := n.cfg.Network.Find(ref)
	if err != nil {
		return err
	}
	return n.cfg.Network.Remove(ctx, found.ID)
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

func (n *Networks) describe(each network.Network) network.Inspect {
	i := network.Inspect{Network: each, Containers: n.members(each.Name)}
	if status := n.cfg.Network.Status(each.ID); len(status.IPAM.Subnets) > 0 {
		i.Status = &status
	}
	return i
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
		for _, p := range rec.Endpoints {
			member.EndpointID, member.IPv4Address, member.MacAddress = p.ID, p.Address4, p.MAC
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
