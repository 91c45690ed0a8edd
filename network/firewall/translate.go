package firewall

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// translator writes one of the host's chains at input, and those that it leads
// to, as chains of ours.
type translator struct {
	prefix string // of names
	host   hostChain
	policy expr.Any
	sets   []frozenSet // that the rules need
	passed []string    // what could not be read, in words
}

func (t *translator) chain(name string) string { return t.prefix + name }

// translate writes a chain, and lists the chains that it leads to.
func (t *translator) translate(name string) (c chain, leads []string) {
	c = regular(t.chain(name))
	isBase := name == t.host.base.Name
	for _, r := range t.host.rules[name] {
		if ofOtherProtocol(r) {
			continue
		}
		for _, exprs := range t.rule(r, isBase, &leads) {
			if len(exprs) == 0 {
				continue // it only counted
			}
			c.rules = append(c.rules, rule{fingerprint(exprs), exprs})
		}
	}
	if isBase {
		c.rules = append(c.rules, rule{"policy", all(t.policy)})
	}
	return c, leads
}

// ofOtherProtocol reports whether a rule is for protocols alone that have no
// ports to publish, such as ICMP.
func ofOtherProtocol(r hostRule) bool {
	for i := 0; i+1 < len(r); i++ {
		m, ok1 := decode(r[i], "meta", &expr.Meta{})
		c, ok2 := decode(r[i+1], "cmp", &expr.Cmp{})
		if ok1 && ok2 && m.Key == expr.MetaKeyL4PROTO && c.Register == m.Register && c.Op == expr.CmpOpEq && len(c.Data) > 0 {
			return !slices.Contains([]byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP}, c.Data[0])
		}
	}
	return false
}

// words names an expression: that of nftables, or the extension of iptables.
func (e hostExpr) words() string {
	if e.name == "match" || e.name == "target" {
		if attributes, err := netlink.UnmarshalAttributes(e.data); err == nil {
			return e.name + " " + text(find(attributes, unix.NFTA_MATCH_NAME)) // NFTA_TARGET_NAME has the same number
		}
	}
	return e.name
}

// fingerprint is the comment of a rule that is written by the host's.
func fingerprint(exprs []expr.Any) string {
	digest := sha256.New()
	for _, e := range exprs {
		fmt.Fprintf(digest, " %T%+v", e, e)
	}
	return "as the host's " + hex.EncodeToString(digest.Sum(nil)[:4])
}

// rule writes a rule: one or, where it leads by a map to several places, more.
// From what it cannot read on, packets go as they are.
func (t *translator) rule(r hostRule, isBase bool, leads *[]string) [][]expr.Any {
	var done []expr.Any
	for _, e := range r {
		if e.name == "lookup" {
			if branches, ok := t.branches(e, done, isBase, leads); ok {
				return branches
			}
		}
		next, ok := t.expression(e)
		if v, is := verdictOf(next); is && ok {
			v, ok = t.verdict(v, isBase, leads)
			next = all(v)
		}
		if !ok {
			t.passed = append(t.passed, e.words())
			return t.unreadable(done)
		}
		done = append(done, next...)
	}
	return [][]expr.Any{done}
}

// unreadable ends a rule for the packets that got so far in it.
func (t *translator) unreadable(done []expr.Any) [][]expr.Any {
	var rules [][]expr.Any
	for i, family := range families {
		if f := t.host.base.Table.Family; f == nftables.TableFamilyINet || byte(f) == family.number {
			rules = append(rules, slices.Concat(done, asItIs(i == 1)))
		}
	}
	return rules
}

func verdictOf(list []expr.Any) (*expr.Verdict, bool) {
	if len(list) != 1 {
		return nil, false
	}
	v, is := list[0].(*expr.Verdict)
	return v, is
}

// verdict writes where a rule leads: to a chain of ours in place of theirs.
func (t *translator) verdict(v *expr.Verdict, isBase bool, leads *[]string) (*expr.Verdict, bool) {
	switch v.Kind {
	case expr.VerdictAccept, expr.VerdictDrop, expr.VerdictContinue:
		return v, true
	case expr.VerdictReturn:
		if isBase {
			return t.policy.(*expr.Verdict), true
		}
		return v, true
	case expr.VerdictJump, expr.VerdictGoto:
		*leads = append(*leads, v.Chain)
		return &expr.Verdict{Kind: v.Kind, Chain: t.chain(v.Chain)}, true
	}
	return nil, false
}

