package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	apinet "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
)

// stackedDriver makes networks whose interfaces stand directly on one of the
// host's, their parent: what macvlan and ipvlan have in common.
//
//	the LAN = eth0 of the host, the parent
//	          |     |     |
//	        eth0  eth0  eth0   of containers, each with an address of the LAN
//
// Nothing of theirs is on the host, so neither its firewall nor its bridges
// see them. The kernel does not let the host and its own containers talk to
// each other this way.
//
// A namespace whose last process has ended can live on for minutes, while its
// kernel tries to deliver what connections still held; its interfaces would go
// on answering for addresses that are others' by then. So each interface has a
// second name, which nothing else has, by which it is removed in whatever
// namespace it is (the host numbers them: RTM_NEWNSID).
type stackedDriver struct {
	kind    string // of interfaces: kindMacvlan, kindIPvlan
	parse   func(n *apinet.Network) (stackedOptions, error)
	parents *parents // the same for both kinds
}

const (
	kindMacvlan = "macvlan"
	kindIPvlan  = "ipvlan"

	optionParent = "parent"
)

// stackedOptions are the options of a network, read.
type stackedOptions struct {
	parent   string
	mtu      int // 0: that of the parent
	nickname string
	sole     bool         // no other network of the kind may have the parent
	borrowed bool         // interfaces have the MAC of the parent
	routed   bool         // the parent routes for them: there are no gateways
	data     func(*batch) // writes the attributes of a new interface that only its kind has
}

// common reads the options that both kinds have.
func (d *stackedDriver) common(n *apinet.Network) (o stackedOptions, err error) {
	o.parent = n.Options[optionParent]
	switch {
	case o.parent == "lo":
		return o, errs.New(errs.InvalidParameter, "loopback interface is not a valid %s parent link", d.kind)
	case o.parent == "":
		o.parent = nowhere + n.ID[:min(12, len(n.ID))]
	case !validInterface(o.parent):
		return o, badInterface("-o parent", o.parent)
	}
	if value, given := n.Options[optionMTU]; given {
		if o.mtu, err = strconv.Atoi(value); err != nil || o.mtu != 0 && o.mtu < 68 || o.mtu > 65535 {
			return o, errs.New(errs.InvalidParameter, "invalid MTU number: %s: it is from 68 to 65535 bytes", value)
		}
	}
	if o.nickname = n.Options[optionIfacePrefix]; o.nickname == "" {
		o.nickname = "eth"
	}
	if !validInterface(o.nickname + "100") {
		return o, errs.New(errs.InvalidParameter, "%s %q is no beginning of an interface's name: at most %d characters, no space, slash, colon or percent sign", optionIfacePrefix, o.nickname, unix.IFNAMSIZ-4)
	}
	return o, nil
}

// closed says whether a network has no way out: it is internal, or stands on
// nothing.
func (o stackedOptions) closed(n *apinet.Network) bool {
	return n.Internal || strings.HasPrefix(o.parent, nowhere)
}

// plan is that of driver.
func (d *stackedDriver) plan(n *apinet.Network) (ranging, error) {
	o, err := d.parse(n)
	if err == nil {
		err = d.parents.check(o.parent)
	}
	if o.routed || o.closed(n) {
		return rangesGiven, err
	}
	return rangesPlanned, err
}

// open is that of driver.
func (d *stackedDriver) open(_ context.Context, n apinet.Network) (lan, traits, error) {
	o, err := d.parse(&n)
	if err != nil {
		return nil, traits{}, err
	}
	if err := d.probe(); err != nil {
		return nil, traits{}, err
	}
	p, err := d.parents.open(o.parent, tenant{n.ID, d.kind, o.sole})
	if err != nil {
		return nil, traits{}, err
	}
	if p.index != 0 && o.mtu > p.mtu {
		return nil, traits{}, errors.Join(
			errs.New(errs.InvalidParameter, "invalid MTU number: %d: parent interface %s has %d", o.mtu, o.parent, p.mtu),
			d.parents.close(o.parent, n.ID, true))
	}
	return &stacked{driver: d, options: o, id: n.ID, spaces: map[string]int{}}, traits{
		tidy: true, ipv6: n.EnableIPv6, direct: o.routed, noRoute: o.closed(&n), borrowed: o.borrowed, nickname: o.nickname,
	}, nil
}

