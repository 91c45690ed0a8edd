package network

import (
	"net/netip"

	"github.com/davit-engine/davit/errs"
)

// addresses hands out the IPv4 addresses of one range, next fit: it goes on
// where it stopped, so that an address given back rests for a whole round and
// nobody's stale ARP entry, DNS answer or connection meets its next holder.
// It is not safe for concurrent use.
type addresses struct {
	subnet      netip.Prefix        // masked
	first, last netip.Addr          // the part that may be given out, both included
	last0       netip.Addr          // the address given out last
	used        map[netip.Addr]bool // always holds the gateway
	free        int                 // of first..last
}

// newAddresses returns the addresses of part, which lies in subnet, without
// the network's own, the broadcast and the gateway's.
func newAddresses(subnet, part netip.Prefix, gateway netip.Addr) (*addresses, error) {
	subnet, part = subnet.Masked(), part.Masked()
	switch {
	case !subnet.Addr().Is4() || !part.Addr().Is4():
		return nil, errs.New(errs.InvalidParameter, "%s is not an IPv4 range", subnet)
	case subnet.Bits() > 30:
		return nil, errs.New(errs.InvalidParameter, "%s has no room for containers: give the bridge a /30 or larger", subnet)
	case part.Bits() < subnet.Bits() || !subnet.Contains(part.Addr()):
		return nil, errs.New(errs.InvalidParameter, "fixed-cidr %s does not lie in the bridge's range %s", part, subnet)
	case !subnet.Contains(gateway) || gateway == subnet.Addr() || gateway == lastOf(subnet):
		return nil, errs.New(errs.InvalidParameter, "%s cannot be the bridge's address in %s", gateway, subnet)
	}
	a := &addresses{subnet: subnet, first: part.Addr(), last: lastOf(part), used: map[netip.Addr]bool{gateway: true}}
	if a.first == subnet.Addr() {
		a.first = a.first.Next()
	}
	if a.last == lastOf(subnet) {
		a.last = a.last.Prev()
	}
	a.free = int(number(a.last)-number(a.first)) + 1
	if a.inPart(gateway) {
		a.free--
	}
	a.last0 = a.last
	return a, nil
}

// take returns the next free address.
func (a *addresses) take() (netip.Addr, error) {
	if a.free == 0 {
		return netip.Addr{}, errs.New(errs.Exhausted, "no free address left in %s: remove containers that are not needed, or give the bridge a larger range (bip, fixed-cidr)", a.subnet)
	}
	for addr := a.last0; ; {
		if addr = addr.Next(); !a.inPart(addr) {
			addr = a.first
		}
		if !a.used[addr] {
			a.used[addr] = true
			a.last0 = addr
			a.free--
			return addr, nil
		}
	}
}

// claim takes one address of the range, which need not lie in the part that
// take gives from.
func (a *addresses) claim(addr netip.Addr) error {
	switch {
	case !a.subnet.Contains(addr) || addr == a.subnet.Addr() || addr == lastOf(a.subnet):
		return errs.New(errs.InvalidParameter, "address %s is not one of the range %s", addr, a.subnet)
	case a.used[addr]:
		return errs.New(errs.Conflict, "address %s is already in use", addr)
	}
	a.used[addr] = true
	if a.inPart(addr) {
		a.free--
	}
	return nil
}

// give takes an address back; one that is not in use is left alone.
func (a *addresses) give(addr netip.Addr) {
	if !a.used[addr] {
		return
	}
	delete(a.used, addr)
	if a.inPart(addr) {
		a.free++
	}
}

// goOnAfter makes addr count as the one given out last.
func (a *addresses) goOnAfter(addr netip.Addr) {
	if a.inPart(addr) {
		a.last0 = addr
	}
}

func (a *addresses) inPart(addr netip.Addr) bool {
	return addr.Is4() && a.first.Compare(addr) <= 0 && addr.Compare(a.last) <= 0
}

// number is an IPv4 address as a number.
func number(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func address(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// lastOf returns the last address of an IPv4 range: its broadcast address.
func lastOf(p netip.Prefix) netip.Addr {
	return address(number(p.Masked().Addr()) | uint32(1<<(32-p.Bits())-1))
}
