package network

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// guarded is a bridge whose traffic the table governs.
type guarded struct {
	bridge     string
	subnet     netip.Prefix
	masquerade bool // traffic that leaves the host gets its address
	within     bool // containers on the bridge may reach each other
}

// firewall is our table, the same for any number of bridges and containers:
//
//	table inet davit {
//		set bridges { type ifname }             all guarded bridges
//		set within  { type ifname . ifname }    pairs between which traffic is free
//		set sources { type ipv4_addr; flags interval }  ranges to masquerade
//		chain forward { type filter hook forward priority filter; policy accept
//			oifname @bridges jump inward
//			iifname @bridges accept
//			(iifgroup, oifgroup of other engines' bridges accept; with policy drop only)
//		}
//		chain inward {
//			ct state established,related accept
//			iifname . oifname @within accept
//			counter drop
//		}
//		chain postrouting { type nat hook postrouting priority srcnat; policy accept
//			ip saddr @sources oifname != @bridges masquerade
//		}
//	}
//
// So containers reach the world, and a packet that somebody routes straight to
// a container, rather than to a published port, is dropped, IPv6 included. The
// policy is drop where the engine itself switched forwarding on: the host
// routes for nobody but containers, then, as before.
//
// What is dropped in another table stays dropped, whatever ours says: see
// foreignDrops.
type firewall struct {
	table string
	drop  bool // policy of chain forward
	log   *slog.Logger

	mu      sync.Mutex
	guards  []guarded // guarded by mu; what the table should say
	settled bool      // guarded by mu; changes are written at once
}

// set adds a bridge, or changes what is said of one.
func (f *firewall) set(g guarded) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.guards = append(slices.DeleteFunc(f.guards, func(o guarded) bool { return o.bridge == g.bridge }), g)
	if !f.settled {
		return nil
	}
	return f.applyLocked()
}

// unset takes a bridge out.
func (f *firewall) unset(bridge string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.guards = slices.DeleteFunc(f.guards, func(o guarded) bool { return o.bridge == bridge })
	if !f.settled {
		return nil
	}
	return f.applyLocked()
}

// settle writes the table if it is not as it should be, and every change from
// then on.
func (f *firewall) settle() error {
	f.mu.Lock()
	f.settled = true
	f.mu.Unlock()
	_, err := f.ensure()
	return err
}

// edition counts the changes of what chains says. It stands in the table, so
// that an engine leaves alone what it wrote itself before it was restarted, and
// replaces what another version wrote.
const edition = 1

// applyLocked replaces the table in one transaction: no packet sees it half
// done. The kernel waits some 10 ms for the packets that still see an old one;
// where there is none it takes 1 to 2 ms.
func (f *firewall) applyLocked() error {
	c, err := nftables.New()
	if err != nil {
		return explain(err, "opening nftables")
	}
	t := f.handle()
	if _, err := c.ListTableOfFamily(f.table, t.Family); err == nil {
		c.DelTable(t)
	}
	c.AddTable(t)
	sets := f.sets(t)
	for _, s := range sets {
		if err := c.AddSet(s.set, s.elements); err != nil {
			return fmt.Errorf("composing set %s of table %s: %w", s.set.Name, f.table, err)
		}
	}
	chains := f.chains(t)
	for _, ch := range chains {
		c.AddChain(ch.chain)
	}
	for _, ch := range chains {
		for _, r := range ch.rules {
			c.AddRule(&nftables.Rule{Table: t, Chain: ch.chain, Exprs: r.exprs, UserData: userdata.AppendString(nil, userdata.TypeComment, r.comment)})
		}
	}
	return explain(c.Flush(), "writing the nftables table inet "+f.table)
}

// remove deletes the table; one that is gone is no error.
func (f *firewall) remove() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := nftables.New()
	if err != nil {
		return explain(err, "opening nftables")
	}
	c.AddTable(f.handle())
	c.DelTable(f.handle())
	return explain(c.Flush(), "removing the nftables table inet "+f.table)
}

// ensure writes the table unless it says what it should, and tells whether it
// did.
func (f *firewall) ensure() (wrote bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.intactLocked() {
		return false, nil
	}
	return true, f.applyLocked()
}

