package network

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network/firewall"
	"github.com/davit-engine/davit/network/publish"
	apinet "github.com/moby/moby/api/types/network"
)

// Store holds the networks of an engine: those that exist without being
// created and those that users made.
type Store struct {
	Rates *Rates // the bandwidth of endpoints in use

	config     Config // complete
	since      time.Time
	maker      *maker
	wall       *firewall.Table
	ports      *Ports
	pool       *pool
	host       *surroundings
	drivers    map[string]driver
	lock       *lock // of the table
	networks   *directory
	memory     *memory
	forwarding *forwarding

	changing sync.Mutex // held while a network is created or removed; before all others

	mu       sync.Mutex
	warnings []string       // guarded by mu
	settled  bool           // guarded by mu; the firewall is in force
	closed   bool           // guarded by mu; no work begins once it is set
	work     sync.WaitGroup // verbs that make something
}

// Open makes what the networks need on the host, or takes over what is there,
// and begins to fill the pool. Two engines on one host need different bridges
// and tables (Conflict), whatever else they have; they never choose the same
// range. The calling thread's network namespace is the one that all is made in.
func Open(ctx context.Context, c Config) (_ *Store, err error) {
	c, err = c.complete()
	if err != nil {
		return nil, err
	}
	s := &Store{config: c, networks: &directory{segments: map[string]*segment{}}}
	var undo []func()
	defer func() {
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
		}
	}()
	if s.maker, err = newMaker(); err != nil {
		return nil, err
	}
	undo = append(undo, s.maker.close)
	if s.Rates, err = newRates(s.networks, c.Log); err != nil {
		return nil, err
	}
	undo = append(undo, s.Rates.close)
	if s.memory, err = recall(statePath(c.StateDir, c.Bridge)); err != nil {
		c.Log.Warn("the bridge's address range of last time is not known", "error", err)
	}
	if s.lock, err = takeTable(ctx, c.Table); err != nil {
		return nil, err
	}
	undo = append(undo, s.lock.release)
	c.Firewall.Name, c.Firewall.Group, c.Firewall.Log = c.Table, linkGroup, c.Log
	if s.wall, err = firewall.Open(c.Firewall); err != nil {
		return nil, err
	}
	undo = append(undo, s.wall.Close)
	s.forwarding = &forwarding{config: c, wall: s.wall, memory: s.memory}
	s.ports = &Ports{networks: s.networks, wall: s.wall, forgetter: publish.NewForgetter(c.Log), log: c.Log, passing: !c.NoProxy, led: map[string]*published{}}
	under := newParents(s.maker, c.StateDir)
	s.drivers = map[string]driver{
		kindMacvlan: newMacvlanDriver(under), kindIPvlan: newIPvlanDriver(under), kindCNI: newCNIDriver(s.maker, c.StateDir),
		"bridge": &bridgeDriver{s.maker, s.wall, c.PublishOn, c.Log},
	}
	undo = append(undo, func() {
		for _, g := range s.networks.all() {
			_, _ = g.close(false)
		}
	})
	s.pool = newPool(s.maker, max(c.PoolSize, 0), func(err error) {
		c.Log.Warn("cannot make a network sandbox in advance", "error", err)
	})
	undo = append(undo, s.pool.close)
	if c.Bridge != noBridge {
		if err := s.openDefault(ctx); err != nil {
			return nil, err
		}
	}
	if info, err := os.Stat(c.StateDir); err == nil {
		s.since = info.ModTime().UTC()
	}
	s.openSaved(ctx)
	if s.host, err = watchSurroundings(s.networks, c); err != nil {
		return nil, err
	}
	undo = append(undo, s.host.close)
	if g := s.networks.bridge; g != nil {
		g.mu.Lock()
		g.stockLocked(max(c.PoolSize, 0))
		g.mu.Unlock()
	}
	return s, nil
}

func takeTable(ctx context.Context, table string) (*lock, error) {
	l, err := takeLock(ctx, "table-"+table, 0)
	if errs.Is(err, errs.Conflict) {
		return nil, errs.New(errs.Conflict, "another engine on this host uses the table %s: give this one another bridge (--bridge)", table)
	}
	return l, explain(err, "claiming the table")
}

