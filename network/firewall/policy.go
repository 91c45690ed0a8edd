package firewall

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// mirror is what the host lets in, as chains of our own: a packet to a
// published port passes them before its address is translated, with the port
// that it was sent to, as if it was for a program of the host.
//
//	host's chain at hook input        ours, of type nat at hook prerouting
//	  ip filter INPUT   policy drop     host0: published: goto host0_INPUT
//	     jump ufw-user-input      ->      host0_INPUT: jump host0_ufw-user-input, ..., drop
//	  inet firewalld filter_INPUT       host1: ...
//
// An accept goes on with the next of the host's chains and at last with the
// translation. Before what cannot be read, the packet's address is translated
// to itself: nothing translates it any more then, so that it goes on to the
// host's own chains, and behind them to the userland forwarder.
type mirror struct {
	chains []chain
	sets   []frozenSet
	passed []string // what could not be read, in words
}

// frozenSet is a set with the elements that it keeps.
type frozenSet struct {
	set      *nftables.Set
	elements []nftables.SetElement
}

// hostChain is a base chain of the host at hook input, with all that it leads to.
type hostChain struct {
	base  *nftables.Chain
	rules map[string][]hostRule // by chain
	sets  map[string]frozenSet
}

// hostRule is a rule's expressions as the kernel has them.
type hostRule []hostExpr

type hostExpr struct {
	name string
	data []byte // attributes
}

// readPolicy reads the host's chains at hook input, in their order.
func (l *link) readPolicy(own string) ([]hostChain, error) {
	list, err := l.conn.ListChains()
	if err != nil {
		return nil, explain(err, "listing the host's chains")
	}
	var policy []hostChain
	for _, c := range list {
		_, family := tableFamilies[c.Table.Family]
		ours := c.Table.Family == nftables.TableFamilyINet && c.Table.Name == own
		if !family || ours || c.Type != nftables.ChainTypeFilter || c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookInput {
			continue
		}
		h := hostChain{base: c, sets: map[string]frozenSet{}}
		if h.rules, err = readRules(c.Table); err != nil {
			return nil, err
		}
		for _, name := range lookedUp(h.rules) {
			s, err := l.conn.GetSetByName(c.Table, name)
			if err != nil {
				continue // of a kind that is not known here
			}
			elements, err := l.conn.GetSetElements(s)
			if err != nil {
				return nil, explain(err, "reading set "+name)
			}
			h.sets[name] = frozenSet{s, elements}
		}
		policy = append(policy, h)
	}
	slices.SortStableFunc(policy, func(a, b hostChain) int { return cmp.Compare(*a.base.Priority, *b.base.Priority) })
	return policy, nil
}

// readRules reads all rules of a table, by chain. The library would leave out
// expressions that it does not know.
func readRules(t *nftables.Table) (map[string][]hostRule, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, explain(err, "opening nftables")
	}
	defer conn.Close()
	filter, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NFTA_RULE_TABLE, Data: []byte(t.Name + "\x00")}})
	if err != nil {
		return nil, fmt.Errorf("asking for rules: %w", err)
	}
	messages, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETRULE, Flags: netlink.Request | netlink.Dump},
		Data:   append([]byte{byte(t.Family), unix.NFNETLINK_V0, 0, 0}, filter...),
	})
	if err != nil {
		return nil, explain(err, "reading the rules of table "+t.Name)
	}
	rules := map[string][]hostRule{}
	for _, m := range messages {
		table, name, rule, err := parseRule(m.Data)
		if err != nil {
			return nil, fmt.Errorf("reading a rule of table %s: %w", t.Name, err)
		}
		if table == t.Name {
			rules[name] = append(rules[name], rule)
		}
	}
	return rules, nil
}

func parseRule(message []byte) (table, chain string, rule hostRule, err error) {
	const nfgenmsg = 4
	if len(message) < nfgenmsg {
		return "", "", nil, fmt.Errorf("%d bytes are no rule", len(message))
	}
	attributes, err := netlink.UnmarshalAttributes(message[nfgenmsg:])
	if err != nil {
		return "", "", nil, err
	}
	for _, a := range attributes {
		switch a.Type & attributeType {
		case unix.NFTA_RULE_TABLE:
			table = text(a.Data)
		case unix.NFTA_RULE_CHAIN:
			chain = text(a.Data)
		case unix.NFTA_RULE_EXPRESSIONS:
			list, err := netlink.UnmarshalAttributes(a.Data)
			if err != nil {
				return "", "", nil, err
			}
			for _, item := range list {
				parts, err := netlink.UnmarshalAttributes(item.Data)
				if err != nil {
					return "", "", nil, err
				}
				var e hostExpr
				for _, p := range parts {
					switch p.Type & attributeType {
					case unix.NFTA_EXPR_NAME:
						e.name = text(p.Data)
					case unix.NFTA_EXPR_DATA:
						e.data = p.Data
					}
				}
				rule = append(rule, e)
			}
		}
	}
	return table, chain, rule, nil
}

