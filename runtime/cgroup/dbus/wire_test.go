package dbus

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
)

func sample() *Message {
	m := &Message{Kind: MethodCall, Serial: 7, Path: "/org/example", Interface: "org.example.I", Member: "Do", Destination: "org.example"}
	m.SetBody("sba(sv)aytau", func(e *Encoder) {
		e.String("häuser")
		e.Bool(true)
		e.Array(8, func() {
			e.Struct()
			e.String("one")
			e.Signature("t")
			e.Uint64(1 << 40)
			e.Struct()
			e.String("two")
			e.Signature("as")
			e.Array(4, func() { e.String("x"); e.String("") })
		})
		e.Bytes([]byte{1, 2, 3})
		e.Uint64(9)
		e.Array(4, func() { e.Uint32(5) })
	})
	return m
}

func TestRoundTrip(t *testing.T) {
	sent := sample()
	got, err := ReadMessage(bufio.NewReader(bytes.NewReader(sent.Encode())))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, sent) {
		t.Errorf("got  %+v\nwant %+v", got, sent)
	}
	d := got.Body()
	if s, b := d.String(), d.Bool(); s != "häuser" || !b {
		t.Errorf("got %q, %v", s, b)
	}
	var names []string
	d.Array(8, func() {
		d.Struct()
		names = append(names, d.String())
		d.Skip("v")
	})
	bytes := d.Bytes()
	n := d.Uint64()
	var list []uint32
	d.Array(4, func() { list = append(list, d.Uint32()) })
	if d.Err() != nil || strings.Join(names, " ") != "one two" || len(bytes) != 3 || n != 9 || len(list) != 1 || list[0] != 5 {
		t.Errorf("%v: %q, %v, %d, %v", d.Err(), names, bytes, n, list)
	}
	if d.Byte(); d.Err() == nil {
		t.Error("there is more than was sent")
	}
}

// The bytes are those of the specification's rules, worked out by hand.
func TestBytesOnTheWire(t *testing.T) {
	m := &Message{Kind: Signal, Serial: 2, Path: "/a", Interface: "b.c", Member: "D"}
	m.SetBody("u", func(e *Encoder) { e.Uint32(0x01020304) })
	want := "l\x04\x00\x01" + "\x04\x00\x00\x00" + "\x02\x00\x00\x00" + "\x37\x00\x00\x00" +
		"\x01\x01o\x00\x02\x00\x00\x00/a\x00" + "\x00\x00\x00\x00\x00" +
		"\x02\x01s\x00\x03\x00\x00\x00b.c\x00" + "\x00\x00\x00\x00" +
		"\x03\x01s\x00\x01\x00\x00\x00D\x00" + "\x00\x00\x00\x00\x00\x00" +
		"\x08\x01g\x00\x01u\x00" + "\x00" +
		"\x04\x03\x02\x01"
	if got := string(m.Encode()); got != want {
		t.Errorf("\ngot  %q\nwant %q", got, want)
	}
}

func TestBigEndian(t *testing.T) {
	d := &Decoder{data: []byte{0, 0, 0, 1, 'x', 0, 0, 0, 0, 0, 1, 2}, order: binary.BigEndian}
	if s, n := d.String(), d.Uint32(); s != "x" || n != 258 || d.Err() != nil {
		t.Errorf("%q, %d, %v", s, n, d.Err())
	}
}

func TestMalformed(t *testing.T) {
	for _, c := range []struct {
		name, data string
		read       func(*Decoder)
	}{
		{"short number", "\x01\x00", func(d *Decoder) { d.Uint32() }},
		{"padding", "\x01\x01\x00\x00\x01\x00\x00\x00", func(d *Decoder) { d.Byte(); d.Uint32() }},
		{"boolean", "\x02\x00\x00\x00", func(d *Decoder) { d.Bool() }},
		{"long text", "\xff\xff\xff\xff", func(d *Decoder) { _ = d.String() }},
		{"text without an end", "\x01\x00\x00\x00xy", func(d *Decoder) { _ = d.String() }},
		{"text with NUL", "\x01\x00\x00\x00\x00\x00", func(d *Decoder) { _ = d.String() }},
		{"text that is none", "\x01\x00\x00\x00\xff\x00", func(d *Decoder) { _ = d.String() }},
		{"long array", "\x09\x00\x00\x00\x01\x00\x00\x00", func(d *Decoder) { d.Array(4, func() { d.Uint32() }) }},
		{"element beyond the array", "\x02\x00\x00\x00\x01\x00\x00\x00", func(d *Decoder) { d.Array(4, func() { d.Uint32() }) }},
		{"array of nothing", "\x04\x00\x00\x00\x01\x00\x00\x00", func(d *Decoder) { d.Array(4, func() {}) }},
		{"variant of two", "\x02uu\x00\x01\x00\x00\x00\x01\x00\x00\x00", func(d *Decoder) { d.Skip("v") }},
		{"variant of nothing", "\x00\x00", func(d *Decoder) { d.Skip("v") }},
		{"empty struct", "", func(d *Decoder) { d.Skip("()") }},
		{"open struct", "\x01\x00\x00\x00", func(d *Decoder) { d.Skip("(u") }},
		{"array without a type", "\x00\x00\x00\x00", func(d *Decoder) { d.Skip("a") }},
		{"unknown type", "\x00\x00\x00\x00", func(d *Decoder) { d.Skip("am") }},
		{"deep", strings.Repeat("\x00", 99), func(d *Decoder) { d.Skip(strings.Repeat("a", 200) + "u") }},
		{"other type than expected", "\x01u\x00\x00\x01\x00\x00\x00", func(d *Decoder) { d.Expect("s") }},
	} {
		d := &Decoder{data: []byte(c.data), order: binary.LittleEndian}
		if c.read(d); d.Err() == nil {
			t.Errorf("%s: no error", c.name)
		}
	}
}

func TestSkipReadsWhatIsThere(t *testing.T) {
	m := sample()
	d, rest := m.Body(), m.Signature
	for rest != "" && d.Err() == nil {
		rest = d.Skip(rest)
	}
	if d.Err() != nil || d.pos != len(d.data) {
		t.Errorf("%v: %d of %d bytes", d.Err(), d.pos, len(d.data))
	}
}

func FuzzMessage(f *testing.F) {
	f.Add(sample().Encode())
	reply := &Message{Kind: ErrorReply, ReplyTo: 3, Error: "org.example.No", Sender: ":1.1", Serial: 1}
	reply.SetBody("s", func(e *Encoder) { e.String("no") })
	f.Add(reply.Encode())
	f.Add([]byte("B\x02\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ReadMessage(bufio.NewReader(bytes.NewReader(data)))
		if err != nil {
			return
		}
		d := m.Body()
		for rest := m.Signature; rest != "" && d.Err() == nil; {
			rest = d.Skip(rest)
		}
		if m.order != binary.LittleEndian {
			return
		}
		again, err := ReadMessage(bufio.NewReader(bytes.NewReader(m.Encode())))
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("%v:\nfirst %+v\nthen  %+v", err, m, again)
		}
	})
}
