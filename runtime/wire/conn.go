package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrFrame says that the peer does not speak this protocol. The connection is
// of no more use.
var ErrFrame = errors.New("malformed frame")

// A peer that takes no byte for this long is given up.
const sendTimeout = 10 * time.Second

const (
	maxFiles = 253  // the kernel's SCM_MAX_FD: descriptors in one frame
	maxAhead = 4096 // descriptors that come ahead of a message
)

// Socket is a connected unix stream socket: a *net.UnixConn, or an *os.File
// over a non-blocking descriptor (so that the shim need not link package net).
type Socket interface {
	syscall.Conn
	io.Closer
	SetWriteDeadline(time.Time) error
}

// Message is a frame as it was received. Who receives it owns its files.
type Message struct {
	Envelope
	Files []*os.File // close-on-exec; their file status flags are as the sender's
}

// Decode reads the payload into v, a pointer.
func (m *Message) Decode(v any) error {
	if err := unmarshal(m.Payload, v); err != nil {
		return fmt.Errorf("decoding %s message: %w", m.Type, err)
	}
	return nil
}

// Close closes the files that are left in m.
func (m *Message) Close() {
	for _, f := range m.Files {
		f.Close()
	}
	m.Files = nil
}

// Conn carries frames over a socket. Send may be called from several
// goroutines at once, Receive from one at a time.
type Conn struct {
	sock Socket
	raw  syscall.RawConn

	oob    []byte // of Receive
	header [4]byte

	sendMu sync.Mutex
}

// NewConn takes the socket over.
func NewConn(s Socket) (*Conn, error) {
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("opening connection: %w", err)
	}
	return &Conn{sock: s, raw: raw}, nil
}

// Close ends the connection; a Receive that waits returns an error.
func (c *Conn) Close() error { return c.sock.Close() }

// Send writes one frame. The files stay the caller's and may be closed as soon
// as Send returns. Any error leaves the connection useless.
func (c *Conn) Send(seq uint64, t Type, payload any, files ...syscall.Conn) error {
	frame, err := encode(seq, t, payload)
	if err != nil {
		return err
	}
	c.sendMu.Lock()
	defer c.sendMu.Unlock()
	for len(files) > maxFiles {
		ahead, err := encode(0, TypeFiles, nil)
		if err != nil {
			return err
		}
		if err := c.send(ahead, t, files[:maxFiles]); err != nil {
			return err
		}
		files = files[maxFiles:]
	}
	return c.send(frame, t, files)
}

// send writes a frame, for whoever holds sendMu.
func (c *Conn) send(frame []byte, t Type, files []syscall.Conn) error {
	if err := c.sock.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return fmt.Errorf("sending %s message: %w", t, err)
	}
	return withFDs(files, func(fds []int) error {
		var oob []byte
		if len(fds) > 0 {
			oob = unix.UnixRights(fds...)
		}
		if err := c.write(frame, oob); err != nil {
			return fmt.Errorf("sending %s message: %w", t, err)
		}
		return nil
	})
}

// encode makes the frame by hand around the payload, which json would
// otherwise check and copy a second time.
func encode(seq uint64, t Type, payload any) ([]byte, error) {
	frame := make([]byte, 4, 128)
	frame = append(frame, '{')
	if seq != 0 {
		frame = append(frame, `"seq":`...)
		frame = strconv.AppendUint(frame, seq, 10)
		frame = append(frame, ',')
	}
	frame = append(frame, `"type":`...)
	frame = strconv.AppendQuote(frame, string(t))
	if payload != nil {
		body, err := json.Marshal(payload)
		if err != nil {
			return nil, fmt.Errorf("encoding %s message: %w", t, err)
		}
		frame = append(frame, `,"payload":`...)
		frame = append(frame, body...)
	}
	frame = append(frame, '}')
	if len(frame)-4 > MaxFrame {
		return nil, fmt.Errorf("encoding %s message: %d bytes are more than a frame holds", t, len(frame)-4)
	}
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	return frame, nil
}

// withFDs calls f with the descriptors of files, none of which is closed or
// changed meanwhile.
func withFDs(files []syscall.Conn, f func([]int) error) error {
	if len(files) > maxFiles {
		return fmt.Errorf("sending %d descriptors: at most %d fit a frame", len(files), maxFiles)
	}
	var step func(rest []syscall.Conn, fds []int) error
	step = func(rest []syscall.Conn, fds []int) error {
		if len(rest) == 0 {
			return f(fds)
		}
		raw, err := rest[0].SyscallConn()
		if err != nil {
			return fmt.Errorf("sending descriptor: %w", err)
		}
		var inner error
		if err := raw.Control(func(fd uintptr) { inner = step(rest[1:], append(fds, int(fd))) }); err != nil {
			return fmt.Errorf("sending descriptor: %w", err)
		}
		return inner
	}
	return step(files, nil)
}

