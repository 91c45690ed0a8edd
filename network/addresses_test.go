package network

import (
	"net/netip"
	"testing"

	"github.com/davit-engine/davit/errs"
)

func mustAddresses(t testing.TB, subnet, part, gateway string) *addresses {
	t.Helper()
	a, err := newAddresses(netip.MustParsePrefix(subnet), netip.MustParsePrefix(part), netip.MustParseAddr(gateway))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestTakeOrder(t *testing.T) {
	for _, c := range []struct {
		name, subnet, part, gateway string
		want                        []string // until the range is full
	}{
		{"/29", "10.0.0.0/29", "10.0.0.0/29", "10.0.0.1", []string{"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"}},
		{"/30", "10.0.0.0/30", "10.0.0.0/30", "10.0.0.1", []string{"10.0.0.2"}},
		{"gateway last", "10.0.0.0/29", "10.0.0.0/29", "10.0.0.6", []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"}},
		{"part inside", "10.0.0.0/24", "10.0.0.64/30", "10.0.0.1", []string{"10.0.0.64", "10.0.0.65", "10.0.0.66", "10.0.0.67"}},
		{"part at the end", "10.0.0.0/24", "10.0.0.252/30", "10.0.0.1", []string{"10.0.0.252", "10.0.0.253", "10.0.0.254"}},
		{"part of one", "10.0.0.0/24", "10.0.0.7/32", "10.0.0.1", []string{"10.0.0.7"}},
		{"top of all", "255.255.255.248/29", "255.255.255.248/29", "255.255.255.249", []string{"255.255.255.250", "255.255.255.251", "255.255.255.252", "255.255.255.253", "255.255.255.254"}},
	} {
		a := mustAddresses(t, c.subnet, c.part, c.gateway)
		for i, want := range c.want {
			got, err := a.take()
			if err != nil || got.String() != want {
				t.Errorf("%s: address %d is %v, %v, want %s", c.name, i, got, err, want)
			}
		}
		if got, err := a.take(); !errs.Is(err, errs.Exhausted) {
			t.Errorf("%s: full, and gives %v, %v", c.name, got, err)
		}
	}
}

func TestAddressesRest(t *testing.T) {
	a := mustAddresses(t, "10.0.0.0/29", "10.0.0.0/29", "10.0.0.1")
	first, _ := a.take()
	a.give(first)
	a.give(first) // twice is once
	for range 4 {
		got, err := a.take()
		if err != nil || got == first {
			t.Fatalf("got %v, %v; %v was given back last", got, err, first)
		}
	}
	if got, err := a.take(); err != nil || got != first {
		t.Errorf("the last one left: %v, %v, want %v", got, err, first)
	}
}

func TestClaim(t *testing.T) {
	a := mustAddresses(t, "10.0.0.0/24", "10.0.0.128/25", "10.0.0.1")
	for _, c := range []struct {
		addr string
		kind errs.Kind
	}{
		{"10.0.0.7", errs.Unknown}, // outside the part, as in Docker
		{"10.0.0.7", errs.Conflict},
		{"10.0.0.128", errs.Unknown},
		{"10.0.0.1", errs.Conflict},
		{"10.0.0.0", errs.InvalidParameter},
		{"10.0.0.255", errs.InvalidParameter},
		{"10.0.1.1", errs.InvalidParameter},
		{"::ffff:10.0.0.9", errs.InvalidParameter},
	} {
		if err := a.claim(netip.MustParseAddr(c.addr)); errs.KindOf(err) != c.kind {
			t.Errorf("%s: %v, want %v", c.addr, err, c.kind)
		}
	}
	if got, err := a.take(); err != nil || got.String() != "10.0.0.129" {
		t.Errorf("next: %v, %v", got, err)
	}
}

// FuzzAddresses compares with a model: a set of what is taken.
func FuzzAddresses(f *testing.F) {
	f.Add(uint8(29), uint8(30), []byte{0, 0, 0, 0, 0, 0, 1, 2, 3})
	f.Add(uint8(28), uint8(28), []byte{0, 130, 0, 66, 0, 67, 0})
	f.Fuzz(func(t *testing.T, bits, partBits uint8, steps []byte) {
		subnet := netip.PrefixFrom(netip.MustParseAddr("172.17.0.0"), 24+int(bits%7))
		part := netip.PrefixFrom(subnet.Addr(), subnet.Bits()+int(partBits)%(33-subnet.Bits()))
		gateway := subnet.Addr().Next()
		a, err := newAddresses(subnet, part, gateway)
		if err != nil {
			t.Fatal(err)
		}
		taken := map[netip.Addr]bool{gateway: true}
		usable := func(x netip.Addr) bool { return subnet.Contains(x) && x != subnet.Addr() && x != lastOf(subnet) }
		for _, s := range steps {
			x := address(number(subnet.Addr()) + uint32(s&63))
			switch s >> 6 {
			case 0:
				got, err := a.take()
				switch {
				case err != nil:
					for y := part.Addr(); part.Contains(y); y = y.Next() {
						if usable(y) && !taken[y] {
							t.Fatalf("exhausted (%v) although %v is free", err, y)
						}
					}
				case taken[got] || !usable(got) || !part.Contains(got):
					t.Fatalf("gave %v of %v", got, part)
				default:
					taken[got] = true
				}
			case 1:
				if err := a.claim(x); (err == nil) != (usable(x) && !taken[x]) {
					t.Fatalf("claim of %v: %v", x, err)
				} else if err == nil {
					taken[x] = true
				}
			default:
				if x != gateway {
					a.give(x)
					delete(taken, x)
				}
			}
		}
	})
}
