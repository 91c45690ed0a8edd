package resolver

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// A message (RFC 1035, section 4), of which the resolver reads the header, the
// one question, and whether the client speaks EDNS; the rest goes through it
// as it is:
//
//	 0      2       4         6         8         10        12
//	+------+-------+---------+---------+---------+---------+----------+------
//	| ID   | flags | QDCOUNT | ANCOUNT | NSCOUNT | ARCOUNT | question | ...
//	+------+-------+---------+---------+---------+---------+----------+------
//
//	flags   QR(1) opcode(4) AA(1) TC(1) RD(1) RA(1) Z(1) AD(1) CD(1) rcode(4)
const (
	headerSize = 12
	plainSize  = 512   // of an answer by UDP to a client without EDNS
	maxSize    = 65535 // of an answer by TCP
	maxQuery   = 4096  // of a question: one name and a few options
	maxName    = 255   // of a name as it is sent
	maxLabel   = 63

	flagResponse  = 1 << 15
	flagTruncated = 1 << 9
	flagRecursion = 1 << 8 // desired
	flagAvailable = 1 << 7 // recursion is
	maskOpcode    = 0xf << 11
	maskRcode     = 0xf

	rcodeFormat  = 1
	rcodeFailure = 2
	rcodeUnknown = 4 // not implemented
	rcodeRefused = 5

	typeA, typePTR, typeAAAA, typeOPT = 1, 12, 28, 41

	classInternet = 1

	// ttl is how long clients may remember where a container is, in seconds:
	// it can be elsewhere after a restart.
	ttl = 5
)

// query is a question as it came, with what the resolver needs of it.
type query struct {
	msg  []byte
	end  int    // of the question in msg
	name string // in lower case, dots between the labels and none at the end; "" for the root, and if one of its labels holds what no name of ours does
	kind uint16 // type and class
	in   uint16
	edns bool
	size int // the longest answer that the client takes by UDP
}

// parse reads a query. A negative rcode means that it deserves no answer, any
// other but 0 that the answer is that error.
func parse(msg []byte) (q query, rcode int) {
	if len(msg) < headerSize {
		return q, -1
	}
	q = query{msg: msg, end: headerSize, size: plainSize}
	flags := binary.BigEndian.Uint16(msg[2:])
	switch {
	case flags&flagResponse != 0:
		return q, -1
	case flags&maskOpcode != 0:
		return q, rcodeUnknown
	case binary.BigEndian.Uint16(msg[4:]) != 1:
		return q, rcodeFormat
	}
	name, end := readName(msg, headerSize)
	if end < 0 || end+4 > len(msg) {
		return q, rcodeFormat
	}
	q.name, q.end = name, end+4
	q.kind, q.in = binary.BigEndian.Uint16(msg[end:]), binary.BigEndian.Uint16(msg[end+2:])
	q.options()
	return q, 0
}

// readName reads a name that is not compressed, as none can be in a question.
// The end is negative if there is none.
func readName(msg []byte, at int) (string, int) {
	var text [maxName]byte
	n, ours := 0, true
	for start := at; ; {
		if at >= len(msg) || at-start >= maxName {
			return "", -1
		}
		size := int(msg[at])
		at++
		if size == 0 {
			break
		}
		if size > maxLabel || at+size > len(msg) || at+size-start >= maxName {
			return "", -1
		}
		if n > 0 {
			text[n] = '.'
			n++
		}
		for _, c := range msg[at : at+size] {
			switch {
			case 'A' <= c && c <= 'Z':
				c += 'a' - 'A'
			case c <= ' ' || c == '.' || c == 0x7f:
				ours = false
			}
			text[n] = c
			n++
		}
		at += size
	}
	if !ours {
		return "", at
	}
	return string(text[:n]), at
}

// options looks for the OPT record (RFC 6891) behind the question.
func (q *query) options() {
	at, records := q.end, 0
	for i := 6; i < headerSize; i += 2 {
		records += int(binary.BigEndian.Uint16(q.msg[i:]))
	}
	for ; records > 0; records-- {
		if at = skipName(q.msg, at); at < 0 || at+10 > len(q.msg) {
			return
		}
		if binary.BigEndian.Uint16(q.msg[at:]) == typeOPT {
			q.edns = true
			q.size = max(plainSize, int(binary.BigEndian.Uint16(q.msg[at+2:])))
			return
		}
		at += 10 + int(binary.BigEndian.Uint16(q.msg[at+8:]))
	}
}

