package dbus

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Error is an error that the peer answered with.
type Error struct {
	Name    string // such as org.freedesktop.systemd1.UnitExists
	Message string
}

func (e *Error) Error() string {
	if e.Message == "" {
		return e.Name
	}
	return e.Message + " (" + e.Name + ")"
}

// maxSignals bounds the signals that wait to be looked at; older ones go.
const maxSignals = 256

// Conn is a connection to a peer or to a bus.
type Conn struct {
	sock    *os.File
	in      *bufio.Reader
	serial  uint32
	signals []*Message // arrived while something else was waited for
}

// Dial connects to the unix socket at path, or in the abstract name space if
// path begins with @, and authenticates as the user of this process.
func Dial(ctx context.Context, path string) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = unix.SetNonblock(fd, true) // for deadlines
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, &os.PathError{Op: "connect", Path: path, Err: err}
	}
	sock := os.NewFile(uintptr(fd), path)
	c := &Conn{sock: sock, in: bufio.NewReader(sock)}
	if err := c.within(ctx, c.authenticate); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("authenticating at %s: %w", path, err)
	}
	return c, nil
}

// Close ends the connection.
func (c *Conn) Close() error { return c.sock.Close() }

// within calls f, in which reading and writing fail once ctx ends.
func (c *Conn) within(ctx context.Context, f func() error) error {
	if err := c.sock.SetDeadline(time.Time{}); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.sock.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	err := f()
	if ended := ctx.Err(); ended != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return ended
	}
	return err
}

// authenticate says EXTERNAL and no name: the peer takes the user from the
// socket, whatever that user is called on this side of a user namespace.
//
//	us:   \0AUTH EXTERNAL
//	us:   DATA
//	us:   BEGIN
//	peer: DATA
//	peer: OK and its id
//
// All is said at once: a systemd that finds BEGIN and a message after it in one
// read looks at the message only when more comes (seen with 252).
func (c *Conn) authenticate() error {
	if _, err := c.sock.WriteString("\x00AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n"); err != nil {
		return err
	}
	for _, want := range []string{"DATA", "OK"} {
		line, err := c.line()
		if err != nil {
			return err
		}
		if word(line) != want {
			return fmt.Errorf("the peer refuses this user: %q", line)
		}
	}
	return nil
}

func word(line string) string {
	first, _, _ := strings.Cut(line, " ")
	return first
}

// line reads a line of the authentication, which is bounded by the buffer.
func (c *Conn) line() (string, error) {
	b, err := c.in.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	line, ok := strings.CutSuffix(string(b), "\r\n")
	if !ok {
		return "", fmt.Errorf("malformed line %q", b)
	}
	return line, nil
}

// Hello registers at a bus. A peer that is no bus needs none.
func (c *Conn) Hello(ctx context.Context) error {
	_, err := c.Call(ctx, &Message{Destination: "org.freedesktop.DBus", Path: "/org/freedesktop/DBus",
		Interface: "org.freedesktop.DBus", Member: "Hello"})
	return err
}

// Call sends a method call and returns the answer. An error that the peer
// answers with is an *[Error]. Once ctx has ended, the connection may stand
// within a message and is good for nothing but Close.
func (c *Conn) Call(ctx context.Context, m *Message) (*Message, error) {
	c.serial++
	m.Kind, m.Serial = MethodCall, c.serial
	var answer *Message
	err := c.within(ctx, func() error {
		if _, err := c.sock.Write(m.Encode()); err != nil {
			return err
		}
		for {
			got, err := c.receive()
			if err != nil {
				return err
			}
			if got.ReplyTo == m.Serial && (got.Kind == MethodReturn || got.Kind == ErrorReply) {
				answer = got
				return nil
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("calling %s: %w", m.Member, err)
	}
	if answer.Kind == ErrorReply {
		e := &Error{Name: answer.Error}
		if strings.HasPrefix(answer.Signature, "s") {
			e.Message = answer.Body().String()
		}
		return nil, e
	}
	return answer, nil
}

// Wait returns the first signal that ok accepts, of those that arrived during
// calls and of those to come. Signals before it are lost.
func (c *Conn) Wait(ctx context.Context, ok func(*Message) bool) (*Message, error) {
	var found *Message
	err := c.within(ctx, func() error {
		for {
			for len(c.signals) > 0 {
				m := c.signals[0]
				c.signals = c.signals[1:]
				if ok(m) {
					found = m
					return nil
				}
			}
			if _, err := c.receive(); err != nil {
				return err
			}
		}
	})
	return found, err
}

// receive reads a message and keeps it if it is a signal.
func (c *Conn) receive() (*Message, error) {
	m, err := ReadMessage(c.in)
	if err != nil {
		return nil, err
	}
	if m.Kind == Signal {
		if len(c.signals) >= maxSignals {
			c.signals = c.signals[1:]
		}
		c.signals = append(c.signals, m)
	}
	return m, nil
}
