package firewall

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/test/alone"
)

func TestPublished(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	topology(t)
	for _, h := range []host{a, b, c} {
		serve(t, h, 80)
	}
	for _, port := range []int{7000, 7500, 7999} {
		serve(t, a, port)
	}
	settled(t, []Network{plain("br1"), plain("br2")},
		fwd("tcp", "0.0.0.0", 8080, 1, a), fwd("tcp", "::", 8080, 1, a), fwd("udp", "0.0.0.0", 8080, 1, a), fwd("udp", "::", 8080, 1, a),
		fwd("tcp", "0.0.0.0", 7000, 1000, a), fwd("tcp", "::", 7000, 1000, a),
		fwd("tcp", "203.0.113.11", 8080, 1, b), fwd("tcp", "2001:db8::11", 8080, 1, b), // one address before all
		fwd("tcp", "127.0.0.1", 8081, 1, b), fwd("udp", "127.0.0.1", 8081, 1, b),
		fwd("tcp", "203.0.113.1", 8082, 1, c), fwd("tcp", "203.0.113.1", 9000, 10, b),
	)
	// With br_netfilter frames pass the table on the bridge too, and a published
	// port of the own network is reached without leaving it.
	const netfilter = "net.bridge.bridge-nf-call-ip"
	_, err := os.Stat("/proc/sys/net/bridge")
	for i, proto := range []string{"tcp", "udp", "tcp", "udp"} {
		if err == nil {
			sysctl(t, netfilter+"tables", strconv.Itoa(i/2))
			sysctl(t, netfilter+"6tables", strconv.Itoa(i/2))
		}
		expect(t, "from the LAN", lan, proto, "203.0.113.1:8080", "a:80 for 203.0.113.2")
		expect(t, "from the LAN, IPv6", lan, proto, "[2001:db8::1]:8080", "a:80 for 2001:db8::2")
		expect(t, "127.0.0.1", self, proto, "127.0.0.1:8080", "a:80 for 172.30.1.1")
		expect(t, "127.0.0.2", self, proto, "127.0.0.2:8080", "a:80 for 172.30.1.1")
		expect(t, "127.0.0.1 alone", self, proto, "127.0.0.1:8081", "b:80 for 172.30.1.1")
		expect(t, "the host by its own address", self, proto, "203.0.113.1:8080", "a:80 for 203.0.113.1")
		expect(t, "a neighbour in the network", b, proto, "203.0.113.1:8080", "a:80 for 172.30.1.1")
		expect(t, "itself", a, proto, "203.0.113.1:8080", "a:80 for 172.30.1.1")
		expect(t, "itself, by the gateway", a, proto, "172.30.1.1:8080", "a:80 for 172.30.1.1")
		expect(t, "another network", c, proto, "203.0.113.1:8080", "a:80 for 172.30.2.2")
		expect(t, "another network, IPv6", c, proto, "[2001:db8::1]:8080", "a:80 for fd30:2::2")
		expect(t, "itself, IPv6", a, proto, "[2001:db8::1]:8080", "a:80 for fd30:1::1")
		expect(t, "127.0.0.1 alone, by the LAN", lan, proto, "203.0.113.1:8081", "")
		expect(t, "127.0.0.1 alone, by a container", c, proto, "172.30.2.1:8081", "")
	}
	for _, port := range []string{"7000", "7500", "7999"} {
		expect(t, "a range", lan, "tcp", "203.0.113.1:"+port, "a:"+port+" for 203.0.113.2")
		expect(t, "a range, IPv6", lan, "tcp", "[2001:db8::1]:"+port, "a:"+port+" for 2001:db8::2")
		expect(t, "a range, 127.0.0.1", self, "tcp", "127.0.0.1:"+port, "a:"+port+" for 172.30.1.1")
	}
	expect(t, "beside a range", lan, "tcp", "203.0.113.1:6999", "")
	expect(t, "one address", lan, "tcp", "203.0.113.11:8080", "b:80 for 203.0.113.2")
	expect(t, "one address, IPv6", lan, "tcp", "[2001:db8::11]:8080", "b:80 for 2001:db8::2")
	expect(t, "one address by another", lan, "tcp", "203.0.113.11:8082", "")
	expect(t, "one address", lan, "tcp", "203.0.113.1:8082", "c:80 for 203.0.113.2")
	expect(t, "out", a, "tcp", "203.0.113.2:1", "")
	serve(t, lan, 80)
	expect(t, "to the LAN", a, "tcp", "203.0.113.2:80", "lan:80 for 203.0.113.1")
	expect(t, "to the LAN, IPv6", a, "tcp", "[2001:db8::2]:80", "lan:80 for 2001:db8::1")
}

