package change

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/dialect"
	"github.com/davit-engine/davit/engine/record"
)

// networks decides which networks the container is on. Its mode names the
// first of them, or what stands alone: host, none, another container's. Between
// networks a container moves while it runs.
func (p *planner) networks(wish *dialect.Change) error {
	if len(wish.Networks) == 0 {
		return p.joinedPorts()
	}
	h := p.out.HostConfig
	mode := record.ModeOf(h)
	on := map[string]*network.EndpointSettings{}
	for _, m := range record.Memberships(h, p.out.Networking) {
		on[m.Network] = m.Settings
	}
	if record.ForeignNet(h.NetworkMode) {
		on[mode] = &network.EndpointSettings{}
	}
	before := maps.Clone(on)
	var joined []string
	for _, name := range slices.Sorted(maps.Keys(wish.Networks)) {
		settings := wish.Networks[name]
		if name == network.NetworkDefault {
			name = network.NetworkBridge
		}
		switch {
		case name == "":
			return invalid("the name of a network is empty (Networks)")
		case settings != nil:
			joined = append(joined, name)
			on[name] = settings
		case on[name] == nil:
			return invalid("the container is not on network %s (Networks)", name)
		default:
			delete(on, name)
		}
	}
	for _, name := range joined {
		if alone(name) && len(joined) > 1 {
			return invalid("network %s stands alone: it cannot be joined beside others (Networks)", name)
		}
	}
	if len(joined) > 0 {
		// What stands alone gives way to what is joined.
		for name := range on {
			if (alone(name) || alone(joined[0])) && !slices.Contains(joined, name) {
				delete(on, name)
			}
		}
	}
	if len(on) == 0 {
		on[network.NetworkNone] = &network.EndpointSettings{}
	}
	after := slices.Sorted(maps.Keys(on))
	live := ownNamespace(mode)
	if on[mode] == nil {
		mode = after[0]
	}
	live = live && ownNamespace(mode)
	h.NetworkMode = container.NetworkMode(mode)
	if record.ForeignNet(h.NetworkMode) {
		delete(on, mode) // there is nothing of its own
	}
	p.out.Networking = &network.NetworkingConfig{EndpointsConfig: on}
	p.note("network", strings.Join(slices.Sorted(maps.Keys(before)), ", "), strings.Join(after, ", "), live)
	for _, name := range joined {
		if old := before[name]; old != nil && !reflect.DeepEqual(old, on[name]) && !alone(name) {
			p.note("network "+name, name, name+" (other options)", live)
		}
	}
	if o := p.out.Origin; o != nil && slices.Contains(o.Engine, "Hostname") && p.named(mode) != p.named(record.ModeOf(p.rec.HostConfig)) {
		p.chooseHostname()
	}
	return p.joinedPorts()
}

// ownNamespace reports whether a container in this network mode has a network
// namespace of its own, which can be put on networks while it runs.
func ownNamespace(mode string) bool {
	m := container.NetworkMode(mode)
	return !m.IsHost() && !record.ForeignNet(m)
}

// named says who names a container in this network mode, unless its user does:
// the host, another container or, for "", the engine.
func (p *planner) named(mode string) string {
	switch m := container.NetworkMode(mode); {
	case p.out.HostConfig.UTSMode.IsHost():
		return network.NetworkHost
	case m.IsHost(), m.IsContainer():
		return mode
	}
	return ""
}

// joinedPorts refuses ports of a container in another's network.
func (p *planner) joinedPorts() error {
	h := p.out.HostConfig
	if record.ForeignNet(h.NetworkMode) && (len(h.PortBindings) > 0 || h.PublishAllPorts) {
		return invalid("conflicting options: port publishing and the container type network mode")
	}
	return nil
}

// alone reports whether a container in this network mode is on no other.
func alone(mode string) bool {
	m := container.NetworkMode(mode)
	return m.IsHost() || m.IsNone() || record.ForeignNet(m)
}
