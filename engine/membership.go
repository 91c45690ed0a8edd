package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	apinet "github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network"
	"github.com/davit-engine/davit/network/shape"
)

// nets knows which networks containers are on.
type nets struct{ *core }

// membership is a network that a container is to be on, and what it wishes
// there.
type membership struct {
	network  apinet.Network
	settings *apinet.EndpointSettings
}

// userDefined reports whether somebody made the network, so that there are
// names on it.
func userDefined(n *apinet.Network) bool { return container.NetworkMode(n.Name).IsUserDefined() }

// find is network.Store.Find, for an engine that may have no network.
func (n *nets) find(ref string) (apinet.Network, error) {
	if n.cfg.Network == nil {
		return apinet.Network{}, errs.New(errs.NotFound, "network %s not found", ref)
	}
	return n.cfg.Network.Find(ref)
}

// id returns the ID of the network of this name, "" if there is none.
func (n *nets) id(name string) string {
	found, _ := n.find(name)
	return found.ID
}

// memberships finds the networks that a container is to be on, in the order of
// its interfaces. Error: NotFound for one that is gone.
func (n *nets) memberships(rec *record.Container) ([]membership, error) {
	asked := rec.Memberships()
	list := make([]membership, len(asked))
	for i, a := range asked {
		found, err := n.find(a.Network)
		if err != nil && a.Network == networkBridge { // the store says why there is none
			found, err = apinet.Network{ID: networkBridge, Name: networkBridge, Driver: "bridge"}, nil
		}
		if err != nil {
			return nil, err
		}
		if found.ConfigOnly {
			return nil, errs.New(errs.Forbidden, "cannot create endpoint on configuration-only network %s", found.Name)
		}
		list[i] = membership{found, a.Settings}
	}
	return list, nil
}

// wishes are what to ask of the networks: nothing of one that has no endpoints.
func wishes(list []membership) []network.Wish {
	var out []network.Wish
	for _, m := range list {
		if m.network.Driver != "null" && m.network.Driver != "host" {
			out = append(out, m.wish())
		}
	}
	return out
}

func (m membership) wish() network.Wish {
	s := m.settings
	w := network.Wish{
		Network: m.network.ID, MAC: slices.Clone(s.MacAddress), Priority: s.GwPriority, Interface: s.DriverOpts[endpointInterface], Options: s.DriverOpts,
	}
	if ip := s.IPAMConfig; ip != nil {
		w.Address4, w.Address6, w.LinkLocal = ip.IPv4Address, ip.IPv6Address, ip.LinkLocalIPs
	}
	return w
}

// samePlace reports whether two memberships of one network ask for the same,
// but for the bandwidth, which changes while the container is there.
func (m membership) samePlace(o membership) bool {
	plain := func(s *apinet.EndpointSettings) apinet.EndpointSettings {
		out := *s
		out.DriverOpts = maps.Clone(s.DriverOpts)
		if delete(out.DriverOpts, shape.Option); len(out.DriverOpts) == 0 {
			out.DriverOpts = nil
		}
		return out
	}
	return reflect.DeepEqual(plain(m.settings), plain(o.settings))
}

// rates are what the networks that a container is to be on hold it to, by name,
// where it has no rate of its own.
func (n *nets) rates(rec *record.Container) map[string]string {
	out := map[string]string{}
	for _, a := range rec.Memberships() {
		if found, err := n.find(a.Network); err == nil {
			out[a.Network] = found.Options[shape.Option]
		}
	}
	return out
}

// named gives endpoints that were made for memberships their names.
func named(rec *record.Container, list []membership, endpoints []network.Endpoint) []network.Endpoint {
	for i := range endpoints {
		for _, m := range list {
			if m.network.ID == endpoints[i].Network {
				endpoints[i].Names = m.names(rec)
			}
		}
	}
	return endpoints
}

// names are those by which others on the network know a container: its name
// first, which its address stands for. On the default bridge there are none.
func (m membership) names(rec *record.Container) []string {
	if !userDefined(&m.network) {
		return nil
	}
	return dnsNames(rec, m.settings)
}

