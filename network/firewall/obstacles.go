package firewall

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
)

// obstacles names the chains of others that drop what is forwarded unless they
// say otherwise, such as those of ufw, firewalld and Docker: no rule of ours can
// let a packet through that one of theirs drops. Tables of other engines, which
// let our bridges through by their group, are known by the chain inward.
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
		if !known || c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookForward || c.Policy == nil || *c.Policy != nftables.ChainPolicyDrop ||
			c.Table.Family == nftables.TableFamilyINet && engines[c.Table.Name] {
			continue
		}
		warnings = append(warnings, fmt.Sprintf("chain %s %s %s drops what it does not know, so containers may not reach other hosts, or be reached: let traffic from and to %s through there (%s)",
			family, c.Table.Name, c.Name, strings.Join(bridges, ", "), remedy(family, c.Table.Name, c.Name, list, bridges)))
	}
	return warnings
}

var tableFamilies = map[nftables.TableFamily]string{nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6", nftables.TableFamilyINet: "inet"}

// remedy is the line that helps, for the firewall that the chains look like.
func remedy(family, table, name string, list []*nftables.Chain, bridges []string) string {
	has := func(chain string) bool {
		return slices.ContainsFunc(list, func(c *nftables.Chain) bool { return c.Name == chain && c.Table.Name == table })
	}
	var lines []string
	line := func(format string) {
		for _, b := range bridges {
			lines = append(lines, fmt.Sprintf(format, b))
		}
	}
	program := map[string]string{"ip": "iptables", "ip6": "ip6tables"}[family]
	switch {
	case table == "firewalld":
		line("firewall-cmd --permanent --zone=trusted --add-interface=%s")
		lines = append(lines, "firewall-cmd --reload")
	case program != "" && table == "filter" && has("DOCKER-USER"):
		line(program + " -I DOCKER-USER -i %s -j ACCEPT")
		line(program + " -I DOCKER-USER -o %s -j ACCEPT")
	case program != "" && table == "filter" && has("ufw-user-forward"):
		line("ufw route allow in on %s")
		line("ufw route allow out on %s")
	case program != "" && table == "filter":
		line(program + " -I " + name + " -i %s -j ACCEPT")
		line(program + " -I " + name + " -o %s -j ACCEPT")
	default:
		line("nft insert rule " + family + " " + table + " " + name + " iifname %s accept")
		line("nft insert rule " + family + " " + table + " " + name + " oifname %s accept")
	}
	return strings.Join(lines, "; ")
}
