package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	apinet "github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network"
	"github.com/davit-engine/davit/network/publish"
	"github.com/davit-engine/davit/runtime/wire"
)

// ports publishes what containers want to have published, on the network that
// they have their default route through.
type ports struct{ *core }

// validatePorts checks the ports of a request. The texts are Docker's.
func validatePorts(_ *container.Config, h *container.HostConfig) error {
	for port, list := range h.PortBindings {
		if port.Num() == 0 || publish.CheckProto(string(port.Proto())) != nil {
			return errs.New(errs.InvalidParameter, "invalid port specification: %q", port)
		}
		for _, b := range list {
			if _, err := binding(port, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// binding reads what is asked for a port of a container.
func binding(port apinet.Port, b apinet.PortBinding) (publish.Binding, error) {
	out := publish.Binding{Proto: string(port.Proto()), Port: port.Num(), HostIP: b.HostIP.Unmap()}
	if b.HostPort == "" || b.HostPort == "0" {
		return out, nil
	}
	if n, err := strconv.ParseUint(b.HostPort, 10, 16); err == nil && n > 0 { // nearly always, and there may be many
		out.HostPort, out.Until = uint16(n), uint16(n)
		return out, nil
	}
	r, err := apinet.ParsePortRange(b.HostPort)
	if err != nil || strings.Contains(b.HostPort, "/") || r.Start() == 0 {
		return out, errs.New(errs.InvalidParameter, "invalid port specification: %q", b.HostPort)
	}
	out.HostPort, out.Until = r.Start(), r.End()
	return out, nil
}

// bindings are the ports that a container wants published.
func bindings(rec *record.Container) (all []publish.Binding, err error) {
	h := rec.HostConfig
	all = slices.Grow(all, len(h.PortBindings))
	for port, list := range h.PortBindings {
		for _, b := range list {
			one, err := binding(port, b)
			if err != nil {
				return nil, err
			}
			all = append(all, one)
		}
	}
	if !h.PublishAllPorts {
		return all, nil
	}
	for port := range rec.Config.ExposedPorts {
		if len(h.PortBindings[port]) == 0 {
			all = append(all, publish.Binding{Proto: string(port.Proto()), Port: port.Num()})
		}
	}
	// In their order, so that neighbours get neighbours where they can.
	slices.SortFunc(all, func(a, b publish.Binding) int { return int(a.Port) - int(b.Port) })
	return all, nil
}

// served is a port's service, by its shim, and the socket that it needs.
type served struct {
	services []wire.Service
	files    []*os.File
}

func (s *served) close() { closeFiles(s.files) }

// portPrefix begins the names of services that are ports.
const portPrefix = "port "

// serve describes what a shim does with reserved ports of an endpoint.
func (p *ports) serve(e *network.Endpoint, sockets []publish.Socket) (out served) {
	to := e.Address4.Addr()
	if !to.IsValid() {
		to = e.Address6.Addr()
	}
	for _, s := range sockets {
		if s.File == nil {
			continue
		}
		out.files = append(out.files, s.File)
		out.services = append(out.services, wire.Service{
			Name: portPrefix + s.Port.String(), Sockets: 1,
			Forward: &wire.Forward{Proto: s.Proto, Address: to.String(), Port: s.Port.Port, Packed: s.Packed, Reserve: !p.cfg.Network.Ports().PassOn()},
		})
	}
	return out
}

// publish publishes the ports of a container that starts, and notes them in its
// endpoints.
func (p *ports) publish(rec *record.Container) (served, error) {
	want, err := bindings(rec)
	if err != nil || len(want) == 0 || len(rec.Endpoints) == 0 {
		return served{}, err
	}
	home := p.cfg.Network.Ports().Home(rec.Endpoints)
	if home < 0 {
		return served{}, nil
	}
	return p.publishOn(rec, &rec.Endpoints[home], want)
}

func (p *ports) publishOn(rec *record.Container, e *network.Endpoint, want []publish.Binding) (served, error) {
	sockets, err := p.cfg.Network.Ports().Publish(e, want)
	if err != nil {
		return served{}, p.explain(rec, e, err)
	}
	return p.serve(e, sockets), nil
}

// explain gives an error Docker's words, and names the container that has the
// port.
func (p *ports) explain(rec *record.Container, e *network.Endpoint, err error) error {
	var taken *network.PortTakenError
	if errors.As(err, &taken) && taken.Endpoint != "" {
		for _, c := range p.table.all() {
			other := c.snapshot()
			if slices.ContainsFunc(other.Endpoints, func(o network.Endpoint) bool { return o.ID == taken.Endpoint }) {
				err = errs.New(errs.System, "%w: container %s has it", err, other.Name)
			}
		}
	}
	return setUpFailed(errs.New(errs.KindOf(err), "driver failed programming external connectivity on endpoint %s (%s): %w", rec.Name, e.ID, err))
}

// inner is a port of a container.
type inner struct {
	proto string
	port  uint16
}

// covers lists the container's ports that a published one leads to.
func covers(p publish.Port) []inner {
	out := make([]inner, p.Count)
	for i := range out {
		out[i] = inner{p.Proto, p.Port + uint16(i)}
	}
	return out
}

// differing are the ports of a container that are not published as it wants.
func differing(want []publish.Binding, have []publish.Port) map[inner]bool {
	at := map[inner][]publish.Port{}
	for _, p := range have {
		if p.HostPort == 0 { // opened at the endpoint's own address
			continue
		}
		for i, port := range covers(p) {
			at[port] = append(at[port], publish.Port{Proto: p.Proto, HostIP: p.HostIP, HostPort: p.HostPort + uint16(i), Port: port.port, Count: 1})
		}
	}
	out := map[inner]bool{}
	wanted := map[inner]int{}
	for _, b := range want {
		port := inner{b.Proto, b.Port}
		wanted[port]++
		if !slices.ContainsFunc(at[port], func(p publish.Port) bool {
			return (!b.HostIP.IsValid() || b.HostIP == p.HostIP) && (b.HostPort == 0 || b.HostPort <= p.HostPort && p.HostPort <= max(b.HostPort, b.Until))
		}) {
			out[port] = true
		}
	}
	for port, list := range at {
		if wanted[port] != len(list) {
			out[port] = true
		}
	}
	return out
}

// settle makes the published ports of a container that runs what its record
// says, for its owner. Ports that are right are left alone; of a range that is
// not, all are taken back and published anew. On an error they are as before.
func (p *ports) settle(ctx context.Context, c *ctr) error {
	r, rec := c.current(), c.snapshot()
	if r == nil {
		return nil
	}
	want, err := bindings(&rec)
	if err != nil {
		return err
	}
	rec.Endpoints = slices.Clone(rec.Endpoints)
	home := p.cfg.Network.Ports().Home(rec.Endpoints)
	if home < 0 {
		want = nil
	}
	var dropped []move
	for i := range rec.Endpoints {
		e := &rec.Endpoints[i]
		if len(e.Ports) == 0 && i != home {
			continue
		}
		gone := e.Ports
		if i == home {
			gone, want = changing(want, e.Ports)
		}
		if len(gone) > 0 {
			dropped = append(dropped, move{i, gone})
		}
	}
	if len(dropped) == 0 && len(want) == 0 {
		return nil
	}
	if err := p.move(ctx, &rec, r, dropped, home, want); err != nil {
		return err
	}
	if err := p.nets.note(&rec); err != nil {
		return err
	}
	c.replace(&rec)
	return p.persist(c, false)
}

// changing tells the published ports that must go from the bindings to make.
func changing(want []publish.Binding, have []publish.Port) (gone []publish.Port, missing []publish.Binding) {
	differ := differing(want, have)
	for _, q := range have {
		if slices.ContainsFunc(covers(q), func(port inner) bool { return differ[port] }) {
			gone = append(gone, q)
		}
	}
	for _, q := range gone {
		for _, port := range covers(q) {
			differ[port] = true
		}
	}
	return gone, slices.DeleteFunc(want, func(b publish.Binding) bool { return !differ[inner{b.Proto, b.Port}] })
}

// move is ports that an endpoint of a container loses.
type move struct {
	endpoint int
	ports    []publish.Port
}

// move takes ports back and publishes others. If these cannot be had the former
// are published again.
func (p *ports) move(ctx context.Context, rec *record.Container, r *run, dropped []move, home int, want []publish.Binding) error {
	var gone []publish.Port
	for _, d := range dropped {
		if err := p.cfg.Network.Ports().Unpublish(&rec.Endpoints[d.endpoint], d.ports); err != nil {
			return err
		}
		gone = append(gone, d.ports...)
	}
	if err := p.letGo(ctx, r, gone); err != nil {
		return err
	}
	if len(want) == 0 {
		return nil
	}
	err := p.add(ctx, rec, r, home, want)
	if err == nil {
		return nil
	}
	for _, d := range dropped {
		var again []publish.Binding
		for _, q := range d.ports {
			for i := range q.Count {
				again = append(again, publish.Binding{Proto: q.Proto, HostIP: q.HostIP, Port: q.Port + i, HostPort: q.HostPort + i})
			}
		}
		if e := p.add(ctx, rec, r, d.endpoint, again); e != nil {
			p.log.Error("publishing again what a change took back", "container", rec.ID, "error", e)
		}
	}
	return err
}

// letGo has the shim of a container close the sockets of ports that it loses.
func (p *ports) letGo(ctx context.Context, r *run, gone []publish.Port) error {
	var names []string
	for _, q := range gone {
		names = append(names, portPrefix+q.String())
	}
	if len(names) == 0 {
		return nil
	}
	if _, err := r.shim.Serve(ctx, &wire.Serve{Drop: names}); err != nil {
		return fmt.Errorf("taking published ports back: %w", err)
	}
	return nil
}

// add publishes ports of a container that runs.
func (p *ports) add(ctx context.Context, rec *record.Container, r *run, on int, want []publish.Binding) error {
	e := &rec.Endpoints[on]
	before := slices.Clone(e.Ports)
	s, err := p.publishOn(rec, e, want)
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := r.shim.Serve(ctx, &wire.Serve{Add: s.services}, conns(s.files)...); err != nil {
		added := slices.DeleteFunc(slices.Clone(e.Ports), func(q publish.Port) bool { return slices.Contains(before, q) })
		return errors.Join(fmt.Errorf("publishing ports: %w", err), p.cfg.Network.Ports().Unpublish(e, added))
	}
	return nil
}

// recall has the shim of a container that this engine found running keep the
// ports that the record says, and no others: an engine that was killed may have
// given it more, or taken some back, and not have recorded it.
func (p *ports) recall(ctx context.Context, c *ctr, r *run) error {
	rec := c.snapshot()
	now, err := r.shim.Serve(ctx, &wire.Serve{})
	if errs.Is(err, errs.NotImplemented) {
		return nil // of an engine that published nothing
	}
	if err != nil {
		return err
	}
	served := map[string]bool{}
	for _, name := range now.Names {
		served[name] = strings.HasPrefix(name, portPrefix)
	}
	for i := range rec.Endpoints {
		e := &rec.Endpoints[i]
		lost := slices.DeleteFunc(slices.Clone(e.Ports), func(q publish.Port) bool {
			return q.HostPort == 0 || q.Proto == publish.SCTP || served[portPrefix+q.String()]
		})
		for _, q := range e.Ports {
			delete(served, portPrefix+q.String())
		}
		if len(lost) > 0 {
			rec.Endpoints = slices.Clone(rec.Endpoints)
			if err := p.cfg.Network.Ports().Unpublish(&rec.Endpoints[i], lost); err != nil {
				return err
			}
			c.replace(&rec)
		}
	}
	var unknown []string
	for name, port := range served {
		if port {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		if _, err := r.shim.Serve(ctx, &wire.Serve{Drop: unknown}); err != nil {
			return err
		}
	}
	return p.settle(ctx, c)
}

// concerns reports whether a container has ports, or is to have some.
func (p *ports) concerns(rec *record.Container) bool {
	return len(rec.HostConfig.PortBindings) > 0 || rec.HostConfig.PublishAllPorts ||
		slices.ContainsFunc(rec.Endpoints, func(e network.Endpoint) bool { return len(e.Ports) > 0 })
}

// publishes reports whether a container has ports at this time.
func publishes(rec *record.Container) bool {
	m := rec.HostConfig.NetworkMode
	return rec.State.Running() && !m.IsHost() && !m.IsContainer()
}

// shownPorts are a container's ports as inspect shows them.
func shownPorts(rec *record.Container) apinet.PortMap {
	out := apinet.PortMap{}
	if !publishes(rec) {
		return out
	}
	for p := range rec.Config.ExposedPorts {
		out[p] = nil
	}
	eachPort(rec, func(port apinet.Port, b apinet.PortBinding, _ uint16) { out[port] = append(out[port], b) })
	return out
}

// summaryPorts are a container's ports as ps shows them.
func summaryPorts(rec *record.Container) []container.PortSummary {
	out := []container.PortSummary{}
	if !publishes(rec) {
		return out
	}
	published := map[apinet.Port]bool{}
	eachPort(rec, func(port apinet.Port, b apinet.PortBinding, host uint16) {
		published[port] = true
		out = append(out, container.PortSummary{IP: b.HostIP, PrivatePort: port.Num(), PublicPort: host, Type: string(port.Proto())})
	})
	for p := range rec.Config.ExposedPorts {
		if !published[p] {
			out = append(out, container.PortSummary{PrivatePort: p.Num(), Type: string(p.Proto())})
		}
	}
	slices.SortStableFunc(out, func(a, b container.PortSummary) int {
		if a.PrivatePort != b.PrivatePort {
			return int(a.PrivatePort) - int(b.PrivatePort)
		}
		if a.Type != b.Type {
			return strings.Compare(a.Type, b.Type)
		}
		return a.IP.Compare(b.IP)
	})
	return out
}

// eachPort calls do for each port of the host that leads to the container.
func eachPort(rec *record.Container, do func(apinet.Port, apinet.PortBinding, uint16)) {
	for _, e := range rec.Endpoints {
		for _, q := range e.Ports {
			if q.HostPort == 0 {
				continue
			}
			for i := range q.Count {
				port, ok := apinet.PortFrom(q.Port+i, apinet.IPProtocol(q.Proto))
				if !ok {
					continue
				}
				for _, ip := range q.HostIPs() {
					do(port, apinet.PortBinding{HostIP: ip, HostPort: fmt.Sprint(q.HostPort + i)}, q.HostPort+i)
				}
			}
		}
	}
}

// portFilter is the test of a filter for published or exposed ports, such as
// 80, 53/udp or 8000-8100/tcp.
func portFilter(values []string, has func(*record.Container, apinet.Port) bool) (func(*record.Container) bool, error) {
	var ranges []apinet.PortRange
	for _, v := range values {
		r, err := apinet.ParsePortRange(v)
		if err != nil {
			return nil, errs.New(errs.InvalidParameter, "invalid filter: %q is no port: %w", v, err)
		}
		ranges = append(ranges, r)
	}
	return func(rec *record.Container) bool {
		return slices.ContainsFunc(ranges, func(r apinet.PortRange) bool {
			for p := range r.All() {
				if has(rec, p) {
					return true
				}
			}
			return false
		})
	}, nil
}
