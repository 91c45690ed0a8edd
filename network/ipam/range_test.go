package ipam

import (
	"math"
	"net/netip"
	"testing"

	apinet "github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/errs"
)

// config is a configuration of a subnet and, unless they are "", an ip-range
// and a gateway.
func config(subnet, part, gateway string) apinet.IPAMConfig {
	c := apinet.IPAMConfig{Subnet: netip.MustParsePrefix(subnet)}
	if part != "" {
		c.IPRange = netip.MustParsePrefix(part)
	}
	if gateway != "" {
		c.Gateway = netip.MustParseAddr(gateway)
	}
	return c
}

func mustRange(t testing.TB, c apinet.IPAMConfig) *Range {
	t.Helper()
	r, err := NewRange(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTakeOrder(t *testing.T) {
	for _, c := range []struct {
		name   string
		config apinet.IPAMConfig
		want   []string // until the range is full
	}{
		{"/29", config("10.0.0.0/29", "", "10.0.0.1"), []string{"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"}},
		{"no gateway", config("10.0.0.0/30", "", ""), []string{"10.0.0.1", "10.0.0.2"}},
		{"gateway last", config("10.0.0.0/29", "", "10.0.0.6"), []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"}},
		{"part inside", config("10.0.0.0/24", "10.0.0.64/30", "10.0.0.1"), []string{"10.0.0.64", "10.0.0.65", "10.0.0.66", "10.0.0.67"}},
		{"part at the end", config("10.0.0.0/24", "10.0.0.252/30", "10.0.0.1"), []string{"10.0.0.252", "10.0.0.253", "10.0.0.254"}},
		{"part of one", config("10.0.0.0/24", "10.0.0.7/32", "10.0.0.1"), []string{"10.0.0.7"}},
		{"point to point", config("10.0.0.0/31", "", "10.0.0.0"), []string{"10.0.0.1"}},
		{"one address", config("10.0.0.9/32", "", ""), []string{"10.0.0.9"}},
		{"top of all", config("255.255.255.248/29", "", "255.255.255.249"), []string{"255.255.255.250", "255.255.255.251", "255.255.255.252", "255.255.255.253", "255.255.255.254"}},
		{"v6", config("fd00::/126", "", "fd00::1"), []string{"fd00::2", "fd00::3"}},
		{"v6 part", config("fd00::/64", "fd00::ff00:0/127", "fd00::1"), []string{"fd00::ff00:0", "fd00::ff00:1"}},
		{"v6 top", config("fdff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/126", "", ""), []string{"fdff:ffff:ffff:ffff:ffff:ffff:ffff:fffd", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}},
	} {
		r := mustRange(t, c.config)
		for i, want := range c.want {
			if free := r.Free(); free != uint64(len(c.want)-i) {
				t.Errorf("%s: %d free before address %d", c.name, free, i)
			}
			got, err := r.Take()
			if err != nil || got.String() != want {
				t.Errorf("%s: address %d is %v, %v, want %s", c.name, i, got, err, want)
			}
		}
		if got, err := r.Take(); !errs.Is(err, errs.Exhausted) {
			t.Errorf("%s: full, and gives %v, %v", c.name, got, err)
		}
	}
}

func TestTakeOfHugeRange(t *testing.T) {
	r := mustRange(t, config("fd00::/64", "", "fd00::1"))
	for _, want := range []string{"fd00::2", "fd00::3"} {
		if got, err := r.Take(); err != nil || got.String() != want {
			t.Errorf("got %v, %v, want %s", got, err, want)
		}
	}
	r.GoOnAfter(netip.MustParseAddr("fd00::ffff:ffff:ffff:fffe"))
	for _, want := range []string{"fd00::ffff:ffff:ffff:ffff", "fd00::4"} {
		if got, err := r.Take(); err != nil || got.String() != want {
			t.Errorf("got %v, %v, want %s", got, err, want)
		}
	}
}

func TestAddressesRest(t *testing.T) {
	r := mustRange(t, config("10.0.0.0/29", "", "10.0.0.1"))
	first, _ := r.Take()
	r.Give(first)
	r.Give(first) // twice is once
	for range 4 {
		got, err := r.Take()
		if err != nil || got == first {
			t.Fatalf("got %v, %v; %v was given back last", got, err, first)
		}
	}
	if got, err := r.Take(); err != nil || got != first {
		t.Errorf("the last one left: %v, %v, want %v", got, err, first)
	}
	r.Give(r.Gateway())
	r.Give(netip.MustParseAddr("10.0.0.0"))
	if _, err := r.Take(); !errs.Is(err, errs.Exhausted) {
		t.Errorf("what was never an endpoint's was given back: %v", err)
	}
}

// TestGoOn: a range that is made again goes on where the earlier one stopped.
func TestGoOn(t *testing.T) {
	c := config("10.0.0.0/24", "", "10.0.0.1")
	earlier := mustRange(t, c)
	for range 5 {
		earlier.Take()
	}
	later := mustRange(t, c)
	later.GoOnAfter(earlier.Last())
	later.GoOnAfter(netip.Addr{})
	later.GoOnAfter(netip.MustParseAddr("10.0.1.7"))
	if got, err := later.Take(); err != nil || got.String() != "10.0.0.7" {
		t.Errorf("next: %v, %v", got, err)
	}
	fresh := mustRange(t, c)
	fresh.GoOnAfter(mustRange(t, c).Last())
	if got, err := fresh.Take(); err != nil || got.String() != "10.0.0.2" {
		t.Errorf("first: %v, %v", got, err)
	}
}

func TestClaim(t *testing.T) {
	c := config("10.0.0.0/24", "10.0.0.128/25", "10.0.0.1")
	c.AuxAddress = map[string]netip.Addr{"router": netip.MustParseAddr("10.0.0.130")}
	r := mustRange(t, c)
	for _, c := range []struct {
		addr string
		kind errs.Kind
	}{
		{"10.0.0.7", errs.Unknown}, // outside the part, as in Docker
		{"10.0.0.7", errs.Forbidden},
		{"10.0.0.129", errs.Unknown},
		{"10.0.0.130", errs.Forbidden},
		{"10.0.0.1", errs.Forbidden},
		{"10.0.0.0", errs.Forbidden},
		{"10.0.0.255", errs.Forbidden},
		{"10.0.1.1", errs.InvalidParameter},
		{"::ffff:10.0.0.9", errs.InvalidParameter},
		{"fd00::1", errs.InvalidParameter},
	} {
		if err := r.Claim(netip.MustParseAddr(c.addr)); errs.KindOf(err) != c.kind {
			t.Errorf("%s: %v, want %v", c.addr, err, c.kind)
		}
	}
	for _, want := range []string{"10.0.0.128", "10.0.0.131"} {
		if got, err := r.Take(); err != nil || got.String() != want {
			t.Errorf("next: %v, %v, want %s", got, err, want)
		}
	}
}

func TestNewRangeRefuses(t *testing.T) {
	aux := config("10.0.0.0/24", "", "10.0.0.1")
	aux.AuxAddress = map[string]netip.Addr{"mine": netip.MustParseAddr("10.0.0.1")}
	for _, c := range []struct {
		config apinet.IPAMConfig
		kind   errs.Kind
		want   string
	}{
		{apinet.IPAMConfig{}, errs.InvalidParameter, "a range of addresses needs a subnet"},
		{config("10.0.0.0/24", "", "10.0.0.0"), errs.Forbidden, "failed to allocate gateway (10.0.0.0): Address already in use: 10.0.0.0 is the subnet's own address"},
		{config("10.0.0.0/24", "", "10.0.0.255"), errs.Forbidden, "failed to allocate gateway (10.0.0.255): Address already in use: 10.0.0.255 is the subnet's broadcast address"},
		{aux, errs.Forbidden, "failed to allocate secondary ip address (mine:10.0.0.1): Address already in use: 10.0.0.1 is the gateway"},
	} {
		if _, err := NewRange(c.config); !errs.Is(err, c.kind) || err.Error() != c.want {
			t.Errorf("%v: %v", c.config, err)
		}
	}
}

// TestStatus holds the counts to Docker's: what it answers for the same
// networks (GET /networks/{id}, API 1.52).
func TestStatus(t *testing.T) {
	for _, c := range []struct {
		config          apinet.IPAMConfig
		take            int
		inUse, dynamics uint64
	}{
		{config("172.16.0.0/16", "", "172.16.0.1"), 0, 3, 65533},
		{config("10.0.0.0/24", "10.0.0.128/25", "10.0.0.1"), 2, 5, 125},
		{config("fd00::/64", "", "fd00::1"), 1, 3, math.MaxUint64 - 2},
		{config("fd00::/64", "fd00:0:0:0:1::/80", "fd00::1"), 1, 3, 1<<48 - 1},
		{config("fd00::/48", "", "fd00::1"), 1, 3, math.MaxUint64},
		{config("2001:db8:abcd:12::/96", "", "2001:db8:abcd:12::1"), 3, 5, 4294967291},
	} {
		r := mustRange(t, c.config)
		for range c.take {
			if _, err := r.Take(); err != nil {
				t.Fatal(err)
			}
		}
		if got := r.Status(); got.IPsInUse != c.inUse || got.DynamicIPsAvailable != c.dynamics {
			t.Errorf("%v: %+v, want %d and %d", c.config.Subnet, got, c.inUse, c.dynamics)
		}
	}
}

func TestRanges(t *testing.T) {
	rs := Ranges{mustRange(t, config("10.0.0.0/30", "", "10.0.0.1")), mustRange(t, config("10.0.1.0/30", "", ""))}
	for _, want := range []string{"10.0.0.2/30", "10.0.1.1/30", "10.0.1.2/30"} {
		a, r, err := rs.Take()
		if err != nil || r.Prefix(a).String() != want {
			t.Fatalf("got %v, %v, want %s", a, err, want)
		}
	}
	if _, _, err := rs.Take(); !errs.Is(err, errs.Exhausted) {
		t.Errorf("full: %v", err)
	}
	rs.Give(netip.MustParseAddr("10.0.1.1"))
	rs.Give(netip.MustParseAddr("10.9.1.1"))
	if r, err := rs.Claim(netip.MustParseAddr("10.0.1.1")); err != nil || r != rs[1] {
		t.Errorf("claim: %v", err)
	}
	if _, err := rs.Claim(netip.MustParseAddr("10.9.1.1")); !errs.Is(err, errs.InvalidParameter) {
		t.Errorf("claim beyond: %v", err)
	}
	if _, _, err := Ranges(nil).Take(); !errs.Is(err, errs.InvalidParameter) {
		t.Errorf("none: %v", err)
	}
}

// FuzzRange compares with a model: a set of what is taken.
func FuzzRange(f *testing.F) {
	f.Add(false, uint8(29), uint8(30), []byte{0, 0, 0, 0, 0, 0, 1, 2, 3})
	f.Add(true, uint8(28), uint8(28), []byte{0, 130, 0, 66, 0, 67, 0})
	f.Fuzz(func(t *testing.T, v6 bool, bits, partBits uint8, steps []byte) {
		base := netip.MustParseAddr("172.17.0.0")
		if v6 {
			base = netip.MustParseAddr("fd00::")
		}
		longest := base.BitLen()
		subnet := netip.PrefixFrom(base, longest-8+int(bits%7))
		part := netip.PrefixFrom(base, subnet.Bits()+int(partBits)%(longest+1-subnet.Bits()))
		gateway := base.Next()
		r := mustRange(t, apinet.IPAMConfig{Subnet: subnet, IPRange: part, Gateway: gateway})
		taken := map[netip.Addr]bool{gateway: true}
		usable := func(x netip.Addr) bool { return subnet.Contains(x) && x != base && x != Broadcast(subnet) }
		left := func() (n uint64) {
			for y := part.Addr(); part.Contains(y); y = y.Next() {
				if usable(y) && !taken[y] {
					n++
				}
			}
			return n
		}
		for _, s := range steps {
			x := base
			for range s & 63 {
				x = x.Next()
			}
			switch s >> 6 {
			case 0:
				got, err := r.Take()
				switch {
				case err != nil:
					if n := left(); n != 0 {
						t.Fatalf("exhausted (%v) although %d are free", err, n)
					}
				case taken[got] || !usable(got) || !part.Contains(got):
					t.Fatalf("gave %v of %v", got, part)
				default:
					taken[got] = true
				}
			case 1:
				if err := r.Claim(x); (err == nil) != (usable(x) && !taken[x]) {
					t.Fatalf("claim of %v: %v", x, err)
				} else if err == nil {
					taken[x] = true
				}
			default:
				r.Give(x)
				if x != gateway {
					delete(taken, x)
				}
			}
			if free, want := r.Free(), left(); free != want {
				t.Fatalf("%d free, want %d", free, want)
			}
		}
	})
}