// skipName returns the end of a name, which may be compressed; negative if
// there is none.
func skipName(msg []byte, at int) int {
	for at < len(msg) {
		switch size := int(msg[at]); {
		case size == 0:
			return at + 1
		case size&0xc0 == 0xc0:
			return at + 2
		case size > maxLabel:
			return -1
		default:
			at += 1 + size
		}
	}
	return -1
}

// reply begins an answer: the header and the question.
func (q *query) reply(rcode int) []byte {
	out := append(make([]byte, 0, q.end+64), q.msg[:q.end]...)
	flags := binary.BigEndian.Uint16(q.msg[2:])&(maskOpcode|flagRecursion) | flagResponse | flagAvailable | uint16(rcode)
	binary.BigEndian.PutUint16(out[2:], flags)
	clear(out[4:headerSize])
	if q.end > headerSize {
		out[5] = 1
	}
	return out
}

// fail is an answer that is an error.
func (q *query) fail(rcode int) []byte { return q.finish(q.reply(rcode)) }

// addresses answers with as many of these addresses as the client takes; none to
// a question for anything else.
func (q *query) addresses(list []netip.Addr, limit int) []byte {
	out := q.reply(0)
	count := 0
	for _, a := range list {
		if a.Is4() && q.kind != typeA || !a.Is4() && q.kind != typeAAAA {
			continue
		}
		data := a.AsSlice()
		if len(out)+12+len(data)+q.tail() > limit {
			binary.BigEndian.PutUint16(out[2:], binary.BigEndian.Uint16(out[2:])|flagTruncated)
			break
		}
		out = append(q.record(out, len(data)), data...)
		count++
	}
	binary.BigEndian.PutUint16(out[6:], uint16(count))
	return q.finish(out)
}

// pointer answers with one name; nil if that is none of DNS.
func (q *query) pointer(name string, limit int) []byte {
	if len(name)+2 > maxName {
		return nil
	}
	data := make([]byte, 0, len(name)+2)
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel {
			return nil
		}
		data = append(append(data, byte(len(label))), label...)
	}
	data = append(data, 0)
	out := q.reply(0)
	if len(out)+12+len(data)+q.tail() > limit {
		return nil
	}
	binary.BigEndian.PutUint16(out[6:], 1)
	return q.finish(append(q.record(out, len(data)), data...))
}

// record begins a record for the name of the question, to which it points back.
func (q *query) record(out []byte, size int) []byte {
	out = append(out, 0xc0, headerSize)
	out = binary.BigEndian.AppendUint16(out, q.kind)
	out = binary.BigEndian.AppendUint16(out, classInternet)
	out = binary.BigEndian.AppendUint32(out, ttl)
	return binary.BigEndian.AppendUint16(out, uint16(size))
}

// tail is how many bytes finish adds.
func (q *query) tail() int {
	if q.edns {
		return 11
	}
	return 0
}

// finish adds the OPT record that who speaks EDNS gets back.
func (q *query) finish(out []byte) []byte {
	if !q.edns {
		return out
	}
	out[11] = 1
	out = append(out, 0)
	out = binary.BigEndian.AppendUint16(out, typeOPT)
	out = binary.BigEndian.AppendUint16(out, maxQuery)
	return append(out, 0, 0, 0, 0, 0, 0)
}

// answers reports whether msg, with the ID id, answers q: what does not may be
// from anybody. Servers may change the case of the name.
func (q *query) answers(msg []byte, id uint16) bool {
	if len(msg) < headerSize || binary.BigEndian.Uint16(msg) != id || msg[2]&(flagResponse>>8) == 0 {
		return false
	}
	if binary.BigEndian.Uint16(msg[4:]) == 0 { // an error may leave the question out
		return rcodeOf(msg) != 0
	}
	if len(msg) < q.end {
		return false
	}
	for i := headerSize; i < q.end; i++ {
		if lower(msg[i]) != lower(q.msg[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

func rcodeOf(msg []byte) int { return int(msg[3]) & maskRcode }
