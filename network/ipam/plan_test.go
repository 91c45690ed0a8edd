package ipam

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	apinet "github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/errs"
)

func takenBy(prefixes ...string) []Taken {
	var all []Taken
	for _, p := range prefixes {
		all = append(all, Taken{netip.MustParsePrefix(p), "test"})
	}
	return all
}

func TestChoose(t *testing.T) {
	v6 := []Pool{{netip.MustParsePrefix("fd00:1::/32"), 64}}
	for _, c := range []struct {
		name  string
		pools []Pool
		size  int
		used  []string
		want  string // "" is InvalidParameter
	}{
		{"free host", BridgePools(), 0, nil, "172.17.0.0/16"},
		{"Docker is here", BridgePools(), 0, []string{"172.17.0.0/16"}, "172.18.0.0/16"},
		{"one address inside", BridgePools(), 0, []string{"172.18.255.255/32", "172.17.3.4/32"}, "172.19.0.0/16"},
		{"VPN over all of 172.16", BridgePools(), 0, []string{"172.16.0.0/12"}, "192.168.0.0/20"},
		{"and a home network", BridgePools(), 0, []string{"172.16.0.0/12", "192.168.1.0/24"}, "192.168.16.0/20"},
		{"everything", BridgePools(), 0, []string{"172.16.0.0/12", "192.168.0.0/16"}, ""},
		{"VPN as the default route", BridgePools(), 0, []string{"0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"}, "172.17.0.0/16"},
		{"network", NetworkPools(), 0, nil, "172.18.0.0/24"},
		{"next network", NetworkPools(), 0, []string{"172.17.0.0/16", "172.18.0.0/24", "172.18.1.5/32"}, "172.18.2.0/24"},
		{"a gap", NetworkPools(), 0, []string{"172.18.0.0/24", "172.18.2.0/23"}, "172.18.1.0/24"},
		{"nested", NetworkPools(), 0, []string{"172.18.1.0/24", "172.18.1.5/32", "172.18.0.0/22", "172.18.0.0/30"}, "172.18.4.0/24"},
		{"larger", NetworkPools(), 20, []string{"172.18.0.0/24"}, "172.18.16.0/20"},
		{"smaller", NetworkPools(), 28, []string{"172.18.0.0/28"}, "172.18.0.16/28"},
		{"too large", NetworkPools(), 12, nil, ""},
		{"another family's size", NetworkPools(), 64, nil, ""},
		{"v6", v6, 0, []string{"172.18.0.0/16", "fd00:1::/64", "fd00::/16"}, ""},
		{"v6 second", v6, 0, []string{"172.18.0.0/16", "fd00:1::/64"}, "fd00:1:0:1::/64"},
		{"end of all addresses", []Pool{{netip.MustParsePrefix("255.255.255.0/24"), 26}}, 0, []string{"255.255.255.0/25", "255.255.255.128/32", "255.255.255.255/32"}, ""},
	} {
		got, err := Choose(c.pools, c.size, takenBy(c.used...))
		if c.want == "" {
			if !errs.Is(err, errs.InvalidParameter) || !strings.HasPrefix(err.Error(), "all predefined address pools have been fully subnetted") {
				t.Errorf("%s: %v, %v", c.name, got, err)
			}
			continue
		}
		if err != nil || got.String() != c.want {
			t.Errorf("%s: %v, %v, want %s", c.name, got, err, c.want)
		}
	}
}

// TestChooseAll: the default pools last for thousands of networks, each of
// which overlaps none of the others.
func TestChooseAll(t *testing.T) {
	var used []Taken
	for {
		p, err := Choose(NetworkPools(), 0, used)
		if err != nil {
			break
		}
		used = append(used, Taken{p, "a network"})
	}
	if len(used) != 3840 {
		t.Errorf("%d networks", len(used))
	}
}

// FuzzChoose compares with trying each subnet of the pool.
func FuzzChoose(f *testing.F) {
	f.Add(uint8(20), uint8(24), []byte{0, 24, 1, 25, 3, 22})
	f.Fuzz(func(t *testing.T, bits, size uint8, used []byte) {
		pool := Pool{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 20}), 18+int(bits%8)).Masked(), 18 + int(size%14)}
		var all []Taken
		for i := 0; i+1 < len(used); i += 2 {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 20, used[i] / 4, used[i] * 64}), 8+int(used[i+1]%25)).Masked()
			all = append(all, Taken{p, "fuzz"})
		}
		var want netip.Prefix
		if pool.Size >= pool.Base.Bits() {
			for c := netip.PrefixFrom(pool.Base.Addr(), pool.Size); pool.Base.Contains(c.Addr()); c = netip.PrefixFrom(last(c).Next(), pool.Size) {
				if _, clash := Clash(c, all); !clash {
					want = c
					break
				}
			}
		}
		got, err := Choose([]Pool{pool}, 0, all)
		if got != want || (err == nil) != want.IsValid() {
			t.Fatalf("%v without %v: %v, %v, want %v", pool, all, got, err, want)
		}
	})
}

