package ipam

import (
	"maps"
	"math"
	"net/netip"
	"slices"

	apinet "github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/errs"
)

// Range hands out the addresses of one subnet, next fit: it goes on where it
// stopped, so that an address given back rests for a whole round and nobody's
// stale neighbour entry, DNS answer or connection meets its next holder.
type Range struct {
	config apinet.IPAMConfig
	part   netip.Prefix          // what Take gives from: the ip-range, or all of the subnet
	end    netip.Addr            // last of part
	cursor netip.Addr            // given out last
	used   map[netip.Addr]string // who has it, in words; "" is an endpoint
	inPart uint64                // of used
}

// NewRange returns the range that c describes: Subnet, and if they are set
// IPRange, Gateway and AuxAddress, which are never given out, no more than the
// subnet's own address (in IPv6 it is any router's) and its broadcast address.
// Errors: InvalidParameter when they do not belong together, Forbidden when
// two of them are the same, as in Docker.
func NewRange(c apinet.IPAMConfig) (*Range, error) {
	if err := Validate([]apinet.IPAMConfig{c}, true); err != nil {
		return nil, err
	}
	if !c.Subnet.IsValid() {
		return nil, errs.New(errs.InvalidParameter, "a range of addresses needs a subnet")
	}
	r := &Range{config: c, part: c.Subnet, used: map[netip.Addr]string{}}
	if c.IPRange.IsValid() {
		r.part = c.IPRange
	}
	r.end = last(r.part)
	r.cursor = r.end
	if a := c.Subnet.Addr(); a.Is6() && c.Subnet.Bits() < 127 || a.Is4() && c.Subnet.Bits() < 31 {
		r.hold(a, "the subnet's own address")
	}
	if b := Broadcast(c.Subnet); b.IsValid() {
		r.hold(b, "the subnet's broadcast address")
	}
	if c.Gateway.IsValid() {
		if err := r.reserve(c.Gateway, "the gateway"); err != nil {
			return nil, errs.New(errs.KindOf(err), "failed to allocate gateway (%s): %w", c.Gateway, err)
		}
	}
	for _, name := range auxNames(c) {
		if err := r.reserve(c.AuxAddress[name], "auxiliary address "+name); err != nil {
			return nil, errs.New(errs.KindOf(err), "failed to allocate secondary ip address (%s:%s): %w", name, c.AuxAddress[name], err)
		}
	}
	return r, nil
}

// auxNames returns the names of the auxiliary addresses, sorted.
func auxNames(c apinet.IPAMConfig) []string { return slices.Sorted(maps.Keys(c.AuxAddress)) }

// Config returns what the range was made of.
func (r *Range) Config() apinet.IPAMConfig { return r.config }

// Subnet returns the subnet.
func (r *Range) Subnet() netip.Prefix { return r.config.Subnet }

// Gateway returns the gateway, the zero address if there is none.
func (r *Range) Gateway() netip.Addr { return r.config.Gateway }

// Prefix returns an address of the subnet with the subnet's length: what an
// interface gets.
func (r *Range) Prefix(a netip.Addr) netip.Prefix {
	return netip.PrefixFrom(a, r.config.Subnet.Bits())
}

// Take returns the next free address. Errors: Exhausted.
func (r *Range) Take() (netip.Addr, error) {
	if r.Free() == 0 {
		family := "IPv4"
		if r.part.Addr().Is6() {
			family = "IPv6"
		}
		return netip.Addr{}, errs.New(errs.Exhausted, "no available %s addresses in %s: remove containers that are not needed, or use a network with a larger subnet or ip-range", family, r.part)
	}
	for a := r.cursor; ; {
		if a == r.end {
			a = r.part.Addr()
		} else {
			a = a.Next()
		}
		if _, used := r.used[a]; !used {
			r.hold(a, "")
			r.cursor = a
			return a, nil
		}
	}
}

// Claim takes one address of the subnet, which need not lie in the ip-range.
// Errors: InvalidParameter for one of another subnet, Forbidden, as in Docker,
// for one in use.
func (r *Range) Claim(a netip.Addr) error { return r.reserve(a, "") }

func (r *Range) reserve(a netip.Addr, by string) error {
	if !r.config.Subnet.Contains(a) {
		return errs.New(errs.InvalidParameter, "no configured subnet contains IP address %s: choose one of %s", a, r.config.Subnet)
	}
	if holder, used := r.used[a]; used {
		if holder == "" {
			holder = "a container's"
		}
		return errs.New(errs.Forbidden, "Address already in use: %s is %s", a, holder)
	}
	r.hold(a, by)
	return nil
}

func (r *Range) hold(a netip.Addr, by string) {
	r.used[a] = by
	if r.part.Contains(a) {
		r.inPart++
	}
}

// Give takes an address of Take or Claim back; any other is left alone.
func (r *Range) Give(a netip.Addr) {
	if by, used := r.used[a]; !used || by != "" {
		return
	}
	delete(r.used, a)
	if r.part.Contains(a) {
		r.inPart--
	}
}

// Last returns the address that Take gave last; of a new range it is the one
// before the first.
func (r *Range) Last() netip.Addr { return r.cursor }

// GoOnAfter makes a count as the address that Take gave last; one that Take
// cannot give, such as the zero address, is ignored.
func (r *Range) GoOnAfter(a netip.Addr) {
	if r.part.Contains(a) {
		r.cursor = a
	}
}

// Free returns how many addresses Take can still give, at most 2⁶⁴-1.
func (r *Range) Free() uint64 {
	switch bits := r.part.Addr().BitLen() - r.part.Bits(); {
	case bits > 64, bits == 64 && r.inPart == 0:
		return math.MaxUint64
	case bits == 64:
		return -r.inPart // 2⁶⁴ is 0
	default:
		return 1<<bits - r.inPart
	}
}

// Status counts as Docker does: in use are also the addresses that are never
// given out.
func (r *Range) Status() apinet.SubnetStatus {
	return apinet.SubnetStatus{IPsInUse: uint64(len(r.used)), DynamicIPsAvailable: r.Free()}
}

// Ranges are those of one family in one network, in the order they were given.
type Ranges []*Range

// Of returns the range whose subnet holds an address, nil if none does.
func (rs Ranges) Of(a netip.Addr) *Range {
	for _, r := range rs {
		if r.config.Subnet.Contains(a) {
			return r
		}
	}
	return nil
}

// Take returns a free address, and the range it is of: the first that has one.
func (rs Ranges) Take() (a netip.Addr, r *Range, err error) {
	err = errs.New(errs.InvalidParameter, "the network has no addresses of this family")
	for _, r = range rs {
		if a, err = r.Take(); err == nil {
			return a, r, nil
		}
	}
	return netip.Addr{}, nil, err
}

// Claim takes one address and returns the range it is of.
func (rs Ranges) Claim(a netip.Addr) (*Range, error) {
	r := rs.Of(a)
	if r == nil {
		return nil, errs.New(errs.InvalidParameter, "no configured subnet contains IP address %s", a)
	}
	return r, r.Claim(a)
}

// Give takes an address back.
func (rs Ranges) Give(a netip.Addr) {
	if r := rs.Of(a); r != nil {
		r.Give(a)
	}
}
