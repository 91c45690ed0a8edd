package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	apinet "github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/engine/etc"
	"github.com/davit-engine/davit/engine/link"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network"
	"github.com/davit-engine/davit/runtime/resolver"
	"github.com/davit-engine/davit/runtime/wire"
)

// naming leads containers to names: by a resolver of their own, which lives in
// the shim and goes by files, and by the files in their /etc.
//
//	                 engine writes                          who reads it
//	exec-root/networks/ID          names on a network       resolvers of all containers on it
//	exec-root/containers/ID/resolver.json  a resolver's plan  that container's resolver
//	data-root/containers/ID/hosts, resolv.conf              programs in the container
type naming struct {
	*core
	*directory
}

const (
	hostResolvConf = "/etc/resolv.conf"
	resolvedConf   = "/run/systemd/resolve/resolv.conf" // of systemd-resolved: the servers that it asks
	planFile       = "resolver.json"
	resolverName   = "resolver" // of the service
)

// resolvConf decides what a container's resolv.conf says. through says that it
// names the container's resolver, as on all networks that users have made, and
// where no server of the host's can be reached from the container.
func (n *naming) resolvConf(rec *record.Container) (r *etc.Resolv, through bool, err error) {
	if r, err = n.configured(rec, hostResolvConf); err != nil || rec.HostConfig.NetworkMode.IsHost() {
		return r, false, err
	}
	if !slices.ContainsFunc(rec.Endpoints, func(p network.Endpoint) bool { return len(p.Names) > 0 }) {
		direct := r
		if r.Stub() { // a resolver would ask systemd-resolved itself; others ask whom it asks
			if _, err := os.Stat(resolvedConf); err == nil {
				if direct, err = n.configured(rec, resolvedConf); err != nil {
					return nil, false, err
				}
			}
		}
		direct, any := direct.Direct(slices.ContainsFunc(rec.Endpoints, func(p network.Endpoint) bool { return p.Address6.IsValid() }))
		if any || len(rec.Endpoints) == 0 {
			return direct, false, nil
		}
	}
	r.Through(network.ResolverAddr)
	return r, true, nil
}

// configured is a resolv.conf of the host's with what user and engine have set.
func (n *naming) configured(rec *record.Container, path string) (*etc.Resolv, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the host's resolver configuration: %w", err)
	}
	r, h := etc.ParseResolv(path, text), rec.HostConfig
	r.Override(orElse(h.DNS, n.cfg.DNS), orElse(h.DNSSearch, n.cfg.DNSSearch), orElse(h.DNSOptions, n.cfg.DNSOptions))
	return r, nil
}

func orElse[T any](list, other []T) []T {
	if len(list) > 0 {
		return list
	}
	return other
}

// plan is what the container's resolver goes by.
func (n *naming) plan(rec *record.Container) (*resolver.Plan, error) {
	conf, err := n.configured(rec, hostResolvConf)
	if err != nil {
		return nil, err
	}
	p := &resolver.Plan{Servers: orElse(rec.HostConfig.DNS, n.cfg.DNS), Undotted: conf.Dotted(), Links: n.userLinks(rec)}
	outside := false
	for _, e := range rec.Endpoints {
		on, err := n.nets.find(e.Network)
		if err != nil {
			continue // it has just been removed
		}
		// The host's servers are the way out of a network that has none.
		outside = outside || !on.Internal && (e.Gateway4.IsValid() || e.Gateway6.IsValid())
		if len(e.Names) > 0 {
			p.Networks = append(p.Networks, resolver.Network{Name: on.Name, Names: n.path(e.Network)})
		}
	}
	if outside && len(p.Servers) == 0 {
		p.Host = hostResolvConf
	}
	return p, nil
}

// userLinks are the names that a container alone has for others on networks that
// users have made.
func (n *naming) userLinks(rec *record.Container) (list []resolver.Link) {
	for _, m := range rec.Memberships() {
		if !userDefined(&apinet.Network{Name: m.Network}) {
			continue
		}
		texts := m.Settings.Links
		if m.Network == record.ModeOf(rec.HostConfig) {
			texts = slices.Concat(texts, rec.HostConfig.Links)
		}
		for _, text := range texts {
			name, alias, err := link.Parse(text)
			if err != nil {
				continue // checked when it was asked for
			}
			if c, err := n.table.find(name); err == nil {
				name = c.id[:12] // which stays, whatever it is called
			}
			if l := (resolver.Link{Alias: alias, Name: name}); !slices.Contains(list, l) {
				list = append(list, l)
			}
		}
	}
	return list
}

// writePlan writes the plan of the container's resolver.
func (n *naming) writePlan(rec *record.Container) (path string, err error) {
	path = filepath.Join(n.runDir(rec.ID), planFile)
	p, err := n.plan(rec)
	if err != nil {
		return path, err
	}
	text, err := p.Text()
	if err == nil {
		err = record.WriteFile(path, text, 0o600, false)
	}
	if err != nil {
		return path, fmt.Errorf("writing the plan of the container's resolver: %w", err)
	}
	return path, nil
}

// resolverService is the order for a container's resolver, on sockets of its
// network namespace.
func (n *naming) resolverService(rec *record.Container) (wire.Service, error) {
	path, err := n.writePlan(rec)
	return wire.Service{Name: resolverName, Sockets: 2, Resolver: &wire.Resolver{Plan: path}}, err
}