// TestClosed asks for what nobody published, in all ways.
func TestClosed(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	topology(t)
	for _, h := range []host{a, b, c} {
		serve(t, h, 80)
	}
	apart := plain("br1")
	apart.Interconnect = false
	table := settled(t, []Network{apart, plain("br2")}, fwd("tcp", "127.0.0.1", 8081, 1, a), fwd("tcp", "203.0.113.1", 8082, 1, c))
	// A neighbour who sends packets to the host's 127.0.0.1.
	within(t, lan, func() error { return os.WriteFile("/proc/sys/net/ipv4/conf/all/route_localnet", []byte("1"), 0) })
	ip(t, lan, "route del local 127.0.0.1 table local", "route add 127.0.0.1 via 203.0.113.1 src 203.0.113.2")
	within(t, c, func() error { return os.WriteFile("/proc/sys/net/ipv4/conf/all/route_localnet", []byte("1"), 0) })
	ip(t, c, "route del local 127.0.0.1 table local", "route add 127.0.0.1 via 172.30.2.1 src 172.30.2.2")
	serve(t, self, 631) // a service that trusts whoever is on the host
	check := func(when string) {
		var all sync.WaitGroup
		defer all.Wait()
		expect := func(t *testing.T, what string, from host, proto, to, want string) {
			all.Go(func() { expect(t, what, from, proto, to, want) })
		}
		expect(t, when+": straight to a container", lan, "tcp", "172.30.1.2:80", "")
		expect(t, when+": straight to a container, IPv6", lan, "tcp", "[fd30:1::2]:80", "")
		expect(t, when+": straight to a published port", lan, "tcp", "172.30.2.2:80", "")
		expect(t, when+": another network", a, "tcp", "172.30.2.2:80", "")
		expect(t, when+": another network, IPv6", c, "tcp", "[fd30:1::2]:80", "")
		expect(t, when+": published on 127.0.0.1, by the LAN", lan, "tcp", "127.0.0.1:8081", "")
		expect(t, when+": published on 127.0.0.1, by a container", c, "tcp", "127.0.0.1:8081", "")
		expect(t, when+": the host's 127.0.0.1, by the LAN", lan, "udp", "127.0.0.1:631", "")
		expect(t, when+": the host's 127.0.0.1, by a container", c, "udp", "127.0.0.1:631", "")
		expect(t, when+": the host", self, "tcp", "172.30.1.2:80", "a:80 for 172.30.1.1")
		expect(t, when+": the host's 127.0.0.1", self, "tcp", "127.0.0.1:8081", "a:80 for 172.30.1.1")
		expect(t, when+": published", lan, "tcp", "203.0.113.1:8082", "c:80 for 203.0.113.2")
	}
	check("at first")
	if _, err := os.Stat("/proc/sys/net/bridge/bridge-nf-call-iptables"); err == nil {
		sysctl(t, "net.bridge.bridge-nf-call-iptables", "1")
		expect(t, "a network apart", a, "tcp", "172.30.1.3:80", "")
		sysctl(t, "net.bridge.bridge-nf-call-iptables", "0")
	}
	run(t, "nft", "flush", "ruleset") // as firewalls do that reload
	eventually(t, "repair", func() bool { return exec.Command("nft", "list", "table", "inet", "davit").Run() == nil })
	check("after a flush")
	if wrote, _, err := table.repair(); wrote || err != nil {
		t.Errorf("a repaired table is written again: %v, %v", wrote, err)
	}
}

