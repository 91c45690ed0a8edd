package network

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/moby/moby/api/types/network"
	"github.com/spf13/pflag"

	"github.com/davit-engine/davit/cli/flags"
)

// addressing are the options that say which addresses a network has.
type addressing struct {
	driver                    string
	subnets, ranges, gateways []string
	auxiliary, options        flags.Map
}

func (a *addressing) addTo(f *pflag.FlagSet) {
	f.StringVar(&a.driver, "ipam-driver", "default", "IP Address Management Driver")
	f.StringSliceVar(&a.subnets, "subnet", nil, "Subnet in CIDR format that represents a network segment")
	f.StringSliceVar(&a.ranges, "ip-range", nil, "Allocate container ip from a sub-range")
	f.StringSliceVar(&a.gateways, "gateway", nil, "IPv4 or IPv6 Gateway for the master subnet")
	f.Var(&a.auxiliary, "aux-address", "Auxiliary IPv4 or IPv6 addresses used by Network driver")
	f.Var(&a.options, "ipam-opt", "Set IPAM driver specific options")
}

// ipam sorts ranges, gateways and auxiliary addresses to the subnets that they
// lie in, which stay in the order given.
func (a *addressing) ipam() (*network.IPAM, error) {
	if len(a.subnets) < len(a.ranges) || len(a.subnets) < len(a.gateways) {
		return nil, errors.New("every ip-range or gateway must have a corresponding subnet")
	}
	ipam := &network.IPAM{Driver: a.driver, Options: a.options.Values, Config: []network.IPAMConfig{}}
	for _, text := range a.subnets {
		subnet, err := prefix("subnet", text)
		if err != nil {
			return nil, err
		}
		for _, other := range ipam.Config {
			if subnet.Overlaps(other.Subnet) {
				return nil, errors.New("multiple overlapping subnet configuration is not supported")
			}
		}
		ipam.Config = append(ipam.Config, network.IPAMConfig{Subnet: subnet})
	}
	for _, text := range a.ranges {
		r, err := prefix("ip-range", text)
		if err != nil {
			return nil, err
		}
		c := subnetOf(ipam, r.Addr())
		switch {
		case c == nil:
			return nil, fmt.Errorf("no matching subnet for range %s", text)
		case c.IPRange.IsValid():
			return nil, fmt.Errorf("cannot configure multiple ranges (%s, %s) on the same subnet (%s)", text, c.IPRange, c.Subnet)
		}
		c.IPRange = r.Masked()
	}
	for _, text := range a.gateways {
		gateway, _ := netip.ParseAddr(text)
		c := subnetOf(ipam, gateway)
		switch {
		case c == nil:
			return nil, fmt.Errorf("no matching subnet for gateway %s", text)
		case c.Gateway.IsValid():
			return nil, fmt.Errorf("cannot configure multiple gateways (%s, %s) for the same subnet (%s)", text, c.Gateway, c.Subnet)
		}
		c.Gateway = gateway
	}
	for _, name := range slices.Sorted(maps.Keys(a.auxiliary.Values)) {
		text := a.auxiliary.Values[name]
		address, _ := netip.ParseAddr(text)
		c := subnetOf(ipam, address)
		if c == nil {
			return nil, fmt.Errorf("no matching subnet for aux-address %s", text)
		}
		if c.AuxAddress == nil {
			c.AuxAddress = map[string]netip.Addr{}
		}
		c.AuxAddress[name] = address
	}
	return ipam, nil
}

func prefix(what, text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("invalid %s: invalid CIDR address: %s", what, text)
	}
	return p, nil
}

// subnetOf is the subnet that an address lies in, nil for none.
func subnetOf(ipam *network.IPAM, address netip.Addr) *network.IPAMConfig {
	i := slices.IndexFunc(ipam.Config, func(c network.IPAMConfig) bool { return c.Subnet.Contains(address) })
	if i < 0 {
		return nil
	}
	return &ipam.Config[i]
}
