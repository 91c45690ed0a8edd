package wire

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

// SocketName is the file in a container's RunDir on which its shim listens.
const SocketName = "shim.sock"

// StateName and ExitName are the files in RunDir that hold State and Exit as
// JSON. Both are renamed into place, so they are whole or absent.
const (
	StateName = "state.json"
	ExitName  = "exit.json"
)

// Held reports whether a shim works on a container's run directory and cgroup. It
// holds a lock on the directory as long as it does: from before its container
// starts, when nobody can connect to it yet, until after its end, when nobody can
// any more.
func Held(runDir string) bool {
	dir, err := os.Open(runDir)
	if err != nil {
		return false
	}
	defer dir.Close()
	return errors.Is(unix.Flock(int(dir.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// ShimFD is the descriptor on which a warm shim finds its engine.
const ShimFD = 3

// ErrGone is in the chain of each call's error once the shim has gone.
var ErrGone = errors.New("shim is gone")

// Event is what a shim tells unasked. Exactly one field is set.
type Event struct {
	Exited     *Exit
	Detached   *Detached
	ExecExited *ExecExit
}

// Client is the engine's end of a connection to a shim. Its methods may be
// called by several goroutines at once. An error of the shim's is an *Error
// with a kind of errs; one of the connection wraps ErrGone, of kind
// Unavailable.
type Client struct {
	conn   *Conn
	events chan Event
	closed chan struct{} // closed by Close, so that nobody need take the rest of events
	once   sync.Once

	mu      sync.Mutex
	seq     uint64                   // guarded by mu
	pending map[uint64]chan *Message // guarded by mu; nil once the shim is gone
	cause   error                    // guarded by mu; why it is gone
}

// Args is the command line with which an engine starts a warm shim. The second
// argument is room that the shim overwrites with the container's ID, so that
// process listings tell whose shim it is.
func Args() []string {
	const room = "----------------------------------------------------------------"
	return []string{"davit-shim", room}
}

// Env is the environment with which an engine starts a warm shim. One processor
// for Go is enough, since no thread of a shim's keeps it while it waits, but the
// one that forks, for which all wait; a second costs each container 0.2 MB. So do huge pages, which some kernels hand out
// unasked (Debian, RHEL): 1.8 MB.
func Env() []string { return []string{"GOMAXPROCS=1", "GODEBUG=disablethp=1"} }

// Pair makes the connection between an engine and the warm shim it starts. The
// second file belongs into the child as descriptor ShimFD.
func Pair() (*Client, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making socket pair: %w", err)
	}
	child := os.NewFile(uintptr(fds[1]), "shim")
	client, err := NewClient(os.NewFile(uintptr(fds[0]), "engine"))
	if err != nil {
		child.Close()
		return nil, nil, err
	}
	return client, child, nil
}

// Dial connects to the shim of the container whose RunDir is given. An error
// is of kind Unavailable when nobody listens there.
func Dial(ctx context.Context, runDir string) (*Client, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dir, err := os.Open(runDir)
	if err != nil {
		return nil, errs.Wrap(errs.Unavailable, fmt.Errorf("connecting to shim: %w", err))
	}
	defer dir.Close()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("connecting to shim: %w", err)
	}
	// Through the directory's descriptor, as the whole path may be longer than
	// the 108 bytes that an address holds.
	addr := &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), SocketName)}
	if err := unix.Connect(fd, addr); err != nil {
		unix.Close(fd)
		return nil, errs.Wrap(errs.Unavailable, fmt.Errorf("connecting to %s: %w", filepath.Join(runDir, SocketName), err))
	}
	return NewClient(os.NewFile(uintptr(fd), "shim"))
}

// NewClient takes the socket over and starts reading it. The reading stands
// still while nobody takes from Events, so somebody must until Close.
func NewClient(s Socket) (*Client, error) {
	conn, err := NewConn(s)
	if err != nil {
		s.Close()
		return nil, err
	}
	c := &Client{conn: conn, events: make(chan Event, 4), closed: make(chan struct{}), pending: map[uint64]chan *Message{}}
	go c.read()
	return c, nil
}

// Events gives what the shim tells; closed when the connection has ended. After
// Exited, the end of the connection means that the shim has removed the cgroup
// too: before that the container must not be started again.
func (c *Client) Events() <-chan Event { return c.events }

// Err tells why the connection ended; nil while it stands.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// Close ends the connection, not the container.
func (c *Client) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.conn.Close()
}

