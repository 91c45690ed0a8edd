package firewall

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Names of sets and maps. Where there are two, the first is of IPv4, the second
// of IPv6.
const (
	setBridges  = "bridges"  // all networks
	setWithin   = "within"   // a network . itself, where containers may reach each other
	setInternal = "internal" // networks with no way out
	setTrusted  = "trusted"  // an interface of the host . a network that it may reach
)

var (
	setOwn         = [2]string{"own4", "own6"}                 // a network . its addresses
	setMasquerade  = [2]string{"masquerade4", "masquerade6"}   // networks whose traffic gets the host's address
	mapSNAT        = [2]string{"snat4", "snat6"}               // network : the address it gets
	setUnprotected = [2]string{"unprotected4", "unprotected6"} // networks that anybody may reach
	setRouted      = [2]string{"routed4", "routed6"}           // networks whose published ports anybody may reach
	setOpen        = [2]string{"open4", "open6"}               // address . protocol . ports of containers on those

	mapOne      = [2]string{"one4", "one6"}             // address . protocol . port : container's address . port
	mapOneRange = [2]string{"one_range4", "one_range6"} // address . protocol . ports : container's address, same ports
	mapAny      = [2]string{"any4", "any6"}             // protocol . port : container's address . port
	mapAnyRange = [2]string{"any_range4", "any_range6"} // protocol . ports : container's address, same ports
)

// Names of chains that others than the rules speak of.
const (
	chainForward = "forward"
	chainInward  = "inward" // by it engines know each other's tables
)

type rule struct {
	comment string // says which rule it is, to people and to the comparison
	exprs   []expr.Any
}

type chain struct {
	nftables.Chain
	rules []rule
}

// ruleset is all of a table but its elements.
type ruleset struct {
	table  *nftables.Table
	sets   []*nftables.Set
	frozen []frozenSet // beside them
	chains []chain

	edition string   // digest of all this
	passed  []string // what of the host's policy could not be read
}

// rules composes the ruleset, which depends on the configuration alone and, if
// the host's policy is to be respected, on that. A
// digest of it stands in the comment of its first rule, so that an engine
// leaves alone what it wrote before it was started again, and replaces what
// another version wrote.
func rules(c Config, drop [2]bool, m mirror) ruleset {
	t := &nftables.Table{Name: c.Name, Family: nftables.TableFamilyINet}
	r := ruleset{table: t, sets: sets(t)}
	r.chains = append(r.chains, raw(), clamp(), forward(c.Group, drop), inward(c.Accept))
	r.chains = append(r.chains, publishing()...)
	r.chains = append(r.chains, postrouting())
	r.chains = append(r.chains, m.chains...)
	r.frozen, r.passed = m.sets, m.passed
	for _, f := range r.frozen {
		f.set.Table = t
	}
	digest := sha256.New()
	for _, s := range r.sets {
		fmt.Fprintf(digest, "%s %s %s %v\n", s.Name, s.KeyType.Name, s.DataType.Name, s.Interval)
	}
	for i := range r.chains {
		c := &r.chains[i]
		c.Table = t
		fmt.Fprintf(digest, "%s %s\n", c.Name, c.Type)
		if c.Hooknum != nil {
			fmt.Fprintf(digest, "%d %d\n", *c.Hooknum, *c.Priority)
		}
		for _, rule := range c.rules {
			fmt.Fprintf(digest, "%s:", rule.comment)
			for _, e := range rule.exprs {
				fmt.Fprintf(digest, " %T%+v", e, e)
			}
		}
	}
	r.edition = hex.EncodeToString(digest.Sum(nil)[:4])
	r.chains[0].rules[0].comment += " (edition " + r.edition + ")"
	return r
}

