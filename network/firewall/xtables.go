package firewall

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// match writes a match of iptables, of which info is the structure in
// linux/netfilter/xt_<name>.h; false if it is not understood.
func (t *translator) match(name string, revision uint32, info []byte) ([]expr.Any, bool) {
	switch name {
	case "comment":
		return nil, true
	case "conntrack":
		return conntrack(revision, info)
	case "addrtype":
		return addrtype(revision, info)
	case "multiport":
		return t.multiport(revision, info)
	case "tcp", "udp":
		return transport(info)
	case "rt":
		return routing(info)
	}
	return nil, false
}

// transport writes a match of ports of TCP or UDP and nothing else:
//
//	u16 source[2], destination[2];           ranges
//	u8  option, flags, compared, inverted;   of UDP, inverted
func transport(info []byte) ([]expr.Any, bool) {
	if len(info) < 12 || !zero(info[8:12]) {
		return nil, false
	}
	var list []expr.Any
	for _, offset := range []uint32{0, 2} { // of the ports in the packet, and half of that in info
		first, last := binary.NativeEndian.Uint16(info[2*offset:]), binary.NativeEndian.Uint16(info[2*offset+2:])
		if first == 0 && last == 65535 {
			continue
		}
		list = append(list, portAt(offset), &expr.Range{Op: expr.CmpOpEq, Register: 1,
			FromData: binary.BigEndian.AppendUint16(nil, first), ToData: binary.BigEndian.AppendUint16(nil, last)})
	}
	return list, true
}

func portAt(offset uint32) expr.Any {
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2}
}

// conntrack writes a match of states alone:
//
//	136 bytes of addresses and times
//	u16 protocol, ports[4];
//	u16 what, inverted, states, ...
//
// nftables has the same bits for the states that are not about translation.
func conntrack(revision uint32, info []byte) ([]expr.Any, bool) {
	const (
		at                = 146 // of what
		state, stateAlias = 1, 1 << 13
		known             = expr.CtStateBitINVALID | expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED | expr.CtStateBitNEW
	)
	if revision < 2 || revision > 3 || len(info) < at+6 {
		return nil, false
	}
	what, inverted, states := binary.NativeEndian.Uint16(info[at:]), binary.NativeEndian.Uint16(info[at+2:]), binary.NativeEndian.Uint16(info[at+4:])
	if what&^(state|stateAlias) != 0 || what&state == 0 || uint32(states)&^uint32(known) != 0 {
		return nil, false
	}
	op := expr.CmpOpNeq
	if inverted&state != 0 {
		op = expr.CmpOpEq
	}
	return append(ct(expr.CtKeySTATE, uint32(states))[:2], &expr.Cmp{Op: op, Register: 1, Data: make([]byte, 4)}), true
}

// addrtype writes a match of one kind of address:
//
//	u16 source, dest;  one bit for each kind
//	u32 flags;         1: not source, 2: not dest
func addrtype(revision uint32, info []byte) ([]expr.Any, bool) {
	if revision != 1 || len(info) < 8 {
		return nil, false
	}
	source, dest, flags := binary.NativeEndian.Uint16(info), binary.NativeEndian.Uint16(info[2:]), binary.NativeEndian.Uint32(info[4:])
	if flags&^3 != 0 {
		return nil, false
	}
	var list []expr.Any
	for _, side := range []struct {
		kinds uint16
		not   bool
		fib   expr.Fib
	}{
		{source, flags&1 != 0, expr.Fib{Register: 1, FlagSADDR: true, ResultADDRTYPE: true}},
		{dest, flags&2 != 0, expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true}},
	} {
		if side.kinds == 0 {
			continue
		}
		if side.kinds&(side.kinds-1) != 0 {
			return nil, false
		}
		kind := uint32(0)
		for side.kinds>>kind != 1 {
			kind++
		}
		op := expr.CmpOpEq
		if side.not {
			op = expr.CmpOpNeq
		}
		list = append(list, &side.fib, &expr.Cmp{Op: op, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, kind)})
	}
	return list, true
}

