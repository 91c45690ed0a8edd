package network

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network/firewall"
	apinet "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"
)

// bridgeDriver makes networks that are a bridge on the host each.
type bridgeDriver struct {
	maker     *maker
	wall      *firewall.Table
	publishOn netip.Addr // where ports are published unless a network says; invalid: on all addresses
	log       *slog.Logger
}

// plan implements driver. A bridge that is not named is called as Docker would.
func (d *bridgeDriver) plan(n *apinet.Network) (ranging, error) {
	o, err := parseBridgeOptions(n)
	if err != nil {
		return 0, err
	}
	seen := map[bool]bool{}
	for _, c := range n.IPAM.Config {
		if seen[c.Subnet.Addr().Is6()] {
			return 0, errs.New(errs.Forbidden, "bridge driver doesn't support multiple subnets")
		}
		seen[c.Subnet.Addr().Is6()] = true
	}
	return rangesPlanned, d.vacant(bridgeName(n, o))
}

// vacant refuses a device that is no bridge.
func (d *bridgeDriver) vacant(name string) error {
	_, err := findBridge(name)
	return err
}

// bridgeName returns the name of a network's device.
func bridgeName(n *apinet.Network, o bridgeOptions) string { return cmp.Or(o.name, "br-"+n.ID[:12]) }

// open implements driver.
func (d *bridgeDriver) open(ctx context.Context, n apinet.Network) (lan, traits, error) {
	o, err := parseBridgeOptions(&n)
	if err != nil {
		return nil, traits{}, err
	}
	w := want{name: bridgeName(&n, o), mtu: o.mtu, ipv6: n.EnableIPv6}
	for _, c := range n.IPAM.Config {
		v4 := c.Gateway.Is4()
		isolated := v4 && (o.mode4 == modeIsolated || o.inhibit4) || !v4 && o.mode6 == modeIsolated
		if c.Gateway.IsValid() && !isolated {
			w.addresses = append(w.addresses, netip.PrefixFrom(c.Gateway, c.Subnet.Bits()))
		}
	}
	return d.openBridge(ctx, n, o, w)
}

// openBridge opens a network whose device is to be as w says.
func (d *bridgeDriver) openBridge(ctx context.Context, n apinet.Network, o bridgeOptions, w want) (_ lan, _ traits, err error) {
	l, err := takeLock(ctx, "bridge-"+w.name, 0)
	if errs.Is(err, errs.Conflict) {
		return nil, traits{}, errs.New(errs.Conflict, "the bridge %s belongs to another network, or another engine on this host: give this one another", w.name)
	}
	if err != nil {
		return nil, traits{}, explain(err, "claiming the bridge")
	}
	b := &bridge{driver: d, want: w, follows: w.mtu == 0, apart: !o.interconnect, alias: aliasPrefix + n.ID, lock: l}
	if err := b.ensure(); err != nil {
		l.release()
		return nil, traits{}, err
	}
	about, err := o.describe(&n, w.name)
	if err == nil {
		err = d.wall.SetNetwork(about)
	}
	if err != nil {
		return nil, traits{}, errors.Join(err, b.close(true))
	}
	return b, traits{reach: o.publishing(&n, about, d.publishOn), ipv6: n.EnableIPv6, noRoute: n.Internal, ready: true, tidy: b.apart, nickname: o.nickname}, nil
}

// bridge is a bridge network that is open.
type bridge struct {
	driver  *bridgeDriver
	apart   bool   // containers on it do not reach each other
	follows bool   // nobody has said which MTU it is to have
	alias   string // of a device that we made
	lock    *lock

	mu     sync.Mutex
	want   want   // guarded by mu
	device device // guarded by mu
}

func (b *bridge) ensure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ensureLocked()
}

// ensureLocked makes the device, or brings it up to date.
func (b *bridge) ensureLocked() error {
	dev, created, err := ensureDevice(b.want)
	if err != nil {
		return err
	}
	if created {
		if link, err := netlink.LinkByIndex(dev.index); err == nil {
			_ = netlink.LinkSetAlias(link, b.alias) // without it the device is not removed with the network
		}
	}
	b.device, b.want.mtu = dev, dev.mtu
	return nil
}

