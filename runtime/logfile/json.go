package logfile

import (
	"bytes"
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
		b := p[i]
		if b < utf8.RuneSelf {
			if plain[b] {
				i++
				continue
			}
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

// plain tells the ASCII bytes that need no escape.
var plain = [utf8.RuneSelf]bool{
	' ': true, '!': true, '#': true, '$': true, '%': true, '\'': true, '(': true, ')': true, '*': true, '+': true, ',': true,
	'-': true, '.': true, '/': true, '0': true, '1': true, '2': true, '3': true, '4': true, '5': true, '6': true, '7': true,
	'8': true, '9': true, ':': true, ';': true, '=': true, '?': true, '@': true, 'A': true, 'B': true, 'C': true, 'D': true,
	'E': true, 'F': true, 'G': true, 'H': true, 'I': true, 'J': true, 'K': true, 'L': true, 'M': true, 'N': true, 'O': true,
	'P': true, 'Q': true, 'R': true, 'S': true, 'T': true, 'U': true, 'V': true, 'W': true, 'X': true, 'Y': true, 'Z': true,
	'[': true, ']': true, '^': true, '_': true, '`': true, 'a': true, 'b': true, 'c': true, 'd': true, 'e': true, 'f': true,
	'g': true, 'h': true, 'i': true, 'j': true, 'k': true, 'l': true, 'm': true, 'n': true, 'o': true, 'p': true, 'q': true,
	'r': true, 's': true, 't': true, 'u': true, 'v': true, 'w': true, 'x': true, 'y': true, 'z': true, '{': true, '|': true,
	'}': true, '~': true, 0x7f: true,
}
