package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network/ipam"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// linkGroup is the interface group (ip link set ... group N) of the bridges of
// all engines on a host, so that one engine's table knows another's bridge.
const linkGroup = 0xda417

// doomedGroup is the interface group of what is being removed, by whichever
// engine.
const doomedGroup = 0xda4170

// device is a bridge as the kernel has it.
type device struct {
	name  string
	index int
	mtu   int // bytes
}

// aliasPrefix begins the alias of each bridge that we made; the rest is the
// network's ID.
const aliasPrefix = "davit network "

// want says how a bridge is to be.
type want struct {
	name      string
	mtu       int            // bytes; 0: that of the egress for a new one
	addresses []netip.Prefix // its own; others that it has it keeps
	ipv6      bool           // containers on it have IPv6
}

// suited returns the MTU of the way to the outside as the bridge can have it.
func (w want) suited(egress int) int {
	if w.ipv6 {
		return max(egress, 1280) // RFC 8200
	}
	return egress
}

// rangeLock is held between looking for a free range and having it on a
// bridge: no other engine may look meanwhile.
func rangeLock(ctx context.Context) (*lock, error) { return takeLock(ctx, "range", 10*time.Second) }

// findBridge returns the bridge of a name, nil if there is none. Error:
// Conflict where something else has the name.
func findBridge(name string) (*netlink.Bridge, error) {
	link, err := netlink.LinkByName(name)
	if missing := (netlink.LinkNotFoundError{}); errors.As(err, &missing) {
		return nil, nil
	}
	if err != nil {
		return nil, explain(err, "looking for bridge "+name)
	}
	bridge, ok := link.(*netlink.Bridge)
	if !ok {
		return nil, errs.New(errs.Conflict, "interface %s exists and is no bridge but a %s: remove it (ip link delete %[1]s) or name another bridge", name, link.Type())
	}
	return bridge, nil
}

// ensureDevice makes the bridge, or brings the one that is there up to date.
// created tells which.
func ensureDevice(w want) (_ device, created bool, err error) {
	bridge, err := findBridge(w.name)
	if err != nil {
		return device{}, false, err
	}
	if bridge == nil {
		mtu := w.mtu
		if mtu == 0 {
			mtu = w.suited(egressMTU())
		}
		// A MAC that is set stays; one that is not follows the ports.
		bridge = &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: w.name, MTU: mtu, HardwareAddr: randomMAC()}}
		if err := netlink.LinkAdd(bridge); err != nil {
			return device{}, false, explain(err, "creating bridge "+w.name)
		}
		created = true
		defer func() {
			if err != nil {
				err = errors.Join(err, netlink.LinkDel(bridge))
			}
		}()
		if bridge, err = findBridge(w.name); err != nil {
			return device{}, false, err
		}
	} else if w.mtu != 0 && bridge.MTU != w.mtu {
		if err := netlink.LinkSetMTU(bridge, w.mtu); err != nil {
			return device{}, false, explain(err, fmt.Sprintf("setting the MTU of bridge %s to %d", w.name, w.mtu))
		}
		bridge.MTU = w.mtu
	}
	if err := setBridgeIPv6(w.name, w.ipv6, created || strings.HasPrefix(bridge.Alias, aliasPrefix)); err != nil {
		return device{}, false, err
	}
	if err := addAddresses(bridge, w.addresses); err != nil {
		return device{}, false, err
	}
	at := bridge.Attrs()
	if at.Group != linkGroup {
		if err := netlink.LinkSetGroup(bridge, linkGroup); err != nil {
			return device{}, false, explain(err, "putting bridge "+w.name+" into its interface group")
		}
	}
	if at.Flags&net.FlagUp == 0 {
		if err := netlink.LinkSetUp(bridge); err != nil {
			return device{}, false, explain(err, "switching bridge "+w.name+" on")
		}
	}
	return device{name: at.Name, index: at.Index, mtu: at.MTU}, created, nil
}