func (b *bridge) now() device {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.device
}

// follow gives a bridge that we made the MTU of the way to the outside, unless
// it was given another, and tells whether that is new.
func (b *bridge) follow(egress int) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	mtu := b.want.suited(egress)
	if !b.follows || mtu == b.device.mtu {
		return false, nil
	}
	link, err := netlink.LinkByIndex(b.device.index)
	if err != nil || link.Attrs().Alias != b.alias {
		return false, nil // whoever needs it makes it anew
	}
	if err := netlink.LinkSetMTU(link, mtu); err != nil {
		return false, explain(err, "setting the MTU of bridge "+b.want.name)
	}
	b.device.mtu, b.want.mtu = mtu, mtu
	return true, nil
}

// attach implements lan.
func (b *bridge) attach(_ context.Context, e *Endpoint, at entry, _ map[string]string) (plug, error) {
	e.HostVeth = vethName(e.Address4.Addr(), e.Address6.Addr(), e.ID)
	d := b.now()
	index, err := b.driver.maker.connect(e, at, d, b.apart)
	return plug{index: index}, err
}

// detach implements lan.
func (b *bridge) detach(es []Endpoint, at leaving) error {
	m := b.driver.maker
	var failed error
	if !at.ended {
		var names []string
		for _, e := range es {
			names = append(names, e.HostVeth)
		}
		failed = m.remove(names)
	}
	if b.apart {
		index := b.now().index
		for _, e := range es {
			for _, p := range []netip.Prefix{e.Address4, e.Address6} {
				if p.IsValid() {
					var one batch
					one.delNeighbour(index, p.Addr())
					_ = m.inHost(&one) // the next one to have the address replaces it
				}
			}
		}
	}
	return failed
}

// found implements lan.
func (b *bridge) found() ([]Endpoint, error) {
	ports, err := portsOf(b.now().index)
	if err != nil {
		return nil, err
	}
	var all []Endpoint
	for name, at := range ports {
		e := Endpoint{HostVeth: name}
		if a, ours := vethAddress(name); ours {
			e.Address4 = netip.PrefixFrom(a, 32)
		}
		if a, err := netip.ParseAddr(at.Alias); err == nil && a.Is6() {
			e.Address6 = netip.PrefixFrom(a, 128)
		}
		if e.Address4.IsValid() || strings.HasPrefix(name, vethPrefixX) {
			all = append(all, e)
		}
	}
	return all, nil
}

// restore implements lan.
func (b *bridge) restore(in []Endpoint) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	there, err := findBridge(b.want.name)
	if err != nil {
		return false, err
	}
	restored := there == nil || there.Index != b.device.index
	if restored {
		if err := b.ensureLocked(); err != nil {
			return false, err
		}
		b.driver.log.Warn("a bridge was removed by somebody and is there again", "bridge", b.want.name)
	}
	for _, e := range in {
		link, err := netlink.LinkByName(e.HostVeth)
		if err == nil && link.Attrs().MasterIndex != b.device.index {
			err = netlink.LinkSetMasterByIndex(link, b.device.index)
			var one batch
			one.setPort(e.HostVeth, b.apart)
			err = errors.Join(err, b.driver.maker.inHost(&one))
		}
		if err != nil {
			b.driver.log.Warn("a running container has lost its network interface: restart it", "bridge", b.want.name, "interface", e.HostVeth, "address", e.address(), "error", err)
		}
	}
	return restored, nil
}

// close implements lan. A bridge that was there before the network stays.
func (b *bridge) close(remove bool) error {
	defer b.lock.release()
	if !remove {
		return nil
	}
	d := b.now()
	failed := []error{b.driver.wall.DropNetwork(d.name)}
	link, err := netlink.LinkByName(d.name)
	missing := netlink.LinkNotFoundError{}
	switch {
	case errors.As(err, &missing):
	case err != nil:
		failed = append(failed, explain(err, "looking for bridge "+d.name))
	case link.Attrs().Alias == b.alias:
		failed = append(failed, explain(netlink.LinkDel(link), "removing bridge "+d.name))
	}
	return errors.Join(failed...)
}
