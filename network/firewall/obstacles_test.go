package firewall

import (
	"fmt"
	"strings"
	"testing"

	"github.com/davit-engine/davit/test/alone"
)

// TestObstacles reads the firewalls that drop what is forwarded, follows their
// advice as far as it is of programs that are here, and asks again.
func TestObstacles(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	topology(t)
	serve(t, lan, 80)
	table := settled(t, []Network{plain("br1")})
	if w := table.Warnings(); len(w) != 0 {
		t.Fatalf("nothing in the way: %q", w)
	}
	ip(t, self, fmt.Sprintf("link set br1 group %d", testGroup))
	other, err := Open(Config{Name: "other", Group: testGroup})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Remove()
	if err := other.Settle(); err != nil {
		t.Fatal(err)
	}
	if err := other.SetDrop(true, true); err != nil {
		t.Fatal(err)
	}
	if w := table.Warnings(); len(w) != 0 {
		t.Fatalf("another engine is in the way: %q", w)
	}
	for _, c := range []struct{ name, rules, chain, advice string }{
		{"iptables", "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n", "chain ip filter FORWARD", "iptables -I FORWARD -i br1 -j ACCEPT"},
		{"docker", "*filter\n:FORWARD DROP [0:0]\n:DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\nCOMMIT\n", "chain ip filter FORWARD", "iptables -I DOCKER-USER -i br1 -j ACCEPT; iptables -I DOCKER-USER -o br1 -j ACCEPT"},
		{"ufw", "*filter\n:FORWARD DROP [0:0]\n:ufw-user-forward - [0:0]\n-A FORWARD -j ufw-user-forward\nCOMMIT\n", "chain ip filter FORWARD", "ufw route allow in on br1; ufw route allow out on br1"},
		{"last rule", "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -i eth7 -j ACCEPT\n-A FORWARD -j REJECT\nCOMMIT\n", "chain ip filter FORWARD", "iptables -I FORWARD -i br1 -j ACCEPT"},
		{"firewalld", "", "chain inet firewalld filter_FORWARD", "firewall-cmd --permanent --zone=trusted --add-interface=br1; firewall-cmd --reload"},
		{"nft", "table inet mine { chain f { type filter hook forward priority 0; policy drop; }; }", "chain inet mine f", "nft insert rule inet mine f iifname br1 accept; nft insert rule inet mine f oifname br1 accept"},
		{"open", "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -i eth7 -j DROP\nCOMMIT\n", "", ""},
	} {
		switch {
		case c.rules == "":
			run(t, "nft", "-f", "testdata/firewalld.nft")
		case strings.HasPrefix(c.rules, "*"):
			feed(t, c.rules, "iptables-restore")
		default:
			feed(t, c.rules, "nft", "-f", "-")
		}
		w := table.Warnings()
		switch {
		case c.chain == "":
			if len(w) != 0 {
				t.Errorf("%s: %q", c.name, w)
			}
		case len(w) != 1 || !strings.HasPrefix(w[0], c.chain+" ") || !strings.HasSuffix(w[0], ": "+c.advice) && !strings.Contains(w[0], ": "+c.advice+";"):
			t.Errorf("%s: %q, want %q and %q", c.name, w, c.chain, c.advice)
		default:
			_, lines, _ := strings.Cut(w[0], "be reached: ")
			if strings.HasPrefix(lines, "iptables") || strings.HasPrefix(lines, "nft") {
				expect(t, c.name+" in the way", a, "tcp", "203.0.113.2:80", "")
				run(t, "sh", "-c", lines)
				expect(t, c.name+" with the line that helps", a, "tcp", "203.0.113.2:80", "lan:80 for 203.0.113.1")
				if w := table.Warnings(); len(w) != 0 {
					t.Errorf("%s: what was advised is done: %q", c.name, w)
				}
			}
		}
		run(t, "nft", "flush", "ruleset")
		eventually(t, "repair", func() bool {
			return strings.Contains(run(t, "nft", "list", "tables"), "davit") && strings.Contains(run(t, "nft", "list", "tables"), "other")
		})
	}
}