// probe asks the kernel for an interface that cannot be, since it has no
// parent: where it knows the kind, or has a module for it, it says so.
func (d *stackedDriver) probe() error {
	var b batch
	b.request("asking for "+d.kind, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, ifinfomsg(0, 0))
	b.text(unix.IFLA_IFNAME, "dvprobe")
	b.nest(unix.IFLA_LINKINFO, func() { b.text(unix.IFLA_INFO_KIND, d.kind) })
	err := d.parents.maker.inHost(&b)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return errs.New(errs.System, "%w: this kernel has no %s interfaces: load the module (modprobe %[2]s), or use another driver", err, d.kind)
	}
	return nil
}

// stacked is a network of stackedDriver.
type stacked struct {
	driver  *stackedDriver
	options stackedOptions
	id      string

	mu     sync.Mutex
	spaces map[string]int // guarded by mu; endpoint to number of its namespace, of those attached by this engine
}

// stackedName is the name of an endpoint's interface that nothing else has: it
// is created by it, and keeps it beside the one that the container knows.
func stackedName(e Endpoint) string { return "dvm" + e.ID[:12] }

// attach is that of lan.
func (s *stacked) attach(_ context.Context, e *Endpoint, at entry, _ map[string]string) (plug, error) {
	m := s.driver.parents.maker
	p, err := s.driver.parents.find(s.options.parent)
	if err != nil {
		return plug{}, err
	}
	if s.options.borrowed {
		e.MAC = apinet.HardwareAddr(p.mac)
	}
	if s.options.routed {
		e.Gateway4, e.Gateway6 = netip.Addr{}, netip.Addr{}
	}
	// Older kernels look for the name of a new interface among those of the
	// host, whichever namespace it is for, so it gets its own name there.
	name := stackedName(*e)
	var b batch
	b.request("creating "+s.driver.kind+" interface "+e.Interface, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, ifinfomsg(0, 0))
	b.text(unix.IFLA_IFNAME, name)
	b.number(unix.IFLA_LINK, uint32(p.index))
	b.number(unix.IFLA_NET_NS_FD, uint32(at.ns.Fd()))
	if !s.options.borrowed {
		b.attr(unix.IFLA_ADDRESS, net.HardwareAddr(e.MAC))
	}
	if s.options.mtu != 0 {
		b.number(unix.IFLA_MTU, uint32(s.options.mtu))
	}
	b.nest(unix.IFLA_LINKINFO, func() {
		b.text(unix.IFLA_INFO_KIND, s.driver.kind)
		b.nest(unix.IFLA_INFO_DATA, func() { s.options.data(&b) })
	})
	if err := m.inHost(&b); err != nil {
		return plug{}, s.explain(err)
	}
	index, err := at.indexOf(name)
	if err != nil {
		return plug{}, err
	}
	var own batch
	own.rename(index, e.Interface)
	if err := at.rtnl.do(&own); err != nil {
		var del batch
		del.delLink(index)
		err = errors.Join(err, at.rtnl.do(&del))
		if errors.Is(err, unix.EEXIST) {
			return plug{}, errs.New(errs.Conflict, "naming interface %s: %w: the container has an interface of that name already", e.Interface, err)
		}
		return plug{}, err
	}
	if err := netlink.LinkAddAltName(&netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Index: index}}, name); err != nil {
		return plug{}, explain(err, "naming interface "+e.Interface)
	}
	s.note(*e, at.ns)
	// The address may have been another's a moment ago: all on the LAN are told.
	for _, name := range []string{"net/ipv4/conf/" + e.Interface + "/arp_notify", "net/ipv6/conf/" + e.Interface + "/ndisc_notify"} {
		if err := sysctl(name, "1"); err != nil && !errors.Is(err, unix.ENOENT) {
			return plug{}, err
		}
	}
	if s.driver.kind == kindIPvlan {
		return plug{index: index}, s.awaitAddresses(*e, index)
	}
	return plug{index: index}, nil
}

// awaitAddresses waits until a new ipvlan interface can have its addresses: as
// long as the namespace of a container that has ended waits for the kernel to
// remove it, its interface keeps them from all others on the parent. The thread
// is in the interface's namespace.
func (s *stacked) awaitAddresses(e Endpoint, index int) error {
	const patience = 5 * time.Second
	link := &netlink.IPVlan{LinkAttrs: netlink.LinkAttrs{Index: index}}
	for _, p := range []netip.Prefix{e.Address4, e.Address6} {
		if !p.IsValid() {
			continue
		}
		a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
		for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			err := netlink.AddrAdd(link, a)
			if err == nil {
				err = netlink.AddrDel(link, a)
			}
			switch {
			case err == nil:
			case errors.Is(err, unix.EADDRINUSE) && time.Now().Before(end):
				continue
			case errors.Is(err, unix.EADDRINUSE):
				return errs.New(errs.Conflict, "%s: %w: another interface on %s has it", p.Addr(), err, s.options.parent)
			default:
				return explain(err, "trying address "+p.String())
			}
			break
		}
	}
	return nil
}