// intactLocked compares chains with their policies, rules by their comments,
// and sets by their elements.
func (f *firewall) intactLocked() bool {
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return false
	}
	defer c.CloseLasting()
	t := f.handle()
	all, err := c.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return false
	}
	for _, want := range f.chains(t) {
		i := slices.IndexFunc(all, func(ch *nftables.Chain) bool { return ch.Table.Name == t.Name && ch.Name == want.chain.Name })
		if i < 0 || (all[i].Policy == nil) != (want.chain.Policy == nil) || all[i].Policy != nil && *all[i].Policy != *want.chain.Policy {
			return false
		}
		rules, err := c.GetRules(t, want.chain)
		if err != nil || !slices.EqualFunc(rules, want.rules, func(r *nftables.Rule, w rule) bool {
			comment, _ := userdata.GetString(r.UserData, userdata.TypeComment)
			return comment == w.comment
		}) {
			return false
		}
	}
	for _, want := range f.sets(t) {
		elements, err := c.GetSetElements(want.set)
		if err != nil || !sameElements(elements, want.elements) {
			return false
		}
	}
	return true
}

func (f *firewall) handle() *nftables.Table {
	return &nftables.Table{Name: f.table, Family: nftables.TableFamilyINet}
}

type filledSet struct {
	set      *nftables.Set
	elements []nftables.SetElement
}

// Names in the table.
const (
	setBridges = "bridges"
	setWithin  = "within"
	setSources = "sources"

	chainInward = "inward"
)

func (f *firewall) sets(t *nftables.Table) []filledSet {
	bridges := filledSet{set: &nftables.Set{Table: t, Name: setBridges, KeyType: nftables.TypeIFName, KeyByteOrder: binaryutil.NativeEndian}}
	within := filledSet{set: &nftables.Set{Table: t, Name: setWithin, Concatenation: true,
		KeyType: nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeIFName), KeyByteOrder: binaryutil.NativeEndian}}
	sources := filledSet{set: &nftables.Set{Table: t, Name: setSources, Interval: true, KeyType: nftables.TypeIPAddr}}
	for _, g := range f.guards {
		name := interfaceKey(g.bridge)
		bridges.elements = append(bridges.elements, nftables.SetElement{Key: name})
		if g.within {
			within.elements = append(within.elements, nftables.SetElement{Key: slices.Concat(name, name)})
		}
		if g.masquerade && g.subnet.IsValid() {
			sources.elements = append(sources.elements,
				nftables.SetElement{Key: g.subnet.Masked().Addr().AsSlice()},
				nftables.SetElement{Key: lastOf(g.subnet).Next().AsSlice(), IntervalEnd: true})
		}
	}
	return []filledSet{bridges, within, sources}
}

type rule struct {
	comment string // says which rule it is, to people and to intactLocked
	exprs   []expr.Any
}

type filledChain struct {
	chain *nftables.Chain
	rules []rule
}

func (f *firewall) chains(t *nftables.Table) []filledChain {
	accept, policy := nftables.ChainPolicyAccept, nftables.ChainPolicyAccept
	if f.drop {
		policy = nftables.ChainPolicyDrop
	}
	forward := filledChain{
		chain: &nftables.Chain{Table: t, Name: "forward", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &policy},
		rules: []rule{
			{fmt.Sprintf("to containers (edition %d)", edition), []expr.Any{meta(expr.MetaKeyOIFNAME, 1), lookup(setBridges, false), jump(chainInward)}},
			{"from containers", []expr.Any{meta(expr.MetaKeyIIFNAME, 1), lookup(setBridges, false), verdict(expr.VerdictAccept)}},
		},
	}
	if f.drop {
		group := binary.NativeEndian.AppendUint32(nil, linkGroup)
		forward.rules = append(forward.rules,
			rule{"other engines' containers", []expr.Any{meta(expr.MetaKeyOIFGROUP, 1), equal(group), verdict(expr.VerdictAccept)}},
			rule{"from other engines' containers", []expr.Any{meta(expr.MetaKeyIIFGROUP, 1), equal(group), verdict(expr.VerdictAccept)}})
	}
	inward := filledChain{
		chain: &nftables.Chain{Table: t, Name: chainInward},
		rules: []rule{
			{"answers", []expr.Any{
				&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
				&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Xor: make([]byte, 4),
					Mask: binary.NativeEndian.AppendUint32(nil, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)},
				&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
				verdict(expr.VerdictAccept),
			}},
			{"between containers", []expr.Any{
				// Two names of 16 bytes lie side by side in registers 1 and 2.
				meta(expr.MetaKeyIIFNAME, 1), meta(expr.MetaKeyOIFNAME, 2), lookup(setWithin, false), verdict(expr.VerdictAccept),
			}},
			{"not published", []expr.Any{&expr.Counter{}, verdict(expr.VerdictDrop)}},
		},
	}
	postrouting := filledChain{
		chain: &nftables.Chain{Table: t, Name: "postrouting", Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource, Policy: &accept},
		rules: []rule{
			{"containers to the outside", []expr.Any{
				meta(expr.MetaKeyNFPROTO, 1), equal([]byte{unix.NFPROTO_IPV4}),
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}, lookup(setSources, false), // ip saddr
				meta(expr.MetaKeyOIFNAME, 1), lookup(setBridges, true),
				&expr.Masq{},
			}},
		},
	}
	return []filledChain{forward, inward, postrouting}
}

