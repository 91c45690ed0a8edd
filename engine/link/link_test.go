package link

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/errs"
)

func TestParse(t *testing.T) {
	for text, want := range map[string][2]string{
		"db": {"db", "db"}, "db:store": {"db", "store"}, "/db:/web/store": {"db", "store"},
		"": {}, "a:b:c": {}, ":b": {}, "a:": {}, "a:b c": {}, "a:b\tc": {}, "a:b/c": {}, "a:b#": {},
	} {
		name, alias, err := Parse(text)
		if name != want[0] || alias != want[1] || (err != nil) != (want[0] == "") || err != nil && !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%q: %q, %q, %v", text, name, alias, err)
		}
	}
}

func TestHosts(t *testing.T) {
	if got := Hosts("store", "abc", "db"); got != "store abc db" {
		t.Error(got)
	}
	if got := Hosts("db", "abc", "db"); got != "db abc" {
		t.Error(got)
	}
}

func TestRewrite(t *testing.T) {
	before := "127.0.0.1\tlocalhost\n10.0.0.2\tdb abc store\n10.0.0.3\tother db\n# 10.0.0.2\tdb\n10.0.0.9\tdb.example\n10.0.0.4\tdb"
	got, changed := Rewrite([]byte(before), "db", netip.MustParseAddr("10.0.0.7"))
	want := "127.0.0.1\tlocalhost\n10.0.0.7\tdb abc store\n10.0.0.3\tother db\n# 10.0.0.2\tdb\n10.0.0.9\tdb.example\n10.0.0.7\tdb"
	if string(got) != want || !changed {
		t.Errorf("%v\n%s", changed, got)
	}
	if got, changed := Rewrite([]byte(want), "db", netip.MustParseAddr("10.0.0.7")); string(got) != want || changed {
		t.Errorf("the same address again: %v\n%s", changed, got)
	}
	if got, changed := Rewrite([]byte("10.0.0.2\tdb\n::1\tx\n"), "db", netip.Addr{}); string(got) != "::1\tx\n" || !changed {
		t.Errorf("removed: %v\n%s", changed, got)
	}
}

func FuzzRewrite(f *testing.F) {
	f.Add("127.0.0.1\tlocalhost\n10.0.0.2\tdb abc\n", "db")
	f.Fuzz(func(t *testing.T, hosts, alias string) {
		a := netip.MustParseAddr("10.0.0.7")
		got, changed := Rewrite([]byte(hosts), alias, a)
		if strings.Count(string(got), "\n") != strings.Count(hosts, "\n") || changed == (string(got) == hosts) {
			t.Errorf("%q becomes %q (%v)", hosts, got, changed)
		}
		if again, changed := Rewrite(got, alias, a); changed || string(again) != string(got) {
			t.Errorf("%q becomes %q the second time", got, again)
		}
	})
}

func TestVariables(t *testing.T) {
	ports := network.PortSet{}
	for _, p := range []string{"53/udp", "6380/tcp", "6379/tcp", "80/tcp"} {
		ports[network.MustParsePort(p)] = struct{}{}
	}
	got := Variables("/web/my-db", netip.MustParseAddr("10.0.0.2"), ports, []string{"A=b=c", "HOME=/", "PATH=/bin", "UNSET"})
	want := []string{
		"MY_DB_PORT=tcp://10.0.0.2:80",
		"MY_DB_PORT_80_TCP=tcp://10.0.0.2:80", "MY_DB_PORT_80_TCP_ADDR=10.0.0.2", "MY_DB_PORT_80_TCP_PORT=80", "MY_DB_PORT_80_TCP_PROTO=tcp",
		"MY_DB_PORT_6379_TCP_START=tcp://10.0.0.2:6379", "MY_DB_PORT_6379_TCP_ADDR=10.0.0.2", "MY_DB_PORT_6379_TCP_PROTO=tcp",
		"MY_DB_PORT_6379_TCP_PORT_START=6379", "MY_DB_PORT_6379_TCP_END=tcp://10.0.0.2:6380", "MY_DB_PORT_6379_TCP_PORT_END=6380",
		"MY_DB_PORT_6379_TCP=tcp://10.0.0.2:6379", "MY_DB_PORT_6379_TCP_ADDR=10.0.0.2", "MY_DB_PORT_6379_TCP_PORT=6379", "MY_DB_PORT_6379_TCP_PROTO=tcp",
		"MY_DB_PORT_6380_TCP=tcp://10.0.0.2:6380", "MY_DB_PORT_6380_TCP_ADDR=10.0.0.2", "MY_DB_PORT_6380_TCP_PORT=6380", "MY_DB_PORT_6380_TCP_PROTO=tcp",
		"MY_DB_PORT_53_UDP=udp://10.0.0.2:53", "MY_DB_PORT_53_UDP_ADDR=10.0.0.2", "MY_DB_PORT_53_UDP_PORT=53", "MY_DB_PORT_53_UDP_PROTO=udp",
		"MY_DB_NAME=/web/my-db", "MY_DB_ENV_A=b=c",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := Variables("/web/db", netip.MustParseAddr("10.0.0.2"), nil, nil); !slices.Equal(got, []string{"DB_NAME=/web/db"}) {
		t.Errorf("without ports: %q", got)
	}
}
