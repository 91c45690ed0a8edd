package etc

import (
	"net/netip"
	"strings"
	"testing"
)

var resolver = netip.MustParseAddr("127.0.0.11")

const host = "# of the host\nnameserver 127.0.0.53\nnameserver 2001:db8::53\n; more\nnameserver 192.0.2.53\nnameserver bad\n" +
	"domain old.example\nsearch a.example b.example\noptions edns0 trust-ad\noptions timeout:1\nsortlist 10.0.0.0/8\nnameserver\n"

func addrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func TestResolv(t *testing.T) {
	for _, test := range []struct {
		name string
		text string
		do   func(*Resolv) *Resolv
		want []string // lines
	}{
		{"as it is", host, func(r *Resolv) *Resolv { return r }, []string{
			"nameserver 127.0.0.53", "nameserver 2001:db8::53", "nameserver 192.0.2.53", "search a.example b.example",
			"options edns0 trust-ad timeout:1", "sortlist 10.0.0.0/8", "",
			"# Based on host file: '/host'", "# Invalid nameservers: [bad]", "# Overrides: []"}},
		{"reachable", host, func(r *Resolv) *Resolv { return first(r.Direct(false)) }, []string{
			"nameserver 192.0.2.53", "search a.example b.example",
			"options edns0 trust-ad timeout:1", "sortlist 10.0.0.0/8", "",
			"# Based on host file: '/host' (legacy)", "# Invalid nameservers: [bad]", "# Overrides: []"}},
		{"reachable by IPv6", host, func(r *Resolv) *Resolv { return first(r.Direct(true)) }, []string{
			"nameserver 2001:db8::53", "nameserver 192.0.2.53", "search a.example b.example",
			"options edns0 trust-ad timeout:1", "sortlist 10.0.0.0/8", "",
			"# Based on host file: '/host' (legacy)", "# Invalid nameservers: [bad]", "# Overrides: []"}},
		{"own", host, func(r *Resolv) *Resolv {
			r.Override(addrs("127.0.0.1", "fd00::1"), []string{"."}, []string{"ndots:3"})
			return first(r.Direct(false))
		}, []string{
			"nameserver 127.0.0.1", "nameserver fd00::1", "options ndots:3", "sortlist 10.0.0.0/8", "",
			"# Based on host file: '/host' (legacy)", "# Invalid nameservers: [bad]", "# Overrides: [nameservers search options]", "# Option ndots from: override"}},
		{"through the resolver", host, func(r *Resolv) *Resolv { r.Through(resolver); return r }, []string{
			"nameserver 127.0.0.11", "search a.example b.example", "options edns0 trust-ad timeout:1 ndots:0", "sortlist 10.0.0.0/8", "",
			"# Based on host file: '/host' (internal resolver)", "# ExtServers: [host(127.0.0.53) host(2001:db8::53) host(192.0.2.53)]",
			"# Invalid nameservers: [bad]", "# Overrides: []", "# Option ndots from: internal"}},
		{"own through the resolver", "nameserver 192.0.2.1\noptions ndots:2", func(r *Resolv) *Resolv {
			r.Override(addrs("192.0.2.2"), nil, nil)
			r.Through(resolver)
			return r
		}, []string{
			"nameserver 127.0.0.11", "options ndots:2", "", "# Based on host file: '/host' (internal resolver)",
			"# ExtServers: [192.0.2.2]", "# Overrides: [nameservers]", "# Option ndots from: host"}},
		{"options that mean nothing", "options ndots:x ndots", func(r *Resolv) *Resolv { r.Through(resolver); return r }, []string{
			"nameserver 127.0.0.11", "options ndots:0", "", "# Based on host file: '/host' (internal resolver)", "# Overrides: []", "# Option ndots from: internal"}},
	} {
		r := ParseResolv("/host", []byte(test.text))
		r = test.do(r)
		if got, want := string(r.Text()), header+strings.Join(test.want, "\n")+"\n"; got != want {
			t.Errorf("%s:\n%s\nwant\n%s", test.name, got, want)
		}
	}
}

func first(r *Resolv, _ bool) *Resolv { return r }

func TestDirect(t *testing.T) {
	r := ParseResolv("", []byte("nameserver 127.0.0.1\nnameserver fd00::1\n"))
	if _, ok := r.Direct(false); ok || len(r.Servers) != 2 {
		t.Error("servers are left, or the original has changed")
	}
	if _, ok := ParseResolv("", []byte("nameserver ::ffff:192.0.2.1\n")).Direct(false); !ok {
		t.Error("a server is gone")
	}
	for text, want := range map[string]bool{"nameserver 127.0.0.53": true, "nameserver 127.0.0.53\nnameserver 192.0.2.1": false, "": false} {
		if got := ParseResolv("", []byte(text)).Stub(); got != want {
			t.Errorf("%q is a stub: %v", text, got)
		}
	}
}

func TestHosts(t *testing.T) {
	mine := []Host{{netip.MustParseAddr("172.18.0.2"), "web.example web"}, {netip.MustParseAddr("fd00::2"), "web"}}
	text := Hosts(mine[:1])
	if want := localhost + "172.18.0.2\tweb.example web\n"; string(text) != want {
		t.Errorf("%q", text)
	}
	text = AddHosts(append(text, "192.0.2.1 theirs"...), mine)
	if want := localhost + "172.18.0.2\tweb.example web\n192.0.2.1 theirs\n172.18.0.2\tweb.example web\nfd00::2\tweb\n"; string(text) != want {
		t.Errorf("%q", text)
	}
	text = DeleteHosts(text, mine)
	if want := localhost + "192.0.2.1 theirs\n172.18.0.2\tweb.example web\n"; string(text) != want {
		t.Errorf("%q", text)
	}
	for in, want := range map[[2]string]string{
		{"web", ""}: "web", {"web", "example"}: "web.example web", {"web.example", ""}: "web.example web", {"", ""}: "", {".x", ""}: ".x",
	} {
		if got := HostNames(in[0], in[1]); got != want {
			t.Errorf("%v: %q, want %q", in, got, want)
		}
	}
}