func TestModes(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	topology(t)
	for _, h := range []host{a, b, c, lan} {
		serve(t, h, 80)
	}
	serve(t, a, 81)
	ping := func(from host, to string) bool {
		return within(t, from, func() error { return exec.Command("ping", "-c1", "-W1", to).Run() }) == nil
	}
	_, noPing := exec.LookPath("ping")
	both := func(m Mode) Network {
		n := plain("br1")
		n.Mode4, n.Mode6 = m, m
		return n
	}
	table := settled(t, []Network{both(NAT), plain("br2")},
		fwd("tcp", "0.0.0.0", 8080, 1, a), fwd("tcp", "::", 8080, 1, a), fwd("tcp", "0.0.0.0", 8090, 1, a))
	set := func(n Network) {
		t.Helper()
		if err := table.SetNetwork(n); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, "nat", lan, "tcp", "203.0.113.1:8080", "a:80 for 203.0.113.2")

	set(both(NATUnprotected))
	expect(t, "unprotected, published", lan, "tcp", "203.0.113.1:8080", "a:80 for 203.0.113.2")
	expect(t, "unprotected, straight", lan, "tcp", "172.30.1.3:80", "b:80 for 203.0.113.2")
	expect(t, "unprotected, straight, IPv6", lan, "tcp", "[fd30:1::3]:80", "b:80 for 2001:db8::2")
	expect(t, "unprotected, out", a, "tcp", "203.0.113.2:80", "lan:80 for 203.0.113.1")

	set(both(Routed))
	expect(t, "routed, the host's address", lan, "tcp", "203.0.113.1:8080", "")
	expect(t, "routed", lan, "tcp", "172.30.1.2:80", "a:80 for 203.0.113.2")
	expect(t, "routed, IPv6", lan, "tcp", "[fd30:1::2]:80", "a:80 for 2001:db8::2")
	expect(t, "routed, another network", c, "tcp", "172.30.1.2:80", "a:80 for 172.30.2.2")
	expect(t, "routed, not published", lan, "tcp", "172.30.1.2:81", "")
	expect(t, "routed, not published", lan, "tcp", "172.30.1.3:80", "")
	expect(t, "routed, out", a, "tcp", "203.0.113.2:80", "lan:80 for 172.30.1.2")
	if noPing == nil && (!ping(lan, "172.30.1.3") || !ping(lan, "fd30:1::3")) {
		t.Error("routed: no ping")
	}
	// One of two ports of the host that open the same port of a container.
	if err := table.Unpublish([]Forward{fwd("tcp", "0.0.0.0", 8090, 1, a)}); err != nil {
		t.Fatal(err)
	}
	expect(t, "routed, one fewer", lan, "tcp", "172.30.1.2:80", "a:80 for 203.0.113.2")

	n := both(NAT)
	n.Trusted = []string{"uplink"}
	set(n)
	expect(t, "trusted", lan, "tcp", "172.30.1.3:80", "b:80 for 203.0.113.2")
	expect(t, "trusted, another", c, "tcp", "172.30.1.3:80", "")

	n = both(NAT)
	n.SNAT4, n.SNAT6 = netip.MustParseAddr("203.0.113.11"), netip.MustParseAddr("2001:db8::11")
	set(n)
	expect(t, "snat", a, "tcp", "203.0.113.2:80", "lan:80 for 203.0.113.11")
	expect(t, "snat, IPv6", a, "tcp", "[2001:db8::2]:80", "lan:80 for 2001:db8::11")

	n = both(NAT)
	n.Internal = true
	set(n)
	expect(t, "internal, out", a, "tcp", "203.0.113.2:80", "")
	expect(t, "internal, another network", a, "tcp", "172.30.2.2:80", "")
	expect(t, "internal, from another", c, "tcp", "172.30.1.2:80", "")
	expect(t, "internal, from outside", lan, "tcp", "203.0.113.1:8080", "")
	expect(t, "internal, within", a, "tcp", "172.30.1.3:80", "b:80 for 172.30.1.2")
	expect(t, "internal, from the host", self, "tcp", "172.30.1.2:80", "a:80 for 172.30.1.1")

	if err := table.DropNetwork("br1"); err != nil {
		t.Fatal(err)
	}
	set(both(NAT))
	expect(t, "there again", lan, "tcp", "203.0.113.1:8080", "a:80 for 203.0.113.2")
}

