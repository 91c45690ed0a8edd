package logfile

import (
	"encoding/binary"
	"maps"
	"slices"
)

// The Local format is a sequence of
//
//	+-----------+----------------------+-----------+
//	| length    | protocol buffer      | length    |    lengths: 4 bytes, big endian
//	+-----------+----------------------+-----------+
//
// whose message, with its fields in this order, is Docker's LogEntry:
//
//	1  string  source    "stdout" or "stderr"
//	2  int64   time_nano
//	100 int64  base      ours: bytes of the log in the files before this one; in the first entry of a file
//	3  bytes   line      without its newline
//	4  bool    partial   the line goes on in the next entry of this source, or the stream ended in it
//	6  message attrs     repeated: 1 key, 2 value
//
// The second length lets a reader go backwards, and find its way again after
// damage. Tags of fields that this package writes, as bytes:
const (
	TagSource  = 1<<3 | 2
	TagTime    = 2 << 3
	TagLine    = 3<<3 | 2
	TagPartial = 4 << 3
	TagAttr    = 6<<3 | 2
	TagBase    = 100 << 3 // a varint of two bytes

	tagKey, tagValue = 1<<3 | 2, 2<<3 | 2
)

// LengthSize is the size of each of the two lengths around an entry.
const LengthSize = 4

// appendLocal appends an entry of the Local format.
func appendLocal(dst, head, tail, attrs []byte, e *entry) []byte {
	begin := len(dst)
	dst = append(dst, 0, 0, 0, 0, TagSource, 6)
	dst = append(dst, e.stream.String()...)
	dst = append(dst, TagTime)
	dst = binary.AppendUvarint(dst, uint64(e.stamp.nano))
	if e.base > 0 {
		dst = binary.AppendUvarint(dst, TagBase)
		dst = binary.AppendUvarint(dst, uint64(e.base))
	}
	dst = append(dst, TagLine)
	dst = binary.AppendUvarint(dst, uint64(len(head)+len(tail)))
	dst = append(dst, head...)
	dst = append(dst, tail...)
	if !e.newline {
		dst = append(dst, TagPartial, 1)
	}
	dst = append(dst, attrs...)
	length := uint32(len(dst) - begin - LengthSize)
	binary.BigEndian.PutUint32(dst[begin:], length)
	return binary.BigEndian.AppendUint32(dst, length)
}

// localAttrs encodes the fields that every entry has.
func localAttrs(attrs map[string]string) (fields []byte) {
	for _, k := range slices.Sorted(maps.Keys(attrs)) {
		var pair []byte
		for _, f := range []struct {
			tag  byte
			text string
		}{{tagKey, k}, {tagValue, attrs[k]}} {
			pair = append(pair, f.tag)
			pair = binary.AppendUvarint(pair, uint64(len(f.text)))
			pair = append(pair, f.text...)
		}
		fields = append(fields, TagAttr)
		fields = binary.AppendUvarint(fields, uint64(len(pair)))
		fields = append(fields, pair...)
	}
	return fields
}

// wholeLocal is encoder.whole.
func wholeLocal(p []byte) (size, entries int) {
	for len(p)-size >= 2*LengthSize {
		n := int(binary.BigEndian.Uint32(p[size:])) + 2*LengthSize
		if n > len(p)-size {
			break
		}
		size += n
		entries++
	}
	return size, entries
}

// HeadSize is how much of a file tells its format and its base.
const HeadSize = 64

// BaseOf reads the field base of a file's first entry, whose beginning p is.
func BaseOf(p []byte) int64 {
	if len(p) < LengthSize {
		return 0
	}
	p = p[LengthSize:]
	for len(p) > 0 {
		tag, n := binary.Uvarint(p)
		if n <= 0 || tag == TagLine {
			return 0
		}
		p = p[n:]
		value, n := binary.Uvarint(p)
		if n <= 0 {
			return 0
		}
		p = p[n:]
		switch {
		case tag == TagBase:
			return int64(value)
		case tag == TagSource && value <= uint64(len(p)):
			p = p[value:]
		case tag != TagTime:
			return 0
		}
	}
	return 0
}