func sets(t *nftables.Table) []*nftables.Set {
	name, proto, port := nftables.TypeIFName, nftables.TypeInetProto, nftables.TypeInetService
	set := func(set string, types ...nftables.SetDatatype) *nftables.Set {
		s := &nftables.Set{Table: t, Name: set, KeyType: types[0], KeyByteOrder: binaryutil.NativeEndian}
		if len(types) > 1 {
			s.KeyType, s.Concatenation = nftables.MustConcatSetType(types...), true
		}
		return s
	}
	ranges := func(s *nftables.Set) *nftables.Set {
		s.Interval, s.KeyByteOrder = true, nil
		return s
	}
	to := func(s *nftables.Set, types ...nftables.SetDatatype) *nftables.Set {
		s.IsMap, s.DataType = true, types[0]
		if len(types) > 1 {
			s.DataType = nftables.MustConcatSetType(types...)
		}
		return s
	}
	all := []*nftables.Set{
		set(setBridges, name), set(setWithin, name, name),
		set(setInternal, name), set(setTrusted, name, name),
	}
	for i, address := range []nftables.SetDatatype{nftables.TypeIPAddr, nftables.TypeIP6Addr} {
		all = append(all,
			ranges(set(setOwn[i], name, address)),
			set(setMasquerade[i], name), to(set(mapSNAT[i], name), address),
			set(setUnprotected[i], name), set(setRouted[i], name), ranges(set(setOpen[i], address, proto, port)),
			to(set(mapOne[i], address, proto, port), address, port), to(ranges(set(mapOneRange[i], address, proto, port)), address),
			to(set(mapAny[i], proto, port), address, port), to(ranges(set(mapAnyRange[i], proto, port)), address),
		)
	}
	return all
}

func base(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority, rules ...rule) chain {
	accept := nftables.ChainPolicyAccept
	return chain{nftables.Chain{Name: name, Type: kind, Hooknum: hook, Priority: priority, Policy: &accept}, rules}
}

func regular(name string, rules ...rule) chain {
	return chain{nftables.Chain{Name: name}, rules}
}

// raw closes what route_localnet on the bridges opens: with it the kernel takes
// packets to and from 127/8 that come by a wire. It goes before address
// translation, so that answers to the host's own connections, which only then
// get back their 127/8, pass.
func raw() chain {
	return base("raw", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw,
		rule{"nothing on a wire is to 127/8", all(notLoopback(), is4(), address(0, true, 1), in127(expr.CmpOpEq), drop())},
		rule{"nor from there", all(notLoopback(), is4(), address(0, false, 1), in127(expr.CmpOpEq), drop())},
	)
}

// clamp keeps TCP from sending segments that the way cannot carry, where the
// messages that would say so are lost.
func clamp() chain {
	const synRst, syn = 0x06, 0x02
	mss := func(comment string, key expr.MetaKey) rule {
		return rule{comment, all(
			meta(key, 1), lookup(setBridges, 1, false),
			meta(expr.MetaKeyL4PROTO, 1), equal([]byte{unix.IPPROTO_TCP}),
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1}, // flags
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{synRst}, Xor: []byte{0}}, equal([]byte{syn}),
			&expr.Rt{Register: 1, Key: expr.RtTCPMSS},
			&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 2, Size: 2},
			&expr.Exthdr{SourceRegister: 1, Type: 2, Offset: 2, Len: 2, Op: expr.ExthdrOpTcpopt}, // maximum segment size
		)}
	}
	return base("clamp", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityMangle,
		mss("segment size to containers", expr.MetaKeyOIFNAME), mss("segment size from containers", expr.MetaKeyIIFNAME))
}

func forward(group uint32, dropped [2]bool) chain {
	c := base(chainForward, nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter,
		rule{"to containers", all(meta(expr.MetaKeyOIFNAME, 1), lookup(setBridges, 1, false), jump(chainInward))},
		rule{"internal networks", all(meta(expr.MetaKeyIIFNAME, 1), lookup(setInternal, 1, false), &expr.Counter{}, drop())},
		rule{"from containers", all(meta(expr.MetaKeyIIFNAME, 1), lookup(setBridges, 1, false), accept())},
	)
	if dropped[0] || dropped[1] {
		engines := binary.NativeEndian.AppendUint32(nil, group)
		c.rules = append(c.rules,
			rule{"to other engines' containers", all(meta(expr.MetaKeyOIFGROUP, 1), equal(engines), accept())},
			rule{"from other engines' containers", all(meta(expr.MetaKeyIIFGROUP, 1), equal(engines), accept())})
	}
	for i, isFamily := range [][]expr.Any{is4(), is6()} {
		if dropped[i] {
			c.rules = append(c.rules, rule{[2]string{"nothing else of IPv4", "nothing else of IPv6"}[i], all(isFamily, &expr.Counter{}, drop())})
		}
	}
	return c
}