// known lists the attributes of each expression that are understood here, and
// that mean at prerouting what they mean at input.
var known = map[string][]uint16{
	"meta":      {unix.NFTA_META_DREG, unix.NFTA_META_KEY},
	"cmp":       {unix.NFTA_CMP_SREG, unix.NFTA_CMP_OP, unix.NFTA_CMP_DATA},
	"range":     {unix.NFTA_RANGE_SREG, unix.NFTA_RANGE_OP, unix.NFTA_RANGE_FROM_DATA, unix.NFTA_RANGE_TO_DATA},
	"payload":   {unix.NFTA_PAYLOAD_DREG, unix.NFTA_PAYLOAD_BASE, unix.NFTA_PAYLOAD_OFFSET, unix.NFTA_PAYLOAD_LEN},
	"bitwise":   {unix.NFTA_BITWISE_SREG, unix.NFTA_BITWISE_DREG, unix.NFTA_BITWISE_LEN, unix.NFTA_BITWISE_MASK, unix.NFTA_BITWISE_XOR, bitwiseOp},
	"ct":        {unix.NFTA_CT_DREG, unix.NFTA_CT_KEY},
	"lookup":    {unix.NFTA_LOOKUP_SET, unix.NFTA_LOOKUP_SREG, unix.NFTA_LOOKUP_SET_ID, unix.NFTA_LOOKUP_FLAGS},
	"immediate": {unix.NFTA_IMMEDIATE_DREG, unix.NFTA_IMMEDIATE_DATA},
	"limit":     {unix.NFTA_LIMIT_RATE, unix.NFTA_LIMIT_UNIT, unix.NFTA_LIMIT_BURST, unix.NFTA_LIMIT_TYPE, unix.NFTA_LIMIT_FLAGS},
	"fib":       {unix.NFTA_FIB_DREG, unix.NFTA_FIB_RESULT, unix.NFTA_FIB_FLAGS},
	"reject":    {unix.NFTA_REJECT_TYPE, unix.NFTA_REJECT_ICMP_CODE},
	"log":       {unix.NFTA_LOG_GROUP, unix.NFTA_LOG_PREFIX, unix.NFTA_LOG_SNAPLEN, unix.NFTA_LOG_QTHRESHOLD, unix.NFTA_LOG_LEVEL, unix.NFTA_LOG_FLAGS},
	"match":     {unix.NFTA_MATCH_NAME, unix.NFTA_MATCH_REV, unix.NFTA_MATCH_INFO},
	"target":    {unix.NFTA_TARGET_NAME, unix.NFTA_TARGET_REV, unix.NFTA_TARGET_INFO},
}

const bitwiseOp = 6 // NFTA_BITWISE_OP; 0 is and, then xor

// expression writes one expression; false if it is not understood.
func (t *translator) expression(e hostExpr) ([]expr.Any, bool) {
	if e.name == "counter" {
		return nil, true
	}
	attributes, err := netlink.UnmarshalAttributes(e.data)
	if err != nil {
		return nil, false
	}
	for _, a := range attributes {
		number := a.Type & attributeType
		if !slices.Contains(known[e.name], number) || e.name == "bitwise" && number == bitwiseOp && !zero(a.Data) {
			return nil, false
		}
	}
	switch e.name {
	case "meta":
		m, ok := decode(e, e.name, &expr.Meta{})
		return all(m), ok && slices.Contains([]expr.MetaKey{
			expr.MetaKeyLEN, expr.MetaKeyPROTOCOL, expr.MetaKeyMARK, expr.MetaKeyIIF, expr.MetaKeyIIFNAME, expr.MetaKeyIIFTYPE,
			expr.MetaKeyNFPROTO, expr.MetaKeyL4PROTO, expr.MetaKeyPKTTYPE, expr.MetaKeyIIFGROUP,
		}, m.Key)
	case "cmp":
		c, ok := decode(e, e.name, &expr.Cmp{})
		return all(c), ok
	case "range":
		r, ok := decode(e, e.name, &expr.Range{})
		return all(r), ok
	case "payload":
		p, ok := decode(e, e.name, &expr.Payload{})
		return all(p), ok && p.Base <= expr.PayloadBaseTransportHeader
	case "bitwise":
		b, ok := decode(e, e.name, &expr.Bitwise{})
		return all(b), ok
	case "ct":
		c, ok := decode(e, e.name, &expr.Ct{})
		return all(c), ok && slices.Contains([]expr.CtKey{expr.CtKeySTATE, expr.CtKeyDIRECTION, expr.CtKeySTATUS, expr.CtKeyMARK}, c.Key)
	case "lookup":
		return t.lookup(e)
	case "immediate":
		v, ok := decode(e, e.name, &expr.Verdict{})
		return all(v), ok && isVerdict(attributes)
	case "limit":
		l, ok := decode(e, e.name, &expr.Limit{})
		return all(l), ok
	case "fib":
		f, ok := decode(e, e.name, &expr.Fib{})
		return all(f), ok
	case "reject":
		r, ok := decode(e, e.name, &expr.Reject{})
		return all(r), ok
	case "log":
		l, ok := decode(e, e.name, &expr.Log{})
		return all(l), ok
	case "match":
		return t.match(text(find(attributes, unix.NFTA_MATCH_NAME)), binary.BigEndian.Uint32(find(attributes, unix.NFTA_MATCH_REV)), find(attributes, unix.NFTA_MATCH_INFO))
	case "target":
		return t.target(text(find(attributes, unix.NFTA_TARGET_NAME)), find(attributes, unix.NFTA_TARGET_INFO))
	}
	return nil, false
}