func TestPlan(t *testing.T) {
	pools := NewPools(nil, "seed")
	ula := pools.V6[0].Base.Addr()
	for _, c := range []struct {
		name     string
		request  Request
		networks []Taken
		host     []Taken
		want     string
	}{
		{"v4", Request{V4: true, Gateway: true}, nil, nil, "172.18.0.0/24 172.18.0.1"},
		{"none", Request{}, nil, nil, ""},
		{"both", Request{V4: true, V6: true, Gateway: true}, takenBy("172.18.0.0/24"), takenBy("172.18.1.0/24"),
			fmt.Sprintf("172.18.2.0/24 172.18.2.1, %s/64 %s1", ula, ula)},
		{"v6 only", Request{V6: true, Gateway: true}, takenBy(ula.String() + "/64"), nil, strings.TrimSuffix(ula.String(), ":") + "1::/64 " + strings.TrimSuffix(ula.String(), ":") + "1::1"},
		{"without gateway", Request{V4: true}, nil, nil, "172.18.0.0/24 invalid IP"},
		{"given", Request{V4: true, Gateway: true, Config: []apinet.IPAMConfig{config("10.1.0.0/16", "", "10.1.2.3")}}, nil, takenBy("10.0.0.0/8"), "10.1.0.0/16 10.1.2.3"},
		{"gateway of the ip-range", Request{V4: true, Gateway: true, Config: []apinet.IPAMConfig{config("10.1.0.0/16", "10.1.5.0/24", "")}}, nil, nil, "10.1.0.0/16 10.1.5.0"},
		{"any of a size", Request{V4: true, Gateway: true, Config: []apinet.IPAMConfig{config("0.0.0.0/28", "", "")}}, takenBy("172.18.0.0/28"), nil, "172.18.0.16/28 172.18.0.17"},
		{"several", Request{V4: true, Gateway: true, Config: []apinet.IPAMConfig{config("10.1.0.0/24", "", ""), config("10.1.1.0/24", "", "")}}, nil, nil, "10.1.0.0/24 10.1.0.1, 10.1.1.0/24 10.1.1.1"},
		{"v6 without IPv6", Request{V4: true, Gateway: true, Config: []apinet.IPAMConfig{config("fd00::/64", "", "")}}, nil, nil, "172.18.0.0/24 172.18.0.1"},
		{"overlap", Request{V4: true, Config: []apinet.IPAMConfig{config("10.1.0.0/24", "", "")}}, takenBy("10.1.0.128/25"), nil,
			"forbidden: invalid pool request: Pool overlaps with other one on this address space: 10.1.0.0/24 overlaps 10.1.0.128/25 of test: choose another subnet, or leave it out to have a free one chosen"},
		{"overlaps itself", Request{V4: true, Config: []apinet.IPAMConfig{config("10.1.0.0/24", "", ""), config("10.1.0.0/25", "", "")}}, nil, nil,
			"forbidden: invalid pool request: Pool overlaps with other one on this address space: 10.1.0.0/25 overlaps 10.1.0.0/24 of this network: choose another subnet, or leave it out to have a free one chosen"},
		{"one address", Request{V4: true, Gateway: true, Config: []apinet.IPAMConfig{config("10.1.0.1/32", "", "10.1.0.1")}}, nil, nil, "10.1.0.1/32 10.1.0.1"},
		{"host bits", Request{V4: true, Config: []apinet.IPAMConfig{config("10.1.0.1/24", "", "")}}, nil, nil, "invalid parameter: invalid network config:\ninvalid subnet 10.1.0.1/24: it should be 10.1.0.0/24"},
	} {
		plan, err := Plan(c.request, World{pools, c.networks, c.host})
		var got []string
		for _, p := range plan {
			got = append(got, fmt.Sprintf("%s %s", p.Subnet, p.Gateway))
		}
		text := strings.Join(got, ", ")
		if err != nil {
			text = fmt.Sprintf("%v: %v", errs.KindOf(err), err)
		}
		if text != c.want {
			t.Errorf("%s: %s\nwant %s", c.name, text, c.want)
		}
	}
}