// inward decides what is forwarded to containers.
func inward(mark Mark) chain {
	c := regular(chainInward,
		rule{"answers", all(ct(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept())},
		rule{"between containers of a network", all(meta(expr.MetaKeyIIFNAME, 1), meta(expr.MetaKeyOIFNAME, 2), lookup(setWithin, 1, false), accept())},
		rule{"from internal networks", all(meta(expr.MetaKeyIIFNAME, 1), lookup(setInternal, 1, false), &expr.Counter{}, drop())},
		rule{"to internal networks", all(meta(expr.MetaKeyOIFNAME, 1), lookup(setInternal, 1, false), &expr.Counter{}, drop())},
		rule{"published", all(ct(expr.CtKeySTATUS, ctStatusDNAT), accept())},
		rule{"from trusted interfaces", all(meta(expr.MetaKeyIIFNAME, 1), meta(expr.MetaKeyOIFNAME, 2), lookup(setTrusted, 1, false), accept())},
	)
	if mark.Mask != 0 {
		c.rules = append(c.rules, rule{"of a mark that is let in", all(meta(expr.MetaKeyMARK, 1),
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binary.NativeEndian.AppendUint32(nil, mark.Mask), Xor: make([]byte, 4)},
			equal(binary.NativeEndian.AppendUint32(nil, mark.Value&mark.Mask)), accept())})
	}
	for i, family := range families {
		c.rules = append(c.rules,
			rule{"routed ports, " + family.name, all(family.is(), address(i, true, 1), protocolAndPort(family.after), lookup(setOpen[i], 1, false), accept())},
			rule{"routed ICMP, " + family.name, all(meta(expr.MetaKeyL4PROTO, 1), equal([]byte{family.icmp}), meta(expr.MetaKeyOIFNAME, 1), lookup(setRouted[i], 1, false), accept())},
			rule{"unprotected, " + family.name, all(family.is(), meta(expr.MetaKeyOIFNAME, 1), lookup(setUnprotected[i], 1, false), accept())},
		)
	}
	c.rules = append(c.rules, rule{"not published", all(&expr.Counter{}, drop())})
	return c
}

// publishing is how a packet to a published port gets its container's address:
// by a port of one address of the host before a port of all.
func publishing() []chain {
	const publish4, publish6 = "publish4", "publish6"
	chains := []chain{
		base("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest,
			rule{"from others, IPv4", all(toHost(0), jump(publish4))},
			rule{"from others, IPv6", all(toHost(1), jump(publish6))}),
		base("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest,
			rule{"from the host, IPv4", all(is4(), local(), jump(publish4))},
			rule{"from the host, IPv6", all(toHost(1), jump(publish6))}),
	}
	for i, family := range families {
		dnat := func(port bool) expr.Any {
			n := &expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(family.number), RegAddrMin: 1, Specified: port}
			if port {
				n.RegProtoMin = family.after
			}
			return n
		}
		chains = append(chains, regular([]string{publish4, publish6}[i],
			rule{"ports of one address", all(family.is(), address(i, true, 1), protocolAndPort(family.after), fetch(mapOne[i]), dnat(true))},
			rule{"ranges of one address", all(family.is(), address(i, true, 1), protocolAndPort(family.after), fetch(mapOneRange[i]), dnat(false))},
			rule{"ports of all addresses", all(protocolAndPort(word0), fetch(mapAny[i]), dnat(true))},
			rule{"ranges of all addresses", all(protocolAndPort(word0), fetch(mapAnyRange[i]), dnat(false))},
		))
	}
	return chains
}

func postrouting() chain {
	c := base("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource,
		rule{"the host's 127/8", all(meta(expr.MetaKeyOIFNAME, 1), lookup(setBridges, 1, false), is4(), address(0, false, 1), in127(expr.CmpOpEq), &expr.Masq{})},
	)
	for i, family := range families {
		outside := func() []expr.Any {
			return all(family.is(), meta(expr.MetaKeyOIFNAME, 1), lookup(setBridges, 1, true), meta(expr.MetaKeyIIFNAME, 1))
		}
		c.rules = append(c.rules,
			// Its answers must not take the short way. The interface that it came
			// by is not known here if br_netfilter kept the packet on the bridge.
			rule{"a published port of the own network, " + family.name, all(ct(expr.CtKeySTATUS, ctStatusDNAT), family.is(),
				meta(expr.MetaKeyOIFNAME, 1), address(i, false, 2), lookup(setOwn[i], 1, false), &expr.Masq{})},
			rule{"to the outside, " + family.name, all(outside(), lookup(setMasquerade[i], 1, false), &expr.Masq{})},
			rule{"to the outside by a given address, " + family.name, all(outside(), fetch(mapSNAT[i]),
				&expr.NAT{Type: expr.NATTypeSourceNAT, Family: uint32(family.number), RegAddrMin: 1})},
		)
	}
	return c
}