// multiport writes a match of ports and ranges of ports:
//
//	u8  flags;       0: source, 1: destination, 2: either
//	u8  count;
//	u16 ports[15];
//	u8  ranges[15];  this and the next are a range
//	u8  invert;
func (t *translator) multiport(revision uint32, info []byte) ([]expr.Any, bool) {
	const most = 15
	if revision != 1 || len(info) < 2+2*most+most+1 || info[1] > most || info[0] > 1 {
		return nil, false
	}
	var ranges [][2]int
	for i := 0; i < int(info[1]); i++ {
		port := int(binary.NativeEndian.Uint16(info[2+2*i:]))
		r := [2]int{port, port}
		if info[2+2*most+i] != 0 && i+1 < int(info[1]) {
			i++
			r[1] = int(binary.NativeEndian.Uint16(info[2+2*i:]))
		}
		if r[1] < r[0] {
			return nil, false
		}
		ranges = append(ranges, r)
	}
	slices.SortFunc(ranges, func(a, b [2]int) int { return cmp.Compare(a[0], b[0]) })
	var elements []nftables.SetElement
	end := -1
	for _, r := range ranges {
		if r[0] <= end && len(elements) > 0 { // together with the one before
			if end >= r[1]+1 {
				continue
			}
			elements = elements[:len(elements)-1]
		} else {
			elements = append(elements, nftables.SetElement{Key: binary.BigEndian.AppendUint16(nil, uint16(r[0]))})
		}
		end = r[1] + 1
		if end > 65535 {
			break // open
		}
		elements = append(elements, nftables.SetElement{Key: binary.BigEndian.AppendUint16(nil, uint16(end)), IntervalEnd: true})
	}
	set := t.freeze(&nftables.Set{KeyType: nftables.TypeInetService, Interval: true}, elements)
	return all(portAt(2*uint32(info[0])), lookup(set, 1, info[2+3*most] != 0)), true
}

// routing writes a match of IPv6 routing headers of one type:
//
//	u32 type, segments[2], length; u8 flags, inverted; ...
func routing(info []byte) ([]expr.Any, bool) {
	const typeAlone = 1
	if len(info) < 18 || info[16] != typeAlone || info[17] != 0 {
		return nil, false
	}
	const routingHeader = 43
	return all(&expr.Exthdr{DestRegister: 1, Type: routingHeader, Offset: 2, Len: 1, Op: expr.ExthdrOpIpv6},
		equal([]byte{byte(binary.NativeEndian.Uint32(info))})), true
}

// target writes a target of iptables.
func (t *translator) target(name string, info []byte) ([]expr.Any, bool) {
	switch name {
	case "REJECT":
		if len(info) < 4 {
			return nil, false
		}
		return all(rejection(t.host.base.Table.Family, binary.NativeEndian.Uint32(info))), true
	case "LOG":
		// u8 level, flags; char prefix[30];
		if len(info) < 32 {
			return nil, false
		}
		prefix, _, _ := bytes.Cut(info[2:32], []byte{0})
		return all(&expr.Log{Key: 1<<unix.NFTA_LOG_PREFIX | 1<<unix.NFTA_LOG_LEVEL, Level: expr.LogLevel(info[0]), Data: prefix}), true
	}
	return nil, false
}

// rejection writes the answer of REJECT, by its number there (linux/netfilter_ipv4/ipt_REJECT.h,
// netfilter_ipv6/ip6t_REJECT.h), in words that both families have.
func rejection(family nftables.TableFamily, with uint32) expr.Any {
	const noRoute, portUnreachable, hostUnreachable, prohibited = 0, 1, 2, 3 // NFT_REJECT_ICMPX_*
	reset, codes := uint32(7), map[uint32]uint8{0: noRoute, 3: portUnreachable, 5: prohibited, 6: prohibited, 8: prohibited}
	if family == nftables.TableFamilyIPv6 {
		reset, codes = 6, map[uint32]uint8{0: noRoute, 1: prohibited, 4: portUnreachable}
	}
	if with == reset {
		return &expr.Reject{Type: unix.NFT_REJECT_TCP_RST}
	}
	code, ok := codes[with]
	if !ok {
		code = hostUnreachable
	}
	return &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: code}
}