// Hello tells versions to each other.
func (c *Client) Hello(ctx context.Context) (Hello, error) {
	var h Hello
	err := c.call(ctx, TypeHello, Hello{Version: Version}, &h)
	return h, err
}

// Start runs the container. The files follow Start's order and stay the
// caller's, who closes them after Start returns, whatever it returns. When ctx
// ends first the container may or may not run: close the client of a shim that
// has not answered, and kill it.
func (c *Client) Start(ctx context.Context, s *Start, files ...syscall.Conn) (State, error) {
	var st State
	err := c.call(ctx, TypeStart, s, &st, files...)
	return st, err
}

// Attach gives the client's own socket to the shim. It stays the caller's too,
// who closes it (without shutting it down) after success.
func (c *Client) Attach(ctx context.Context, a *Attach, sock syscall.Conn) error {
	return c.call(ctx, TypeAttach, a, nil, sock)
}

// Signal sends a signal. The error's kind is Conflict if the process has ended.
func (c *Client) Signal(ctx context.Context, s Signal) error {
	return c.call(ctx, TypeSignal, s, nil)
}

// Resize sets the size of the terminal; Conflict if the container has none.
func (c *Client) Resize(ctx context.Context, r Resize) error {
	return c.call(ctx, TypeResize, r, nil)
}

// State asks for what the shim knows.
func (c *Client) State(ctx context.Context) (State, error) {
	var st State
	err := c.call(ctx, TypeState, nil, &st)
	return st, err
}

func (c *Client) call(ctx context.Context, t Type, payload, reply any, files ...syscall.Conn) error {
	answer := make(chan *Message, 1)
	c.mu.Lock()
	if c.pending == nil {
		defer c.mu.Unlock()
		return c.goneLocked(t)
	}
	c.seq++
	seq := c.seq
	c.pending[seq] = answer
	c.mu.Unlock()

	if err := c.conn.Send(seq, t, payload, files...); err != nil {
		c.forget(seq)
		return errs.Wrap(errs.Unavailable, fmt.Errorf("asking shim to %s: %w: %w", t, ErrGone, err))
	}
	select {
	case <-ctx.Done():
		c.forget(seq)
		return fmt.Errorf("asking shim to %s: %w", t, ctx.Err())
	case m := <-answer:
		if m == nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.goneLocked(t)
		}
		return m.result(reply)
	}
}

func (c *Client) forget(seq uint64) {
	c.mu.Lock()
	delete(c.pending, seq)
	c.mu.Unlock()
}

func (c *Client) goneLocked(t Type) error {
	return errs.Wrap(errs.Unavailable, fmt.Errorf("asking shim to %s: %w: %w", t, ErrGone, c.cause))
}

// result reads a reply into v, or the error that it holds.
func (m *Message) result(v any) error {
	if m.Type == TypeError {
		e := &Error{}
		if err := m.Decode(e); err != nil {
			return err
		}
		return errs.Wrap(e.Kind, e)
	}
	if v == nil {
		return nil
	}
	return m.Decode(v)
}

func (c *Client) read() {
	var err error
	for err == nil {
		var m *Message
		if m, err = c.conn.Receive(); err == nil {
			m.Close() // a shim has no descriptors to give
			err = c.deliver(m)
		}
	}
	c.conn.Close()
	c.mu.Lock()
	pending := c.pending
	c.pending, c.cause = nil, err
	c.mu.Unlock()
	for _, answer := range pending {
		answer <- nil
	}
	close(c.events)
}

func (c *Client) deliver(m *Message) error {
	if m.Seq != 0 {
		c.mu.Lock()
		answer := c.pending[m.Seq]
		delete(c.pending, m.Seq)
		c.mu.Unlock()
		if answer != nil {
			answer <- m
		}
		return nil
	}
	var e Event
	switch m.Type {
	case TypeExited:
		e.Exited = &Exit{}
		if err := m.Decode(e.Exited); err != nil {
			return err
		}
	case TypeDetached:
		e.Detached = &Detached{}
		if err := m.Decode(e.Detached); err != nil {
			return err
		}
	case TypeExecExited:
		e.ExecExited = &ExecExit{}
		if err := m.Decode(e.ExecExited); err != nil {
			return err
		}
	default:
		return nil // of a newer shim
	}
	select {
	case c.events <- e:
	case <-c.closed:
	}
	return nil
}
