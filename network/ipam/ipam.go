// Package ipam decides which ranges of addresses a network gets and which
// address of them an endpoint gets, for IPv4 and IPv6 alike.
//
//	pools and wishes --Plan--> ranges of a network --NewRange--> Take, Claim, Give
//
// It owns the default pools, the rules a configuration must obey, and the
// bookkeeping of addresses in memory. It must not know the host: what is taken
// already is an argument, and what was decided is kept by the caller (ranges
// in the network's file, leases in the names of interfaces and in containers'
// records, brought back by Claim and GoOnAfter).
//
// Nothing here is safe for concurrent use: the owner of a network guards its
// ranges with its own lock. Functions keep no state.
package ipam

import (
	"net/netip"
	"slices"

	"github.com/davit-engine/davit/errs"
)

// Taken is a range that something uses, and what that is, in words for
// messages such as "interface eth0" or "network web".
type Taken struct {
	Prefix netip.Prefix
	By     string
}

// Clash returns the first of the ranges taken that overlaps p.
func Clash(p netip.Prefix, used []Taken) (Taken, bool) {
	for _, t := range used {
		if t.Prefix.Overlaps(p) {
			return t, true
		}
	}
	return Taken{}, false
}

// Everywhere reports whether a range is so large that a route to it says
// nothing about any network there: VPNs lay 0.0.0.0/1 and 128.0.0.0/1 over the
// default route. The largest that say something are 10.0.0.0/8 and fc00::/7.
func Everywhere(p netip.Prefix) bool {
	return p.Bits() < 7 || p.Bits() < 8 && p.Addr().Is4()
}

// Choose returns the first subnet of the pools that overlaps nothing taken. A
// size other than 0 is the length of the subnet's prefix in place of that of
// the pool, where the pool has room for one. What is Everywhere does not count
// as taken. Errors: InvalidParameter, as in Docker, when there is none.
func Choose(pools []Pool, size int, used []Taken) (netip.Prefix, error) {
	used = slices.DeleteFunc(slices.Clone(used), func(t Taken) bool { return Everywhere(t.Prefix) })
	slices.SortFunc(used, func(a, b Taken) int { return a.Prefix.Masked().Addr().Compare(b.Prefix.Masked().Addr()) })
	for _, p := range pools {
		if size != 0 {
			p.Size = size
		}
		if p.Size < p.Base.Bits() || p.Size > p.Base.Addr().BitLen() {
			continue
		}
		if c, ok := p.first(used); ok {
			return c, nil
		}
	}
	return netip.Prefix{}, errs.New(errs.InvalidParameter,
		"all predefined address pools have been fully subnetted: choose a range with --subnet, or give the engine more of them (default-address-pools); networks, routes and name servers of the host count as used")
}

// first returns the pool's first subnet that overlaps nothing taken, which is
// sorted. One pass does, however many subnets the pool has: each range in the
// way is stepped over as a whole.
func (p Pool) first(used []Taken) (netip.Prefix, bool) {
	base := p.Base.Masked()
	c := netip.PrefixFrom(base.Addr(), p.Size)
	for i := 0; ; {
		for i < len(used) && last(used[i].Prefix).Compare(c.Addr()) < 0 {
			i++
		}
		if i == len(used) || !used[i].Prefix.Overlaps(c) {
			return c, true
		}
		end := last(c)
		if t := last(used[i].Prefix); t.BitLen() == end.BitLen() && t.Compare(end) > 0 {
			end = t
		}
		next := end.Next() // on a boundary of both
		if !next.IsValid() || !base.Contains(next) {
			return netip.Prefix{}, false
		}
		c = netip.PrefixFrom(next, p.Size)
	}
}

// last returns the last address of a range; of an IPv4 subnet that is its
// broadcast address.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		switch bits := p.Bits() - i*8; {
		case bits <= 0:
			b[i] = 0xff
		case bits < 8:
			b[i] |= 0xff >> bits
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// Broadcast returns the broadcast address of an IPv4 subnet, the zero address
// for one that has none: IPv6, /31 and /32.
func Broadcast(p netip.Prefix) netip.Addr {
	if !p.Addr().Is4() || p.Bits() > 30 {
		return netip.Addr{}
	}
	return last(p)
}
