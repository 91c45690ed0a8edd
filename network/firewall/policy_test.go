package firewall

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/test/alone"
)

// respecting is settled for a table that respects the host's policy.
func respecting(t testing.TB, forwards ...Forward) *Table {
	t.Helper()
	table := open(t)
	table.config.Respect = true
	for _, n := range []Network{plain("br1"), plain("br2")} {
		if err := table.SetNetwork(n); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.Publish(forwards); err != nil {
		t.Fatal(err)
	}
	if err := table.Settle(); err != nil {
		t.Fatal(err)
	}
	return table
}

func restore(t testing.TB, program, file string) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	feed(t, string(text), program)
}

// feed runs a program that reads rules; without iptables the test is skipped.
func feed(t testing.TB, rules string, program ...string) {
	t.Helper()
	cmd := exec.Command(program[0], program[1:]...)
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("%s: %v\n%s", program, err, out)
	}
}

// published is what the tests of policies publish: port 80 of a, by tcp and udp
// at 8080, 8081, 2222 and 9000, ranges at 7000 and 7500.
func published() []Forward {
	var all []Forward
	for _, proto := range []string{"tcp", "udp"} {
		for _, any := range []string{"0.0.0.0", "::"} {
			for _, port := range []uint16{8080, 8081, 2222, 9000} {
				all = append(all, fwd(proto, any, port, 1, a))
			}
			all = append(all, fwd(proto, any, 7000, 20, a), fwd(proto, any, 7500, 2, a))
		}
	}
	return append(all, fwd("tcp", "203.0.113.11", 8080, 1, b))
}

func policyTopology(t testing.TB) {
	t.Helper()
	topology(t)
	for _, port := range []int{80, 7000, 7009, 7010, 7500, 7501} {
		serve(t, a, port)
	}
	serve(t, b, 80)
	serve(t, self, 2222) // as the userland forwarder does
}

func TestRespectUFW(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	policyTopology(t)
	restore(t, "iptables-restore", "ufw4.rules")
	restore(t, "ip6tables-restore", "ufw6.rules")
	ip(t, lan, "addr add 198.51.100.2/24 dev eth0")
	ip(t, self, "route add 198.51.100.0/24 dev uplink")
	table := respecting(t, published()...)
	expect(t, "allowed", lan, "tcp", "203.0.113.1:8080", "a:80 for 203.0.113.2")
	expect(t, "allowed, IPv6", lan, "tcp", "[2001:db8::1]:8080", "a:80 for 2001:db8::2")
	expect(t, "allowed, one address", lan, "tcp", "203.0.113.11:8080", "b:80 for 203.0.113.2")
	expect(t, "allowed, a range", lan, "tcp", "203.0.113.1:7009", "a:7009 for 203.0.113.2")
	expect(t, "allowed, a list", lan, "tcp", "203.0.113.1:7500", "a:7500 for 203.0.113.2")
	expect(t, "not allowed", lan, "tcp", "203.0.113.1:8081", "")
	expect(t, "not allowed, IPv6", lan, "tcp", "[2001:db8::1]:8081", "")
	expect(t, "not allowed, udp", lan, "udp", "203.0.113.1:8080", "")
	expect(t, "not allowed, outside the range", lan, "tcp", "203.0.113.1:7010", "")
	expect(t, "not allowed, outside the list", lan, "tcp", "203.0.113.1:7501", "")
	expect(t, "not allowed, from a network", c, "tcp", "203.0.113.1:8080", "")
	expect(t, "what cannot be read, through the host", lan, "tcp", "203.0.113.1:2222", ":2222 for 203.0.113.2")
	expect(t, "the host itself", self, "tcp", "127.0.0.1:8081", "a:80 for 172.30.1.1")
	expect(t, "the host itself, by its address", self, "tcp", "203.0.113.1:8081", "a:80 for 203.0.113.1")
	if w := strings.Join(table.Warnings(), "\n"); strings.Count(w, "\n") != 0 || !strings.Contains(w, "chain ip filter ufw-user-input (match recent)") {
		t.Errorf("warnings: %s", w)
	}
	if wrote, _, err := table.repair(); wrote || err != nil {
		t.Errorf("the table is written again though nothing changed: %v, %v", wrote, err)
	}
	// What the host lets in changes.
	run(t, "iptables", "-A", "ufw-user-input", "-p", "tcp", "--dport", "8081", "-j", "ACCEPT")
	took := eventually(t, "the new rule to hold", func() bool { return ask(t, lan, "tcp", "203.0.113.1:8081", 50*time.Millisecond) != "" })
	if took > 2*time.Second { // one, on a machine that does nothing else
		t.Errorf("a new rule holds after %v", took)
	}
	run(t, "iptables", "-D", "ufw-user-input", "-p", "tcp", "--dport", "8081", "-j", "ACCEPT")
	eventually(t, "the rule to end", func() bool { return ask(t, lan, "tcp", "203.0.113.1:8081", 50*time.Millisecond) == "" })
	run(t, "nft", "flush", "ruleset") // no policy at all
	eventually(t, "an open host", func() bool { return ask(t, lan, "tcp", "203.0.113.1:8081", 50*time.Millisecond) != "" })
}