// TestLetIn opens networks by what dockerd has for that.
func TestLetIn(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	topology(t)
	serve(t, a, 80)
	serve(t, a, 81)
	table := open(t)
	table.config.DirectRouting = true
	table.config.Accept = Mark{0x10, 0xf0}
	if err := errors.Join(table.SetNetwork(plain("br1")), table.Publish([]Forward{fwd("tcp", "127.0.0.1", 8080, 1, a)}), table.Settle()); err != nil {
		t.Fatal(err)
	}
	expect(t, "published, straight", lan, "tcp", "172.30.1.2:80", "a:80 for 203.0.113.2")
	expect(t, "not published", lan, "tcp", "172.30.1.2:81", "")
	feed(t, "table ip marks { chain p { type filter hook prerouting priority mangle; iifname uplink tcp dport 81 meta mark set 0x15; }; }", "nft", "-f", "-")
	expect(t, "marked", lan, "tcp", "172.30.1.2:81", "a:81 for 203.0.113.2")
}

func TestDrop(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	topology(t)
	serve(t, c, 80)
	serve(t, lan, 80)
	table := settled(t, []Network{plain("br1")}) // br2 is somebody else's
	expect(t, "forwarded for others", lan, "tcp", "172.30.2.2:80", "c:80 for 203.0.113.2")
	if err := table.SetDrop(true, false); err != nil {
		t.Fatal(err)
	}
	expect(t, "dropped", lan, "tcp", "172.30.2.2:80", "")
	expect(t, "the other family", lan, "tcp", "[fd30:2::2]:80", "c:80 for 2001:db8::2")
	expect(t, "ours", a, "tcp", "203.0.113.2:80", "lan:80 for 203.0.113.1")
	ip(t, self, fmt.Sprintf("link set br2 group %d", testGroup))
	expect(t, "another engine's", lan, "tcp", "172.30.2.2:80", "c:80 for 203.0.113.2")
}

func TestRepair(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	topology(t)
	serve(t, a, 80)
	table := settled(t, []Network{plain("br1"), plain("br2")}, fwd("tcp", "0.0.0.0", 8080, 1, a), fwd("tcp", "0.0.0.0", 7000, 10, a))
	intact := func() bool {
		table.mu.Lock()
		defer table.mu.Unlock()
		if !table.link.sameRules(table.rules) {
			return false
		}
		d, ok := table.link.compare(table.rules, table.elements)
		return ok && d.empty()
	}
	if !intact() {
		t.Fatal("the new table does not look intact")
	}
	for _, damage := range []string{
		"flush ruleset", "delete table inet davit", "flush table inet davit", "flush chain inet davit inward",
		"add chain inet davit forward { policy drop; }", "insert rule inet davit inward accept",
		"add chain inet davit extra", "flush set inet davit bridges", "flush map inet davit any4",
		"delete element inet davit any_range4 { tcp . 7000-7009 }",
		"add element inet davit any4 { tcp . 22 : 172.30.1.2 . 22 }", "add element inet davit within { br1 . br2 }",
	} {
		run(t, "nft", strings.Fields(damage)...)
		took := eventually(t, "repair after "+damage, intact)
		if took > 2*time.Second { // a hundredth of that, on a machine that does nothing else
			t.Errorf("%s: repaired after %v", damage, took)
		}
		expect(t, damage, lan, "tcp", "203.0.113.1:8080", "a:80 for 203.0.113.2")
	}
	// Changes that meet damage which nobody has seen yet.
	table.watcher.close()
	run(t, "nft", "flush", "map", "inet", "davit", "any4")
	if err := table.Unpublish([]Forward{fwd("tcp", "0.0.0.0", 8080, 1, a)}); err != nil || !intact() {
		t.Errorf("unpublishing what is gone: %v", err)
	}
	run(t, "nft", "flush", "ruleset")
	if err := table.Publish([]Forward{fwd("tcp", "0.0.0.0", 8080, 1, a)}); err != nil || !intact() {
		t.Errorf("publishing in no table: %v", err)
	}
	expect(t, "then", lan, "tcp", "203.0.113.1:8080", "a:80 for 203.0.113.2")
}

