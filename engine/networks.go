package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
)

// Networks is the engine's view of the networks, with the containers on them.
type Networks struct{ *joiner }

// Networks returns the network verbs.
func (e *Engine) Networks() *Networks { return &Networks{e.keeper.joiner} }

// Create makes a network. Errors: Conflict for a name that is taken or a range
// that is in use, Forbidden and InvalidParameter for what cannot be.
func (n *Networks) Create(ctx context.Context, req network.CreateRequest) (network.CreateResponse, error) {
	if err := validateNetworkCreate(&req); err != nil {
		return network.CreateResponse{}, err
	}
	if req.ConfigFrom != nil && req.ConfigFrom.Network != "" {
		from, err := n.cfg.Network.Find(req.ConfigFrom.Network)
		if err != nil || !from.ConfigOnly || from.Name != req.ConfigFrom.Network {
			return network.CreateResponse{}, errs.New(errs.NotFound, "configuration network %q does not exist", req.ConfigFrom.Network)
		}
		if req, err = configured(req, &from); err != nil {
			return network.CreateResponse{}, err
		}
	}
	made, warning, err := n.cfg.Network.Create(ctx, req)
	if err != nil {
		return network.CreateResponse{}, err
	}
	n.nets.publish(&made, events.ActionCreate, nil)
	return network.CreateResponse{ID: made.ID, Warning: warning}, nil
}

// Inspect describes the network of this name or ID, or beginning of an ID.
// Errors: NotFound, InvalidParameter for the beginning of several IDs.
func (n *Networks) Inspect(_ context.Context, ref string) (network.Inspect, error) {
	found, err := n.nets.find(ref)
	if err != nil {
		return network.Inspect{}, err
	}
	return n.describe(found, n.members()), nil
}

// List describes networks with the containers on them. Error: InvalidParameter
// for a filter.
func (n *Networks) List(_ context.Context, filters map[string]map[string]bool) ([]network.Inspect, error) {
	list, members := []network.Inspect{}, n.members()
	for _, each := range n.cfg.Network.List() {
		list = append(list, n.describe(each, members))
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

// Remove takes a network away. Errors: NotFound, Forbidden for one that exists
// without being created, that containers are on, or that others have their
// configuration from.
func (n *Networks) Remove(ctx context.Context, ref string) error {
	found, err := n.nets.find(ref)
	if err != nil {
		return err
	}
	return n.remove(ctx, &found, n.members())
}

func (n *Networks) remove(ctx context.Context, found *network.Network, members membersByNetwork) error {
	if !userDefined(found) {
		return errs.New(errs.Forbidden, "%s is a pre-defined network and cannot be removed", found.Name)
	}
	for _, other := range n.cfg.Network.List() {
		if found.ConfigOnly && other.ConfigFrom.Network == found.Name {
			return errs.New(errs.Forbidden, "error while removing network: configuration network %q is in use", found.Name)
		}
	}
	if on := members[found.ID]; len(on) > 0 {
		return errs.New(errs.Forbidden, "error while removing network: network %s has active endpoints (%s)", found.Name, on)
	}
	if err := n.cfg.Network.Remove(ctx, found.ID); err != nil {
		return err
	}
	if !found.ConfigOnly {
		n.nets.publish(found, events.ActionDestroy, nil)
	}
	return nil
}

// Prune removes the networks that no container runs on and that pass the
// filters until, label and label!; configurations stay. When ctx ends it stops
// after the one it is at, and tells what it did. Conflict while another call is
// at work.
func (n *Networks) Prune(ctx context.Context, filters map[string]map[string]bool) (network.PruneReport, error) {
	report := network.PruneReport{NetworksDeleted: []string{}}
	match, err := pruneMatch(filters, time.Now())
	if err != nil {
		return report, err
	}
	leave, err := enterPrune(&n.pruning)
	if err != nil {
		return report, err
	}
	defer leave()
	members := n.members()
	for _, each := range n.cfg.Network.List() {
		if ctx.Err() != nil {
			break
		}
		if !userDefined(&each) || each.ConfigOnly || len(members[each.ID]) > 0 || !match(each.Created, each.Labels) {
			continue
		}
		switch err := n.remove(ctx, &each, members); {
		case err == nil:
			report.NetworksDeleted = append(report.NetworksDeleted, each.Name)
		case !errs.Is(err, errs.NotFound) && !errs.Is(err, errs.Forbidden): // somebody else was faster, or uses it by now
			n.log.Warn("a network cannot be pruned", "network", each.Name, "error", err)
		}
	}
	n.cfg.Events.Publish(events.Message{Type: events.NetworkEventType, Action: events.ActionPrune,
		Actor: events.Actor{Attributes: map[string]string{"reclaimed": "0"}}})
	return report, nil
}

func (n *Networks) describe(each network.Network, members membersByNetwork) network.Inspect {
	i := network.Inspect{Network: each, Containers: members[each.ID]}
	if i.Containers == nil {
		i.Containers = map[string]network.EndpointResource{}
	}
	if status := n.cfg.Network.Status(each.ID); len(status.IPAM.Subnets) > 0 {
		i.Status = &status
	}
	return i
}

// members are the containers that run on a network, by ID.
type members map[string]network.EndpointResource

// String names them as Docker does in an error.
func (m members) String() string {
	list := make([]string, 0, len(m))
	for _, on := range m {
		list = append(list, fmt.Sprintf("name:%q id:%q", on.Name, on.EndpointID[:min(12, len(on.EndpointID))]))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// membersByNetwork are the members of each network, by its ID.
type membersByNetwork map[string]members

// members lists the containers that run on networks.
func (n *Networks) members() membersByNetwork {
	out := membersByNetwork{}
	add := func(id string, rec *record.Container, on network.EndpointResource) {
		if out[id] == nil {
			out[id] = members{}
		}
		on.Name = rec.Name
		out[id][rec.ID] = on
	}
	n.table.each(func(rec *record.Container) {
		if !rec.State.Running() {
			return
		}
		for _, p := range rec.Endpoints {
			add(p.Network, rec, network.EndpointResource{EndpointID: p.ID, IPv4Address: p.Address4, IPv6Address: p.Address6, MacAddress: p.MAC})
		}
		for _, m := range rec.Memberships() {
			if m.Network == networkHost || m.Network == networkNone {
				add(n.nets.id(m.Network), rec, network.EndpointResource{})
			}
		}
	})
	return out
}
