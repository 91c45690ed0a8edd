package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// linkGroup is the interface group (ip link set ... group N) of the bridges of
// all engines on a host, so that one engine's table knows another's bridge.
const linkGroup = 0xda417

// device is the bridge as the kernel has it.
type device struct {
	name    string
	index   int
	mac     net.HardwareAddr
	mtu     int          // bytes
	gateway netip.Prefix // its own address, with the range's length
}

// openDevice takes over the bridge that c names, or makes it. s says what it
// was last time, and is brought up to date.
func openDevice(ctx context.Context, c Config, s *state) (device, error) {
	// Between looking for a free range and having it on the bridge no other
	// engine may look.
	l, err := takeLock(ctx, "range", 10*time.Second)
	if err != nil {
		return device{}, err
	}
	defer l.release()
	link, err := netlink.LinkByName(c.Bridge)
	if missing := (netlink.LinkNotFoundError{}); errors.As(err, &missing) {
		return createDevice(c, s)
	}
	if err != nil {
		return device{}, explain(err, "looking for bridge "+c.Bridge)
	}
	bridge, ok := link.(*netlink.Bridge)
	if !ok {
		return device{}, errs.New(errs.Conflict, "interface %s exists and is no bridge but a %s: remove it (ip link delete %[1]s) or name another bridge", c.Bridge, link.Type())
	}
	return adoptDevice(c, s, bridge)
}

func createDevice(c Config, s *state) (_ device, err error) {
	gateway, err := chooseGateway(c, s, 0)
	if err != nil {
		return device{}, err
	}
	// A MAC that is set stays; one that is not follows the ports.
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: c.Bridge, MTU: mtuOf(c), HardwareAddr: randomMAC()}}
	if err := netlink.LinkAdd(bridge); err != nil {
		return device{}, explain(err, "creating bridge "+c.Bridge)
	}
	s.Created = true
	defer func() {
		if err != nil {
			err = errors.Join(err, netlink.LinkDel(bridge))
		}
	}()
	// No IPv6 on it: its link-local address would be a door to the host that
	// nobody asked for. A kernel without IPv6 has no such file.
	if err := sysctl("net/ipv6/conf/"+c.Bridge+"/disable_ipv6", "1"); err != nil && !errors.Is(err, unix.ENOENT) {
		return device{}, err
	}
	link, err := netlink.LinkByName(c.Bridge)
	if err != nil {
		return device{}, explain(err, "finding the new bridge "+c.Bridge)
	}
	return finishDevice(s, link, gateway, true)
}

func adoptDevice(c Config, s *state, bridge *netlink.Bridge) (device, error) {
	list, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(bridge, netlink.FAMILY_V4) })
	if err != nil {
		return device{}, explain(err, "listing the addresses of bridge "+c.Bridge)
	}
	var have []netip.Prefix
	for _, a := range list {
		have = append(have, prefixOf(a.IPNet))
	}
	if c.MTU != 0 && bridge.MTU != c.MTU {
		if err := netlink.LinkSetMTU(bridge, c.MTU); err != nil {
			return device{}, explain(err, fmt.Sprintf("setting the MTU of bridge %s to %d", c.Bridge, c.MTU))
		}
		bridge.MTU = c.MTU
	}
	want := c.BIP
	if !want.IsValid() {
		want = s.Bridge
	}
	for _, p := range have {
		if p == want {
			return finishDevice(s, bridge, p, false)
		}
	}
	switch {
	case len(have) > 0 && !c.BIP.IsValid():
		return finishDevice(s, bridge, have[0], false)
	case len(have) > 0:
		names, err := portsOf(bridge.Index)
		if err != nil {
			return device{}, err
		}
		if len(names) > 0 {
			return device{}, errs.New(errs.Conflict, "bridge %s has address %s and containers on it, so it cannot get %s: stop them first, or take bip out", c.Bridge, have[0], c.BIP)
		}
	}
	gateway, err := chooseGateway(c, s, bridge.Index)
	if err != nil {
		return device{}, err
	}
	for i := range list {
		if err := netlink.AddrDel(bridge, &list[i]); err != nil {
			return device{}, explain(err, "removing an address from bridge "+c.Bridge)
		}
	}
	return finishDevice(s, bridge, gateway, true)
}