func meta(key expr.MetaKey, register uint32) expr.Any {
	return &expr.Meta{Key: key, Register: register}
}
func equal(data []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data}
}
func lookup(set string, not bool) expr.Any {
	return &expr.Lookup{SourceRegister: 1, SetName: set, Invert: not}
}
func verdict(kind expr.VerdictKind) expr.Any { return &expr.Verdict{Kind: kind} }
func jump(chain string) expr.Any             { return &expr.Verdict{Kind: expr.VerdictJump, Chain: chain} }

// interfaceKey is an interface's name as sets hold it.
func interfaceKey(name string) []byte {
	key := make([]byte, unix.IFNAMSIZ)
	copy(key, name)
	return key
}

// sameElements compares without regard to order. The kernel adds an end of
// interval at 0.0.0.0 to what it was given.
func sameElements(have, want []nftables.SetElement) bool {
	sorted := func(elements []nftables.SetElement) []nftables.SetElement {
		kept := slices.DeleteFunc(slices.Clone(elements), func(e nftables.SetElement) bool {
			return e.IntervalEnd && bytes.Count(e.Key, []byte{0}) == len(e.Key)
		})
		slices.SortFunc(kept, func(a, b nftables.SetElement) int { return bytes.Compare(a.Key, b.Key) })
		return kept
	}
	return slices.EqualFunc(sorted(have), sorted(want), func(a, b nftables.SetElement) bool {
		return a.IntervalEnd == b.IntervalEnd && bytes.Equal(a.Key, b.Key)
	})
}

// foreignDrops names the chains of others that drop what is forwarded unless
// they say otherwise, such as Docker's and ufw's FORWARD. No rule of ours can
// let a packet through that one of theirs drops. Tables of other engines, which
// let our bridges through by their group, are known by the chain inward.
func foreignDrops() []string {
	c, err := nftables.New()
	if err != nil {
		return nil
	}
	all, err := c.ListChains()
	if err != nil {
		return nil
	}
	engines := map[string]bool{}
	for _, ch := range all {
		if ch.Table.Family == nftables.TableFamilyINet && ch.Name == chainInward {
			engines[ch.Table.Name] = true
		}
	}
	families := map[nftables.TableFamily]string{nftables.TableFamilyIPv4: "ip", nftables.TableFamilyINet: "inet"}
	var drops []string
	for _, ch := range all {
		family, known := families[ch.Table.Family]
		if !known || ch.Hooknum == nil || *ch.Hooknum != *nftables.ChainHookForward || ch.Policy == nil || *ch.Policy != nftables.ChainPolicyDrop {
			continue
		}
		if ch.Table.Family != nftables.TableFamilyINet || !engines[ch.Table.Name] {
			drops = append(drops, fmt.Sprintf("%s %s %s", family, ch.Table.Name, ch.Name))
		}
	}
	return drops
}

// obstacles says what foreignDrops means for containers, and what to do.
func obstacles(bridge string) []string {
	var all []string
	for _, chain := range foreignDrops() {
		all = append(all, fmt.Sprintf("chain %s drops what it does not know, so containers may not reach other hosts: let traffic from and to %s through there (for Docker: iptables -I DOCKER-USER -i %[2]s -j ACCEPT; iptables -I DOCKER-USER -o %[2]s -j ACCEPT)", chain, bridge))
	}
	return all
}