// openDefault opens the default bridge.
func (s *Store) openDefault(ctx context.Context) error {
	c := s.config
	l, err := rangeLock(ctx)
	if err != nil {
		return err
	}
	defer l.release()
	gateway, err := defaultGateway(c, s.memory.now().Bridge)
	if err != nil {
		return err
	}
	gateways := []netip.Prefix{gateway}
	if c.IPv6 {
		six, err := defaultGateway6(c, s.memory.now().Bridge6)
		if err != nil {
			return err
		}
		gateways = append(gateways, six)
	}
	n := s.describeDefault(gateways)
	g, err := newSegment(s, n)
	if err != nil {
		return errs.New(errs.InvalidParameter, "bip %s: %w", gateway, err)
	}
	o, err := parseBridgeOptions(&n)
	if err != nil {
		return err
	}
	w := want{name: c.Bridge, mtu: c.MTU, addresses: gateways, ipv6: c.IPv6}
	d := &bridgeDriver{s.maker, s.wall, c.PublishOn, c.Log}
	lan, t, err := d.openBridge(ctx, n, o, w)
	if err != nil {
		return err
	}
	s.networks.add(g)
	if err := g.opened(lan, t); err != nil {
		return err
	}
	g.addresses.goOnAfter([]netip.Addr{s.memory.now().Last})
	s.networks.bridge = g
	return s.memory.change(func(k *state) {
		if k.Bridge = gateway; len(gateways) > 1 {
			k.Bridge6 = gateways[1]
		}
	})
}

// describeDefault describes the default bridge, but for its MTU.
func (s *Store) describeDefault(gateways []netip.Prefix) apinet.Network {
	c := s.config
	n := s.predefined("bridge", "bridge")
	for _, p := range gateways {
		part, gateway, name := c.FixedCIDR, c.Gateway4, auxGateway4
		if p.Addr().Is6() {
			part, gateway, name = c.FixedCIDR6, c.Gateway6, auxGateway6
			n.EnableIPv6 = true
		}
		config := apinet.IPAMConfig{Subnet: p.Masked(), Gateway: p.Addr()}
		if part != p.Masked() {
			config.IPRange = part
		}
		if gateway.IsValid() && gateway != p.Addr() {
			config.AuxAddress = map[string]netip.Addr{name: gateway}
		}
		n.IPAM.Config = append(n.IPAM.Config, config)
	}
	n.Options = map[string]string{
		optionDefault:    "true",
		optionICC:        strconv.FormatBool(!s.config.NoInterconnect),
		optionMasquerade: strconv.FormatBool(s.config.Masquerade),
		optionBinding:    s.config.bindingText(),
		optionName:       s.config.Bridge,
	}
	return n
}

// bindingText writes where the default bridge's ports are published as Docker
// does.
func (c *Config) bindingText() string {
	for _, a := range []netip.Addr{c.BridgePublishOn, c.PublishOn, netip.IPv4Unspecified()} {
		if a.IsValid() {
			return a.String()
		}
	}
	return ""
}

func (s *Store) predefined(name, driver string) apinet.Network {
	id := sha256.Sum256([]byte(s.config.StateDir + "\x00" + name))
	return apinet.Network{
		Name: name, ID: hex.EncodeToString(id[:]), Created: s.since, Scope: "local", Driver: driver, EnableIPv4: true,
		IPAM: apinet.IPAM{Driver: "default", Config: []apinet.IPAMConfig{}}, Options: map[string]string{}, Labels: map[string]string{},
	}
}

// openSaved opens the networks that users made. One that cannot be opened is
// there, and says why when it is used.
func (s *Store) openSaved(ctx context.Context) {
	all, err := loadNetworks(s.config.StateDir)
	if err != nil {
		s.config.Log.Error("networks are lost", "error", err)
	}
	for _, k := range all {
		g, err := newSegment(s, k.Network)
		if err == nil && !k.Network.ConfigOnly {
			err = s.open(ctx, g)
		}
		if g == nil {
			g = &segment{net: k.Network, store: s, inUse: map[string]Endpoint{}, leftover: map[string]Endpoint{}}
			g.made = sync.NewCond(&g.mu)
		}
		if err != nil {
			g.broken = err
			s.warnings = append(s.warnings, "network "+k.Network.Name+" cannot be used: "+err.Error())
			s.config.Log.Error("a network cannot be used", "network", k.Network.Name, "error", err)
		}
		g.addresses.goOnAfter(k.Last)
		s.networks.add(g)
	}
}

