package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"

	"github.com/davit-engine/davit/errs"
	"github.com/vishvananda/netlink"
)

// Bridge is the default bridge and all that belongs to it.
type Bridge struct {
	config   Config // complete
	maker    *maker
	firewall *firewall // nil without a bridge, as are the next four
	watcher  *watcher
	locks    []*lock
	warnings []string
	pool     *pool

	mu        sync.Mutex
	device    device                // guarded by mu; zero without a bridge
	state     state                 // guarded by mu
	addresses *addresses            // guarded by mu; nil without a bridge
	inUse     map[netip.Addr]string // guarded by mu; address to ID of the endpoint that was handed over
	leftover  map[netip.Addr]int    // guarded by mu; address to index of each interface found at the start, until somebody reserves it
	closed    bool                  // guarded by mu; no work begins once it is set
	work      sync.WaitGroup        // sandboxes being made, interfaces being removed
}

// OpenBridge creates the bridge and its table, or takes over those that are there,
// and begins to fill the pool. Two engines on one host need different bridges
// and tables (Conflict), whatever else they have; they never choose the same
// range. The calling thread's network namespace is the one that all is made in.
func OpenBridge(ctx context.Context, c Config) (_ *Bridge, err error) {
	c, err = c.complete()
	if err != nil {
		return nil, err
	}
	b := &Bridge{config: c, inUse: map[netip.Addr]string{}, leftover: map[netip.Addr]int{}}
	var undo []func()
	defer func() {
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
		}
	}()
	if b.maker, err = newMaker(); err != nil {
		return nil, err
	}
	undo = append(undo, b.maker.close)
	bridged := 0
	if c.Bridge != noBridge {
		if err := b.openBridge(ctx, &undo); err != nil {
			return nil, err
		}
		// Of a small range the pool takes a part only.
		bridged = min(max(c.PoolSize, 0), (b.addresses.free+3)/4)
	}
	b.pool = newPool(b, bridged, max(c.PoolSize, 0))
	return b, nil
}

// openBridge adds what a bridge has beyond a pool of empty namespaces.
func (b *Bridge) openBridge(ctx context.Context, undo *[]func()) error {
	c := b.config
	for _, name := range []string{"bridge-" + c.Bridge, "table-" + c.Table} {
		l, err := takeLock(ctx, name, 0)
		if errs.Is(err, errs.Conflict) {
			kind, value, _ := strings.Cut(name, "-")
			return errs.New(errs.Conflict, "another engine on this host uses the %s %s: give this one another (--bridge)", kind, value)
		}
		if err != nil {
			return explain(err, "claiming the bridge")
		}
		b.locks = append(b.locks, l)
		*undo = append(*undo, l.release)
	}
	path := statePath(c.StateDir, c.Bridge)
	s, err := loadState(path)
	if err != nil {
		c.Log.Warn("the bridge's address range of last time is not known", "error", err)
	}
	if b.device, err = openDevice(ctx, c, &s); err != nil {
		return err
	}
	b.maker.setBridge(b.device)
	if err := s.save(path); err != nil { // before anything else fails: who made the bridge
		return err
	}
	drop := false
	if c.Forward {
		ours, err := switchForwarding(&s, c.Log)
		if err != nil {
			return err
		}
		if drop = ours && !c.ForwardNoDrop; drop {
			c.Log.Info("what is neither from nor to a container is not forwarded, as before (ip-forward-no-drop changes that)", "table", c.Table)
		}
		if err := s.save(path); err != nil {
			return err
		}
	}
	b.state = s
	part := c.FixedCIDR
	if !part.IsValid() {
		part = b.device.gateway
	}
	if b.addresses, err = newAddresses(b.device.gateway, part, b.device.gateway.Addr()); err != nil {
		return err
	}
	b.addresses.goOnAfter(s.Last)
	if err := b.findLeftovers(); err != nil {
		return err
	}
	b.firewall = &firewall{table: c.Table, drop: drop, log: c.Log, guards: []guarded{
		{bridge: c.Bridge, subnet: b.device.gateway.Masked(), masquerade: c.Masquerade, within: !c.NoInterconnect},
	}}
	if _, err := b.firewall.ensure(); err != nil {
		return err
	}
	if b.watcher, err = watch(b.firewall); err != nil {
		return err
	}
	*undo = append(*undo, b.watcher.close)
	for _, chain := range foreignDrops() {
		w := fmt.Sprintf("chain %s drops what it does not know, so containers may not reach other hosts: let traffic from and to %s through there (for Docker: iptables -I DOCKER-USER -i %[2]s -j ACCEPT; iptables -I DOCKER-USER -o %[2]s -j ACCEPT)", chain, c.Bridge)
		b.warnings = append(b.warnings, w)
		c.Log.Warn(w)
	}
	return nil
}

