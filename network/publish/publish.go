// Package publish reserves ports of the host for containers.
//
// A published port is reserved by a socket bound to it, so that the kernel
// keeps everybody from having it twice, and tells at once when somebody has it
// already. The kernel therefore is the allocator: there is no second list that
// could disagree. The sockets are made here and given away; the port is
// reserved as long as somebody keeps them. One of a range lies in the queue of
// a unix socket, which its keeper need not open to keep it:
//
//	10,000 ports -- 40 messages of 253 descriptors --> one descriptor
//
// The package also finds out who has a port, and makes the kernel forget
// connections that it would send where a port led before. It must not know what
// a container or a network is, nor the firewall, which leads a port's packets
// to their container.
//
// It keeps no state and no locks: what it does holds in the network namespace
// of the thread that calls it.
package publish

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Protocols that have ports.
const (
	TCP  = "tcp"
	UDP  = "udp"
	SCTP = "sctp"
)

// Binding is a port of a container that is to have a port of the host.
type Binding struct {
	Proto           string
	Port            uint16     // of the container
	HostIP          netip.Addr // invalid: all addresses of both families
	HostPort, Until uint16     // the range of which one is taken, both ends included; both 0: any free port
}

// Port is a published port, or Count of them side by side.
type Port struct {
	Proto    string
	HostIP   netip.Addr `json:",omitzero"` // invalid: all addresses of both families
	HostPort uint16
	Port     uint16 // of the container
	Count    uint16
}

// String is p as people write it: 127.0.0.1:8000-8009/tcp. It tells ports apart
// that can exist at the same time.
func (p Port) String() string { return p.Address() + "/" + p.Proto }

// Address is where the port is on the host: 127.0.0.1:8000-8009.
func (p Port) Address() string { return hostText(p.HostIP, p.HostPort, p.HostPort+p.Count-1) }

// hostText is an address with its ports. All addresses are written as those of
// IPv4 are, which is how Docker's errors have them.
func hostText(ip netip.Addr, first, last uint16) string {
	if !ip.IsValid() {
		ip = netip.IPv4Unspecified()
	}
	text := netip.AddrPortFrom(ip, first).String()
	if last > first {
		text += "-" + strconv.Itoa(int(last))
	}
	return text
}

// Overlaps reports whether p and q cannot be reserved both.
func (p Port) Overlaps(q Port) bool {
	return p.Proto == q.Proto && overlap(p.HostIP, q.HostIP) &&
		int(p.HostPort) < int(q.HostPort)+int(q.Count) && int(q.HostPort) < int(p.HostPort)+int(p.Count)
}

// overlap reports whether a packet can be for both addresses.
func overlap(a, b netip.Addr) bool {
	switch {
	case !a.IsValid() || !b.IsValid():
		return true
	case a.Is4() != b.Is4():
		return false
	}
	return a == b || a.IsUnspecified() || b.IsUnspecified()
}

// HostIPs are the addresses under which p is shown: 0.0.0.0 and :: for all of
// both families.
func (p Port) HostIPs() []netip.Addr {
	if p.HostIP.IsValid() {
		return []netip.Addr{p.HostIP}
	}
	return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
}

// request is bindings that are reserved together: count fixed ports side by
// side, or one of a range.
type request struct {
	Binding
	count uint16
}

// plan puts bindings in order and joins neighbours. Ports that are said come
// before those that are chosen, so that no choice takes what another binding
// must have. What is asked for twice is done once.
func plan(want []Binding) []request {
	sorted := inOrder(want)
	var out []request
	for i, b := range sorted {
		if i > 0 && b == sorted[i-1] && b.HostPort != 0 && b.HostPort == b.Until {
			continue
		}
		if n := len(out); n > 0 && out[n-1].follows(b) {
			out[n-1].count++
			continue
		}
		out = append(out, request{b, 1})
	}
	return out
}

// inOrder sorts bindings by their freedom, protocol and address, and then so
// that neighbours follow each other: by how far their two ports are apart, and
// by the host's. There may be 10,000, so each gets a number to be sorted by.
func inOrder(want []Binding) []Binding {
	type kind struct {
		proto string
		ip    netip.Addr
	}
	var kinds []kind
	for _, b := range want {
		if k := (kind{b.Proto, b.HostIP}); !slices.Contains(kinds, k) {
			kinds = append(kinds, k)
		}
	}
	slices.SortFunc(kinds, func(a, b kind) int { return cmp.Or(strings.Compare(a.proto, b.proto), a.ip.Compare(b.ip)) })
	type place struct {
		key uint64
		at  int
	}
	places := make([]place, len(want))
	for i, b := range want {
		apart := uint64(int(b.HostPort) - int(b.Port) + 1<<16)
		group := uint64(slices.Index(kinds, kind{b.Proto, b.HostIP})) // of at most 2^14
		places[i] = place{uint64(b.freedom())<<47 | group<<33 | apart<<16 | uint64(b.HostPort), i}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.key, b.key) })
	out := make([]Binding, len(want))
	for i, p := range places {
		out[i] = want[p.at]
		out[i].Until = max(out[i].Until, out[i].HostPort)
	}
	return out
}

// freedom is how many ports would do beside the first.
func (b *Binding) freedom() int {
	if b.HostPort == 0 {
		return 1 << 16
	}
	return max(0, int(b.Until)-int(b.HostPort))
}

// follows reports whether b is the next port of r.
func (r *request) follows(b Binding) bool {
	return b.HostPort != 0 && b.HostPort == b.Until && r.HostPort == r.Until && r.Proto == b.Proto && r.HostIP == b.HostIP &&
		int(r.HostPort)+int(r.count) == int(b.HostPort) && int(r.Port)+int(r.count) == int(b.Port)
}

// CheckProto says what is wrong with a protocol's name.
func CheckProto(proto string) error {
	switch proto {
	case TCP, UDP, SCTP:
		return nil
	}
	return fmt.Errorf("invalid proto %q: must be tcp, udp or sctp", proto)
}