const attributeType = 0x3fff // without the flags nested and byte order

func text(b []byte) string { return string(bytes.TrimRight(b, "\x00")) }

// lookedUp lists the sets that rules look into.
func lookedUp(rules map[string][]hostRule) []string {
	var names []string
	for _, list := range rules {
		for _, r := range list {
			for _, e := range r {
				if l, ok := decode(e, "lookup", &expr.Lookup{}); ok {
					names = append(names, l.SetName)
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// legacy reports for each family whether iptables' own tables, which nftables
// does not show, have something at input.
func legacy() (used [2]bool) {
	for i, path := range []string{"/proc/thread-self/net/ip_tables_names", "/proc/thread-self/net/ip6_tables_names"} {
		names, err := os.ReadFile(path)
		used[i] = err == nil && slices.ContainsFunc(bytes.Fields(names), func(n []byte) bool {
			return string(n) == "filter" || string(n) == "mangle" || string(n) == "security"
		})
	}
	return used
}

// mirrorOf composes the mirror of the host's policy.
func mirrorOf(policy []hostChain, legacy [2]bool) mirror {
	m := opaque(legacy, "iptables-legacy")
	for i, h := range policy {
		m.add(fmt.Sprintf("host%d", i), nftables.ChainPriority(mirrorPriority+i), h)
	}
	return m
}

// opaque is the mirror of something that cannot be read, in the families that it
// is there for: whatever comes to a published port goes to the host.
func opaque(there [2]bool, what string) (m mirror) {
	for i, family := range families {
		if !there[i] {
			continue
		}
		m.passed = []string{what}
		name := []string{"opaque4", "opaque6"}[i]
		m.chains = append(m.chains,
			regular(name+"_away", rule{what + " cannot be read", asItIs(i == 1)}),
			asking(name+"_published", i, name+"_away"),
			base(name, nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityRef(mirrorPriority-1),
				rule{"to the host, " + family.name, all(toHost(i), jump(name+"_published"))}))
	}
	return m
}

// asking is a chain from which what is for a published port goes to another.
func asking(name string, i int, to string) chain {
	family, c := families[i], regular(name)
	for _, set := range []string{mapOne[i], mapOneRange[i]} {
		c.rules = append(c.rules, rule{"if in " + set, all(family.is(), address(i, true, 1), protocolAndPort(family.after), fetch(set), jumpTo(expr.VerdictGoto, to))})
	}
	for _, set := range []string{mapAny[i], mapAnyRange[i]} {
		c.rules = append(c.rules, rule{"if in " + set, all(protocolAndPort(word0), fetch(set), jumpTo(expr.VerdictGoto, to))})
	}
	return c
}

// mirrorPriority is that of the mirror's first chain; the translation has -100.
const mirrorPriority = -140

func (m *mirror) add(name string, priority nftables.ChainPriority, h hostChain) {
	tr := translator{prefix: name + "_", host: h, policy: drop()}
	if h.base.Policy == nil || *h.base.Policy == nftables.ChainPolicyAccept {
		tr.policy = accept()
	}
	first := base(name, nftables.ChainTypeNAT, nftables.ChainHookPrerouting, &priority)
	for i, family := range families {
		if h.base.Table.Family != nftables.TableFamilyINet && byte(h.base.Table.Family) != family.number {
			continue
		}
		published := tr.prefix + "published" + []string{"4", "6"}[i]
		first.rules = append(first.rules, rule{"to the host, " + family.name, all(toHost(i), jump(published))})
		m.chains = append(m.chains, asking(published, i, tr.chain(h.base.Name)))
	}
	// From the base chain on, each chain that is led to, once.
	for todo, done := []string{h.base.Name}, map[string]bool{}; len(todo) > 0; todo = todo[1:] {
		if done[todo[0]] {
			continue
		}
		done[todo[0]] = true
		c, leads := tr.translate(todo[0])
		if len(tr.passed) > 0 {
			slices.Sort(tr.passed)
			m.passed = append(m.passed, fmt.Sprintf("chain %s %s %s (%s)", tableFamilies[h.base.Table.Family], h.base.Table.Name, todo[0], strings.Join(slices.Compact(tr.passed), ", ")))
			tr.passed = nil
		}
		m.chains = append(m.chains, c)
		todo = append(todo, leads...)
	}
	m.chains = append(m.chains, first)
	m.sets = append(m.sets, tr.sets...)
}

// asItIs translates the address that a packet is to to itself.
func asItIs(ipv6 bool) []expr.Any {
	i := 0
	if ipv6 {
		i = 1
	}
	return all(families[i].is(), address(i, true, 1), &expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(families[i].number), RegAddrMin: 1})
}

func jumpTo(kind expr.VerdictKind, chain string) expr.Any {
	return &expr.Verdict{Kind: kind, Chain: chain}
}
