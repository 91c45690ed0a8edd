package network

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/davit-engine/davit/errs"
	apinet "github.com/moby/moby/api/types/network"
)

// segment is a network with what all drivers' networks have: addresses, the
// endpoints that have them, and sandboxes made ahead.
type segment struct {
	net    apinet.Network // does not change
	broken error          // why it could not be opened; then it has no lan
	lan    lan            // nil for one that is a configuration only
	traits traits
	store  *Store

	mu         sync.Mutex
	addresses  addresses           // guarded by mu
	inUse      map[string]Endpoint // guarded by mu; by ID: those that were handed over
	leftover   map[string]Endpoint // guarded by mu; by trace: what was found at the start, until somebody reserves it
	lingering  lingering           // guarded by mu
	going      []chan struct{}     // guarded by mu; of those in use that leave in the background: closed when they have
	shelf      shelf               // guarded by mu
	making     *Endpoint           // guarded by mu; of the sandbox being made ahead, if any
	made       *sync.Cond          // on mu: making has changed
	taken      time.Time           // guarded by mu; when a plain sandbox was asked for last
	generation int                 // guarded by mu; how often lan was restored
	closed     bool                // guarded by mu; no work begins once it is set
	retired    bool                // guarded by mu; it is being removed
	work       sync.WaitGroup      // endpoints being made, interfaces being removed
}

func newSegment(s *Store, n apinet.Network) (*segment, error) {
	g := &segment{net: n, store: s, inUse: map[string]Endpoint{}, leftover: map[string]Endpoint{}}
	g.made = sync.NewCond(&g.mu)
	if n.ConfigOnly {
		return g, nil
	}
	var err error
	g.addresses, err = newAddresses(n)
	return g, err
}

// opened takes the network that the driver has opened, and keeps the addresses
// of an earlier engine's endpoints from being given to others.
func (g *segment) opened(l lan, t traits) error {
	g.lan, g.traits, g.addresses.foreign = l, t, t.foreign
	found, err := l.found()
	if err != nil {
		return err
	}
	for _, e := range found {
		if g.addresses.claim(e) == nil {
			g.leftover[e.trace()] = e
		}
	}
	return nil
}

// usableLocked says why containers cannot be on the network, or nil.
func (g *segment) usableLocked() error {
	switch {
	case g.net.ConfigOnly:
		return errs.New(errs.Forbidden, "cannot create endpoint on configuration-only network")
	case g.broken != nil:
		return fmt.Errorf("network %s cannot be used: %w", g.net.Name, g.broken)
	case g.closed, g.retired:
		return errs.New(errs.NotFound, "network %s not found", g.net.Name)
	}
	return nil
}

