package dbus

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Kind is a message's type.
type Kind byte

// The kinds of message.
const (
	MethodCall   Kind = 1
	MethodReturn Kind = 2
	ErrorReply   Kind = 3
	Signal       Kind = 4
)

const (
	// maxMessage bounds a message. The specification's bound is 128 MiB; what
	// systemd answers here has some hundred bytes.
	maxMessage = 1 << 20

	flagNoReply     = 1
	fixedHeader     = 16
	protocolVersion = 1
)

// Message is a call, an answer or a signal.
//
//	 0        1      2       3         4             8        12
//	+--------+------+-------+---------+-------------+--------+----------------------+
//	| l or B | kind | flags | version | body length | serial | a(yv): header fields |
//	+--------+------+-------+---------+-------------+--------+----------------------+
//	| padding to 8 bytes | body                                                     |
//	+--------------------+----------------------------------------------------------+
type Message struct {
	Kind        Kind
	Flags       byte
	Serial      uint32
	ReplyTo     uint32 // the serial of the call that this answers
	Path        string
	Interface   string
	Member      string
	Error       string // an error's name
	Destination string
	Sender      string
	Signature   string // of the body
	body        []byte
	order       binary.ByteOrder
}

// Body returns a decoder of the message's body.
func (m *Message) Body() *Decoder { return &Decoder{data: m.body, order: m.order} }

// SetBody makes values of these types, appended by write, the message's body.
func (m *Message) SetBody(signature string, write func(*Encoder)) {
	var e Encoder
	write(&e)
	m.Signature, m.body, m.order = signature, e.buf, binary.LittleEndian
}

// Header field codes.
const (
	fieldPath = 1 + iota
	fieldInterface
	fieldMember
	fieldError
	fieldReplyTo
	fieldDestination
	fieldSender
	fieldSignature
)

// Encode returns the message as it goes over the wire.
func (m *Message) Encode() []byte {
	var e Encoder
	e.buf = make([]byte, 0, 256+len(m.body))
	e.Byte('l')
	e.Byte(byte(m.Kind))
	e.Byte(m.Flags)
	e.Byte(protocolVersion)
	e.Uint32(uint32(len(m.body)))
	e.Uint32(m.Serial)
	e.Array(8, func() {
		text := func(code byte, kind, v string) {
			if v == "" {
				return
			}
			e.Struct()
			e.Byte(code)
			e.Signature(kind)
			if kind == "g" {
				e.Signature(v)
			} else {
				e.String(v)
			}
		}
		text(fieldPath, "o", m.Path)
		text(fieldInterface, "s", m.Interface)
		text(fieldMember, "s", m.Member)
		text(fieldError, "s", m.Error)
		if m.ReplyTo != 0 {
			e.Struct()
			e.Byte(fieldReplyTo)
			e.Signature("u")
			e.Uint32(m.ReplyTo)
		}
		text(fieldDestination, "s", m.Destination)
		text(fieldSender, "s", m.Sender)
		text(fieldSignature, "g", m.Signature)
	})
	e.align(8)
	return append(e.buf, m.body...)
}

// ReadMessage reads one message.
func ReadMessage(r *bufio.Reader) (*Message, error) {
	head := make([]byte, fixedHeader)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	m := &Message{Kind: Kind(head[1]), Flags: head[2]}
	switch head[0] {
	case 'l':
		m.order = binary.LittleEndian
	case 'B':
		m.order = binary.BigEndian
	default:
		return nil, errors.New("malformed message: unknown byte order")
	}
	if head[3] != protocolVersion {
		return nil, fmt.Errorf("malformed message: version %d of the protocol", head[3])
	}
	m.Serial = m.order.Uint32(head[8:])
	body, fields := m.order.Uint32(head[4:]), m.order.Uint32(head[12:])
	if body > maxMessage || fields > maxMessage {
		return nil, fmt.Errorf("malformed message: %d bytes", uint64(body)+uint64(fields))
	}
	header := (fixedHeader + int(fields) + 7) &^ 7
	data := make([]byte, header+int(body))
	copy(data, head)
	if _, err := io.ReadFull(r, data[fixedHeader:]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	m.body = data[header:]
	d := &Decoder{data: data[:header], pos: 12, order: m.order}
	d.Array(8, func() { m.field(d) })
	return m, d.err
}

// field reads one header field; unknown ones are skipped, as the specification
// asks for.
func (m *Message) field(d *Decoder) {
	d.Struct()
	text := func(to *string) {
		d.Expect("s")
		*to = d.String()
	}
	switch d.Byte() {
	case fieldPath:
		d.Expect("o")
		m.Path = d.String()
	case fieldInterface:
		text(&m.Interface)
	case fieldMember:
		text(&m.Member)
	case fieldError:
		text(&m.Error)
	case fieldReplyTo:
		d.Expect("u")
		m.ReplyTo = d.Uint32()
	case fieldDestination:
		text(&m.Destination)
	case fieldSender:
		text(&m.Sender)
	case fieldSignature:
		d.Expect("g")
		m.Signature = d.Signature()
	default:
		d.Skip("v")
	}
}
