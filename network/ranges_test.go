package network

import (
	"net/netip"
	"testing"

	"github.com/davit-engine/davit/errs"
)

func TestChooseRange(t *testing.T) {
	for _, c := range []struct {
		name string
		used []string
		want string // "" is Exhausted
	}{
		{"free host", nil, "172.17.0.0/16"},
		{"Docker is here", []string{"172.17.0.0/16"}, "172.18.0.0/16"},
		{"one address inside", []string{"172.17.3.4/32", "172.18.255.255/32"}, "172.19.0.0/16"},
		{"VPN over all of 172.16", []string{"172.16.0.0/12"}, "192.168.0.0/20"},
		{"and a home network", []string{"172.16.0.0/12", "192.168.1.0/24"}, "192.168.16.0/20"},
		{"everything", []string{"172.16.0.0/12", "192.168.0.0/16"}, ""},
	} {
		var used []taken
		for _, u := range c.used {
			used = append(used, taken{netip.MustParsePrefix(u), "test"})
		}
		got, err := chooseRange(defaultRanges(), used)
		if c.want == "" {
			if !errs.Is(err, errs.Exhausted) {
				t.Errorf("%s: %v, %v", c.name, got, err)
			}
			continue
		}
		if err != nil || got.String() != c.want {
			t.Errorf("%s: %v, %v, want %s", c.name, got, err, c.want)
		}
	}
}

func TestNameServers(t *testing.T) {
	got := nameServers("# nameserver 9.9.9.9\nsearch example.org\nnameserver 172.17.0.53\nnameserver fd00::53\nnameserver\nnameserver x\n  nameserver 10.0.0.1 # ours\n")
	if len(got) != 2 || got[0].prefix.String() != "172.17.0.53/32" || got[1].prefix.String() != "10.0.0.1/32" {
		t.Errorf("got %v", got)
	}
}

func TestVethNames(t *testing.T) {
	a := netip.MustParseAddr("172.17.0.2")
	if got := vethName(a); got != "dvac110002" {
		t.Errorf("name %s", got)
	}
	if back, ok := vethAddress(vethName(a)); !ok || back != a {
		t.Errorf("back to %v, %v", back, ok)
	}
	for _, name := range []string{"", "dv", "veth1234567", "dvac11000", "dvac1100021", "dvAC110002", "dv+c110002", "eth0"} {
		if a, ok := vethAddress(name); ok {
			t.Errorf("%q taken for the interface of %v", name, a)
		}
	}
}
