package network

import (
	"net/netip"
	"slices"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network/ipam"
	apinet "github.com/moby/moby/api/types/network"
)

// addresses are those of a network, by family. They are not safe for
// concurrent use.
type addresses struct {
	v4, v6  ipam.Ranges
	foreign bool // the network's driver gives them: there are no ranges, and nothing is kept here
}

func newAddresses(n apinet.Network) (a addresses, err error) {
	for _, c := range n.IPAM.Config {
		r, err := ipam.NewRange(c)
		switch {
		case err != nil:
			return a, err
		case c.Subnet.Addr().Is4() && n.EnableIPv4:
			a.v4 = append(a.v4, r)
		case c.Subnet.Addr().Is6() && n.EnableIPv6:
			a.v6 = append(a.v6, r)
		}
	}
	return a, nil
}

// check says what cannot be of a wish for a network.
func (a addresses) check(w Wish, network string) error {
	if len(w.MAC) != 0 && (len(w.MAC) != 6 || w.MAC[0]&1 != 0 || w.MAC.String() == "00:00:00:00:00:00") {
		return errs.New(errs.InvalidParameter, "%s cannot be the MAC address of a container", w.MAC)
	}
	for _, f := range []struct {
		a      netip.Addr
		v4     bool
		name   string
		ranges ipam.Ranges
	}{{w.Address4, true, "IPv4", a.v4}, {w.Address6, false, "IPv6", a.v6}} {
		switch {
		case !f.a.IsValid():
		case f.a.Is4() != f.v4:
			return errs.New(errs.InvalidParameter, "%s is not an %s address", f.a, f.name)
		case len(f.ranges) == 0 && !a.foreign:
			return errs.New(errs.InvalidParameter, "network %s has no %s addresses: leave %s out, or use a network that has a subnet for it", network, f.name, f.a)
		}
	}
	for _, l := range w.LinkLocal {
		if !l.IsLinkLocalUnicast() {
			return errs.New(errs.InvalidParameter, "invalid link local IP address: %s", l)
		}
	}
	return nil
}

// choose takes addresses for an endpoint, those wished for where they are, and
// gives it these and the gateways. Of foreign ones it only notes the wishes.
func (a addresses) choose(e *Endpoint, w Wish) (err error) {
	if a.foreign {
		e.Address4, e.Address6 = single(w.Address4), single(w.Address6)
		return nil
	}
	if e.Address4, e.Gateway4, err = chooseOf(a.v4, w.Address4); err != nil {
		return err
	}
	if e.Address6, e.Gateway6, err = chooseOf(a.v6, w.Address6); err != nil {
		a.give(*e)
	}
	return err
}

// single is the range of one address, invalid for none.
func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// chooseOf chooses in one family. Without ranges there is no address.
func chooseOf(rs ipam.Ranges, wished netip.Addr) (p netip.Prefix, gateway netip.Addr, err error) {
	if len(rs) == 0 {
		return p, gateway, nil
	}
	var r *ipam.Range
	a := wished
	if a.IsValid() {
		r, err = rs.Claim(a)
	} else {
		a, r, err = rs.Take()
	}
	if err != nil {
		return p, gateway, err
	}
	gateway = r.Gateway()
	for _, name := range []string{auxGateway4, auxGateway6} {
		if other, given := r.Config().AuxAddress[name]; given {
			gateway = other
		}
	}
	return r.Prefix(a), gateway, nil
}

// The auxiliary addresses that Docker takes for what endpoints have as default
// gateway in place of the bridge.
const (
	auxGateway4 = "DefaultGatewayIPv4"
	auxGateway6 = "DefaultGatewayIPv6"
)

// claim takes the addresses that an endpoint has already.
func (a addresses) claim(e Endpoint) error {
	if a.foreign {
		return nil
	}
	if e.Address4.IsValid() {
		if _, err := a.v4.Claim(e.Address4.Addr()); err != nil {
			return err
		}
	}
	if e.Address6.IsValid() {
		if _, err := a.v6.Claim(e.Address6.Addr()); err != nil {
			if e.Address4.IsValid() {
				a.v4.Give(e.Address4.Addr())
			}
			return err
		}
	}
	return nil
}

// give takes an endpoint's addresses back.
func (a addresses) give(e Endpoint) {
	if e.Address4.IsValid() {
		a.v4.Give(e.Address4.Addr())
	}
	if e.Address6.IsValid() {
		a.v6.Give(e.Address6.Addr())
	}
}

// free returns how many more endpoints there can be, or a million.
func (a addresses) free() int {
	n := uint64(1e6)
	for _, rs := range []ipam.Ranges{a.v4, a.v6} {
		free := uint64(0)
		for _, r := range rs {
			free += min(r.Free(), 1e6)
		}
		if len(rs) > 0 {
			n = min(n, free)
		}
	}
	return int(n)
}

// status counts addresses, and those of ready as free.
func (a addresses) status(ready []Endpoint) apinet.SubnetStatuses {
	all := apinet.SubnetStatuses{}
	for _, r := range slices.Concat(a.v4, a.v6) {
		s := r.Status()
		for _, e := range ready {
			if r.Subnet().Contains(e.Address4.Addr()) || r.Subnet().Contains(e.Address6.Addr()) {
				s.IPsInUse--
				s.DynamicIPsAvailable++
			}
		}
		all[r.Subnet()] = s
	}
	return all
}

// last returns the address of each range given out last.
func (a addresses) last() (all []netip.Addr) {
	for _, r := range slices.Concat(a.v4, a.v6) {
		all = append(all, r.Last())
	}
	return all
}

// goOnAfter is the opposite of last.
func (a addresses) goOnAfter(all []netip.Addr) {
	for i, r := range slices.Concat(a.v4, a.v6) {
		if i < len(all) {
			r.GoOnAfter(all[i])
		}
	}
}