func TestValidate(t *testing.T) {
	aux := func(c apinet.IPAMConfig, name, addr string) apinet.IPAMConfig {
		c.AuxAddress = map[string]netip.Addr{name: netip.MustParseAddr(addr)}
		return c
	}
	for _, c := range []struct {
		config apinet.IPAMConfig
		want   []string
	}{
		{aux(config("10.10.10.0/24", "2001:db8::/32", "2001:db8::1"), "a", "2001:db8::1"), []string{
			"invalid ip-range 2001:db8::/32: parent subnet is an IPv4 block",
			"invalid gateway 2001:db8::1: parent subnet is an IPv4 block",
			"invalid auxiliary address a: parent subnet is an IPv4 block"}},
		{aux(config("10.0.0.0/8", "192.168.0.1/24", "192.168.0.1"), "a", "192.168.0.1"), []string{
			"invalid ip-range 192.168.0.1/24: it should be 192.168.0.0/24",
			"invalid ip-range 192.168.0.1/24: parent subnet 10.0.0.0/8 doesn't contain ip-range",
			"invalid gateway 192.168.0.1: parent subnet 10.0.0.0/8 doesn't contain this address",
			"invalid auxiliary address a: parent subnet 10.0.0.0/8 doesn't contain this address"}},
		{config("10.10.10.0/24", "10.0.0.0/8", ""), []string{"invalid ip-range 10.0.0.0/8: CIDR block is bigger than its parent subnet 10.10.10.0/24"}},
		{config("fd00::/64", "10.0.0.0/8", ""), []string{"invalid ip-range 10.0.0.0/8: parent subnet is an IPv6 block"}},
		{config("127.0.0.0/8", "", ""), []string{"invalid subnet 127.0.0.0/8: IPv4-mapped, loopback and multicast addresses cannot be containers'"}},
		{config("::ffff:10.0.0.0/120", "", ""), []string{"invalid subnet ::ffff:10.0.0.0/120: IPv4-mapped, loopback and multicast addresses cannot be containers'"}},
		{apinet.IPAMConfig{Gateway: netip.MustParseAddr("10.0.0.1")}, []string{"invalid subnet: an ip-range, a gateway or an auxiliary address needs the subnet that it lies in"}},
		{apinet.IPAMConfig{}, nil},
		{config("10.0.0.0/8", "10.10.0.0/16", "10.10.0.1"), nil},
	} {
		err := Validate([]apinet.IPAMConfig{c.config}, true)
		if c.want == nil {
			if err != nil {
				t.Errorf("%v: %v", c.config, err)
			}
			continue
		}
		if want := "invalid network config:\n" + strings.Join(c.want, "\n"); !errs.Is(err, errs.InvalidParameter) || err.Error() != want {
			t.Errorf("%v: %v\nwant %s", c.config, err, want)
		}
	}
	if err := Validate([]apinet.IPAMConfig{config("2001:db8::1/32", "", "")}, false); err != nil {
		t.Errorf("an IPv6 subnet of a network without IPv6: %v", err)
	}
}

func TestPools(t *testing.T) {
	if a, b := ULA("one"), ULA("two"); a == b || a != ULA("one") || !a.Base.Addr().IsPrivate() || a.Base != a.Base.Masked() || a.Check() != nil {
		t.Errorf("%v and %v", a, b)
	}
	for _, p := range append(BridgePools(), NetworkPools()...) {
		if err := p.Check(); err != nil {
			t.Error(err)
		}
	}
	set := Pool{netip.MustParsePrefix("10.0.0.0/8"), 26}
	if p := NewPools([]Pool{set}, "x"); len(p.V4) != 1 || p.V4[0] != set || p.V6[0] != ULA("x") {
		t.Errorf("%v", p)
	}
	for _, c := range []struct {
		base string
		size int
		ok   bool
	}{
		{"10.0.0.0/8", 24, true}, {"10.0.0.0/24", 24, true}, {"fd00::/8", 64, true}, {"10.0.0.0/16", 8, false}, {"10.0.0.0/16", 31, false},
		{"10.0.0.0/16", 33, false}, {"10.0.0.1/16", 24, false}, {"fd00::/8", 129, false}, {"127.0.0.0/8", 24, false}, {"ff00::/8", 64, false}, {"::ffff:10.0.0.0/104", 120, false},
	} {
		if err := (Pool{netip.MustParsePrefix(c.base), c.size}).Check(); (err == nil) != c.ok || err != nil && !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%s, %d: %v", c.base, c.size, err)
		}
	}
	if err := (Pool{}).Check(); err == nil {
		t.Error("an empty pool is none")
	}
}