// explain says what the kernel's refusal of an interface means.
func (s *stacked) explain(err error) error {
	doing := "connecting a container to parent interface " + s.options.parent
	switch {
	case errors.Is(err, unix.EBUSY):
		return errs.New(errs.Conflict, "%s: %w: something else has it: a bridge, a bond, or interfaces of another kind (macvlan and ipvlan exclude each other)", doing, err)
	case errors.Is(err, unix.EINVAL) && s.options.sole && s.driver.kind == kindMacvlan:
		return errs.New(errs.Conflict, "%s: %w: in mode passthru one container can have it", doing, err)
	case errors.Is(err, unix.EADDRINUSE):
		return errs.New(errs.Conflict, "%s: %w: another interface on it has this MAC address", doing, err)
	}
	return explain(err, doing)
}

// note remembers which number the host has for the namespace of an endpoint.
func (s *stacked) note(e Endpoint, ns *os.File) {
	m := s.driver.parents.maker
	m.hostMu.Lock()
	defer m.hostMu.Unlock()
	// It has one, or gets the next; where that fails, all are asked.
	_ = m.links.SetNetNsIdByFd(int(ns.Fd()), -1)
	if number, err := m.links.GetNetNsIdByFd(int(ns.Fd())); err == nil && number >= 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.spaces[e.ID] = number
	}
}

// spacesOf returns the numbers of the namespaces that an endpoint may be in.
func (s *stacked) spacesOf(e Endpoint) ([]int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if number, ok := s.spaces[e.ID]; ok {
		delete(s.spaces, e.ID)
		return []int{number}, nil
	}
	return namespaces()
}

// drop removes the interface of an endpoint whose namespace is not at hand.
func (s *stacked) drop(e Endpoint) error {
	numbers, err := s.spacesOf(e)
	if err != nil {
		return explain(err, "listing network namespaces")
	}
	for _, number := range numbers {
		var b batch
		b.delLinkIn(number, stackedName(e))
		if s.driver.parents.maker.inHost(&b) == nil {
			return nil
		}
	}
	return nil // it went with its namespace
}

// detach is that of lan.
func (s *stacked) detach(es []Endpoint, at leaving) error {
	if at.ended || at.ns == nil {
		var failed []error
		for _, e := range es {
			failed = append(failed, s.drop(e))
		}
		return errors.Join(failed...)
	}
	p, err := s.driver.parents.find(s.options.parent)
	if err != nil {
		return nil // and with it all that stood on it
	}
	return onThread(func() error {
		return s.driver.parents.maker.enter(at.ns, func(r rtnl) error {
			links, err := dump(netlink.LinkList)
			if err != nil {
				return explain(err, "listing the interfaces of a container")
			}
			var failed []error
			for _, l := range links {
				if !s.isOneOf(l, es, p.index) {
					continue
				}
				var b batch
				b.delLink(l.Attrs().Index)
				if err := r.do(&b); !errors.Is(err, unix.ENODEV) {
					failed = append(failed, explain(err, "removing interface "+l.Attrs().Name))
				}
			}
			return errors.Join(failed...)
		})
	})
}

// isOneOf tells whether an interface is that of one of the endpoints. A
// container that may do so can have renamed it or given it another MAC.
func (s *stacked) isOneOf(l netlink.Link, es []Endpoint, parent int) bool {
	at := l.Attrs()
	if l.Type() != s.driver.kind || at.ParentIndex != parent {
		return false
	}
	for _, e := range es {
		if at.Name == e.Interface || at.HardwareAddr.String() == e.MAC.String() {
			return true
		}
	}
	return false
}

// found is that of lan: there is nothing on the host.
func (s *stacked) found() ([]Endpoint, error) { return nil, nil }

// restore is that of lan. Interfaces whose parent was removed are gone with it.
func (s *stacked) restore([]Endpoint) (bool, error) {
	_, err := s.driver.parents.find(s.options.parent)
	return false, err
}

// close is that of lan.
func (s *stacked) close(remove bool) error {
	return s.driver.parents.close(s.options.parent, s.id, remove)
}
