package network

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network/firewall"
	"github.com/davit-engine/davit/network/publish"
)

// reach says how containers on a network are reached from outside of it.
type reach struct {
	bridge       string
	mode4, mode6 firewall.Mode
	internal     bool
	host         netip.Addr // what ports are published on where nobody says; invalid: all addresses
}

// translated reports whether host ports lead to the endpoint, by family.
func (r *reach) translated(e *Endpoint) (four, six bool) {
	nat := func(m firewall.Mode) bool { return !r.internal && (m == firewall.NAT || m == firewall.NATUnprotected) }
	return e.Address4.IsValid() && nat(r.mode4), e.Address6.IsValid() && nat(r.mode6)
}

// routed reports whether the endpoint's own ports are opened, by family.
func (r *reach) routed(e *Endpoint) (four, six bool) {
	return e.Address4.IsValid() && !r.internal && r.mode4 == firewall.Routed, e.Address6.IsValid() && !r.internal && r.mode6 == firewall.Routed
}

// split tells the bindings that need a port of the host from the ports that are
// opened at the endpoint's own addresses. passing says that sockets pass on what
// comes by the other family.
func (r *reach) split(e *Endpoint, want []publish.Binding, passing bool) (bound []publish.Binding, open []publish.Port) {
	four, six := r.translated(e)
	four, six = four || passing && six, six || passing && four
	routed4, routed6 := r.routed(e)
	for _, b := range want {
		if !b.HostIP.IsValid() {
			b.HostIP = r.host
		}
		switch {
		case b.HostIP.IsValid():
		case four && !six:
			b.HostIP = netip.IPv4Unspecified()
		case six && !four:
			b.HostIP = netip.IPv6Unspecified()
		}
		if !b.HostIP.IsValid() && four || b.HostIP.Is4() && four || b.HostIP.Is6() && six {
			bound = append(bound, b)
		}
		if routed4 || routed6 {
			open = append(open, publish.Port{Proto: b.Proto, Port: b.Port, Count: 1})
		}
	}
	return bound, open
}

// forwards are what the firewall has to do for an endpoint's ports.
func (r *reach) forwards(e *Endpoint, ports []publish.Port) (all []firewall.Forward) {
	add := func(when bool, p publish.Port, host netip.Addr, first uint16, to netip.Prefix) {
		if when {
			all = append(all, firewall.Forward{Bridge: r.bridge, Proto: p.Proto, HostIP: host.WithZone(""), HostPort: first, Count: p.Count, Address: to.Addr(), Port: p.Port})
		}
	}
	four, six := r.translated(e)
	routed4, routed6 := r.routed(e)
	for _, p := range ports {
		if p.HostPort == 0 {
			add(routed4, p, netip.IPv4Unspecified(), p.Port, e.Address4)
			add(routed6, p, netip.IPv6Unspecified(), p.Port, e.Address6)
			continue
		}
		for _, host := range p.HostIPs() {
			add(four && host.Is4(), p, host, p.HostPort, e.Address4)
			add(six && host.Is6(), p, host, p.HostPort, e.Address6)
		}
	}
	return all
}

// Ports publishes ports of endpoints on the networks of a store.
//
// A port is reserved by a socket, so the kernel says who may have it; this only
// knows to whom the engine has led it. The socket of a container that has ended
// is gone before the engine learns of the end: what it had goes to the next who
// reserves it.
type Ports struct {
	networks  *directory
	wall      *firewall.Table
	forgetter *publish.Forgetter
	log       *slog.Logger
	passing   bool // the sockets are listened at, by whoever gets them

	mu  sync.Mutex
	led map[string]*published // guarded by mu; by the endpoint's ID
}

// published is what an endpoint has.
type published struct {
	endpoint Endpoint
	reach    reach
	ports    []publish.Port
}

// PortTakenError says that a port of the host cannot be published because
// somebody has it already.
type PortTakenError struct {
	publish.Port
	Endpoint string // ID of the endpoint that has it, if it is one of this engine's
	Process  string // the process that has it, if it is known and no endpoint has it
	err      error
}

func (e *PortTakenError) Error() string {
	switch {
	case e.Endpoint != "":
		return "Bind for " + e.Address() + " failed: port is already allocated"
	case e.Process != "":
		return e.err.Error() + ": " + e.Process + " has it"
	}
	return e.err.Error()
}

func (e *PortTakenError) Unwrap() error { return e.err }

// publish reserves ports of the host for an endpoint and leads them to it: all
// or none. It adds them to the endpoint and returns the sockets.
func (p *Ports) publish(r reach, e *Endpoint, want []publish.Binding) (_ []publish.Socket, err error) {
	bound, opened := r.split(e, want, p.passing)
	sockets, err := publish.Reserve(bound, p.passing)
	if err != nil {
		return nil, p.explain(err)
	}
	defer func() {
		if err != nil {
			publish.CloseAll(sockets)
		}
	}()
	for _, s := range sockets {
		opened = append(opened, s.Port)
	}
	if err := p.lead(r, e, sockets, opened); err != nil {
		return nil, err
	}
	e.Ports = slices.Concat(e.Ports, opened)
	p.forgetter.Arrivals(opened)
	return sockets, nil
}