// assign finds a ready sandbox for a plain wish or, if that is nil, describes
// an endpoint to be made and adds to g.work.
func (g *segment) assign(w Wish, name string, plain bool) (*Sandbox, *Endpoint, error) {
	if err := g.addresses.check(w, g.net.Name); err != nil {
		return nil, nil, err
	}
	if len(w.MAC) != 0 && g.traits.borrowed {
		return nil, nil, errs.New(errs.InvalidParameter, "%s interfaces do not support custom mac address assignment: those of network %s have the address of their parent", g.net.Driver, g.net.Name)
	}
	plain = plain && g.traits.ready && len(w.MAC) == 0 && len(w.LinkLocal) == 0 && len(w.Options) == 0 && name == g.traits.nickname+"0"
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.usableLocked(); err != nil {
		return nil, nil, err
	}
	if plain {
		g.wantLocked()
	}
	if w.Address4.IsValid() || w.Address6.IsValid() {
		if s := g.takeWishedLocked(w, plain); s != nil {
			return g.handOverLocked(s, w), nil, nil
		}
	} else if plain {
		if s := g.takeLocked(); s != nil {
			return g.handOverLocked(s, w), nil, nil
		}
	}
	e, err := g.describeLocked(w, name)
	if errs.Is(err, errs.Exhausted) {
		g.awaitLocked(nil)
		if s := g.takeLocked(); s != nil {
			if plain && !w.Address4.IsValid() && !w.Address6.IsValid() {
				return g.handOverLocked(s, w), nil, nil
			}
			g.discardLocked(s)
			e, err = g.describeLocked(w, name)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	g.inUse[e.ID] = *e
	g.work.Add(1)
	return nil, e, nil
}

// takeWishedLocked takes the ready sandbox with the addresses wished for, if
// there is one and it serves. What has one of them but does not is given up.
func (g *segment) takeWishedLocked(w Wish, plain bool) *Sandbox {
	match := func(e *Endpoint) bool {
		return w.Address4.IsValid() && e.Address4.Addr() == w.Address4 || w.Address6.IsValid() && e.Address6.Addr() == w.Address6
	}
	g.awaitLocked(match)
	var kept *Sandbox
	for {
		i := slices.IndexFunc(g.shelf.ready, func(s *Sandbox) bool { return match(&s.Endpoints[0]) })
		if i < 0 {
			return kept
		}
		s := g.shelf.ready[i]
		g.shelf.ready = slices.Delete(g.shelf.ready, i, i+1)
		g.store.pool.took()
		e := s.Endpoints[0]
		if plain && (!w.Address4.IsValid() || e.Address4.Addr() == w.Address4) && (!w.Address6.IsValid() || e.Address6.Addr() == w.Address6) {
			kept = s
		} else {
			g.discardLocked(s)
		}
	}
}

// takeLocked takes any ready sandbox.
func (g *segment) takeLocked() *Sandbox {
	s := g.shelf.take()
	g.store.pool.took()
	return s
}

// awaitLocked waits until the sandbox being made ahead, if match says so of
// its endpoint, or any without match, lies ready or has failed: about a
// millisecond.
func (g *segment) awaitLocked(match func(*Endpoint) bool) {
	for g.making != nil && (match == nil || match(g.making)) {
		g.made.Wait()
	}
}

// handOverLocked notes that a ready sandbox is in use.
func (g *segment) handOverLocked(s *Sandbox, w Wish) *Sandbox {
	e := &s.Endpoints[0]
	e.Priority = w.Priority
	g.inUse[e.ID] = *e
	return s
}

// discardLocked gives up a ready sandbox. The kernel removes it in its own
// time; the addresses can be had again at once (see maker.clear).
func (g *segment) discardLocked(s *Sandbox) {
	s.close()
	g.addresses.give(s.Endpoints[0])
}

// describeLocked takes addresses for an endpoint to be made.
func (g *segment) describeLocked(w Wish, name string) (*Endpoint, error) {
	e := &Endpoint{Network: g.net.ID, ID: newID(), Interface: name, MAC: w.MAC, LinkLocal: w.LinkLocal, Priority: w.Priority}
	if len(e.MAC) == 0 {
		e.MAC = apinet.HardwareAddr(randomMAC())
	}
	if err := g.addresses.choose(e, w); err != nil {
		return nil, err
	}
	if g.traits.noRoute {
		e.Gateway4, e.Gateway6 = netip.Addr{}, netip.Addr{}
	}
	return e, nil
}

// healing does what makes an interface on the network. If it fails because
// somebody has removed the network from the host, that is made anew and fn done
// again.
func (g *segment) healing(fn func() error) error {
	g.mu.Lock()
	before := g.generation
	g.mu.Unlock()
	err := fn()
	if err != nil && !errors.Is(err, errStray) && g.restore(before) {
		err = fn()
	}
	return err
}

// restore makes the network again if it is gone from the host, puts the
// interfaces of running containers back on it, and gives up the ready
// sandboxes, which hang in the air. It reports whether it is another one than
// that of a generation.
func (g *segment) restore(generation int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.generation != generation {
		return true
	}
	if g.closed || g.lan == nil {
		return false
	}
	var in []Endpoint
	for _, e := range g.inUse {
		in = append(in, e)
	}
	restored, err := g.lan.restore(in)
	if err != nil {
		g.store.config.Log.Error("a network is gone from the host and cannot be made again", "network", g.net.Name, "error", err)
		return false
	}
	if restored {
		g.generation++
		g.emptyLocked()
	}
	return restored
}

// emptyLocked gives up the ready sandboxes.
func (g *segment) emptyLocked() {
	for s := g.shelf.take(); s != nil; s = g.shelf.take() {
		g.discardLocked(s)
	}
}

// finished notes what became of an endpoint that assign described.
func (g *segment) finished(e *Endpoint, err error) {
	defer g.work.Done()
	if err != nil {
		g.release(*e)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inUse[e.ID] = *e
}

// release gives an endpoint's addresses back. One that is not in use is
// ignored.
func (g *segment) release(e Endpoint) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.inUse[e.ID]; !ok {
		return
	}
	delete(g.inUse, e.ID)
	g.addresses.give(e)
	if g.traits.tidy && !g.closed {
		g.work.Go(func() { g.detach([]Endpoint{e}, leaving{ended: true}) })
	}
	if e.HostVeth != "" && !g.closed {
		g.lingering.addLocked(g, e)
	}
	g.store.pool.wakeUp()
}

// leave removes an endpoint's interface and gives its addresses back, in this
// order, so that nobody answers for an address that is another's by then.
func (g *segment) leave(e Endpoint, at leaving) {
	g.detach([]Endpoint{e}, at)
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.inUse[e.ID]; ok {
		delete(g.inUse, e.ID)
		g.addresses.give(e)
	}
}

func (g *segment) detach(es []Endpoint, at leaving) {
	if g.lan == nil || len(es) == 0 {
		return
	}
	if err := g.lan.detach(es, at); err != nil {
		g.store.config.Log.Warn("interfaces of containers stay", "network", g.net.Name, "count", len(es), "error", err)
	}
}

// leaveLater is leave in the background.
func (g *segment) leaveLater(e Endpoint) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leaveLaterLocked(e)
}

func (g *segment) leaveLaterLocked(e Endpoint) {
	if !g.closed { // else the next engine finds the interface and removes it
		done := make(chan struct{})
		g.going = append(g.going, done)
		g.work.Go(func() {
			g.leave(e, leaving{})
			g.mu.Lock()
			defer g.mu.Unlock()
			g.going = slices.DeleteFunc(g.going, func(c chan struct{}) bool { return c == done })
			close(done)
		})
	}
}

// reserve keeps the endpoint of a container that runs already.
func (g *segment) reserve(e Endpoint) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.usableLocked(); err != nil {
		return err
	}
	if _, known := g.inUse[e.ID]; known {
		return nil
	}
	for _, other := range g.inUse {
		if e.Address4.IsValid() && other.Address4 == e.Address4 || e.Address6.IsValid() && other.Address6 == e.Address6 {
			return errs.New(errs.Conflict, "reserving %s: the address is in use", e.address())
		}
	}
	if _, found := g.leftover[e.trace()]; found {
		delete(g.leftover, e.trace())
	} else {
		g.takeWishedLocked(Wish{Address4: e.Address4.Addr(), Address6: e.Address6.Addr()}, false)
		if err := g.addresses.claim(e); err != nil {
			return fmt.Errorf("reserving %s: %w", e.address(), err)
		}
		if _, err := g.lan.restore([]Endpoint{e}); err != nil {
			g.addresses.give(e)
			return err
		}
	}
	g.inUse[e.ID] = e
	return nil
}

