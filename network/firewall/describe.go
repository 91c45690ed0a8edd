package firewall

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

// Mode says how a network's containers are reached in one family (Docker's
// com.docker.network.bridge.gateway_mode_ipv4 and _ipv6).
type Mode uint8

const (
	NAT            Mode = iota // through published ports of the host's addresses only
	NATUnprotected             // and at their own addresses, all ports
	Routed                     // at their own addresses, published ports and ICMP only; nothing is translated
	Isolated                   // not at all; the bridge has no address
)

var modes = [...]string{NAT: "nat", NATUnprotected: "nat-unprotected", Routed: "routed", Isolated: "isolated"}

func (m Mode) String() string { return modes[m] }

// ParseMode reads the value of a gateway mode option; "" is nat.
func ParseMode(s string) (Mode, error) {
	for m, name := range modes {
		if s == name {
			return Mode(m), nil
		}
	}
	if s == "" {
		return NAT, nil
	}
	return 0, errs.New(errs.InvalidParameter, "unknown gateway mode %s: use %s", s, strings.Join(modes[:], ", "))
}

// Mark is a mark of packets, and the bits of it that count; none counts: no
// mark.
type Mark struct{ Value, Mask uint32 }

// ParseMark reads a mark as dockerd's bridge-accept-fwmark has it: 0x10/0xf0, or
// 0x10 alone for all bits.
func ParseMark(s string) (Mark, error) {
	value, mask, some := strings.Cut(s, "/")
	m := Mark{Mask: ^uint32(0)}
	v, err := strconv.ParseUint(value, 0, 32)
	m.Value = uint32(v)
	if err == nil && some {
		v, err = strconv.ParseUint(mask, 0, 32)
		m.Mask = uint32(v)
	}
	if err != nil || m.Mask == 0 {
		return Mark{}, errs.New(errs.InvalidParameter, "invalid firewall mark %q: write mark/mask, such as 0x10/0xf0", s)
	}
	return m, nil
}

func (m Mark) String() string { return fmt.Sprintf("%#x/%#x", m.Value, m.Mask) }

// Network is a bridge with containers on it.
type Network struct {
	Bridge                   string // name of the interface
	Subnets                  []netip.Prefix
	Masquerade4, Masquerade6 bool       // what leaves the host gets its address; not with Routed
	SNAT4, SNAT6             netip.Addr // the address it gets; invalid: that of the interface it leaves by
	Interconnect             bool       // containers on the network may reach each other
	Internal                 bool       // no way to the outside, or from there
	Mode4, Mode6             Mode
	Trusted                  []string // interfaces of the host from where containers are reached at their own addresses
}

func (n Network) validate() error {
	for _, name := range append([]string{n.Bridge}, n.Trusted...) {
		if name == "" || len(name) >= unix.IFNAMSIZ {
			return errs.New(errs.InvalidParameter, "%q cannot be the name of an interface", name)
		}
	}
	if n.SNAT4.IsValid() && !n.SNAT4.Is4() || n.SNAT6.IsValid() && !n.SNAT6.Is6() {
		return errs.New(errs.InvalidParameter, "network %s: %s and %s are not addresses of IPv4 and IPv6 that traffic to the outside can have", n.Bridge, n.SNAT4, n.SNAT6)
	}
	return nil
}

func (n Network) mode(a netip.Addr) Mode {
	if a.Is4() {
		return n.Mode4
	}
	return n.Mode6
}

// elements lists what the network itself is in the table.
func (n Network) elements() []element {
	name := interfaceKey(n.Bridge)
	all := []element{
		{slot{set: setBridges, key: name}, ""},
	}
	put := func(when bool, set, key, value string) {
		if when {
			all = append(all, element{slot{set: set, key: key}, value})
		}
	}
	for _, p := range n.Subnets {
		set := setOwn[0]
		if p.Addr().Is6() {
			set = setOwn[1]
		}
		all = append(all, element{slot{set, name + string(p.Masked().Addr().AsSlice()), name + string(lastOf(p).AsSlice())}, ""})
	}
	put(n.Interconnect, setWithin, name+name, "")
	put(n.Internal || n.Mode4 == Isolated && n.Mode6 == Isolated, setInternal, name, "")
	for i, m := range []Mode{n.Mode4, n.Mode6} {
		masquerade, snat := n.Masquerade4, n.SNAT4
		if i == 1 {
			masquerade, snat = n.Masquerade6, n.SNAT6
		}
		translated := masquerade && !n.Internal && (m == NAT || m == NATUnprotected)
		put(translated && !snat.IsValid(), setMasquerade[i], name, "")
		put(translated && snat.IsValid(), mapSNAT[i], name, string(snat.AsSlice()))
		put(m == NATUnprotected, setUnprotected[i], name, "")
		put(m == Routed, setRouted[i], name, "")
	}
	for _, from := range n.Trusted {
		put(from != n.Bridge, setTrusted, interfaceKey(from)+name, "")
	}
	return all
}

