package ipam

import (
	"crypto/sha256"
	"net/netip"

	"github.com/davit-engine/davit/errs"
)

// Pool is a range of addresses that is cut into subnets with prefixes of the
// length Size.
type Pool struct {
	Base netip.Prefix
	Size int
}

// BridgePools are what the default bridge may get, in order of preference:
// those of Docker.
func BridgePools() []Pool {
	return append(private172(17, 16), Pool{netip.MustParsePrefix("192.168.0.0/16"), 20})
}

// NetworkPools are what other networks get where nothing else is set: the same
// addresses without 172.17.0.0/16, which Docker's own default bridge has, in
// subnets of 254 addresses, so that there are 3,840 of them instead of 30.
func NetworkPools() []Pool {
	return append(private172(18, 24), Pool{netip.MustParsePrefix("192.168.0.0/16"), 24})
}

// private172 returns 172.from.0.0/16 to 172.31.0.0/16.
func private172(from byte, size int) []Pool {
	var all []Pool
	for i := from; i <= 31; i++ {
		all = append(all, Pool{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, i}), 16), size})
	}
	return all
}

// ULA returns the pool of IPv6 subnets for a host that is identified by seed:
// 65,536 of the length 64 in a unique local range (RFC 4193), which is the same
// whenever it is asked for and, very likely, another one on each host.
func ULA(seed string) Pool {
	sum := sha256.Sum256([]byte("davit unique local addresses\x00" + seed))
	a := [16]byte{0: 0xfd}
	copy(a[1:6], sum[:])
	return Pool{netip.PrefixFrom(netip.AddrFrom16(a), 48), 64}
}

// Pools are those of an engine, by family.
type Pools struct{ V4, V6 []Pool }

// NewPools returns the pools that are set, and the default ones for a family
// of which none is.
func NewPools(set []Pool, seed string) Pools {
	var all Pools
	for _, p := range set {
		if p.Base.Addr().Is4() {
			all.V4 = append(all.V4, p)
		} else {
			all.V6 = append(all.V6, p)
		}
	}
	if all.V4 == nil {
		all.V4 = NetworkPools()
	}
	if all.V6 == nil {
		all.V6 = []Pool{ULA(seed)}
	}
	return all
}

// Check says what is wrong with a pool: InvalidParameter.
func (p Pool) Check() error {
	longest := 128
	if p.Base.Addr().Is4() {
		longest = 30
	}
	switch {
	case !p.Base.IsValid() || p.Base.Addr().Is4In6():
		return errs.New(errs.InvalidParameter, "an address pool needs a base such as 10.10.0.0/16")
	case p.Base != p.Base.Masked():
		return errs.New(errs.InvalidParameter, "address pool %s: the base should be %s", p.Base, p.Base.Masked())
	case p.Size < p.Base.Bits():
		return errs.New(errs.InvalidParameter, "address pool %s: subnets of the size %d are larger than the pool: give a size from %d to %d", p.Base, p.Size, p.Base.Bits(), longest)
	case p.Size > longest:
		return errs.New(errs.InvalidParameter, "address pool %s: subnets of the size %d have no room for containers: give a size from %d to %d", p.Base, p.Size, p.Base.Bits(), longest)
	case p.Base.Addr().IsLoopback(), p.Base.Addr().IsMulticast():
		return errs.New(errs.InvalidParameter, "address pool %s: loopback and multicast addresses cannot be containers'", p.Base)
	}
	return nil
}