func dnsNames(rec *record.Container, s *apinet.EndpointSettings) []string {
	var names []string
	for _, n := range slices.Concat([]string{rec.Name}, s.Aliases, []string{rec.ID[:12], rec.Config.Hostname}) {
		if n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// endpointOn is the container's endpoint on a network, nil if it has none.
func endpointOn(rec *record.Container, id string) *network.Endpoint {
	for i := range rec.Endpoints {
		if rec.Endpoints[i].Network == id {
			return &rec.Endpoints[i]
		}
	}
	return nil
}

// shown describes where the container is connected.
func (n *nets) shown(rec *record.Container) map[string]*apinet.EndpointSettings {
	out := map[string]*apinet.EndpointSettings{}
	for _, a := range rec.Memberships() {
		asked, on := a.Settings, apinet.Network{Name: a.Network}
		if found, err := n.find(a.Network); err == nil {
			on = found
		}
		s := &apinet.EndpointSettings{
			IPAMConfig: asked.IPAMConfig, Links: asked.Links, Aliases: asked.Aliases, DriverOpts: asked.DriverOpts, GwPriority: asked.GwPriority,
			MacAddress: asked.MacAddress, NetworkID: on.ID,
		}
		if userDefined(&on) && rec.State.Status != container.StateCreated {
			s.DNSNames = dnsNames(rec, asked)
		}
		if p := endpointOn(rec, on.ID); p != nil {
			s.EndpointID, s.MacAddress = p.ID, p.MAC
			s.IPAddress, s.IPPrefixLen, s.Gateway = p.Address4.Addr(), max(0, p.Address4.Bits()), p.Gateway4
			s.GlobalIPv6Address, s.GlobalIPv6PrefixLen, s.IPv6Gateway = p.Address6.Addr(), max(0, p.Address6.Bits()), p.Gateway6
		}
		out[on.Name] = s
	}
	return out
}

// endpointsFile holds a container's endpoints, beside its shim's state.
const endpointsFile = "endpoints.json"

// note writes the container's endpoints beside the shim's state, for an
// engine that must take the container over before this one recorded them.
func (n *nets) note(rec *record.Container) error {
	data, err := json.Marshal(rec.Endpoints)
	if err == nil {
		err = record.WriteFile(filepath.Join(n.runDir(rec.ID), endpointsFile), data, 0o600, false)
	}
	if err != nil {
		return fmt.Errorf("noting the container's endpoints: %w", err)
	}
	return nil
}

// last reads what note wrote, or an engine that knew no network but the default
// bridge.
func (n *nets) last(id string) (list []network.Endpoint) {
	err := readJSON(filepath.Join(n.runDir(id), endpointsFile), &list)
	if errors.Is(err, fs.ErrNotExist) {
		list, err = n.lastOnBridge(id)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.log.Error("reading a container's endpoints", "container", id, "error", err)
	}
	return list
}

// lastOnBridge reads the endpoint of a container that an engine has started
// which knew no network but the default bridge: the container goes on with it.
func (n *nets) lastOnBridge(id string) ([]network.Endpoint, error) {
	var old struct {
		ID, HostVeth string
		MAC          apinet.HardwareAddr
		Address      netip.Prefix
		Gateway      netip.Addr
	}
	if err := readJSON(filepath.Join(n.runDir(id), "endpoint.json"), &old); err != nil {
		return nil, err
	}
	return []network.Endpoint{{
		Network: n.id(networkBridge), ID: old.ID, HostVeth: old.HostVeth, Interface: "eth0", MAC: old.MAC, Address4: old.Address, Gateway4: old.Gateway,
	}}, nil
}

// tell tells subscribers that a container has come to its networks, or
// has left them.
func (n *nets) tell(rec *record.Container, action events.Action) {
	for _, a := range rec.Memberships() {
		if found, err := n.find(a.Network); err == nil {
			n.publish(&found, action, map[string]string{"container": rec.ID})
		}
	}
}

// publish tells subscribers what happened to a network.
func (n *nets) publish(of *apinet.Network, action events.Action, extra map[string]string) {
	attributes := map[string]string{"name": of.Name, "type": of.Driver}
	maps.Copy(attributes, extra)
	n.cfg.Events.Publish(events.Message{Type: events.NetworkEventType, Action: action, Actor: events.Actor{ID: of.ID, Attributes: attributes}})
}