// Registers. 1 and 2 are of 16 bytes each, and are also eight words of four.
const (
	word0 = 8
	word1 = 9  // behind an address of IPv4
	word4 = 12 // behind one of IPv6
)

var families = [2]struct {
	name   string
	number byte
	icmp   byte
	after  uint32 // the register behind an address
	is     func() []expr.Any
}{
	{"IPv4", unix.NFPROTO_IPV4, unix.IPPROTO_ICMP, word1, is4},
	{"IPv6", unix.NFPROTO_IPV6, unix.IPPROTO_ICMPV6, word4, is6},
}

var loopback6 = append(make([]byte, 15), 1)

const ctStatusDNAT = 1 << 5 // IPS_DST_NAT, linux/netfilter/nf_conntrack_common.h

// all joins expressions and lists of them.
func all(parts ...any) []expr.Any {
	var list []expr.Any
	for _, p := range parts {
		switch p := p.(type) {
		case []expr.Any:
			list = append(list, p...)
		case expr.Any:
			list = append(list, p)
		}
	}
	return slices.Clip(list)
}

func is4() []expr.Any {
	return all(meta(expr.MetaKeyNFPROTO, 1), equal([]byte{unix.NFPROTO_IPV4}))
}
func is6() []expr.Any {
	return all(meta(expr.MetaKeyNFPROTO, 1), equal([]byte{unix.NFPROTO_IPV6}))
}

// address loads the address that a packet is to, or from.
func address(family int, to bool, register uint32) expr.Any {
	offset, size := uint32(12), uint32(4)
	if family == 1 {
		offset, size = 8, 16
	}
	if to {
		offset += size
	}
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size}
}

// protocolAndPort loads the protocol into a register and the port that the
// packet is to into the next.
func protocolAndPort(register uint32) []expr.Any {
	return all(meta(expr.MetaKeyL4PROTO, register), &expr.Payload{DestRegister: register + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2})
}

// toHost matches what comes from others to the host's own addresses, but what
// is to ::1, which cannot leave the host, or to a link-local address, which
// cannot leave its link.
func toHost(family int) []expr.Any {
	if family == 0 {
		return all(is4(), address(0, true, 1), in127(expr.CmpOpNeq), local())
	}
	return all(is6(), address(1, true, 1), &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: loopback6},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 16, Mask: append([]byte{0xff, 0xc0}, make([]byte, 14)...), Xor: make([]byte, 16)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: append([]byte{0xfe, 0x80}, make([]byte, 14)...)},
		local())
}

// local matches what is to an address of the host.
func local() []expr.Any {
	return all(&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true}, equal(binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)))
}

func in127(op expr.CmpOp) []expr.Any {
	return all(&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{255, 0, 0, 0}, Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: 1, Data: []byte{127, 0, 0, 0}})
}

func notLoopback() []expr.Any {
	return all(meta(expr.MetaKeyIIFNAME, 1), &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte(interfaceKey("lo"))})
}

// ct matches packets of which one of the bits is set.
func ct(key expr.CtKey, bits uint32) []expr.Any {
	return all(&expr.Ct{Register: 1, Key: key},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Xor: make([]byte, 4), Mask: binary.NativeEndian.AppendUint32(nil, bits)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)})
}

func meta(key expr.MetaKey, register uint32) expr.Any {
	return &expr.Meta{Key: key, Register: register}
}

func equal(data []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data}
}

func lookup(set string, register uint32, not bool) expr.Any {
	return &expr.Lookup{SourceRegister: register, SetName: set, Invert: not}
}

// fetch puts what a map has under the key in register 1 into register 1; a
// packet whose key it has not does not match.
func fetch(name string) expr.Any {
	return &expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: name}
}

func accept() expr.Any { return &expr.Verdict{Kind: expr.VerdictAccept} }
func drop() expr.Any   { return &expr.Verdict{Kind: expr.VerdictDrop} }

func jump(chain string) expr.Any { return &expr.Verdict{Kind: expr.VerdictJump, Chain: chain} }
