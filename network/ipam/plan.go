package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	apinet "github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/errs"
)

// Request is what a new network wants.
type Request struct {
	Config  []apinet.IPAMConfig // as its creator gave it
	V4, V6  bool                // the families it is to have
	Gateway bool                // choose a gateway where Config gives none
}

// World is what a plan has to fit into.
type World struct {
	Pools    Pools
	Networks []Taken // other networks: nothing may overlap them
	Host     []Taken // the host's interfaces, routes and name servers: what is chosen here does not overlap them
}

// Plan completes the configuration of a network: one entry for each range,
// with subnet and gateway. What the creator asked for is kept, even where the
// host uses those addresses too (a macvlan network is to); what is chosen is
// free. An entry whose subnet is 0.0.0.0 or :: with a length asks for any
// subnet of that length. Errors, in Docker's words: InvalidParameter for what
// makes no sense and for exhausted pools, Forbidden for an overlap.
func Plan(r Request, w World) ([]apinet.IPAMConfig, error) {
	if err := Validate(r.Config, r.V6); err != nil {
		return nil, err
	}
	var plan []apinet.IPAMConfig
	networks := slices.Clone(w.Networks)
	add := func(c apinet.IPAMConfig) error {
		if r.Gateway && !c.Gateway.IsValid() {
			c.Gateway = GatewayOf(c)
			if !c.Gateway.IsValid() {
				return errs.New(errs.InvalidParameter, "subnet %s has no address left for the gateway: give the network a larger one", c.Subnet)
			}
		}
		if _, err := NewRange(c); err != nil {
			return err
		}
		plan = append(plan, c)
		networks = append(networks, Taken{c.Subnet, "this network"})
		return nil
	}
	for _, f := range []struct {
		wanted, v6 bool
		pools      []Pool
	}{{r.V4, false, w.Pools.V4}, {r.V6, true, w.Pools.V6}} {
		if !f.wanted {
			continue
		}
		given := slices.Collect(func(yield func(apinet.IPAMConfig) bool) {
			for _, c := range r.Config {
				if c.Subnet.Addr().Is6() == f.v6 && !yield(c) {
					return
				}
			}
		})
		if len(given) == 0 {
			given = []apinet.IPAMConfig{{}}
		}
		for _, c := range given {
			var err error
			if !c.Subnet.IsValid() || c.Subnet.Addr().IsUnspecified() {
				c.Subnet, err = Choose(f.pools, max(c.Subnet.Bits(), 0), slices.Concat(networks, w.Host))
			} else if t, clash := Clash(c.Subnet, networks); clash {
				err = errs.New(errs.Forbidden, "invalid pool request: Pool overlaps with other one on this address space: %s overlaps %s of %s: choose another subnet, or leave it out to have a free one chosen", c.Subnet, t.Prefix, t.By)
			}
			if err == nil {
				err = add(c)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return plan, nil
}

// GatewayOf returns the address that Docker gives the gateway of a range where
// none is asked for: the first one that endpoints could have. It is the zero
// address if there is none.
func GatewayOf(c apinet.IPAMConfig) netip.Addr {
	c.Gateway = netip.Addr{}
	r, err := NewRange(c)
	if err != nil {
		return netip.Addr{}
	}
	a, err := r.Take()
	if err != nil {
		return netip.Addr{}
	}
	return a
}

// nobodys are the ranges whose addresses no container can have.
var nobodys = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("ff00::/8"),
}

// Validate checks each entry of a configuration for itself, in Docker's words:
// InvalidParameter with one line for each fault. Entries for IPv6 in a network
// without it are no fault, they mean nothing.
func Validate(config []apinet.IPAMConfig, v6 bool) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	for _, c := range config {
		if !c.Subnet.IsValid() {
			if c.IPRange.IsValid() || c.Gateway.IsValid() || len(c.AuxAddress) > 0 {
				fault("invalid subnet: an ip-range, a gateway or an auxiliary address needs the subnet that it lies in")
			}
			continue
		}
		if c.Subnet.Addr().Is6() && !v6 {
			continue
		}
		if c.Subnet != c.Subnet.Masked() {
			fault("invalid subnet %s: it should be %s", c.Subnet, c.Subnet.Masked())
		}
		if c.Subnet.Addr().Is4In6() || slices.ContainsFunc(nobodys, c.Subnet.Overlaps) {
			fault("invalid subnet %s: IPv4-mapped, loopback and multicast addresses cannot be containers'", c.Subnet)
		}
		family := "IPv4"
		if c.Subnet.Addr().Is6() {
			family = "IPv6"
		}
		if r := c.IPRange; r.IsValid() {
			if r != r.Masked() {
				fault("invalid ip-range %s: it should be %s", r, r.Masked())
			}
			switch {
			case r.Addr().BitLen() != c.Subnet.Addr().BitLen():
				fault("invalid ip-range %s: parent subnet is an %s block", r, family)
			case r.Bits() < c.Subnet.Bits():
				fault("invalid ip-range %s: CIDR block is bigger than its parent subnet %s", r, c.Subnet)
			case !c.Subnet.Contains(r.Addr()):
				fault("invalid ip-range %s: parent subnet %s doesn't contain ip-range", r, c.Subnet)
			}
		}
		within := func(what string, a netip.Addr) {
			switch {
			case a.BitLen() != c.Subnet.Addr().BitLen():
				fault("invalid %s: parent subnet is an %s block", what, family)
			case !c.Subnet.Contains(a):
				fault("invalid %s: parent subnet %s doesn't contain this address", what, c.Subnet)
			}
		}
		if c.Gateway.IsValid() {
			within("gateway "+c.Gateway.String(), c.Gateway)
		}
		for _, name := range auxNames(c) {
			within("auxiliary address "+name, c.AuxAddress[name])
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return errs.New(errs.InvalidParameter, "invalid network config:\n%w", errors.Join(faults...))
}