// isVerdict reports whether an immediate goes into the register of verdicts,
// number 0.
func isVerdict(attributes []netlink.Attribute) bool {
	return slices.ContainsFunc(attributes, func(a netlink.Attribute) bool {
		return a.Type&attributeType == unix.NFTA_IMMEDIATE_DREG && zero(a.Data)
	})
}

func zero(data []byte) bool { return bytes.Count(data, []byte{0}) == len(data) }

// find returns an attribute's value, with zeros to at least four bytes.
func find(attributes []netlink.Attribute, number uint16) []byte {
	var value []byte
	for _, a := range attributes {
		if a.Type&attributeType == number {
			value = slices.Clone(a.Data)
		}
	}
	return append(value, make([]byte, max(0, 4-len(value)))...)
}

// decode reads an expression of a name; false if it has another or is broken.
func decode[E expr.Any](e hostExpr, name string, into E) (E, bool) {
	return into, e.name == name && expr.Unmarshal(unix.NFPROTO_INET, e.data, into) == nil
}

// lookup writes a lookup in a set, into a set of ours with the same elements.
func (t *translator) lookup(e hostExpr) ([]expr.Any, bool) {
	l, ok := decode(e, e.name, &expr.Lookup{})
	if !ok {
		return nil, false
	}
	theirs, there := t.host.sets[l.SetName]
	if !there || theirs.set.IsMap || theirs.set.HasTimeout || theirs.set.Dynamic {
		return nil, false
	}
	s := *theirs.set
	return all(&expr.Lookup{SourceRegister: l.SourceRegister, SetName: t.freeze(&s, theirs.elements), Invert: l.Invert}), true
}

// freeze adds a set to those that the rules need and returns its name, which
// says what is in it.
func (t *translator) freeze(s *nftables.Set, elements []nftables.SetElement) string {
	kept := make([]nftables.SetElement, 0, len(elements))
	digest := sha256.New()
	fmt.Fprintf(digest, "%s %d %v %v\n", s.KeyType.Name, s.KeyType.Bytes, s.Interval, s.Concatenation)
	for _, e := range elements {
		e = nftables.SetElement{Key: e.Key, KeyEnd: e.KeyEnd, IntervalEnd: e.IntervalEnd}
		kept = append(kept, e)
		fmt.Fprintf(digest, "%x %x %v\n", e.Key, e.KeyEnd, e.IntervalEnd)
	}
	name := t.prefix + hex.EncodeToString(digest.Sum(nil)[:8])
	if !slices.ContainsFunc(t.sets, func(f frozenSet) bool { return f.set.Name == name }) {
		t.sets = append(t.sets, frozenSet{&nftables.Set{
			Name: name, KeyType: s.KeyType, KeyByteOrder: s.KeyByteOrder, Interval: s.Interval, Concatenation: s.Concatenation,
		}, kept})
	}
	return name
}

// branches writes a rule that leads by a map, such as `ct state vmap {...}`, as
// one rule for each of the map's elements.
func (t *translator) branches(e hostExpr, done []expr.Any, isBase bool, leads *[]string) ([][]expr.Any, bool) {
	l, ok := decode(e, e.name, &expr.Lookup{})
	if !ok || !l.IsDestRegSet || l.DestRegister != unix.NFT_REG_VERDICT {
		return nil, false
	}
	theirs, there := t.host.sets[l.SetName]
	if !there || theirs.set.HasTimeout || theirs.set.Dynamic || theirs.set.Interval {
		return nil, false
	}
	var rules [][]expr.Any
	for _, element := range theirs.elements {
		v, ok := verdictIn(element.Val)
		if ok {
			v, ok = t.verdict(v, isBase, leads)
		}
		if !ok {
			return nil, false
		}
		rules = append(rules, slices.Concat(done, all(&expr.Cmp{Op: expr.CmpOpEq, Register: l.SourceRegister, Data: element.Key}, v)))
	}
	return rules, true
}

// verdictIn reads the verdict of a map's element.
func verdictIn(value []byte) (*expr.Verdict, bool) {
	attributes, err := netlink.UnmarshalAttributes(value)
	if err != nil {
		return nil, false
	}
	v := &expr.Verdict{}
	found := false
	for _, a := range attributes {
		switch a.Type & attributeType {
		case unix.NFTA_VERDICT_CODE:
			if len(a.Data) == 4 {
				v.Kind, found = expr.VerdictKind(int32(binary.BigEndian.Uint32(a.Data))), true
			}
		case unix.NFTA_VERDICT_CHAIN:
			v.Chain = text(a.Data)
		}
	}
	return v, found
}
