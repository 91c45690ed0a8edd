package forward

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dialPatience is how long the container may take to accept.
const dialPatience = 30 * time.Second

// buffers are for bytes on their way; nobody keeps one while waiting for input.
var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// accept takes a connection and passes it on in the background.
func accept(listener int, to netip.AddrPort) error {
	fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err != nil {
		return err
	}
	go func() {
		client, err := newStream(fd)
		if err != nil {
			return
		}
		server, err := dial(to)
		if err != nil {
			client.reset() // as the container itself would have refused it
			return
		}
		join(client, server)
	}()
	return nil
}

// stream is one end of a connection.
type stream struct {
	file *os.File
	raw  syscall.RawConn
}

// newStream takes a connected socket over, also on error.
func newStream(fd int) (*stream, error) {
	for _, o := range [][2]int{{unix.IPPROTO_TCP, unix.TCP_NODELAY}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE}} {
		_ = unix.SetsockoptInt(fd, o[0], o[1], 1) // at worst it is slower, or stays for longer
	}
	file := os.NewFile(uintptr(fd), "forwarded connection")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &stream{file, raw}, nil
}

func dial(to netip.AddrPort) (*stream, error) {
	address, domain := sockaddr(to)
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, address); err != nil && err != unix.EINPROGRESS && err != unix.EINTR {
		unix.Close(fd)
		return nil, err
	}
	s, err := newStream(fd)
	if err != nil {
		return nil, err
	}
	_ = s.file.SetWriteDeadline(time.Now().Add(dialPatience))
	var failed error
	err = s.raw.Write(func(fd uintptr) bool {
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = unix.Errno(code)
		}
		if failed = err; err != nil {
			return true
		}
		_, err = unix.Getpeername(int(fd))
		return err == nil
	})
	if err = errors.Join(err, failed); err != nil {
		s.file.Close()
		return nil, err
	}
	_ = s.file.SetWriteDeadline(time.Time{})
	return s, nil
}

// reset ends the connection as one that failed.
func (s *stream) reset() {
	_ = s.raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	})
	s.file.Close()
}

// join passes bytes on in both directions, until both have ended or one has
// failed.
func join(a, b *stream) {
	back := make(chan error, 1)
	stop := func(err error) {
		if err != nil { // and whoever waits for either end stops too
			a.reset()
			b.reset()
		}
	}
	go func() {
		err := pass(a, b)
		stop(err)
		back <- err
	}()
	stop(pass(b, a))
	<-back
	a.file.Close()
	b.file.Close()
}

// pass copies what src sends to dst, and its end.
func pass(dst, src *stream) error {
	for {
		n, buf, err := src.read()
		if err != nil {
			return err
		}
		if n == 0 {
			return control(dst.file, func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) })
		}
		err = dst.write(buf[:n])
		buffers.Put(buf)
		if err != nil {
			return err
		}
	}
}

// read waits for bytes, and takes a buffer when there are some; 0 is the end.
func (s *stream) read() (n int, buf *[64 << 10]byte, err error) {
	rerr := s.raw.Read(func(fd uintptr) bool {
		b := buffers.Get().(*[64 << 10]byte)
		n, err = unix.Read(int(fd), b[:])
		if n > 0 {
			buf = b
			return true
		}
		buffers.Put(b)
		return err != unix.EAGAIN && err != unix.EINTR
	})
	if rerr != nil {
		return 0, nil, rerr
	}
	return max(n, 0), buf, err
}

func (s *stream) write(p []byte) error {
	for len(p) > 0 {
		var n int
		var err error
		werr := s.raw.Write(func(fd uintptr) bool {
			n, err = unix.SendmsgN(int(fd), p, nil, nil, unix.MSG_NOSIGNAL)
			return err != unix.EAGAIN && err != unix.EINTR
		})
		if werr != nil {
			return werr
		}
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}