// open has the driver open a network.
func (s *Store) open(ctx context.Context, g *segment) error {
	d, err := s.driver(g.net.Driver)
	if err != nil {
		return err
	}
	lan, t, err := d.open(ctx, g.net)
	if err != nil {
		return err
	}
	if err := g.opened(lan, t); err != nil {
		return errors.Join(err, lan.close(false))
	}
	return nil
}

// driver returns the driver of a name, which may go on behind a colon with what
// is the driver's own. Error: NotFound.
func (s *Store) driver(name string) (driver, error) {
	kind, _, _ := strings.Cut(name, ":")
	if d := s.drivers[kind]; d != nil {
		return d, nil
	}
	return nil, errs.New(errs.NotFound, "plugin %q not found", name)
}

// begin notes that work is to be done; s.work.Done is its end.
func (s *Store) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errs.New(errs.Unavailable, "the network is being closed")
	}
	s.work.Add(1)
	return nil
}

// Find returns the network of this name or ID, or unique beginning of an ID.
// Errors: NotFound, InvalidParameter for the beginning of several IDs.
func (s *Store) Find(ref string) (apinet.Network, error) {
	if g, err := s.networks.get(ref); err == nil { // the usual case, on the way of every start
		return s.shown(g), nil
	}
	var found []apinet.Network
	for _, n := range s.List() {
		switch {
		case n.ID == ref || n.Name == ref:
			return n, nil
		case ref != "" && strings.HasPrefix(n.ID, ref):
			found = append(found, n)
		}
	}
	switch len(found) {
	case 0:
		return apinet.Network{}, errs.New(errs.NotFound, "network %s not found", ref)
	case 1:
		return found[0], nil
	}
	return apinet.Network{}, errs.New(errs.InvalidParameter, "network %s is ambiguous (%d matches found based on ID prefix)", ref, len(found))
}

// List describes the networks: those that are not users' first, then these by
// age. What it returns is shared: it must not be changed.
func (s *Store) List() []apinet.Network {
	all := s.networks.all()
	list := make([]apinet.Network, 0, len(all)+2)
	if g := s.networks.bridge; g != nil {
		list = append(list, s.shown(g))
	}
	list = append(list, s.predefined("host", "host"), s.predefined("none", "null"))
	first := len(list)
	for _, g := range all {
		if g != s.networks.bridge {
			list = append(list, g.net)
		}
	}
	slices.SortFunc(list[first:], func(a, b apinet.Network) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return list
}

func (s *Store) shown(g *segment) apinet.Network {
	n := g.net
	if g == s.networks.bridge {
		n.Created = s.since
		n.Options = maps.Clone(n.Options)
		n.Options[optionMTU] = strconv.Itoa(s.Info().MTU)
	}
	return n
}

// Status tells how many addresses of a network are in use and free.
func (s *Store) Status(id string) apinet.Status {
	g, err := s.networks.get(id)
	if err != nil {
		return apinet.Status{}
	}
	return g.status()
}

// Release gives an endpoint's addresses back, to be handed out again as late as
// possible. The kernel removes the interface with the namespace, so this does
// not wait for anything. An endpoint that is not in use is ignored.
func (s *Store) Release(e Endpoint) {
	s.ports.release(e.ID)
	s.Rates.forget(e)
	if g, err := s.networks.get(e.Network); err == nil {
		g.release(e)
	}
}

// Reserve keeps the endpoint of a container that runs already. To be called for
// each of them after Open, before the first Acquire. Errors: NotFound for the
// network, Conflict when another endpoint has the address, InvalidParameter
// when it is not one of the network's range (which happens when the default
// bridge had to move).
func (s *Store) Reserve(e Endpoint) error {
	g, err := s.networks.get(e.Network)
	if err != nil {
		return err
	}
	if err := g.reserve(e); err != nil || g.traits.reach == nil {
		return err
	}
	return s.ports.restore(*g.traits.reach, &e)
}

// Ready says that all running containers' endpoints are reserved: the
// interfaces of all others are removed in the background, since no container
// owns them. Without this call they and their addresses stay taken. From then on
// the firewall says what it should; what was right before is not touched.
func (s *Store) Ready() error {
	all := s.networks.all()
	for _, g := range all {
		g.sweep()
	}
	if len(all) == 0 {
		return nil
	}
	return s.settle()
}

// settle makes the host pass on containers' packets, and the firewall say what
// it should. After the first time it does nothing.
func (s *Store) settle() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.settled {
		return nil
	}
	ipv6 := slices.ContainsFunc(s.networks.all(), func(g *segment) bool { return g.traits.ipv6 && !g.traits.noRoute })
	if err := s.forwarding.ensure(ipv6); err != nil {
		return err
	}
	if err := s.wall.Settle(); err != nil {
		return err
	}
	s.settled = true
	return nil
}

