package logfile

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"time"
	"unicode/utf8"
)

// appendJSON appends an entry of the JSON format:
//
//	{"log":"text\n","stream":"stdout","attrs":{"k":"v"},"time":"2006-01-02T15:04:05.999999999Z"}
//
// The fields stand in the order in which Docker has them.
func appendJSON(dst, head, tail, attrs []byte, e *entry) []byte {
	dst = append(dst, '{')
	if len(head)+len(tail) > 0 || e.newline {
		dst = append(dst, `"log":"`...)
		dst = appendText(dst, head)
		dst = appendText(dst, tail)
		if e.newline {
			dst = append(dst, `\n`...)
		}
		dst = append(dst, `",`...)
	}
	dst = append(dst, `"stream":"`...)
	dst = append(dst, e.stream.String()...)
	dst = append(dst, `",`...)
	if len(attrs) > 0 {
		dst = append(dst, `"attrs":`...)
		dst = append(dst, attrs...)
		dst = append(dst, ',')
	}
	dst = append(dst, `"time":"`...)
	dst = append(dst, e.stamp.text...)
	return append(dst, "\"}\n"...)
}

// wholeJSON is encoder.whole.
func wholeJSON(p []byte) (size, entries int) {
	return bytes.LastIndexByte(p, '\n') + 1, bytes.Count(p, []byte{'\n'})
}

// appendTime appends t as RFC 3339 in UTC, with nanoseconds but no trailing
// zeros.
func appendTime(dst []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(dst, time.RFC3339Nano)
}

const hex = "0123456789abcdef"

// appendText appends p as the inside of a JSON string, escaped as Docker does:
// as encoding/json for HTML, with \n and \r short and all other control
// characters, tab too, as \u00XX.
func appendText(dst, p []byte) []byte {
	start := 0
	for i := 0; i < len(p); {
		if i += plainText(p[i:]); i == len(p) {
			break
		}
		b := p[i]
		if b < utf8.RuneSelf {
			dst = append(dst, p[start:i]...)
			switch b {
			case '\\', '"':
				dst = append(dst, '\\', b)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hex[b>>4], hex[b&0xf])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRune(p[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(dst, p[start:i]...)
			dst = append(dst, `\ufffd`...)
			start = i + size
		case r == '\u2028' || r == '\u2029': // newlines to JavaScript
			dst = append(dst, p[start:i]...)
			dst = append(dst, `\u202`...)
			dst = append(dst, hex[r&0xf])
			start = i + size
		}
		i += size
	}
	return append(dst, p[start:]...)
}

// plainText returns how many bytes p begins with that are ASCII and need no
// escape. It looks at eight at a time.
func plainText(p []byte) int {
	const (
		ones   = 0x0101010101010101
		tops   = 0x8080808080808080
		spaces = ones * ' '
		slants = ones * '\\'
		// Two at once: those that differ in one bit.
		angles, angleBit = ones * '>', ones * ('<' ^ '>')
		quotes, quoteBit = ones * '&', ones * ('"' ^ '&')
	)
	i := 0
	for ; i+8 <= len(p); i += 8 {
		x := binary.LittleEndian.Uint64(p[i:])
		a, q, s := (x|angleBit)^angles, (x|quoteBit)^quotes, x^slants
		// The lowest bit set is that of the first byte that is special; those
		// above it may be wrong.
		if special := (x | (x-spaces)&^x | (a-ones)&^a | (q-ones)&^q | (s-ones)&^s) & tops; special != 0 {
			return i + bits.TrailingZeros64(special)/8
		}
	}
	for i < len(p) && p[i] >= ' ' && p[i] < utf8.RuneSelf && p[i] != '"' && p[i] != '\\' && p[i] != '<' && p[i] != '>' && p[i] != '&' {
		i++
	}
	return i
}