// findLeftovers notes the interfaces of an earlier engine's endpoints and keeps
// their addresses from being given to others.
func (b *Bridge) findLeftovers() error {
	ports, err := portsOf(b.device.index)
	if err != nil {
		return err
	}
	for name, index := range ports {
		if a, ours := vethAddress(name); ours && b.addresses.claim(a) == nil {
			b.leftover[a] = index
		}
	}
	return nil
}

// Acquire returns a sandbox on the bridge: a ready one if nothing is wished for
// or the address wished for is that of a ready one, else one made now (about 1
// ms). Errors: Exhausted when the range is full, Conflict when the address
// wished for is in use, InvalidParameter when it cannot be.
func (b *Bridge) Acquire(ctx context.Context, w Wish, given *os.File) (*Sandbox, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("acquiring a network sandbox: %w", err)
	}
	if len(w.MAC) != 0 && (len(w.MAC) != 6 || w.MAC[0]&1 != 0) {
		return nil, errs.New(errs.InvalidParameter, "%s cannot be the MAC address of a container", w.MAC)
	}
	s, e, err := b.assign(w, given)
	if s != nil || err != nil {
		return s, err
	}
	defer b.work.Done()
	err = onThread(func() (err error) {
		s, err = b.make(e, given)
		return err
	})
	if err != nil {
		b.Release(*e)
		return nil, err
	}
	return s, nil
}

// assign finds a ready sandbox or, if that is nil, describes one to be made and
// adds to b.work.
func (b *Bridge) assign(w Wish, given *os.File) (*Sandbox, *Endpoint, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, nil, errs.New(errs.Unavailable, "the network is being closed")
	}
	if b.addresses == nil {
		return nil, nil, errs.New(errs.InvalidParameter, "there is no default bridge (it is switched off by bridge none): use --network none or host, or take that setting out")
	}
	var s *Sandbox
	plain := len(w.MAC) == 0 && given == nil
	switch {
	case w.Address4.IsValid():
		b.pool.awaitLocked(w.Address4)
		if s = b.pool.takeAddressLocked(w.Address4); s != nil && !plain {
			b.discardLocked(s)
			s = nil
		}
	case plain:
		s = b.pool.takeLocked()
	}
	if s != nil {
		return b.handOverLocked(s), nil, nil
	}
	a := w.Address4
	var err error
	if a.IsValid() {
		err = b.addresses.claim(a)
	} else {
		a, err = b.addresses.take()
		if errs.Is(err, errs.Exhausted) {
			b.pool.awaitLocked(netip.Addr{})
			if s := b.pool.takeLocked(); s != nil {
				if plain {
					return b.handOverLocked(s), nil, nil
				}
				b.discardLocked(s)
				a, err = b.addresses.take()
			}
		}
	}
	if err != nil {
		return nil, nil, err
	}
	e := newEndpoint(a, b.device.gateway, w.MAC)
	b.inUse[a] = e.ID
	b.work.Add(1)
	return nil, e, nil
}

// handOverLocked notes that a ready sandbox is in use.
func (b *Bridge) handOverLocked(s *Sandbox) *Sandbox {
	b.inUse[s.place().Address4.Addr()] = s.place().ID
	return s
}

