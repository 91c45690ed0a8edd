package network

import (
	"net/netip"
	"testing"
)

func TestNameServers(t *testing.T) {
	got := nameServers("# nameserver 9.9.9.9\nsearch example.org\nnameserver 172.17.0.53\nnameserver fd00::53\nnameserver\nnameserver x\n  nameserver 10.0.0.1 # ours\nnameserver fe80::1%eth0\n")
	if len(got) != 3 || got[0].Prefix.String() != "172.17.0.53/32" || got[1].Prefix.String() != "fd00::53/128" || got[2].Prefix.String() != "10.0.0.1/32" {
		t.Errorf("got %v", got)
	}
}

func TestVethNames(t *testing.T) {
	a, six := netip.MustParseAddr("172.17.0.2"), netip.MustParseAddr("fd00::2")
	if got := vethName(a, six, ""); got != "dvac110002" {
		t.Errorf("name %s", got)
	}
	if got := vethName(netip.Addr{}, six, ""); len(got) != 15 || got == vethName(netip.Addr{}, six.Next(), "") {
		t.Errorf("name %s", got)
	}
	if back, ok := vethAddress(vethName(a, six, "")); !ok || back != a {
		t.Errorf("back to %v, %v", back, ok)
	}
	for _, name := range []string{"", "dv", "veth1234567", "dvac11000", "dvac1100021", "dvAC110002", "dv+c110002", "eth0", vethName(netip.Addr{}, six, "")} {
		if a, ok := vethAddress(name); ok {
			t.Errorf("%q taken for the interface of %v", name, a)
		}
	}
}