// finishDevice gives the bridge its address if it lacks it and switches it on.
func finishDevice(s *state, link netlink.Link, gateway netip.Prefix, add bool) (device, error) {
	at := link.Attrs()
	if add {
		a := &netlink.Addr{IPNet: &net.IPNet{IP: gateway.Addr().AsSlice(), Mask: net.CIDRMask(gateway.Bits(), 32)}, Broadcast: lastOf(gateway).AsSlice()}
		if err := netlink.AddrAdd(link, a); err != nil {
			return device{}, explain(err, fmt.Sprintf("giving bridge %s the address %s", at.Name, gateway))
		}
	}
	if err := netlink.LinkSetGroup(link, linkGroup); err != nil {
		return device{}, explain(err, "putting bridge "+at.Name+" into its interface group")
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return device{}, explain(err, "switching bridge "+at.Name+" on")
	}
	s.Bridge = gateway
	return device{name: at.Name, index: at.Index, mac: at.HardwareAddr, mtu: at.MTU, gateway: gateway}, nil
}

// chooseGateway returns the address for a bridge that has none: the one asked
// for, last time's, or that of a free range. own is the bridge's index.
func chooseGateway(c Config, s *state, own int) (netip.Prefix, error) {
	used, err := hostRanges(own)
	if err != nil {
		return netip.Prefix{}, err
	}
	if c.BIP.IsValid() {
		if t, clash := clashOf(c.BIP, used); clash {
			return netip.Prefix{}, errs.New(errs.Conflict, "bip %s overlaps %s of %s: choose another range, or leave bip out to have a free one chosen", c.BIP, t.prefix, t.by)
		}
		return c.BIP, nil
	}
	var candidates []netip.Prefix
	if c.FixedCIDR.IsValid() {
		candidates = []netip.Prefix{c.FixedCIDR.Masked()}
	} else {
		candidates = defaultRanges()
	}
	if s.Bridge.IsValid() {
		t, clash := clashOf(s.Bridge, used)
		if !clash {
			return s.Bridge, nil
		}
		c.Log.Warn("bridge moves to another address range: something else uses its own now", "bridge", c.Bridge, "range", s.Bridge.Masked(), "by", t.by)
	}
	p, err := chooseRange(candidates, used)
	if err != nil {
		return netip.Prefix{}, err
	}
	return gatewayOf(p), nil
}

// hostRanges lists what the host's interfaces, routes and name servers use,
// without the interface own.
func hostRanges(own int) ([]taken, error) {
	var all []taken
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, explain(err, "listing the host's addresses")
	}
	for _, a := range addrs {
		if a.LinkIndex != own {
			all = append(all, taken{prefixOf(a.IPNet).Masked(), "interface " + linkName(a.LinkIndex)})
		}
	}
	routes, err := dump(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, explain(err, "listing the host's routes")
	}
	for _, r := range routes {
		if r.Dst == nil || r.LinkIndex == own && own != 0 {
			continue
		}
		if p := prefixOf(r.Dst); p.Bits() > 0 {
			all = append(all, taken{p, "a route on " + linkName(r.LinkIndex)})
		}
	}
	if text, err := os.ReadFile("/etc/resolv.conf"); err == nil {
		all = append(all, nameServers(string(text))...)
	}
	return all, nil
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

// mtuOf returns the MTU to use: the one asked for, or that of the interface
// of the default route, or Ethernet's.
func mtuOf(c Config) int {
	if c.MTU != 0 {
		return c.MTU
	}
	routes, err := dump(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: nil}, netlink.RT_FILTER_DST)
	})
	if err == nil && len(routes) > 0 {
		if link, err := netlink.LinkByIndex(routes[0].LinkIndex); err == nil {
			return link.Attrs().MTU
		}
	}
	return 1500
}

// portsOf returns the interfaces on a bridge: name to index.
func portsOf(bridge int) (map[string]int, error) {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return nil, explain(err, "listing the interfaces of the bridge")
	}
	ports := map[string]int{}
	for _, l := range links {
		if at := l.Attrs(); at.MasterIndex == bridge {
			ports[at.Name] = at.Index
		}
	}
	return ports, nil
}

// switchForwarding lets the host pass packets on between interfaces, and says
// whether it was we who did that in this boot.
func switchForwarding(s *state, log *slog.Logger) (ours bool, err error) {
	const path = "/proc/sys/net/ipv4/ip_forward"
	id, err := bootID()
	if err != nil {
		return false, err
	}
	now, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("reading sysctl net.ipv4.ip_forward: %w", err)
	}
	if now[0] != '0' {
		return s.Forwarding == id, nil
	}
	if err := sysctl("net/ipv4/ip_forward", "1"); err != nil {
		return false, explain(err, "switching IPv4 forwarding on")
	}
	s.Forwarding = id
	log.Info("IPv4 forwarding was off and is on now (net.ipv4.ip_forward=1), for containers to reach other hosts")
	return true, nil
}

func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot ID: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

func linkName(index int) string {
	i, err := net.InterfaceByIndex(index)
	if err != nil {
		return fmt.Sprintf("interface %d", index)
	}
	return i.Name
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
