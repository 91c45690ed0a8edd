package shim

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// Input is read in pieces of this size once a client has sent more than a few
// keystrokes.
const inputSize = 16 << 10

// receive reads what a client sends until it has gone.
//
// What the end of its input means is Docker's (moby daemon/stream/attach.go):
// with StdinOnce and no terminal it is the end of the container's input, else
// the client is let go. A client that gives no input may close its sending
// side and stays.
func (s *session) receive(c *client) {
	keys := detachKeys{keys: c.DetachKeys}
	detached := s.feed(c, &keys, c.Input)
	c.Input = nil
	buf := make([]byte, 512)
	for !detached {
		n, err := c.read(buf)
		if n <= 0 || err != nil {
			break
		}
		detached = s.feed(c, &keys, buf[:n])
		if n == len(buf) && n < inputSize {
			buf = make([]byte, inputSize)
		}
	}
	switch {
	case detached:
		s.detached(c.ID)
	case !c.Stdin:
		c.awaitHangup()
	case s.once && !s.tty:
		s.in.write(keys.rest())
		s.in.close()
		c.awaitHangup()
	default:
		s.in.write(keys.rest())
	}
	s.out.drop(c)
	if !detached && s.left != nil {
		s.left()
	}
}

// feed passes a client's input on, up to the detach keys.
func (s *session) feed(c *client, keys *detachKeys, p []byte) (detached bool) {
	if !c.Stdin || len(p) == 0 {
		return false
	}
	p, detached = keys.filter(p)
	s.in.write(p)
	return detached
}

// read waits for input. 0 means the end of it.
func (c *client) read(p []byte) (n int, err error) {
	rerr := c.raw.Read(func(fd uintptr) bool {
		n, err = unix.Read(int(fd), p)
		return err != unix.EAGAIN && err != unix.EINTR
	})
	if rerr != nil {
		return 0, rerr
	}
	return n, err
}

// awaitHangup waits until the connection is closed in both directions, by
// whomever. A TCP peer that has closed its socket looks like one that only
// sends no more until output is sent to it.
func (c *client) awaitHangup() {
	_ = c.raw.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(p, 0)
		return err != unix.EINTR && (err != nil || n > 0 && p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0)
	})
}

// detachKeys finds a sequence of keys in input that comes in any pieces. What
// may be the beginning of the sequence is held back until it is not.
type detachKeys struct {
	keys []byte
	seen int // so many of keys are held back
}

// filter returns what of p, and of what was held back, is to be passed on. When
// it has found the keys, all after them is dropped.
func (d *detachKeys) filter(p []byte) (pass []byte, found bool) {
	if len(d.keys) == 0 {
		return p, false
	}
	if d.seen == 0 && !bytes.Contains(p, d.keys[:1]) {
		return p, false
	}
	pass = make([]byte, 0, d.seen+len(p))
	for _, b := range p {
		for d.seen > 0 && b != d.keys[d.seen] {
			pass = d.back(pass)
		}
		if b != d.keys[d.seen] {
			pass = append(pass, b)
			continue
		}
		if d.seen++; d.seen == len(d.keys) {
			d.seen = 0
			return pass, true
		}
	}
	return pass, false
}

// back passes held bytes on until the others are a beginning of the sequence
// again, fewer than before.
func (d *detachKeys) back(pass []byte) []byte {
	held := d.keys[:d.seen]
	n := 1
	for !bytes.HasPrefix(d.keys, held[n:]) {
		n++
	}
	d.seen -= n
	return append(pass, held[:n]...)
}

// rest returns what is held back when no more input comes.
func (d *detachKeys) rest() []byte { return d.keys[:d.seen] }