// setBridgeIPv6 switches a bridge's IPv6 on or off. Without networks that have
// it, its link-local address would be a door to the host that nobody asked for.
// Routers on the bridge are containers: nobody believes them. Of a bridge that
// is not ours only what is needed is changed.
func setBridgeIPv6(name string, on, ours bool) error {
	var settings [][2]string
	switch {
	case on && ours:
		settings = [][2]string{{acceptRA, "0"}, {"accept_dad", "0"}, {"disable_ipv6", "0"}}
	case on:
		settings = [][2]string{{"disable_ipv6", "0"}}
	case ours:
		settings = [][2]string{{"disable_ipv6", "1"}}
	}
	for _, s := range settings {
		err := sysctl("net/ipv6/conf/"+name+"/"+s[0], s[1])
		if errors.Is(err, unix.ENOENT) && !on {
			return nil // a kernel without IPv6
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// addAddresses gives a bridge the addresses that it lacks.
func addAddresses(bridge netlink.Link, addresses []netip.Prefix) error {
	name := bridge.Attrs().Name
	have, err := addressesOf(bridge)
	if err != nil {
		return err
	}
	for _, p := range addresses {
		if slices.Contains(have, p) {
			continue
		}
		a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
		if p.Addr().Is4() {
			if p.Bits() < 31 {
				a.Broadcast = lastOf(p).AsSlice()
			}
		} else {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(bridge, a); err != nil && !errors.Is(err, unix.EEXIST) {
			return explain(err, fmt.Sprintf("giving bridge %s the address %s", name, p))
		}
	}
	return nil
}

func addressesOf(link netlink.Link) ([]netip.Prefix, error) {
	list, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, explain(err, "listing the addresses of bridge "+link.Attrs().Name)
	}
	var have []netip.Prefix
	for _, a := range list {
		have = append(have, prefixOf(a.IPNet))
	}
	return have, nil
}

// defaultGateway returns what the default bridge's own address and range are to
// be: asked for, those that it has, last time's, or those of a free range. An
// address that gives way to it is removed from the bridge.
func defaultGateway(c Config, last netip.Prefix) (netip.Prefix, error) {
	bridge, err := findBridge(c.Bridge)
	if err != nil {
		return netip.Prefix{}, err
	}
	if bridge == nil {
		return chooseGateway(c, last, 0)
	}
	list, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(bridge, netlink.FAMILY_V4) })
	if err != nil {
		return netip.Prefix{}, explain(err, "listing the addresses of bridge "+c.Bridge)
	}
	asked := c.BIP
	if !asked.IsValid() {
		asked = last
	}
	for _, a := range list {
		if prefixOf(a.IPNet) == asked {
			return asked, nil
		}
	}
	switch {
	case len(list) > 0 && !c.BIP.IsValid():
		return prefixOf(list[0].IPNet), nil
	case len(list) > 0:
		ports, err := portsOf(bridge.Index)
		if err != nil {
			return netip.Prefix{}, err
		}
		if len(ports) > 0 {
			return netip.Prefix{}, errs.New(errs.Conflict, "bridge %s has address %s and containers on it, so it cannot get %s: stop them first, or take bip out", c.Bridge, prefixOf(list[0].IPNet), c.BIP)
		}
	}
	gateway, err := chooseGateway(c, last, bridge.Index)
	if err != nil {
		return netip.Prefix{}, err
	}
	for i := range list {
		if err := netlink.AddrDel(bridge, &list[i]); err != nil {
			return netip.Prefix{}, explain(err, "removing an address from bridge "+c.Bridge)
		}
	}
	return gateway, nil
}

// chooseGateway returns the address for a default bridge that has none: the one
// asked for, last time's, or that of a free range. own is the bridge's index.
func chooseGateway(c Config, last netip.Prefix, own int) (netip.Prefix, error) {
	used, err := hostRanges([]int{own})
	if err != nil {
		return netip.Prefix{}, err
	}
	if c.BIP.IsValid() {
		if t, clash := ipam.Clash(c.BIP, used); clash {
			return netip.Prefix{}, errs.New(errs.Conflict, "bip %s overlaps %s of %s: choose another range, or leave bip out to have a free one chosen", c.BIP, t.Prefix, t.By)
		}
		return c.BIP, nil
	}
	if last.IsValid() {
		t, clash := ipam.Clash(last, used)
		if !clash {
			return last, nil
		}
		c.Log.Warn("bridge moves to another address range: something else uses its own now", "bridge", c.Bridge, "range", last.Masked(), "by", t.By)
	}
	pools := ipam.BridgePools()
	if c.FixedCIDR.IsValid() {
		pools = []ipam.Pool{{Base: c.FixedCIDR.Masked(), Size: c.FixedCIDR.Bits()}}
	}
	p, err := ipam.Choose(pools, 0, used)
	if err != nil {
		return netip.Prefix{}, errs.New(errs.Exhausted, "each range for the default bridge overlaps an interface, route or name server of this host: choose one with bip (%w)", err)
	}
	return netip.PrefixFrom(p.Addr().Next(), p.Bits()), nil
}

// defaultGateway6 is defaultGateway for IPv6, which the bridge keeps whatever
// other addresses it has.
func defaultGateway6(c Config, last netip.Prefix) (netip.Prefix, error) {
	first := func(p netip.Prefix) netip.Prefix { return netip.PrefixFrom(p.Masked().Addr().Next(), p.Bits()) }
	switch {
	case c.BIP6.IsValid():
		return c.BIP6, nil
	case c.FixedCIDR6.IsValid():
		return first(c.FixedCIDR6), nil
	}
	own := []int{}
	if bridge, err := findBridge(c.Bridge); err == nil && bridge != nil {
		own = append(own, bridge.Index)
	}
	used, err := hostRanges(own)
	if err != nil {
		return netip.Prefix{}, err
	}
	if last.IsValid() {
		if _, clash := ipam.Clash(last, used); !clash {
			return last, nil
		}
	}
	p, err := ipam.Choose(ipam.NewPools(c.Pools, c.StateDir).V6, 0, used)
	return first(p), err
}

// hostRanges lists what the host's interfaces, routes and name servers use,
// without the interfaces own, by index.
func hostRanges(own []int) ([]ipam.Taken, error) {
	var all []ipam.Taken
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, explain(err, "listing the host's addresses")
	}
	for _, a := range addrs {
		if !slices.Contains(own, a.LinkIndex) && !a.IP.IsLinkLocalUnicast() {
			all = append(all, ipam.Taken{Prefix: prefixOf(a.IPNet).Masked(), By: "interface " + linkName(a.LinkIndex)})
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := dump(func() ([]netlink.Route, error) {
			return netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			return nil, explain(err, "listing the host's routes")
		}
		for _, r := range routes {
			if t, uses := routeUse(r); uses && !slices.Contains(own, r.LinkIndex) {
				all = append(all, t)
			}
		}
	}
	if text, err := os.ReadFile("/etc/resolv.conf"); err == nil {
		all = append(all, nameServers(string(text))...)
	}
	return all, nil
}

// routeUse returns the range that a route of the host takes, if it is one that
// containers could be in.
func routeUse(r netlink.Route) (ipam.Taken, bool) {
	if r.Dst == nil || r.Dst.IP.IsLinkLocalUnicast() || r.Dst.IP.IsMulticast() {
		return ipam.Taken{}, false
	}
	p := prefixOf(r.Dst)
	return ipam.Taken{Prefix: p, By: "a route on " + linkName(r.LinkIndex)}, p.Bits() > 0
}

// nameServers returns the name servers of a resolv.conf: a bridge over one
// would cut the host off from it.
func nameServers(resolvConf string) []ipam.Taken {
	var all []ipam.Taken
	for line := range strings.Lines(resolvConf) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil && a.Zone() == "" {
			all = append(all, ipam.Taken{Prefix: netip.PrefixFrom(a, a.BitLen()), By: fmt.Sprintf("name server %s", a)})
		}
	}
	return all
}

// dump asks the kernel for a list until it is complete. A list during which
// something was added or removed may lack entries (NLM_F_DUMP_INTR), and on a
// host that starts containers all the time that is not rare.
func dump[T any](list func() ([]T, error)) (all []T, err error) {
	for range 100 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

// egressMTU returns the MTU of the interface of the default route, or
// Ethernet's.
func egressMTU() int {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := dump(func() ([]netlink.Route, error) {
			return netlink.RouteListFiltered(family, &netlink.Route{Dst: nil}, netlink.RT_FILTER_DST)
		})
		if err != nil || len(routes) == 0 {
			continue
		}
		if link, err := netlink.LinkByIndex(routes[0].LinkIndex); err == nil {
			return link.Attrs().MTU
		}
	}
	return 1500
}

// portsOf returns the interfaces on a bridge, by name. The kernel chooses them:
// an engine with many networks does not read all interfaces for each.
func portsOf(bridge int) (map[string]netlink.LinkAttrs, error) {
	links, err := dump(func() ([]netlink.Link, error) {
		req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		req.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(bridge))))
		answers, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
		var all []netlink.Link
		for _, a := range answers {
			l, err := netlink.LinkDeserialize(nil, a)
			if err != nil {
				return nil, err
			}
			all = append(all, l)
		}
		return all, err
	})
	if err != nil {
		return nil, explain(err, "listing the interfaces of the bridge")
	}
	ports := map[string]netlink.LinkAttrs{}
	for _, l := range links {
		if at := l.Attrs(); at.MasterIndex == bridge {
			ports[at.Name] = *at
		}
	}
	return ports, nil
}

