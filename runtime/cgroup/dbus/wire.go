// Package dbus is a small client of D-Bus, as much of it as it takes to ask
// systemd for a unit: a connection over a unix socket, one call at a time, and
// the signals that arrive meanwhile.
//
// It owns the wire protocol (version 1 of the D-Bus specification) and the
// EXTERNAL authentication, in which the kernel vouches for the user. It must
// not know what it is used for. Bodies are written and read value by value with
// [Encoder] and [Decoder]: there is no reflection, no introspection, no
// exported objects and no passing of descriptors. What a peer sends is bounded
// and checked, and never trusted to be what was asked for.
//
// A Conn is for one goroutine at a time.
package dbus

import (
	"encoding/binary"
	"errors"
	"strings"
	"unicode/utf8"
)

// Encoder builds values in little-endian order, aligned from its first byte.
type Encoder struct{ buf []byte }

func (e *Encoder) align(n int) {
	for len(e.buf)%n != 0 {
		e.buf = append(e.buf, 0)
	}
}

// Byte appends a value of type y.
func (e *Encoder) Byte(v byte) { e.buf = append(e.buf, v) }

// Bool appends a value of type b.
func (e *Encoder) Bool(v bool) {
	if v {
		e.Uint32(1)
	} else {
		e.Uint32(0)
	}
}

// Uint32 appends a value of type u.
func (e *Encoder) Uint32(v uint32) {
	e.align(4)
	e.buf = binary.LittleEndian.AppendUint32(e.buf, v)
}

// Uint64 appends a value of type t.
func (e *Encoder) Uint64(v uint64) {
	e.align(8)
	e.buf = binary.LittleEndian.AppendUint64(e.buf, v)
}

// String appends a value of type s or o.
func (e *Encoder) String(v string) {
	e.Uint32(uint32(len(v)))
	e.buf = append(append(e.buf, v...), 0)
}

// Signature appends a value of type g, shorter than 256 bytes.
func (e *Encoder) Signature(v string) {
	e.buf = append(append(append(e.buf, byte(len(v))), v...), 0)
}

// Bytes appends a value of type ay.
func (e *Encoder) Bytes(v []byte) {
	e.Uint32(uint32(len(v)))
	e.buf = append(e.buf, v...)
}

// Struct begins a struct; its fields follow.
func (e *Encoder) Struct() { e.align(8) }

// Array appends an array whose elements body appends. The alignment is that of
// the element's type: 8 for structs and 64-bit numbers, 4 for strings, 1 for
// signatures and variants.
func (e *Encoder) Array(alignment int, body func()) {
	e.Uint32(0)
	length := len(e.buf) - 4
	e.align(alignment)
	start := len(e.buf)
	body()
	binary.LittleEndian.PutUint32(e.buf[length:], uint32(len(e.buf)-start))
}

// Decoder reads values from a body. After the first error all that it returns
// is zero, and Err says what went wrong.
type Decoder struct {
	data  []byte
	pos   int
	order binary.ByteOrder
	err   error
}

// Errors of malformed messages.
var (
	errShort     = errors.New("malformed message: it ends within a value")
	errText      = errors.New("malformed message: invalid text")
	errSignature = errors.New("malformed message: invalid signature")
	errArray     = errors.New("malformed message: invalid array")
	errPadding   = errors.New("malformed message: padding that is not zero")
	errBoolean   = errors.New("malformed message: invalid boolean")
)

// Err returns the first error.
func (d *Decoder) Err() error { return d.err }

func (d *Decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.pos = len(d.data)
}

func (d *Decoder) align(n int) {
	for d.pos%n != 0 {
		if d.pos >= len(d.data) {
			d.fail(errShort)
			return
		}
		if d.data[d.pos] != 0 {
			d.fail(errPadding)
			return
		}
		d.pos++
	}
}

// take returns the next n bytes, or nil.
func (d *Decoder) take(n int) []byte {
	if d.err != nil || n < 0 || n > len(d.data)-d.pos {
		d.fail(errShort)
		return nil
	}
	d.pos += n
	return d.data[d.pos-n : d.pos]
}

// Byte reads a value of type y.
func (d *Decoder) Byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

// Uint32 reads a value of type u.
func (d *Decoder) Uint32() uint32 {
	d.align(4)
	if b := d.take(4); b != nil {
		return d.order.Uint32(b)
	}
	return 0
}

// Uint64 reads a value of type t.
func (d *Decoder) Uint64() uint64 {
	d.align(8)
	if b := d.take(8); b != nil {
		return d.order.Uint64(b)
	}
	return 0
}