// Ports publishes ports of endpoints that were acquired here.
func (s *Store) Ports() *Ports { return s.ports }

// Info describes the default bridge.
func (s *Store) Info() Info {
	g := s.networks.bridge
	if g == nil {
		return Info{Respect: s.config.Firewall.Respect}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.addresses.v4[0]
	pool := r.Config().IPRange
	if !pool.IsValid() {
		pool = r.Subnet()
	}
	mtu := g.lan.(*bridge).now().mtu
	return Info{
		Name: s.config.Bridge, Subnet: r.Subnet(), Gateway: r.Gateway(), Pool: pool.Masked(),
		MTU: mtu, Masquerade: s.config.Masquerade, Interconnect: !s.config.NoInterconnect,
		InUse: len(g.inUse), Free: g.addresses.free() + len(g.shelf.ready), Ready: len(g.shelf.ready),
		Respect: s.config.Firewall.Respect,
	}
}

// Warnings says what stands in the way of containers' traffic, and what to do.
func (s *Store) Warnings() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Concat(s.warnings, s.host.warnings(), s.wall.Warnings())
}

// Close empties the pool and stops watching the table; containers go on as they
// are. With remove it also removes what was made on the host, by this or an
// earlier engine, of each network that has no endpoint in use, and where that
// is all of them the table too, and switches forwarding off again if it was
// switched on for them and nobody else can need it. Users' networks are made
// again by the next Open. Sandboxes that were acquired stay valid.
func (s *Store) Close(remove bool) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.work.Wait()
	s.ports.forgetter.Wait()
	s.host.close()
	s.pool.close()
	defer s.maker.close()
	defer s.Rates.close()
	defer s.lock.release()
	defer s.wall.Close() // after the networks have left it
	var failed []error
	for _, g := range s.networks.all() {
		removed, err := g.close(remove)
		failed = append(failed, err)
		remove = remove && removed
		if g != s.networks.bridge {
			failed = append(failed, s.save(g))
		}
	}
	if remove {
		return errors.Join(append(failed, s.wall.Remove(), s.forwarding.stop(), s.memory.forget())...)
	}
	if g := s.networks.bridge; g != nil {
		failed = append(failed, s.memory.change(func(k *state) { k.Last = g.addresses.last()[0] }))
	}
	return errors.Join(failed...)
}

// TakeBack removes what an engine of this configuration, which no longer runs,
// has made on the host: the table, bridges, and what was changed of the kernel's
// parameters. Users' networks are made again by the next Open. Error: Conflict
// while containers run.
func TakeBack(ctx context.Context, c Config) error {
	c.PoolSize = -1
	for end := time.Now().Add(takeBackPatience); ; {
		s, err := Open(ctx, c)
		if err != nil {
			return err
		}
		busy := 0
		for _, g := range s.networks.all() {
			busy += g.busy()
		}
		if err := s.Close(busy == 0); err != nil || busy == 0 {
			return err
		}
		if time.Now().After(end) {
			return errs.New(errs.Conflict, "%d interfaces of containers are on the engine's networks: stop the containers first", busy)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// takeBackPatience is how long TakeBack waits for the kernel to remove what an
// engine kept ready that has just ended.
const takeBackPatience = time.Second

// save writes a user's network.
func (s *Store) save(g *segment) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return kept{g.net, g.addresses.last()}.save(s.config.StateDir)
}