func (c *Conn) write(p, oob []byte) error {
	for len(p) > 0 {
		var n int
		var err error
		werr := c.raw.Write(func(fd uintptr) bool {
			n, err = unix.SendmsgN(int(fd), p, oob, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
			return !again(err)
		})
		if werr != nil {
			return werr
		}
		if err != nil {
			return err
		}
		p, oob = p[n:], nil
	}
	return nil
}

// Receive waits for a frame. It returns io.EOF when the peer closed the
// connection between two frames. Any error leaves the connection useless, and
// no descriptor of the peer's open.
func (c *Conn) Receive() (*Message, error) {
	m := &Message{}
	for {
		ahead := m.Files
		m.Files = nil
		body, err := c.receive(m)
		if err == nil {
			err = open(body, &m.Envelope)
		}
		m.Files = append(ahead, m.Files...)
		if err == nil && len(ahead) > maxAhead {
			err = fmt.Errorf("%w: too many descriptors", ErrFrame)
		}
		if err == io.EOF && len(ahead) > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			m.Close()
			return nil, err
		}
		if m.Type != TypeFiles {
			return m, nil
		}
		m.Envelope = Envelope{}
	}
}

func (c *Conn) receive(m *Message) ([]byte, error) {
	header := c.header[:]
	for got := 0; got < len(header); {
		n, err := c.read(header[got:], m, got == 0)
		if err == io.EOF && got > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		got += n
	}
	size := int(binary.BigEndian.Uint32(header))
	if size > MaxFrame {
		return nil, fmt.Errorf("%w: length of %d bytes", ErrFrame, size)
	}
	// The buffer grows with what arrives, not with what is promised.
	body := make([]byte, 0, min(size, 64<<10))
	for len(body) < size {
		if len(body) == cap(body) {
			grown := make([]byte, len(body), min(size, 4*cap(body)))
			copy(grown, body)
			body = grown
		}
		n, err := c.read(body[len(body):cap(body)], m, false)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		body = body[:len(body)+n]
	}
	return body, nil
}

// read reads at least one byte, and the descriptors that ride on it into m.
func (c *Conn) read(p []byte, m *Message, filesAllowed bool) (int, error) {
	if c.oob == nil {
		c.oob = make([]byte, unix.CmsgSpace(maxFiles*4))
	}
	var n, oobn, flags int
	var err error
	rerr := c.raw.Read(func(fd uintptr) bool {
		n, oobn, flags, _, err = unix.Recvmsg(int(fd), p, c.oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		return !again(err)
	})
	if rerr != nil {
		return 0, rerr
	}
	if err != nil {
		return 0, err
	}
	if oobn > 0 {
		if err := m.take(c.oob[:oobn]); err != nil {
			return 0, err
		}
		if !filesAllowed && len(m.Files) > 0 {
			return 0, fmt.Errorf("%w: descriptors inside it", ErrFrame)
		}
	}
	if flags&unix.MSG_CTRUNC != 0 {
		return 0, fmt.Errorf("%w: descriptors were cut off", ErrFrame)
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// take parses control messages and keeps their descriptors.
func (m *Message) take(oob []byte) error {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFrame, err)
	}
	for i := range messages {
		if messages[i].Header.Level != unix.SOL_SOCKET || messages[i].Header.Type != unix.SCM_RIGHTS {
			continue
		}
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return fmt.Errorf("%w: %w", ErrFrame, err)
		}
		for _, fd := range fds {
			m.Files = append(m.Files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return nil
}

// open reads an envelope. What encode wrote is taken apart without scanning
// the payload, which Decode checks anyway; all else goes through json.
func open(body []byte, e *Envelope) error {
	if openFast(body, e) {
		return nil
	}
	*e = Envelope{}
	if err := json.Unmarshal(body, e); err != nil {
		return fmt.Errorf("%w: %w", ErrFrame, err)
	}
	return nil
}

func openFast(body []byte, e *Envelope) bool {
	rest, ok := cutPrefix(body, `{"seq":`)
	if ok {
		i := 0
		for ; i < len(rest) && i < 19 && rest[i] >= '0' && rest[i] <= '9'; i++ {
			e.Seq = e.Seq*10 + uint64(rest[i]-'0')
		}
		if i == 0 || rest[0] == '0' {
			return false
		}
		rest, ok = cutPrefix(rest[i:], `,"type":"`)
	} else {
		rest, ok = cutPrefix(body, `{"type":"`)
	}
	if !ok {
		return false
	}
	i := 0
	for i < len(rest) && (rest[i] >= 'a' && rest[i] <= 'z' || rest[i] == '-') {
		i++
	}
	e.Type = Type(rest[:i])
	rest = rest[i:]
	if string(rest) == `"}` {
		return true
	}
	rest, ok = cutPrefix(rest, `","payload":`)
	if !ok || len(rest) < 2 || rest[len(rest)-1] != '}' {
		return false
	}
	// The payload is an object, and the envelope's brace the last byte: new
	// fields of an envelope stand before the payload.
	e.Payload = rest[:len(rest)-1]
	return e.Payload[0] == '{' && e.Payload[len(e.Payload)-1] == '}'
}

func cutPrefix(b []byte, prefix string) ([]byte, bool) {
	if len(b) < len(prefix) || string(b[:len(prefix)]) != prefix {
		return b, false
	}
	return b[len(prefix):], true
}

func again(err error) bool { return err == unix.EAGAIN || err == unix.EINTR }