// Bool reads a value of type b.
func (d *Decoder) Bool() bool {
	v := d.Uint32()
	if v > 1 {
		d.fail(errBoolean)
	}
	return v == 1
}

// String reads a value of type s or o.
func (d *Decoder) String() string {
	n := d.Uint32()
	if n > maxMessage {
		d.fail(errShort)
		return ""
	}
	return d.text(int(n))
}

// Signature reads a value of type g.
func (d *Decoder) Signature() string { return d.text(int(d.Byte())) }

func (d *Decoder) text(n int) string {
	b := d.take(n + 1)
	if b == nil {
		return ""
	}
	s := string(b[:n])
	if b[n] != 0 || strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) {
		d.fail(errText)
		return ""
	}
	return s
}

// Bytes reads a value of type ay.
func (d *Decoder) Bytes() []byte {
	n := d.Uint32()
	if n > maxMessage {
		d.fail(errShort)
		return nil
	}
	return d.take(int(n))
}

// Struct begins a struct; its fields follow.
func (d *Decoder) Struct() { d.align(8) }

// Array calls element for each element of an array. The alignment is as for
// [Encoder.Array].
func (d *Decoder) Array(alignment int, element func()) {
	n := d.Uint32()
	d.align(alignment)
	if d.err != nil || n > maxMessage || int(n) > len(d.data)-d.pos {
		d.fail(errArray)
		return
	}
	end := d.pos + int(n)
	for d.err == nil && d.pos < end {
		before := d.pos
		if element(); d.pos == before {
			break
		}
	}
	if d.err == nil && d.pos != end {
		d.fail(errArray)
	}
}

// Expect reads the signature of a variant, whose value follows, and fails if it
// is another one.
func (d *Decoder) Expect(signature string) {
	if got := d.Signature(); d.err == nil && got != signature {
		d.fail(errSignature)
	}
}

// maxDepth bounds nesting: the specification allows 32 arrays and 32 structs.
const maxDepth = 64

// Skip reads one value of the first complete type of a signature and returns
// the rest of the signature.
func (d *Decoder) Skip(signature string) (rest string) { return d.skip(signature, 0) }

func (d *Decoder) skip(signature string, depth int) string {
	if signature == "" || depth > maxDepth || d.err != nil {
		d.fail(errSignature)
		return ""
	}
	rest := signature[1:]
	switch signature[0] {
	case 'y':
		d.Byte()
	case 'n', 'q':
		d.align(2)
		d.take(2)
	case 'b':
		d.Bool()
	case 'i', 'u', 'h':
		d.Uint32()
	case 'x', 't', 'd':
		d.Uint64()
	case 's', 'o':
		_ = d.String()
	case 'g':
		d.Signature()
	case 'v':
		inner := d.Signature()
		if d.skip(inner, depth+1) != "" {
			d.fail(errSignature)
		}
	case 'a':
		after := typeEnd(rest, depth+1)
		if after < 0 {
			d.fail(errSignature)
			return ""
		}
		element := rest[:after]
		d.Array(alignmentOf(element[0]), func() { d.skip(element, depth+1) })
		return rest[after:]
	case '(', '{':
		end := byte(')')
		if signature[0] == '{' {
			end = '}'
		}
		d.Struct()
		if rest != "" && rest[0] == end {
			d.fail(errSignature) // there are no empty structs
		}
		for d.err == nil && rest != "" && rest[0] != end {
			rest = d.skip(rest, depth+1)
		}
		if d.err != nil || rest == "" {
			d.fail(errSignature)
			return ""
		}
		return rest[1:]
	default:
		d.fail(errSignature)
	}
	if d.err != nil {
		return ""
	}
	return rest
}

// typeEnd returns where the first complete type of a signature ends, -1 if it
// does not.
func typeEnd(s string, depth int) int {
	if s == "" || depth > maxDepth {
		return -1
	}
	switch s[0] {
	case 'a':
		n := typeEnd(s[1:], depth+1)
		if n < 0 {
			return -1
		}
		return n + 1
	case '(', '{':
		end := byte(')')
		if s[0] == '{' {
			end = '}'
		}
		at := 1
		for at < len(s) && s[at] != end {
			n := typeEnd(s[at:], depth+1)
			if n < 0 {
				return -1
			}
			at += n
		}
		if at == 1 || at >= len(s) { // there are no empty structs
			return -1
		}
		return at + 1
	}
	if strings.IndexByte("ynqbiuhxtdsogv", s[0]) < 0 {
		return -1
	}
	return 1
}

func alignmentOf(kind byte) int {
	switch kind {
	case 'y', 'g', 'v':
		return 1
	case 'n', 'q':
		return 2
	case 'x', 't', 'd', '(', '{':
		return 8
	}
	return 4
}