// linkNames lists the interfaces of the thread's namespace.
func linkNames() ([]string, error) {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return nil, explain(err, "listing the container's interfaces")
	}
	var names []string
	for _, l := range links {
		names = append(names, l.Attrs().Name)
	}
	return names, nil
}

// linkName returns the name of an interface by its index: of one that there is
// with one system call, where a list of all would take one for each.
func linkName(index int) string {
	unknown := fmt.Sprintf("interface %d", index)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return unknown
	}
	defer unix.Close(fd)
	ifreq, err := unix.NewIfreq("")
	if err != nil {
		return unknown
	}
	ifreq.SetUint32(uint32(index))
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFNAME, ifreq); err != nil {
		return unknown
	}
	return ifreq.Name()
}

func prefixOf(n *net.IPNet) netip.Prefix {
	a, _ := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits)
}

// explain wraps an error of the kernel with what was being done, and with what
// to do about it where that is known.
func explain(err error, doing string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return errs.New(errs.Forbidden, "%s: %w: run the engine as root, or give it CAP_NET_ADMIN and CAP_SYS_ADMIN; containers with network host work without", doing, err)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT):
		return errs.New(errs.System, "%s: %w: the kernel lacks a module: load it (modprobe -a bridge veth nf_tables nft_masq nft_ct nft_chain_nat), or start the engine with bridge none", doing, err)
	}
	return errs.New(errs.System, "%s: %w", doing, err)
}
