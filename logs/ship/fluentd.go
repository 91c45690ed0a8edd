package ship

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/davit-engine/davit/logs/driver"
)

// record makes events of Fluentd's forward protocol, which is MessagePack
// (https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1).
// A batch is in its Forward mode:
//
//	[tag, [[time, {"log": ..., ...}], ...], {"size": n, "chunk": id}]
type record struct {
	tag       string
	subSecond bool
	fields    int    // in common
	common    []byte // keys and values that each has
}

func newRecord(i *driver.Info, tag string, attrs map[string]string, subSecond bool) *record {
	all := map[string]string{"container_id": i.ID, "container_name": "/" + i.Name}
	maps.Copy(all, attrs)
	for _, own := range []string{"source", "log", "partial_message", "partial_id", "partial_ordinal", "partial_last"} {
		delete(all, own)
	}
	r := &record{tag: tag, subSecond: subSecond, fields: len(all)}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		r.common = appendPair(r.common, k, all[k])
	}
	return r
}

func (r *record) append(dst []byte, m *message) []byte {
	dst = append(dst, 0x92) // an array of two
	if r.subSecond {
		dst = append(dst, 0xd7, 0) // EventTime: 8 bytes of type 0
		dst = binary.BigEndian.AppendUint32(dst, uint32(m.time.Unix()))
		dst = binary.BigEndian.AppendUint32(dst, uint32(m.time.Nanosecond()))
	} else {
		dst = append(dst, 0xce)
		dst = binary.BigEndian.AppendUint32(dst, uint32(m.time.Unix()))
	}
	n := r.fields + 2
	if m.part != nil {
		n += 4
	}
	dst = appendMap(dst, n)
	dst = append(dst, r.common...)
	source := "stdout"
	if m.stderr {
		source = "stderr"
	}
	dst = appendPair(dst, "source", source)
	dst = appendString(dst, "log")
	dst = appendString(dst, m.line)
	if p := m.part; p != nil {
		dst = appendPair(dst, "partial_message", "true")
		dst = appendPair(dst, "partial_id", p.id)
		dst = appendPair(dst, "partial_ordinal", strconv.Itoa(p.ordinal))
		dst = appendPair(dst, "partial_last", strconv.FormatBool(p.last))
	}
	return dst
}

func appendPair(dst []byte, k, v string) []byte { return appendString(appendString(dst, k), v) }

// appendString appends text as MessagePack, whatever its bytes are, as Docker's
// driver does.
func appendString[T string | []byte](dst []byte, s T) []byte {
	switch n := len(s); {
	case n < 32:
		dst = append(dst, 0xa0|byte(n))
	case n < 1<<8:
		dst = append(dst, 0xd9, byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0xda), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint32(append(dst, 0xdb), uint32(n))
	}
	return append(dst, s...)
}

func appendMap(dst []byte, n int) []byte {
	if n < 16 {
		return append(dst, 0x80|byte(n))
	}
	return binary.BigEndian.AppendUint16(append(dst, 0xde), uint16(n))
}

func appendArray(dst []byte, n int) []byte {
	return binary.BigEndian.AppendUint32(append(dst, 0xdd), uint32(n))
}

// How many events a batch has at most, and how many bytes before it is sent.
const (
	fluentdEvents = 1000
	fluentdBatch  = 64 << 10
	ackTimeout    = 60 * time.Second // fluentd's own default: ack_response_timeout is 190 s, of fluent-bit 60
)

// fluentd is a connection to a server.
type fluentd struct {
	*stream
	record *record
	ack    bool
	in     *bufio.Reader // what the server says; for ack

	events []byte
	count  int
	end    int64 // of the last event
}

func dialFluentd(ctx context.Context, t driver.FluentdTarget, r *record) (sender, error) {
	var config *tls.Config
	if t.Address.Network == "tls" {
		var err error
		if config, err = clientTLS(t.Address, "", "", "", false); err != nil {
			return nil, err
		}
	}
	s, err := dialStream(ctx, t.Address, config)
	if err != nil {
		return nil, err
	}
	s.timeout = t.WriteTimeout
	return &fluentd{stream: s, record: r, ack: t.Ack, in: bufio.NewReaderSize(s.conn, 1024)}, nil
}

func (f *fluentd) send(m *message) error {
	if f.count == 0 {
		if err := f.alive(); err != nil {
			return err
		}
	}
	f.events = f.record.append(f.events, m)
	f.end = m.end
	if f.count++; f.count >= fluentdEvents || len(f.events) >= fluentdBatch {
		return f.flush()
	}
	return nil
}

func (f *fluentd) flush() error {
	if f.count == 0 {
		return nil
	}
	b := append(f.buf, 0x93)
	b = appendString(b, f.record.tag)
	b = appendArray(b, f.count)
	b = append(b, f.events...)
	chunk := ""
	if f.ack {
		var id [16]byte
		_, _ = rand.Read(id[:]) // never fails
		chunk = base64.StdEncoding.EncodeToString(id[:])
		b = appendMap(b, 2)
		b = appendPair(b, "chunk", chunk)
	} else {
		b = appendMap(b, 1)
	}
	b = appendString(b, "size")
	b = binary.BigEndian.AppendUint32(append(b, 0xce), uint32(f.count))
	f.buf, f.last = b, f.end
	f.events, f.count = f.events[:0], 0
	if err := f.stream.flush(); err != nil {
		return err
	}
	if !f.ack {
		return nil
	}
	f.marks = nil // only the server's word counts
	if err := f.awaitAck(chunk); err != nil {
		return err
	}
	f.done = f.last
	return nil
}

// confirmed is stream.confirmed, but that a server that acknowledges has said
// so already.
func (f *fluentd) confirmed() (int64, bool, error) {
	if f.ack {
		return f.done, f.count == 0, nil
	}
	end, all, err := f.stream.confirmed()
	return end, all && f.count == 0, err
}

func (f *fluentd) sure() bool { return f.ack || f.stream.sure() }

// awaitAck reads {"ack": chunk}.
func (f *fluentd) awaitAck(chunk string) error {
	if err := f.conn.SetReadDeadline(time.Now().Add(ackTimeout)); err != nil {
		return err
	}
	if err := f.ctx.Err(); err != nil {
		return err // its own deadline may have been replaced
	}
	head, err := f.in.ReadByte()
	if err != nil {
		return fmt.Errorf("waiting for the server's acknowledgement: %w", err)
	}
	if head != 0x81 {
		return errors.New("the server's acknowledgement is no map of one")
	}
	for _, want := range []string{"ack", chunk} {
		got, err := readString(f.in)
		if err != nil {
			return fmt.Errorf("reading the server's acknowledgement: %w", err)
		}
		if got != want {
			return fmt.Errorf("the server acknowledges %q, expected %q", got, want)
		}
	}
	return nil
}

// readString reads a short string of MessagePack.
func readString(r *bufio.Reader) (string, error) {
	head, err := r.ReadByte()
	if err != nil {
		return "", err
	}
	n := int(head & 0x1f)
	switch {
	case head>>5 == 5:
	case head == 0xd9 || head == 0xc4:
		length, err := r.ReadByte()
		if err != nil {
			return "", err
		}
		n = int(length)
	default:
		return "", fmt.Errorf("byte %#x begins no string", head)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return "", err
	}
	return string(b), nil
}