// discardLocked gives up a ready sandbox. The kernel removes it in its own
// time; the address can be had again at once (see maker.clearLocked).
func (b *Bridge) discardLocked(s *Sandbox) {
	s.NetNS.Close()
	if s.place() != nil {
		b.addresses.give(s.place().Address4.Addr())
	}
}

// make makes e's sandbox, or one without a bridge if e is nil, of the namespace
// given if that is not nil. It runs on a locked thread. A bridge that somebody
// has removed is made anew.
func (b *Bridge) make(e *Endpoint, given *os.File) (*Sandbox, error) {
	if e == nil {
		ns, err := b.maker.none(given)
		return &Sandbox{NetNS: ns}, explain(err, "making a network sandbox")
	}
	before := b.maker.bridgeIndex()
	ns, err := b.maker.bridged(e, given)
	if err != nil && !errors.Is(err, errStray) && b.restoreDevice(before) {
		ns, err = b.maker.bridged(e, given)
	}
	if err != nil {
		return nil, err
	}
	return &Sandbox{NetNS: ns, Endpoints: []Endpoint{*e}}, nil
}

// restoreDevice makes the bridge again if it is gone, puts the interfaces of
// running containers back on it, and empties the pool, whose sandboxes hang in
// the air. It reports whether there is another bridge than before, by index.
func (b *Bridge) restoreDevice(before int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.device.index != before {
		return true
	}
	_, err := netlink.LinkByName(b.device.name)
	if missing := (netlink.LinkNotFoundError{}); !errors.As(err, &missing) || b.closed {
		return false
	}
	c := b.config
	c.BIP, c.MTU = b.device.gateway, b.device.mtu
	d, err := openDevice(context.Background(), c, &b.state)
	if err != nil {
		b.config.Log.Error("the bridge is gone and cannot be made again", "bridge", c.Bridge, "error", err)
		return false
	}
	b.config.Log.Warn("the bridge was removed by somebody and is there again", "bridge", c.Bridge)
	b.device = d
	b.maker.setBridge(d)
	for s := b.pool.takeLocked(); s != nil; s = b.pool.takeLocked() {
		b.discardLocked(s)
	}
	for a := range b.inUse {
		b.reattachLocked(vethName(a))
	}
	return true
}

// reattachLocked puts an interface back on the bridge; false if there is none.
func (b *Bridge) reattachLocked(name string) bool {
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetMasterByIndex(link, b.device.index)
	}
	return err == nil
}

// AcquireNone returns a sandbox with lo only, of the namespace given if that is
// not nil (see Acquire).
func (b *Bridge) AcquireNone(ctx context.Context, given *os.File) (*Sandbox, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("acquiring a network sandbox: %w", err)
	}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil, errs.New(errs.Unavailable, "the network is being closed")
	}
	var s *Sandbox
	if given == nil {
		s = b.pool.takeNoneLocked()
	}
	if s == nil {
		b.work.Add(1)
		defer b.work.Done()
	}
	b.mu.Unlock()
	if s != nil {
		return s, nil
	}
	err := onThread(func() (err error) {
		s, err = b.make(nil, given)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Release gives an endpoint's address back, to be handed out again as late as
// possible. The kernel removes the interface with the namespace, so this does
// not wait for anything. An endpoint that is not in use is ignored.
func (b *Bridge) Release(e Endpoint) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := e.Address4.Addr()
	if id, ok := b.inUse[a]; !ok || id != e.ID {
		return
	}
	delete(b.inUse, a)
	b.addresses.give(a)
	b.pool.wakeUp()
}

// Disconnect is Release for an endpoint whose namespace lives on, because
// somebody else is in it too: the interface is removed first, in the
// background, so that nobody answers for an address that is another's by then.
func (b *Bridge) Disconnect(e Endpoint) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return // the next engine finds the interface and removes it
	}
	b.work.Go(func() {
		defer b.Release(e)
		link, err := net.InterfaceByName(e.HostVeth)
		if err != nil {
			return // it is gone
		}
		r, err := openRtnl()
		if err == nil {
			defer r.close()
			var one batch
			one.delLink(link.Index)
			err = r.do(&one)
		}
		if err != nil {
			b.config.Log.Warn("the interface of a container that is gone stays", "interface", e.HostVeth, "error", err)
		}
	})
}