// joined has a container that runs find the names on one more network, p, and
// be found there. rec is its record with p.
func (n *naming) joined(ctx context.Context, r *run, ns *os.File, rec *record.Container, p network.Endpoint) error {
	conf, through, err := n.resolvConf(rec)
	if err != nil {
		return err
	}
	if err := n.directory.enter(p); err != nil {
		return err
	}
	if err := n.hostsFiles.change(rec.ID, func(text []byte) []byte { return etc.AddHosts(text, ownHosts(rec, p)) }); err != nil {
		return err
	}
	if !through {
		return nil
	}
	// An engine that was killed may have come as far as any of these steps.
	now, err := r.shim.Serve(ctx, new(wire.Serve))
	if err != nil {
		return fmt.Errorf("asking for the container's resolver: %w", err)
	}
	if slices.Contains(now.Names, resolverName) {
		_, err = n.writePlan(rec)
	} else {
		err = n.beginResolver(ctx, r, ns, rec)
	}
	if err != nil {
		return err
	}
	return n.resolveThrough(rec, r, conf)
}

// giveResolver gives a container that is about to start its resolver.
func (n *naming) giveResolver(rec *record.Container, at *place, order *wire.Start) (err error) {
	if at.resolver == nil {
		if at.resolver, err = n.cfg.Network.OpenResolver(at.netns); err != nil {
			return err
		}
	}
	service, err := n.resolverService(rec)
	order.Services = append(order.Services, service)
	return err
}

// beginResolver gives a container that runs a resolver.
func (n *naming) beginResolver(ctx context.Context, r *run, ns *os.File, rec *record.Container) (err error) {
	sockets, err := n.cfg.Network.OpenResolver(ns)
	if err != nil {
		return err
	}
	defer closeFiles(sockets)
	service, err := n.resolverService(rec)
	if err == nil {
		_, err = r.shim.Serve(ctx, &wire.Serve{Add: []wire.Service{service}}, conns(sockets)...)
	}
	if err != nil {
		_ = os.Remove(service.Resolver.Plan)
		return fmt.Errorf("beginning to answer the container's questions for names: %w", err)
	}
	return nil
}

// resolveThrough has a container that began without a resolver ask the one that
// it has now, unless somebody has changed its resolv.conf.
func (n *naming) resolveThrough(rec *record.Container, r *run, conf *etc.Resolv) error {
	path := filepath.Join(n.store.Dir(rec.ID), record.ResolvConf)
	info, err := os.Stat(path)
	if err == nil && !info.ModTime().Before(r.state.StartedAt) {
		return nil
	}
	var now []byte
	if err == nil {
		now, err = os.ReadFile(path)
	}
	if err == nil && !bytes.Contains(now, []byte("nameserver "+network.ResolverAddr.String()+"\n")) {
		err = os.WriteFile(path, conf.Text(), 0o644) // in place, as it is mounted
	}
	if err != nil {
		return fmt.Errorf("writing the container's %s: %w", record.ResolvConf, err)
	}
	return nil
}

// left is the end of joined, for rec without p.
func (n *naming) left(rec *record.Container, p network.Endpoint) error {
	failed := []error{
		n.directory.leave(p),
		n.hostsFiles.change(rec.ID, func(text []byte) []byte { return etc.DeleteHosts(text, ownHosts(rec, p)) }),
	}
	if _, err := os.Stat(filepath.Join(n.runDir(rec.ID), planFile)); err == nil {
		_, err = n.writePlan(rec)
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// ended takes back the names of a container that has ended.
func (n *naming) ended(rec *record.Container) {
	if err := n.directory.leave(rec.Endpoints...); err != nil {
		n.log.Error("taking back the names of a container", "container", rec.ID, "error", err)
	}
}

// ownHosts are the lines of /etc/hosts for an endpoint of a container.
func ownHosts(rec *record.Container, p network.Endpoint) (lines []etc.Host) {
	for _, a := range addressesOf(&p) {
		lines = append(lines, etc.Host{Address: a, Names: etc.HostNames(rec.Config.Hostname, rec.Config.Domainname)})
	}
	return lines
}

// hostGateways are the host's addresses for containers: those that the engine
// was told, or the default bridge's in the families in which the container has
// a way there, or the gateways of its own networks.
func (n *naming) hostGateways(rec *record.Container) (list []netip.Addr, err error) {
	if len(n.cfg.HostGateways) > 0 {
		return n.cfg.HostGateways, nil
	}
	bridge, _ := n.nets.find(networkBridge) // without it there are none
	var way4, way6 bool
	var near []netip.Addr
	for _, p := range rec.Endpoints {
		way4, way6 = way4 || p.Gateway4.IsValid(), way6 || p.Gateway6.IsValid()
		for _, a := range []netip.Addr{p.Gateway4, p.Gateway6} {
			if a.IsValid() {
				near = append(near, a)
			}
		}
	}
	for _, c := range bridge.IPAM.Config {
		if c.Gateway.Is4() && way4 || c.Gateway.Is6() && way6 {
			list = append(list, c.Gateway)
		}
	}
	switch {
	case len(list) > 0:
		return list, nil
	case len(near) > 0:
		return near[:1], nil
	}
	return nil, errs.New(errs.InvalidParameter, "unable to derive the IP value for host-gateway: the container is on no network with a gateway: give an address in place of host-gateway, or another network")
}

func conns(files []*os.File) (list []syscall.Conn) {
	for _, f := range files {
		list = append(list, f)
	}
	return list
}