// Forward is a published port, or Count of them: what arrives at HostPort+i of
// the host goes to Port+i of the container.
type Forward struct {
	Bridge   string     // of the network that Address is on
	Proto    string     // tcp, udp, sctp
	HostIP   netip.Addr // unspecified: all of the host's addresses of its family
	HostPort uint16
	Count    uint16
	Address  netip.Addr
	Port     uint16
}

// String is the forward as people write it: 0.0.0.0:8000-8001->172.17.0.2:80-81/tcp.
func (f Forward) String() string {
	ports := func(first uint16) string {
		if f.Count > 1 {
			return fmt.Sprintf("%d-%d", first, int(first)+int(f.Count)-1)
		}
		return strconv.Itoa(int(first))
	}
	host := f.HostIP.String()
	if f.HostIP.Is6() {
		host = "[" + host + "]"
	}
	to := f.Address.String()
	if f.Address.Is6() {
		to = "[" + to + "]"
	}
	return fmt.Sprintf("%s:%s->%s:%s/%s", host, ports(f.HostPort), to, ports(f.Port), f.Proto)
}

var protocols = map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP}

func (f Forward) validate() error {
	switch _, known := protocols[f.Proto]; {
	case !known:
		return errs.New(errs.InvalidParameter, "publishing %s: the protocol is not tcp, udp or sctp", f)
	case !f.HostIP.IsValid() || !f.Address.IsValid() || f.Address.IsUnspecified() || f.HostIP.Is4In6() || f.Address.Is4In6():
		return errs.New(errs.InvalidParameter, "publishing %s: an address is missing, or is one of IPv4 written as IPv6", f)
	case f.HostPort == 0 || f.Port == 0 || f.Count == 0 || int(f.HostPort)+int(f.Count) > 65536 || int(f.Port)+int(f.Count) > 65536:
		return errs.New(errs.InvalidParameter, "publishing %s: ports are numbers from 1 to 65535", f)
	}
	return nil
}

// elements lists what the forward is in the table, on its network: none where
// the table cannot or must not do it.
func (f Forward) elements(n Network) []element {
	mode := n.mode(f.Address)
	if n.Internal || mode == Isolated {
		return nil
	}
	proto := string([]byte{protocols[f.Proto], 0, 0, 0})
	family := 0
	if f.Address.Is6() {
		family = 1
	}
	if mode == Routed {
		return []element{f.opening()}
	}
	if f.HostIP.Is4() != f.Address.Is4() || f.HostIP.Is6() && f.HostIP.IsLoopback() {
		return nil
	}
	ranges, single, key := mapAnyRange[family], mapAny[family], proto
	if !f.HostIP.IsUnspecified() {
		ranges, single, key = mapOneRange[family], mapOne[family], string(f.HostIP.AsSlice())+proto
	}
	to := string(f.Address.AsSlice())
	if f.Count > 1 && f.HostPort == f.Port {
		return []element{{slot{ranges, key + portKey(f.HostPort), key + portKey(f.HostPort+f.Count-1)}, to}}
	}
	all := make([]element, f.Count)
	for i := range f.Count {
		all[i] = element{slot{set: single, key: key + portKey(f.HostPort+i)}, to + portKey(f.Port+i)}
	}
	return all
}

// opening lets others reach the forward's ports at the container's own address.
func (f Forward) opening() element {
	family := 0
	if f.Address.Is6() {
		family = 1
	}
	key := string(f.Address.AsSlice()) + string([]byte{protocols[f.Proto], 0, 0, 0})
	return element{slot{setOpen[family], key + portKey(f.Port), key + portKey(f.Port+f.Count-1)}, ""}
}

// portKey is a port as keys and values hold it: big-endian, padded to a
// register.
func portKey(port uint16) string {
	return string(append(binary.BigEndian.AppendUint16(nil, port), 0, 0))
}

// lastOf returns the last address of a range.
func lastOf(p netip.Prefix) netip.Addr {
	last := p.Addr().AsSlice()
	for i := p.Bits(); i < len(last)*8; i++ {
		last[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(last)
	return a
}

// interfaceKey is an interface's name as sets hold it.
func interfaceKey(name string) string {
	return name + strings.Repeat("\x00", unix.IFNAMSIZ-len(name))
}

// slot is a place in a set or map; end is the last key of a range. No two
// elements have the same.
type slot struct{ set, key, end string }

// element is a place and what a map has there, "" in a set.
type element struct {
	slot
	value string
}

// content is what a place holds, and for how many forwards.
type content struct {
	value   string
	holders int
}

// difference is what is to be done to the elements of the table.
type difference struct{ add, remove []element }

func (d difference) empty() bool { return len(d.add)+len(d.remove) == 0 }