// lead notes ports of an endpoint and tells the firewall.
func (p *Ports) lead(r reach, e *Endpoint, sockets []publish.Socket, opened []publish.Port) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.inheritLocked(e.ID, sockets); err != nil {
		return err
	}
	if err := p.wall.Publish(r.forwards(e, opened)); err != nil {
		return err
	}
	mine := p.led[e.ID]
	if mine == nil {
		mine = &published{endpoint: *e, reach: r}
		p.led[e.ID] = mine
	}
	mine.ports = slices.Concat(mine.ports, opened)
	return nil
}

// inheritLocked takes the ports that were just reserved from those who had them
// last. One without a socket cannot have been reserved from anybody.
func (p *Ports) inheritLocked(id string, sockets []publish.Socket) error {
	for _, s := range sockets {
		for other, last := range p.led {
			i := slices.IndexFunc(last.ports, s.Overlaps)
			switch {
			case i < 0:
			case s.File == nil || other == id:
				return errs.Wrap(errs.System, &PortTakenError{Port: s.Port, Endpoint: other})
			default:
				gone := slices.Clone(last.ports)
				gone = slices.DeleteFunc(gone, func(q publish.Port) bool { return !q.Overlaps(s.Port) })
				if err := p.wall.Unpublish(last.reach.forwards(&last.endpoint, gone)); err != nil {
					return err
				}
				last.ports = slices.DeleteFunc(slices.Clone(last.ports), s.Overlaps)
			}
		}
	}
	return nil
}

// explain finds out who has a port.
func (p *Ports) explain(err error) error {
	var taken *publish.TakenError
	if !errors.As(err, &taken) {
		return err
	}
	e := &PortTakenError{Port: taken.Port, err: taken}
	p.mu.Lock()
	for id, other := range p.led {
		if slices.ContainsFunc(other.ports, taken.Overlaps) {
			e.Endpoint = id
		}
	}
	p.mu.Unlock()
	if e.Endpoint == "" {
		e.Process = publish.Holder(taken.Port)
	}
	return errs.Wrap(errs.System, e)
}

// restore leads an endpoint's ports to it again, which are reserved already.
func (p *Ports) restore(r reach, e *Endpoint) error {
	if len(e.Ports) == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.led[e.ID] != nil {
		return nil
	}
	p.led[e.ID] = &published{*e, r, e.Ports}
	return p.wall.Publish(r.forwards(e, e.Ports))
}

// Unpublish takes some of an endpoint's ports back, and out of it. They stay
// reserved until whoever has their sockets closes them.
func (p *Ports) Unpublish(e *Endpoint, gone []publish.Port) error {
	e.Ports = slices.DeleteFunc(slices.Clone(e.Ports), func(q publish.Port) bool { return slices.Contains(gone, q) })
	p.mu.Lock()
	defer p.mu.Unlock()
	mine := p.led[e.ID]
	if mine == nil {
		return nil
	}
	left := slices.DeleteFunc(slices.Clone(mine.ports), func(q publish.Port) bool { return slices.Contains(gone, q) })
	had := slices.DeleteFunc(mine.ports, func(q publish.Port) bool { return !slices.Contains(gone, q) })
	if mine.ports = left; len(left) == 0 {
		delete(p.led, e.ID)
	}
	if err := p.wall.Unpublish(mine.reach.forwards(&mine.endpoint, had)); err != nil {
		return err
	}
	p.forgetter.Arrivals(had)
	return nil
}

// release takes all of an endpoint's ports back, whose addresses are about to be
// another's: what the kernel still passes on to them it is to forget.
func (p *Ports) release(id string) {
	p.mu.Lock()
	mine := p.led[id]
	delete(p.led, id)
	p.mu.Unlock()
	if mine == nil {
		return
	}
	if err := p.wall.Unpublish(mine.reach.forwards(&mine.endpoint, mine.ports)); err != nil {
		p.log.Error("taking a container's published ports back", "address", mine.endpoint.address(), "error", err)
	}
	p.forgetter.Target(mine.endpoint.Address4.Addr(), mine.endpoint.Address6.Addr())
}

// PassOn reports whether the sockets that reserve ports are to be listened at,
// so that what the firewall does not lead to containers is passed on.
func (p *Ports) PassOn() bool { return p.passing }

// Home returns which of a sandbox's endpoints has its ports published: of those
// whose networks can the one that comes first for the default route; -1 for
// none.
func (p *Ports) Home(on []Endpoint) int {
	best := -1
	var first leg
	for i, e := range on {
		g, err := p.networks.get(e.Network)
		if err != nil || g.traits.reach == nil || g.traits.reach.internal {
			continue
		}
		if l := legOf(e, g); best < 0 || l.precedence(first) < 0 {
			best, first = i, l
		}
	}
	return best
}

// Publish publishes ports of an endpoint that was acquired, all or none, and
// adds them to it. The sockets reserve them as long as they or duplicates are
// open; whoever gets them keeps them while the endpoint lives. Errors:
// *PortTakenError, of kind System as Docker has it; Exhausted where no port of a
// range is free; InvalidParameter for an address that the host has not.
func (p *Ports) Publish(e *Endpoint, want []publish.Binding) ([]publish.Socket, error) {
	g, err := p.networks.get(e.Network)
	if err != nil {
		return nil, err
	}
	if g.traits.reach == nil {
		return nil, errs.New(errs.InvalidParameter, "network %s cannot publish ports: its containers are reached at their own addresses", g.net.Name)
	}
	return p.publish(*g.traits.reach, e, want)
}
