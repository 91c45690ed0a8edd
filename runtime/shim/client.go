package shim

import (
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/logfile"
	"github.com/davit-engine/davit/runtime/wire"
	"golang.org/x/sys/unix"
)

// A client with more than this many bytes to take makes the container wait, as
// Docker's does with its 1 MB pipe.
const maxQueue = 1 << 20

// What a queued piece costs besides its bytes.
const pieceCost = 64

// client is an attached client. Output goes to its socket straight from the
// pump that has read it; what the socket does not take is queued for a
// goroutine that lives as long as the queue is not empty.
type client struct {
	wire.Attach
	sock *os.File
	raw  syscall.RawConn
	done chan struct{} // closed when the socket is

	mu      sync.Mutex
	cond    sync.Cond // of mu: queued, hurried or closed has changed
	queue   [][]byte  // guarded by mu
	queued  int       // guarded by mu; bytes and costs
	writing bool      // guarded by mu; the goroutine runs
	hurried bool      // guarded by mu; nobody waits for space any more
	last    bool      // guarded by mu; close when the queue is empty
	closed  bool      // guarded by mu
}

// newClient takes the socket over; on error it is closed.
func newClient(a *wire.Attach, sock *os.File) (*client, error) {
	err := control(sock, func(fd int) error {
		_, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		return err
	})
	if err != nil {
		sock.Close()
		return nil, errs.New(errs.InvalidParameter, "attaching client: %w", err)
	}
	sock, err = pollable(sock)
	if err != nil {
		return nil, err
	}
	raw, err := sock.SyscallConn()
	if err != nil {
		sock.Close()
		return nil, err
	}
	c := &client{Attach: *a, sock: sock, raw: raw, done: make(chan struct{})}
	c.cond.L = &c.mu
	return c, nil
}

func (c *client) wants(s logfile.Stream) bool {
	if s == logfile.Stderr {
		return c.Stderr
	}
	return c.Stdout
}

// send writes or queues a packet. It reports false when the client has gone;
// its socket is closed then.
func (c *client) send(p *packet) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	n := 0
	if !c.writing {
		var err error
		if n, err = c.try(p.head, p.body); err != nil {
			c.closeLocked()
			return false
		}
	}
	if n == p.size() {
		return true
	}
	rest := p.rest(n)
	c.queue = append(c.queue, rest)
	c.queued += len(rest) + pieceCost
	if !c.writing {
		c.writing = true
		go c.flush()
	}
	return true
}

// try writes what the socket takes at once.
func (c *client) try(parts ...[]byte) (n int, err error) {
	cerr := c.raw.Control(func(fd uintptr) {
		n, err = unix.SendmsgBuffers(int(fd), parts, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	})
	if err == unix.EAGAIN || err == unix.EINTR {
		return 0, nil
	}
	if cerr != nil {
		err = cerr
	}
	return max(n, 0), err
}

// flush writes the queue until it is empty or the client has gone.
func (c *client) flush() {
	for {
		c.mu.Lock()
		if c.closed || len(c.queue) == 0 {
			c.writing = false
			if c.last {
				c.closeLocked()
			}
			c.mu.Unlock()
			return
		}
		piece := c.queue[0]
		c.mu.Unlock()

		var n int
		var err error
		werr := c.raw.Write(func(fd uintptr) bool {
			n, err = unix.SendmsgN(int(fd), piece, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
			return err != unix.EAGAIN && err != unix.EINTR
		})
		c.mu.Lock()
		if werr != nil || err != nil {
			c.closeLocked()
		} else {
			c.tookLocked(n)
		}
		c.mu.Unlock()
	}
}

// tookLocked takes n bytes off the queue's first piece.
func (c *client) tookLocked(n int) {
	if c.closed {
		return
	}
	c.queued -= n
	c.queue[0] = c.queue[0][n:]
	if len(c.queue[0]) == 0 {
		c.queue[0] = nil
		c.queue = c.queue[1:]
		c.queued -= pieceCost
	}
	if len(c.queue) == 0 {
		c.queue = nil
	}
	c.cond.Broadcast()
}

func (c *client) fullLocked() bool { return c.queued > maxQueue && !c.hurried && !c.closed }

func (c *client) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fullLocked()
}

func (c *client) waitForSpace() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.fullLocked() {
		c.cond.Wait()
	}
}

// hurry ends waiting for space: what is still to come is little.
func (c *client) hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hurried = true
	c.cond.Broadcast()
}

// finish closes the client as soon as it has taken what is queued.
func (c *client) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = true
	if !c.writing {
		c.closeLocked()
	}
}

// linger waits until the client is closed, or has taken nothing for as long as
// patience says.
func (c *client) linger(patience time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	timeout := time.AfterFunc(patience, c.close)
	defer timeout.Stop()
	for !c.closed {
		c.cond.Wait()
		timeout.Reset(patience)
	}
}

func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked()
}

// closeLocked ends the connection, also for others who have its descriptor.
func (c *client) closeLocked() {
	if c.closed {
		return
	}
	_ = c.raw.Control(func(fd uintptr) {
		_ = unix.Shutdown(int(fd), unix.SHUT_RDWR)
		discard(int(fd))
	})
	c.releaseLocked()
}

// abandon closes the descriptor but not the connection.
func (c *client) abandon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.releaseLocked()
	}
}

func (c *client) releaseLocked() {
	c.closed, c.queue, c.queued = true, nil, 0
	c.sock.Close()
	close(c.done)
	c.cond.Broadcast()
}

// discard reads what the client has sent for nobody: a socket closed with
// unread bytes resets the connection, and the peer reports that instead of the
// end.
func discard(fd int) {
	var waste [4096]byte
	for range 256 {
		n, _, err := unix.Recvfrom(fd, waste[:], unix.MSG_DONTWAIT)
		if n <= 0 || err != nil {
			return
		}
	}
}