// sweep removes the interfaces of endpoints that nobody has reserved.
func (g *segment) sweep() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.leftover) == 0 || g.closed {
		return
	}
	var dead []Endpoint
	for _, e := range g.leftover {
		dead = append(dead, e)
	}
	g.leftover = map[string]Endpoint{}
	g.work.Go(func() {
		g.detach(dead, leaving{})
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, e := range dead {
			g.addresses.give(e)
		}
		g.store.config.Log.Info("removed the interfaces of containers that are gone", "network", g.net.Name, "count", len(dead))
	})
}

// trace is how an endpoint is known again by what it left on the host.
func (e Endpoint) trace() string { return cmp.Or(e.HostVeth, e.ID) }

// address is an endpoint's in words.
func (e Endpoint) address() netip.Addr {
	if e.Address4.IsValid() {
		return e.Address4.Addr()
	}
	return e.Address6.Addr()
}

// status counts addresses; those of ready sandboxes are free.
func (g *segment) status() apinet.Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	var ready []Endpoint
	for _, box := range g.shelf.ready {
		ready = append(ready, box.Endpoints[0])
	}
	return apinet.Status{IPAM: apinet.IPAMStatus{Subnets: g.addresses.status(ready)}}
}

// busy counts the endpoints in use, and those that may be.
func (g *segment) busy() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.inUse) + len(g.leftover)
}

// awaitGoing waits for those that leave in the background.
func (g *segment) awaitGoing() {
	g.mu.Lock()
	going := slices.Clone(g.going)
	g.mu.Unlock()
	for _, done := range going {
		<-done
	}
}

// retire lets nobody come to the network any more, unless somebody is on it:
// then it returns false. With false for gone it lets them again.
func (g *segment) retire(gone bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if gone && len(g.inUse)+len(g.leftover) > 0 {
		return false
	}
	g.retired = gone
	return true
}

// close gives up the network, and with remove what it is on the host, provided
// that nobody uses it. It reports whether it did that.
func (g *segment) close(remove bool) (bool, error) {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return false, nil
	}
	g.closed = true
	g.awaitLocked(nil)
	g.emptyLocked()
	late := g.lingering.list
	g.mu.Unlock()
	g.work.Wait()
	remove = remove && g.busy() == 0
	if remove {
		g.detach(late, leaving{}) // else the next engine finds them
	}
	if g.lan == nil {
		return remove, nil
	}
	return remove, g.lan.close(remove)
}