// Reserve keeps the endpoint of a container that runs already. To be called for
// each of them after Open, before the first Acquire. Errors: Conflict when
// another endpoint has the address, InvalidParameter when it is not one of the
// bridge's range (which happens when the bridge had to move).
func (b *Bridge) Reserve(e Endpoint) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.addresses == nil {
		return errs.New(errs.InvalidParameter, "reserving %s: there is no default bridge", e.Address4)
	}
	a := e.Address4.Addr()
	if id, taken := b.inUse[a]; taken {
		if id == e.ID {
			return nil
		}
		return errs.New(errs.Conflict, "reserving %s: the address is in use", a)
	}
	if _, found := b.leftover[a]; found {
		delete(b.leftover, a)
	} else {
		b.pool.awaitLocked(a)
		if s := b.pool.takeAddressLocked(a); s != nil {
			b.discardLocked(s)
		}
		if err := b.addresses.claim(a); err != nil {
			return fmt.Errorf("reserving %s: %w", a, err)
		}
		if !b.reattachLocked(e.HostVeth) {
			b.config.Log.Warn("a running container has lost its network interface: restart it", "interface", e.HostVeth, "address", a)
		}
	}
	b.inUse[a] = e.ID
	return nil
}

// Ready says that all running containers' endpoints are reserved: the
// interfaces of all others are removed in the background, since no container
// owns them. Without this call they and their addresses stay taken.
func (b *Bridge) Ready() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.leftover) == 0 || b.closed {
		return
	}
	dead := b.leftover
	b.leftover = map[netip.Addr]int{}
	b.work.Go(func() { b.clean(dead) })
}

func (b *Bridge) clean(dead map[netip.Addr]int) {
	r, err := openRtnl()
	if err != nil {
		b.config.Log.Warn("interfaces of containers that are gone stay", "count", len(dead), "error", err)
		return
	}
	defer r.close()
	for a, index := range dead {
		var one batch // each for itself: the kernel takes some milliseconds over it
		one.delLink(index)
		if err := r.do(&one); err != nil {
			b.config.Log.Debug("the interface of a container that is gone is gone too", "interface", vethName(a), "error", err)
		}
		b.mu.Lock()
		b.addresses.give(a)
		b.mu.Unlock()
	}
	b.config.Log.Info("removed the interfaces of containers that are gone", "count", len(dead))
}

// Info describes the bridge.
func (b *Bridge) Info() Info {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.addresses == nil {
		return Info{}
	}
	pool := b.config.FixedCIDR
	if !pool.IsValid() {
		pool = b.device.gateway
	}
	ready := len(b.pool.bridged.ready)
	return Info{
		Name: b.device.name, Subnet: b.device.gateway.Masked(), Gateway: b.device.gateway.Addr(), Pool: pool.Masked(),
		MTU: b.device.mtu, Masquerade: b.config.Masquerade, Interconnect: !b.config.NoInterconnect,
		InUse: len(b.inUse), Free: b.addresses.free + ready, Ready: ready, Warnings: b.warnings,
	}
}

// Close empties the pool and stops watching the table; containers go on as they
// are. With remove it also removes the bridge, if this or an earlier engine
// made it, and the table, provided that no endpoint is in use, and switches
// IPv4 forwarding off again if it was switched on for them and nobody else can
// need it. Sandboxes that were acquired stay valid.
func (b *Bridge) Close(remove bool) error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	b.mu.Unlock()
	b.pool.close()
	b.work.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.maker.close()
	if b.addresses == nil {
		return nil
	}
	b.watcher.close()
	defer func() {
		for _, l := range b.locks {
			l.release()
		}
	}()
	if remove && len(b.inUse) == 0 && len(b.leftover) == 0 {
		return b.removeLocked()
	}
	b.state.Last = b.addresses.last0
	return b.state.save(statePath(b.config.StateDir, b.config.Bridge))
}