// TestStrays has connections begun while the table is gone: between networks,
// from outside, and one to a published port before that. Another table keeps the
// kernel tracking them.
func TestStrays(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	topology(t)
	feed(t, "table ip other { chain f { type filter hook forward priority 10; ct state new accept; }; }", "nft", "-f", "-")
	echo := func(h host) {
		t.Helper()
		if err := within(t, h, func() error {
			l, err := net.Listen("tcp", ":80")
			if err != nil {
				return err
			}
			t.Cleanup(func() { l.Close() })
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go io.Copy(c, c)
				}
			}()
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	echo(a)
	echo(c)
	dial := func(from host, to string) (conn net.Conn) {
		t.Helper()
		if err := within(t, from, func() (err error) {
			conn, err = net.DialTimeout("tcp", to, 5*time.Second)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	lives := func(conn net.Conn, wait time.Duration) bool {
		conn.SetDeadline(time.Now().Add(wait))
		conn.Write([]byte("?"))
		_, err := io.ReadFull(conn, make([]byte, 1))
		return err == nil
	}
	table := settled(t, []Network{plain("br1"), plain("br2")}, fwd("tcp", "0.0.0.0", 8080, 1, a))
	published, out, host := dial(lan, "203.0.113.1:8080"), dial(c, "203.0.113.1:8080"), dial(self, "172.30.1.2:80")
	table.watcher.close()
	run(t, "nft", "delete", "table", "inet", "davit")
	between, straight := dial(a, "172.30.2.2:80"), dial(lan, "172.30.1.2:80")
	if !lives(between, 5*time.Second) || !lives(straight, 5*time.Second) {
		t.Fatal("without the table nobody is kept from anybody")
	}
	if wrote, _, err := table.repair(); !wrote || err != nil {
		t.Fatal(wrote, err)
	}
	if lives(between, patience) || lives(straight, patience) {
		t.Error("what was begun while the table was gone goes on")
	}
	for name, conn := range map[string]net.Conn{"published": published, "published, from another network": out, "the host's": host} {
		if !lives(conn, 5*time.Second) {
			t.Errorf("%s: the connection has ended", name)
		}
	}
}

// TestAdoption starts a second table over the first's.
func TestAdoption(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	topology(t)
	serve(t, a, 80)
	all := []Forward{fwd("tcp", "0.0.0.0", 8080, 1, a), fwd("tcp", "0.0.0.0", 7000, 10, a), fwd("tcp", "::", 7000, 10, a)}
	first := settled(t, []Network{plain("br1"), plain("br2")}, all...)
	handles := func() string { return run(t, "nft", "-a", "list", "table", "inet", "davit") }
	before := handles()
	generation := func() string { return run(t, "sh", "-c", "nft monitor ruleset & pid=$!; sleep 0.05; kill $pid") }
	first.Close()
	settled(t, []Network{plain("br2"), plain("br1")}, all...).Close()
	if after := handles(); after != before {
		t.Errorf("an engine that starts again writes the table:\n%s\nwas\n%s", after, before)
	}
	if g := generation(); strings.Contains(g, "davit") {
		t.Error(g)
	}
	// One port and one network are gone, and one is new: the rules stay.
	third := settled(t, []Network{plain("br1")}, all[1], fwd("tcp", "0.0.0.0", 8081, 1, a))
	rules := func(s string) (kept []string) {
		for line := range strings.Lines(s) {
			if strings.Contains(line, "comment") {
				kept = append(kept, line)
			}
		}
		return kept
	}
	if had, have := rules(before), rules(handles()); len(had) == 0 || strings.Join(had, "") != strings.Join(have, "") {
		t.Errorf("rules were written again:\n%s", have)
	}
	expect(t, "new", lan, "tcp", "203.0.113.1:8081", "a:80 for 203.0.113.2")
	expect(t, "gone", lan, "tcp", "203.0.113.1:8080", "")
	third.Close()
	if err := third.Publish(all[:1]); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("publishing in a closed table: %v", err)
	}
}

func TestManyPorts(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	topology(t)
	for _, port := range []int{10000, 19999, 30000} {
		serve(t, a, port)
	}
	table := settled(t, []Network{plain("br1")})
	size := func() int {
		table.mu.Lock()
		defer table.mu.Unlock()
		return len(table.elements)
	}
	before := size()
	same := []Forward{fwd("tcp", "0.0.0.0", 10000, 10000, a)}
	begin := time.Now()
	if err := table.Publish(same); err != nil {
		t.Fatal(err)
	}
	t.Logf("10,000 ports as a range: %v", time.Since(begin))
	if n := size(); n != before+1 {
		t.Errorf("%d elements for a range, want 1", n-before)
	}
	expect(t, "range", lan, "tcp", "203.0.113.1:19999", "a:19999 for 203.0.113.2")
	other := Forward{Bridge: "br1", Proto: "tcp", HostIP: netip.IPv4Unspecified(), HostPort: 30000, Count: 10000, Address: addresses[a][0], Port: 10000}
	begin = time.Now()
	if err := table.Publish([]Forward{other}); err != nil {
		t.Fatal(err)
	}
	t.Logf("10,000 ports to others: %v", time.Since(begin))
	expect(t, "ports to others", lan, "tcp", "203.0.113.1:39999", "a:19999 for 203.0.113.2")
	if wrote, _, err := table.repair(); wrote || err != nil {
		t.Errorf("compared with itself: %v, %v", wrote, err)
	}
	begin = time.Now()
	if err := table.Unpublish(append(same, other)); err != nil || size() != before {
		t.Errorf("unpublishing: %v, %d elements left", err, size()-before)
	}
	t.Logf("all gone again: %v", time.Since(begin))
	expect(t, "gone", lan, "tcp", "203.0.113.1:10000", "")
}

func TestConflict(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	topology(t)
	serve(t, a, 80)
	table := settled(t, []Network{plain("br1")}, fwd("tcp", "0.0.0.0", 8080, 1, a))
	err := table.Publish([]Forward{fwd("tcp", "0.0.0.0", 8079, 1, b), fwd("tcp", "0.0.0.0", 8080, 1, b)})
	if errs.KindOf(err) != errs.Conflict || !strings.Contains(err.Error(), "0.0.0.0:8080->172.30.1.3:80/tcp") {
		t.Errorf("a port for two: %v", err)
	}
	if _, kept := table.forwards[fwd("tcp", "0.0.0.0", 8079, 1, b)]; kept {
		t.Error("half of what failed is kept")
	}
	// The kernel knows what overlaps.
	if err := table.Publish([]Forward{fwd("tcp", "0.0.0.0", 7000, 10, a)}); err != nil {
		t.Fatal(err)
	}
	if err := table.Publish([]Forward{fwd("tcp", "0.0.0.0", 7005, 10, a)}); err == nil {
		t.Error("two ranges that overlap are published")
	}
	if wrote, _, err := table.repair(); wrote || err != nil {
		t.Errorf("afterwards the table is not as it should be: %v, %v", wrote, err)
	}
	expect(t, "then", lan, "tcp", "203.0.113.1:8080", "a:80 for 203.0.113.2")
	for _, bad := range []Forward{
		{}, fwd("icmp", "0.0.0.0", 1, 1, a), fwd("tcp", "0.0.0.0", 0, 1, a), fwd("tcp", "0.0.0.0", 65535, 2, a), fwd("tcp", "::ffff:1.2.3.4", 1, 1, a),
	} {
		if err := table.Publish([]Forward{bad}); errs.KindOf(err) != errs.InvalidParameter {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
