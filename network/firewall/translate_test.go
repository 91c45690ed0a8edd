package firewall

import (
	"net/netip"
	"testing"

	"github.com/davit-engine/davit/errs"
	"github.com/google/nftables"
)

// FuzzMatches reads structures of iptables, whatever is in them.
func FuzzMatches(f *testing.F) {
	f.Add("conntrack", uint32(3), make([]byte, 168))
	f.Add("multiport", uint32(1), append([]byte{1, 3, 80, 0, 90, 0, 85, 0}, make([]byte, 40)...))
	f.Add("multiport", uint32(1), append([]byte{1, 2, 0, 0, 255, 255}, append(append(make([]byte, 26), 1), make([]byte, 15)...)...))
	f.Add("addrtype", uint32(1), []byte{0, 0, 4, 0, 2, 0, 0, 0})
	f.Add("tcp", uint32(0), []byte{0, 0, 255, 255, 80, 0, 90, 0, 0, 0, 0, 0})
	f.Add("rt", uint32(0), make([]byte, 300))
	f.Fuzz(func(t *testing.T, name string, revision uint32, info []byte) {
		tr := translator{prefix: "x_", host: hostChain{base: &nftables.Chain{Name: "INPUT", Table: &nftables.Table{Family: nftables.TableFamilyIPv4}}}, policy: drop()}
		if list, ok := tr.match(name, revision, info); !ok && list != nil {
			t.Errorf("%s: not understood, and still %v", name, list)
		}
		for _, s := range tr.sets {
			last := -1
			for _, e := range s.elements { // ranges one behind the other
				port := int(e.Key[0])<<8 | int(e.Key[1])
				if port < last || port == last && !e.IntervalEnd {
					t.Errorf("%s: elements %v", name, s.elements)
				}
				last = port
			}
		}
		tr.target(name, info)
		verdictIn(info)
		parseRule(info)
	})
}

func TestForwardInWords(t *testing.T) {
	for _, c := range []struct {
		f    Forward
		want string
	}{
		{Forward{Proto: "tcp", HostIP: netip.IPv4Unspecified(), HostPort: 8080, Count: 1, Address: addresses[a][0], Port: 80}, "0.0.0.0:8080->172.30.1.2:80/tcp"},
		{Forward{Proto: "udp", HostIP: netip.IPv6Unspecified(), HostPort: 8000, Count: 2, Address: addresses[a][1], Port: 80}, "[::]:8000-8001->[fd30:1::2]:80-81/udp"},
	} {
		if got := c.f.String(); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

func TestElements(t *testing.T) {
	for _, c := range []struct {
		name   string
		f      Forward
		change func(*Network)
		sets   []string
	}{
		{"one port", fwd("tcp", "0.0.0.0", 8080, 1, a), nil, []string{"any4"}},
		{"one address", fwd("tcp", "203.0.113.1", 8080, 1, a), nil, []string{"one4"}},
		{"a range", fwd("tcp", "::", 8080, 5000, a), nil, []string{"any_range6"}},
		{"a range of one address", fwd("tcp", "127.0.0.1", 8080, 5000, a), nil, []string{"one_range4"}},
		{"other ports", Forward{Bridge: "br1", Proto: "tcp", HostIP: netip.IPv4Unspecified(), HostPort: 8080, Count: 2, Address: addresses[a][0], Port: 80}, nil, []string{"any4", "any4"}},
		{"::1", fwd("tcp", "::1", 8080, 1, a), nil, nil},
		{"another family", Forward{Bridge: "br1", Proto: "tcp", HostIP: netip.IPv6Unspecified(), HostPort: 8080, Count: 1, Address: addresses[a][0], Port: 80}, nil, nil},
		{"internal", fwd("tcp", "0.0.0.0", 8080, 1, a), func(n *Network) { n.Internal = true }, nil},
		{"routed", fwd("tcp", "0.0.0.0", 8080, 1, a), func(n *Network) { n.Mode4 = Routed }, []string{"open4"}},
		{"isolated", fwd("tcp", "::", 8080, 1, a), func(n *Network) { n.Mode6 = Isolated }, nil},
	} {
		n := plain("br1")
		if c.change != nil {
			c.change(&n)
		}
		got := c.f.elements(n)
		same := len(got) == len(c.sets)
		for i := range c.sets {
			same = same && got[i].set == c.sets[i]
		}
		if !same {
			t.Errorf("%s: %q, want elements of %v", c.name, got, c.sets)
		}
	}
}

func TestParse(t *testing.T) {
	for s, want := range map[string]Mode{"": NAT, "nat": NAT, "nat-unprotected": NATUnprotected, "routed": Routed, "isolated": Isolated} {
		if got, err := ParseMode(s); err != nil || got != want || s != "" && got.String() != s {
			t.Errorf("mode %q: %v, %v", s, got, err)
		}
	}
	if _, err := ParseMode("bridge"); errs.KindOf(err) != errs.InvalidParameter {
		t.Error(err)
	}
	for s, want := range map[string]Mark{"0x10/0xf0": {0x10, 0xf0}, "5": {5, ^uint32(0)}, "1/1": {1, 1}} {
		if got, err := ParseMark(s); err != nil || got != want {
			t.Errorf("mark %q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "x", "1/", "1/0", "1/2/3", "-1", "0x100000000"} {
		if m, err := ParseMark(s); errs.KindOf(err) != errs.InvalidParameter {
			t.Errorf("mark %q: %v, %v", s, m, err)
		}
	}
}
