package network

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/davit-engine/davit/errs"
)

// taken is a range that the host uses, and what for.
type taken struct {
	prefix netip.Prefix
	by     string
}

// defaultRanges are the ranges a bridge may get, in order of preference: those
// of Docker's default-address-pools (172.17-31.0.0/16, then /20s of
// 192.168.0.0/16).
func defaultRanges() []netip.Prefix {
	var all []netip.Prefix
	for i := byte(17); i <= 31; i++ {
		all = append(all, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, i}), 16))
	}
	for i := 0; i < 256; i += 16 {
		all = append(all, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(i)}), 20))
	}
	return all
}

// chooseRange returns the first of the candidates that overlaps nothing taken.
func chooseRange(candidates []netip.Prefix, used []taken) (netip.Prefix, error) {
	for _, c := range candidates {
		if _, clash := clashOf(c, used); !clash {
			return c, nil
		}
	}
	return netip.Prefix{}, errs.New(errs.Exhausted, "each of the %d default address ranges overlaps an interface, route or name server of this host: choose one with bip", len(candidates))
}

// clashOf returns the first of the ranges taken that overlaps p.
func clashOf(p netip.Prefix, used []taken) (taken, bool) {
	for _, t := range used {
		if t.prefix.Overlaps(p) {
			return t, true
		}
	}
	return taken{}, false
}

// gatewayOf returns a range's first address with the range's length: what the
// bridge itself gets.
func gatewayOf(p netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(p.Masked().Addr().Next(), p.Bits())
}

// nameServers returns the IPv4 name servers of a resolv.conf: a bridge over
// one would cut the host off from it.
func nameServers(resolvConf string) []taken {
	var all []taken
	for line := range strings.Lines(resolvConf) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil && a.Is4() {
			all = append(all, taken{netip.PrefixFrom(a, 32), fmt.Sprintf("name server %s", a)})
		}
	}
	return all
}
