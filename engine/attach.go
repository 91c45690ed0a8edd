package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/wire"
)

// attachment is a client's connection that a shim is to take over.
type attachment struct {
	order  wire.Attach
	socket clientSocket
}

// clientSocket is a client's connection, or one end of a pair that leads to it.
type clientSocket interface {
	syscall.Conn
	io.Closer
}

// close gives up the engine's descriptor; a shim that has the socket keeps its
// own.
func (a *attachment) close() { _ = a.socket.Close() }

func closeAll(list []*attachment) {
	for _, a := range list {
		a.close()
	}
}

// Attach connects a client to a container's streams. Its socket itself goes to
// the shim, so that no byte passes the engine and the session outlives it. To
// a container that does not run, the client is connected when it starts.
func (e *Engine) Attach(ctx context.Context, ref string, o AttachOptions) error {
	c, err := e.table.find(ref)
	if err != nil {
		return err
	}
	keys, err := detachKeys(o.DetachKeys)
	if err != nil {
		return err
	}
	if !o.Logs {
		// As soon as the client sees the answer it may start the container, and
		// must miss nothing of it. (A replay of the log may take long, and must
		// not hold up the container's end.)
		if err := c.own(ctx); err != nil {
			return err
		}
		defer c.disown()
	}
	rec := c.snapshot()
	switch rec.State.Status {
	case container.StatePaused:
		return errs.New(errs.Conflict, "container %s is paused, unpause the container before attach", c.id)
	case container.StateRestarting:
		return errs.New(errs.Conflict, "container %s is restarting, wait until the container is running", c.id)
	}
	o.Raw = o.Raw || rec.Config.Tty
	conn, input, err := o.Hijack(o.Raw)
	if err != nil {
		return fmt.Errorf("taking over the client's connection: %w", err)
	}
	if o.Logs {
		if err := e.replay(ctx, &rec, o, conn); err != nil {
			_ = conn.Close()
			return err
		}
	}
	if !o.Stream {
		return conn.Close()
	}
	a, err := newAttachment(conn)
	if err != nil {
		_ = conn.Close()
		return err
	}
	a.order = wire.Attach{Stdin: o.Stdin && rec.Config.OpenStdin, Stdout: o.Stdout, Stderr: o.Stderr, Raw: o.Raw, Input: input}
	if rec.Config.Tty {
		a.order.DetachKeys = keys
	}
	e.publish(&rec, events.ActionAttach, nil)
	return e.hand(ctx, c, a)
}

// hand gives the attachment to the running container's shim, or keeps it for
// the next start.
func (e *core) hand(ctx context.Context, c *ctr, a *attachment) error {
	c.mu.Lock()
	c.lastAttach++
	a.order.ID = c.lastAttach
	r := c.run
	if r == nil {
		if c.gone {
			c.mu.Unlock()
			a.close()
			return nil
		}
		c.pending = append(c.pending, a)
		c.mu.Unlock()
		go e.awaitHangup(c, a)
		return nil
	}
	c.mu.Unlock()
	defer a.close()
	if err := r.shim.Attach(context.WithoutCancel(ctx), &a.order, a.socket); err != nil && !errs.Is(err, errs.Unavailable) && !errs.Is(err, errs.Conflict) {
		return err
	}
	return nil
}

// detached tells subscribers that a client left with the detach keys; exec is
// the exec that it took part in, if it is not the container's own client.
func (k *keeper) detached(c *ctr, exec string) {
	if exec != "" {
		if x, err := k.execs.find(exec); err == nil {
			k.publishExec(x, events.ActionExecDetach, nil)
		}
		return
	}
	rec := c.snapshot()
	k.publish(&rec, events.ActionDetach, nil)
}

// replay writes what was logged so far.
func (e *core) replay(ctx context.Context, rec *record.Container, o AttachOptions, conn net.Conn) error {
	return e.logging.copy(ctx, rec, LogsOptions{Stdout: o.Stdout, Stderr: o.Stderr}, nil, o.Raw, conn)
}

// defaultDetachKeys are ctrl-p ctrl-q.
var defaultDetachKeys = []byte{16, 17}

// detachKeys reads a sequence such as "ctrl-p,ctrl-q" or "a,b": single
// characters, and ctrl- with a letter or one of @[\\]^_.
func detachKeys(text string) ([]byte, error) {
	if text == "" {
		return defaultDetachKeys, nil
	}
	var keys []byte
	for _, k := range strings.Split(text, ",") {
		letter, control := strings.CutPrefix(strings.ToLower(k), "ctrl-")
		switch {
		case !control && len(k) == 1:
			keys = append(keys, k[0])
		case control && len(letter) == 1 && strings.ContainsAny(letter, "abcdefghijklmnopqrstuvwxyz@[\\]^_"):
			keys = append(keys, strings.ToUpper(letter)[0]&0x1f)
		default:
			return nil, errs.New(errs.InvalidParameter, "Invalid detach keys (%s) provided", text)
		}
	}
	return keys, nil
}

// newAttachment takes a connection as the socket that it is. One that is no
// plain socket, such as TLS or a web socket, is joined to one by copying.
func newAttachment(conn net.Conn) (*attachment, error) {
	if plain, ok := conn.(clientSocket); ok {
		return &attachment{socket: plain}, nil
	}
	near, far, err := socketPair()
	if err != nil {
		return nil, err
	}
	go join(conn, near)
	return &attachment{socket: far}, nil
}

// socketPair returns two ends of a stream: one to use here, one to give away.
func socketPair() (near net.Conn, far *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a socket pair: %w", err)
	}
	far = os.NewFile(uintptr(fds[1]), "attach")
	f := os.NewFile(uintptr(fds[0]), "attach")
	defer f.Close()
	if near, err = net.FileConn(f); err != nil {
		_ = far.Close()
		return nil, nil, fmt.Errorf("making a socket pair: %w", err)
	}
	return near, far, nil
}

// joinBuffer is small, as there are two for each connection that is joined, idle
// ones as well.
const joinBuffer = 8 << 10

// join copies between two connections until both directions have ended, or one
// where a connection cannot be half closed.
func join(a, b net.Conn) {
	type halfCloser interface{ CloseWrite() error }
	_, halfA := a.(halfCloser)
	_, halfB := b.(halfCloser)
	closeBoth := func() {
		_ = a.Close()
		_ = b.Close()
	}
	var both sync.WaitGroup
	one := func(to, from net.Conn) {
		// Plain ends, so that no method of theirs brings a larger buffer.
		_, _ = io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, joinBuffer))
		if !halfA || !halfB {
			closeBoth()
			return
		}
		_ = to.(halfCloser).CloseWrite()
	}
	both.Go(func() { one(a, b) })
	both.Go(func() { one(b, a) })
	both.Wait()
	closeBoth()
}

// awaitHangup forgets a client that goes away before its container starts.
func (e *core) awaitHangup(c *ctr, a *attachment) {
	if !hungUp(a.socket) {
		return
	}
	c.mu.Lock()
	for i, p := range c.pending {
		if p == a {
			c.pending = append(c.pending[:i:i], c.pending[i+1:]...)
			c.mu.Unlock()
			a.close()
			return
		}
	}
	c.mu.Unlock()
}

// hungUp waits until the peer closed both directions, or until the connection
// is closed on this side. A peer that sends, or that only ends its own
// direction, tells nothing: then it returns false.
func hungUp(socket syscall.Conn) bool {
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	err = raw.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}}
		n, err := unix.Poll(p, 0)
		if errors.Is(err, unix.EINTR) || n == 0 && err == nil {
			return false
		}
		gone = err == nil && p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
		return true
	})
	return err == nil && gone
}
