package ship

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/logs/driver"
)

const (
	dialTimeout = 10 * time.Second
	// A peer that acknowledges nothing for as long has gone.
	userTimeout = 30 * time.Second
	// What is written at once.
	streamBatch = 32 << 10
)

// stream is a connection over which messages go as bytes.
type stream struct {
	conn    net.Conn
	counter *countingConn // below TLS
	local   bool          // a unix socket
	timeout time.Duration // of a write; 0: none
	ctx     context.Context
	stop    func() bool // the context's end ends no write any more

	broken error // nothing can be learned any more
	buf    []byte
	last   int64  // end of the last message in buf
	marks  []mark // what was written and not confirmed, oldest first
	done   int64  // end of the last message confirmed
}

// mark says that bytes of the connection carry the log up to end.
type mark struct {
	bytes, end int64
}

// countingConn counts what is written.
type countingConn struct {
	net.Conn
	written atomic.Int64
}

func (c *countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// dialStream connects to a, with TLS if config is not nil.
func dialStream(ctx context.Context, a driver.Address, config *tls.Config) (*stream, error) {
	network := a.Network
	if config != nil {
		network = "tcp"
	}
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	conn, err := d.DialContext(ctx, network, a.Host)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { // without it the kernel's own limit holds
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
			})
		}
	}
	s := &stream{ctx: ctx, conn: conn, counter: &countingConn{Conn: conn}, local: network == "unix"}
	if config != nil {
		secure := tls.Client(s.counter, config)
		handshake, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		if err := secure.HandshakeContext(handshake); err != nil {
			conn.Close()
			return nil, err
		}
		s.conn = secure
	} else {
		s.conn = s.counter
	}
	s.stop = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // ends a write, and leaves the socket
	return s, nil
}

// clientTLS is the configuration of a connection to a.
func clientTLS(a driver.Address, ca, cert, key string, insecure bool) (*tls.Config, error) {
	host, _, err := net.SplitHostPort(a.Host)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{ServerName: host, InsecureSkipVerify: insecure, MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in it", ca)
		}
	}
	if cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// added takes note that the buffer holds the log up to end now.
func (s *stream) added(end int64) error {
	s.last = end
	if len(s.buf) >= streamBatch {
		return s.flush()
	}
	return nil
}

func (s *stream) flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	if s.timeout > 0 {
		_ = s.conn.SetWriteDeadline(time.Now().Add(s.timeout)) // fails with the write
		if err := s.ctx.Err(); err != nil {
			return err // its own deadline may have been replaced
		}
	}
	_, err := s.conn.Write(s.buf)
	s.buf = s.buf[:0]
	if err != nil {
		s.broken = err
		return err
	}
	s.marks = append(s.marks, mark{s.counter.written.Load(), s.last})
	return nil
}

// confirmed asks the kernel how much of what was written the peer has. For a
// unix socket that is what it has read, and only whether it is all; after its
// end nothing can be known, for what was not read is gone too, and the error
// that says so is told once.
func (s *stream) confirmed() (end int64, all bool, err error) {
	if s.broken != nil {
		return s.done, false, s.broken
	}
	raw, err := s.counter.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0, false, err
	}
	missing, failure := 0, 0
	if cerr := raw.Control(func(fd uintptr) {
		if missing, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err == nil {
			failure, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		}
	}); cerr != nil {
		return 0, false, cerr
	}
	if err == nil && failure != 0 {
		err = syscall.Errno(failure)
	}
	if err != nil {
		s.broken = err
		return s.done, false, err
	}
	if missing > 0 && s.local {
		return s.done, false, nil
	}
	arrived := s.counter.written.Load() - int64(missing)
	for len(s.marks) > 0 && s.marks[0].bytes <= arrived {
		s.done, s.marks = s.marks[0].end, s.marks[1:]
	}
	if len(s.marks) == 0 {
		s.marks = nil
	}
	return s.done, len(s.marks) == 0 && len(s.buf) == 0, nil
}

// alive finds out whether the peer has closed, before something is written for
// nobody.
func (s *stream) alive() error {
	raw, err := s.counter.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	gone := false
	if cerr := raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, perr := unix.Poll(p, 0)
		gone = perr == nil && n > 0 && p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	}); cerr != nil {
		return cerr
	}
	if gone {
		err := errors.New("the connection was closed by the peer")
		if s.local {
			s.broken = err
		}
		return err
	}
	return nil
}

func (s *stream) sure() bool { return s.local }

func (s *stream) close() {
	s.stop()
	s.counter.Close()
}

// datagrams is a connection over which each message is one packet.
type datagrams struct {
	conn net.Conn
	stop func() bool
	done int64
}

func dialDatagrams(ctx context.Context, a driver.Address) (*datagrams, error) {
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(ctx, a.Network, a.Host)
	if err != nil {
		return nil, err
	}
	return &datagrams{conn: conn, stop: context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })}, nil
}

// write sends packets that carry the log up to end. One that is too large for
// the network is cut: it would fail for ever.
func (d *datagrams) write(end int64, packets ...[]byte) error {
	for _, p := range packets {
		_, err := d.conn.Write(p)
		for errors.Is(err, unix.EMSGSIZE) && len(p) > 512 {
			p = p[:len(p)/2]
			_, err = d.conn.Write(p)
		}
		if err != nil {
			return err
		}
	}
	d.done = end
	return nil
}

func (d *datagrams) sure() bool                      { return true }
func (d *datagrams) flush() error                    { return nil }
func (d *datagrams) confirmed() (int64, bool, error) { return d.done, true, nil }
func (d *datagrams) close()                          { d.stop(); d.conn.Close() }
