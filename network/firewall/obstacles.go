package firewall

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

var tableFamilies = map[nftables.TableFamily]string{nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6", nftables.TableFamilyINet: "inet"}

// obstacles names the chains of others that drop what is forwarded unless they
// say otherwise, such as those of ufw, firewalld and Docker, and that do not
// speak of our bridges: no rule of ours can let a packet through that one of
// theirs drops. Tables of other engines, which let our bridges through by their
// group, are known by the chain inward.
func (l *link) obstacles(bridges []string) []string {
	if len(bridges) == 0 {
		return nil
	}
	list, err := l.conn.ListChains()
	if err != nil {
		return nil
	}
	engines := map[string]bool{}
	for _, c := range list {
		if c.Table.Family == nftables.TableFamilyINet && c.Name == chainInward {
			engines[c.Table.Name] = true
		}
	}
	var warnings []string
	for _, c := range list {
		family, known := tableFamilies[c.Table.Family]
		if !known || c.Type != nftables.ChainTypeFilter || c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookForward ||
			c.Table.Family == nftables.TableFamilyINet && engines[c.Table.Name] {
			continue
		}
		rules, err := readRules(c.Table)
		if err != nil || !closed(c, rules[c.Name]) {
			continue
		}
		left := slices.DeleteFunc(slices.Clone(bridges), func(b string) bool { return lets(rules, b) })
		if len(left) > 0 {
			warnings = append(warnings, fmt.Sprintf("chain %s %s %s drops what it does not know, so containers on %s may not reach other hosts, or be reached: %s",
				family, c.Table.Name, c.Name, strings.Join(left, ", "), remedy(family, c, list, left)))
		}
	}
	return warnings
}

// closed reports whether a chain drops, or refuses, what no rule of it lets
// through: by its policy or by its last rule.
func closed(c *nftables.Chain, rules []hostRule) bool {
	if c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
		return true
	}
	if len(rules) == 0 {
		return false
	}
	for _, e := range rules[len(rules)-1] {
		switch e.name {
		case "counter", "log":
			continue
		case "reject":
			return true
		case "target":
			return e.words() == "target REJECT"
		case "immediate":
			v, ok := decode(e, e.name, &expr.Verdict{})
			return ok && v.Kind == expr.VerdictDrop
		}
		return false
	}
	return false
}

// lets reports whether one of the rules is about an interface of this name and
// does not drop.
func lets(rules map[string][]hostRule, bridge string) bool {
	for _, list := range rules {
		for _, r := range list {
			named, refused := false, false
			for _, e := range r {
				if c, ok := decode(e, "cmp", &expr.Cmp{}); ok {
					named = named || text(c.Data) == bridge && c.Op == expr.CmpOpEq
				}
				v, ok := decode(e, "immediate", &expr.Verdict{})
				refused = refused || e.name == "reject" || e.words() == "target REJECT" || ok && v.Kind == expr.VerdictDrop
			}
			if named && !refused {
				return true
			}
		}
	}
	return false
}

// remedy is the line that helps, for the firewall that the chains look like.
func remedy(family string, c *nftables.Chain, list []*nftables.Chain, bridges []string) string {
	has := func(chain string) bool {
		return slices.ContainsFunc(list, func(o *nftables.Chain) bool {
			return o.Name == chain && o.Table.Name == c.Table.Name && o.Table.Family == c.Table.Family
		})
	}
	table, program := c.Table.Name, map[string]string{"ip": "iptables", "ip6": "ip6tables"}[family]
	var lines []string
	each := func(formats ...string) {
		for _, b := range bridges {
			for _, f := range formats {
				lines = append(lines, fmt.Sprintf(f, b))
			}
		}
	}
	switch {
	case table == "firewalld":
		each("firewall-cmd --permanent --zone=trusted --add-interface=%s")
		lines = append(lines, "firewall-cmd --reload")
	case program != "" && table == "filter" && has("DOCKER-USER"):
		each(program+" -I DOCKER-USER -i %s -j ACCEPT", program+" -I DOCKER-USER -o %s -j ACCEPT")
	case program != "" && table == "filter" && (has("ufw-user-forward") || has("ufw6-user-forward")):
		each("ufw route allow in on %s", "ufw route allow out on %s")
	case program != "" && table == "filter":
		each(program+" -I "+c.Name+" -i %s -j ACCEPT", program+" -I "+c.Name+" -o %s -j ACCEPT")
	default:
		rule := "nft insert rule " + family + " " + table + " " + c.Name
		each(rule+" iifname %s accept", rule+" oifname %s accept")
	}
	return strings.Join(lines, "; ")
}