func TestRespectFirewalld(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	policyTopology(t)
	run(t, "nft", "-f", "testdata/firewalld.nft")
	respecting(t, published()...)
	expect(t, "allowed", lan, "tcp", "203.0.113.1:8080", "a:80 for 203.0.113.2")
	expect(t, "allowed, IPv6", lan, "tcp", "[2001:db8::1]:8080", "a:80 for 2001:db8::2")
	expect(t, "not allowed", lan, "tcp", "203.0.113.1:8081", "")
	expect(t, "not allowed, IPv6", lan, "tcp", "[2001:db8::1]:8081", "")
	expect(t, "not allowed, udp", lan, "udp", "203.0.113.1:8080", "")
	expect(t, "a trusted zone", c, "tcp", "203.0.113.1:8081", "a:80 for 172.30.2.2")
	expect(t, "another zone", b, "tcp", "203.0.113.1:8081", "")
	// As CVE-2025-54388 and 54410: what a reload of firewalld leaves open.
	run(t, "nft", "delete", "table", "inet", "firewalld")
	run(t, "nft", "-f", "testdata/firewalld.nft")
	eventually(t, "the policy to hold again", func() bool { return ask(t, lan, "tcp", "203.0.113.1:8081", 50*time.Millisecond) == "" })
	expect(t, "after a reload", lan, "tcp", "203.0.113.1:8080", "a:80 for 203.0.113.2")
	expect(t, "after a reload, straight", lan, "tcp", "172.30.1.2:80", "")
}

func TestRespectPlain(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	policyTopology(t)
	run(t, "nft", "-f", "testdata/plain.nft")
	respecting(t, published()...)
	expect(t, "in a set", lan, "tcp", "203.0.113.1:8080", "a:80 for 203.0.113.2")
	expect(t, "in a range of a set", lan, "tcp", "203.0.113.1:7010", "a:7010 for 203.0.113.2")
	expect(t, "in a set of pairs", lan, "tcp", "203.0.113.1:9000", "a:80 for 203.0.113.2")
	expect(t, "an anonymous set", lan, "udp", "203.0.113.1:8080", "a:80 for 203.0.113.2")
	expect(t, "in no set", lan, "tcp", "203.0.113.1:7500", "")
	expect(t, "in no set", lan, "udp", "203.0.113.1:8081", "")
	expect(t, "from elsewhere", c, "tcp", "203.0.113.1:8080", "")
	run(t, "nft", "add", "element", "inet", "filter", "ports", "{ 7500 }")
	eventually(t, "the new element to hold", func() bool { return ask(t, lan, "tcp", "203.0.113.1:7500", 50*time.Millisecond) != "" })
	// A rule that cannot be read before all others: every packet goes to the host.
	run(t, "nft", "insert", "rule", "inet", "filter", "input", "meta", "mark", "set", "1")
	serve(t, self, 8080)
	eventually(t, "the host's way", func() bool {
		return ask(t, lan, "tcp", "203.0.113.1:8080", time.Second) == ":8080 for 203.0.113.2"
	})
}

// TestRefusedPolicy writes a policy that the kernel refuses.
func TestRefusedPolicy(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	policyTopology(t)
	table := respecting(t, published()...)
	expect(t, "no policy", lan, "tcp", "203.0.113.1:8080", "a:80 for 203.0.113.2")
	table.watcher.close()
	// Somebody else's translation, which must go on.
	feed(t, "table ip nat { chain p { type nat hook prerouting priority dstnat; ip daddr 203.0.113.1 tcp dport 9999 dnat to 172.30.1.2:80; }; }", "nft", "-f", "-")
	table.mu.Lock()
	table.rules = rules(table.config, table.drop, mirror{chains: []chain{regular("broken", rule{"to nowhere", all(jump("nowhere"))})}})
	err := table.replaceLocked()
	table.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	serve(t, self, 8080)
	expect(t, "the host's way", lan, "tcp", "203.0.113.1:8080", ":8080 for 203.0.113.2")
	expect(t, "the host itself", self, "tcp", "127.0.0.1:8080", "a:80 for 172.30.1.1")
	expect(t, "somebody else's", lan, "tcp", "203.0.113.1:9999", "a:80 for 203.0.113.2")
	if w := strings.Join(table.Warnings(), "\n"); !strings.Contains(w, "the host's packet filter cannot be read") {
		t.Errorf("warnings: %s", w)
	}
	if wrote, _, err := table.repair(); !wrote || err != nil {
		t.Errorf("what can be written is not: %v, %v", wrote, err)
	}
	expect(t, "no policy again", lan, "tcp", "203.0.113.1:8080", "a:80 for 203.0.113.2")
}

// TestRespectLegacy has rules that nftables does not show, made later.
func TestRespectLegacy(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	if exec.Command("iptables-legacy", "-V").Run() != nil {
		t.Skip("no iptables-legacy")
	}
	policyTopology(t)
	respecting(t, published()...)
	expect(t, "no policy", lan, "tcp", "203.0.113.1:8081", "a:80 for 203.0.113.2")
	feed(t, "*filter\n:INPUT DROP\n-A INPUT -i lo -j ACCEPT\n-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n-A INPUT -p tcp --dport 8080 -j ACCEPT\nCOMMIT\n", "iptables-legacy-restore")
	eventually(t, "the policy to hold", func() bool { return ask(t, lan, "tcp", "203.0.113.1:8081", 50*time.Millisecond) == "" })
	serve(t, self, 8080)
	expect(t, "allowed", lan, "tcp", "203.0.113.1:8080", ":8080 for 203.0.113.2")
	expect(t, "the other family", lan, "tcp", "[2001:db8::1]:8081", "a:80 for 2001:db8::2")
}
