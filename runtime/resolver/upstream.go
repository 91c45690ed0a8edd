package resolver

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	dnsPort    = 53
	maxServers = 3 // that resolv.conf counts (man 5 resolv.conf)

	// askLimit is how long others have for an answer: clients wait for five
	// seconds as a rule, and one that learns of the failure need not.
	askLimit = 4500 * time.Millisecond
	// firstWait is how long a server has before the next one is asked.
	firstWait = time.Second
	// preferFor is how long the server that has answered is asked first.
	preferFor = 10 * time.Second
)

// upstream asks other servers.
type upstream struct {
	within *os.File // a socket in the container's namespace
	port   uint16   // of the servers

	mu     sync.Mutex
	better netip.Addr // guarded by mu; who answered when one before it did not
	until  time.Time  // guarded by mu; how long it is asked first
}

// ask sends the question to one server after the other and returns the first
// good answer: if there is none, that of a server that would not or could not
// answer, and a failure of our own if there is none of those either.
func (u *upstream) ask(p *Plan, q *query, tcp bool) []byte {
	servers, inside := p.servers()
	servers = u.order(servers)
	answer := q.fail(rcodeFailure)
	if len(servers) == 0 {
		return answer
	}
	c := &conversation{upstream: u, q: q, id: randomID(), end: time.Now().Add(askLimit), inside: inside, sockets: make([]*os.File, len(servers))}
	defer c.close()
	exchange, rounds := c.datagram, 2
	if tcp {
		exchange, rounds = c.stream, 1
	}
	for round := range rounds {
		wait := firstWait
		if last := round == rounds-1; last {
			wait = time.Until(c.end) / time.Duration(len(servers))
		}
		for i, s := range servers {
			msg, err := exchange(i, s, wait)
			if err != nil {
				continue
			}
			copy(msg, q.msg[:2]) // the client's ID
			if rcode := rcodeOf(msg); rcode == rcodeFailure || rcode == rcodeRefused {
				answer = msg
				continue
			}
			u.prefer(s, i > 0 || round > 0)
			return msg
		}
	}
	return answer
}

// servers are those to be asked, and from where: the container's namespace if
// inside, else the host's.
func (p *Plan) servers() (list []netip.Addr, inside bool) {
	for _, s := range p.Servers {
		if s != own { // it would ask itself
			list = append(list, s)
		}
	}
	if len(p.Servers) > 0 || p.Host == "" {
		return list[:min(len(list), maxServers)], true
	}
	list = hostServers(p.Host)
	return list[:min(len(list), maxServers)], false
}

// own is the resolver's address in the container.
var own = netip.AddrFrom4([4]byte{127, 0, 0, 11})

// hostServers reads the name servers of a resolv.conf. Without any it is the
// host itself, as for the host's own programs.
func hostServers(path string) (list []netip.Addr) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
			if a, err := netip.ParseAddr(f[1]); err == nil {
				list = append(list, a)
			}
		}
	}
	if len(list) == 0 {
		list = append(list, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	}
	return list
}

// order puts the preferred server first.
func (u *upstream) order(servers []netip.Addr) []netip.Addr {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.better.IsValid() || time.Now().After(u.until) {
		return servers
	}
	out := make([]netip.Addr, 0, len(servers))
	for _, first := range []bool{true, false} {
		for _, s := range servers {
			if (s == u.better) == first {
				out = append(out, s)
			}
		}
	}
	return out
}

// prefer notes who has answered, if another was asked before it.
func (u *upstream) prefer(s netip.Addr, late bool) {
	if !late {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.better, u.until = s, time.Now().Add(preferFor)
}

// conversation is one question on its way. Sockets stay open until its end, as
// an answer may come after its server's turn.
type conversation struct {
	*upstream
	q       *query
	id      uint16 // of our own: whoever guesses at answers must not know it
	end     time.Time
	inside  bool
	sockets []*os.File
}

func (c *conversation) close() {
	for _, s := range c.sockets {
		if s != nil {
			s.Close()
		}
	}
}

var errNoAnswer = errors.New("no answer")

// datagram asks a server by UDP, by a socket, and so a port, for this question
// only.
func (c *conversation) datagram(i int, server netip.Addr, wait time.Duration) ([]byte, error) {
	if c.sockets[i] == nil {
		s, err := c.connect(server, unix.SOCK_DGRAM)
		if err != nil {
			return nil, err
		}
		c.sockets[i] = s
	}
	s := c.sockets[i]
	end := time.Now().Add(wait)
	if end.After(c.end) {
		end = c.end
	}
	if err := s.SetDeadline(end); err != nil {
		return nil, err
	}
	if _, err := s.Write(c.message(0)); err != nil {
		return nil, err
	}
	for {
		msg, err := receive(s)
		if err != nil {
			return nil, err
		}
		if c.q.answers(msg, c.id) {
			return msg, nil
		}
	}
}

// message is the question under the conversation's ID, behind some free bytes.
func (c *conversation) message(room int) []byte {
	out := append(make([]byte, room, room+len(c.q.msg)), c.q.msg...)
	binary.BigEndian.PutUint16(out[room:], c.id)
	return out
}

// receive reads a datagram of any size.
func receive(s *os.File) (msg []byte, err error) {
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, err
	}
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		var size int
		if size, _, failed = unix.Recvfrom(int(fd), nil, unix.MSG_PEEK|unix.MSG_TRUNC); failed == nil {
			msg = make([]byte, size)
			_, _, failed = unix.Recvfrom(int(fd), msg, 0)
		}
		return failed != unix.EAGAIN && failed != unix.EINTR
	})
	return msg, errors.Join(err, failed)
}

// stream asks a server by TCP.
func (c *conversation) stream(i int, server netip.Addr, wait time.Duration) ([]byte, error) {
	s, err := c.connect(server, unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	c.sockets[i] = s
	if err := s.SetDeadline(time.Now().Add(wait)); err != nil {
		return nil, err
	}
	if err := connected(s); err != nil {
		return nil, err
	}
	out := c.message(2)
	binary.BigEndian.PutUint16(out, uint16(len(c.q.msg)))
	if _, err := s.Write(out); err != nil {
		return nil, err
	}
	msg, err := readFrame(s, maxSize)
	if err != nil {
		return nil, err
	}
	if !c.q.answers(msg, c.id) {
		return nil, errNoAnswer
	}
	return msg, nil
}

// connected waits for a connection that is being made.
func connected(s *os.File) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		var status int
		if status, failed = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR); failed == nil && status != 0 {
			failed = unix.Errno(status)
		}
		if failed != nil {
			return true
		}
		_, failed = unix.Getpeername(int(fd))
		return failed != unix.ENOTCONN
	})
	return errors.Join(err, failed)
}

// connect makes a socket to a server; one by TCP is still being connected.
func (c *conversation) connect(server netip.Addr, kind int) (*os.File, error) {
	open := unix.Socket
	if c.inside {
		open = c.socketInside
	}
	family := unix.AF_INET6
	if server = server.Unmap(); server.Is4() {
		family = unix.AF_INET
	}
	fd, err := open(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, c.sockaddr(fd, server)); err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "server"), nil
}

func (u *upstream) sockaddr(fd int, server netip.Addr) unix.Sockaddr {
	if server.Is4() {
		return &unix.SockaddrInet4{Port: int(u.port), Addr: server.As4()}
	}
	return &unix.SockaddrInet6{Port: int(u.port), Addr: server.As16(), ZoneId: zone(fd, server.Zone())}
}

// zone is the index of the interface that a link-local server is on, in the
// network namespace of a socket.
func zone(fd int, name string) uint32 {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n)
	}
	request, err := unix.NewIfreq(name)
	if err != nil || name == "" || unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request) != nil {
		return 0
	}
	return request.Uint32()
}

// socketInside makes a socket in the network namespace of the container.
func (u *upstream) socketInside(family, kind, protocol int) (fd int, err error) {
	raw, err := u.within.SyscallConn()
	if err != nil {
		return -1, err
	}
	inside := -1
	if err := raw.Control(func(s uintptr) { inside, err = unix.IoctlRetInt(int(s), unix.SIOCGSKNS) }); err != nil {
		return -1, err
	}
	if err != nil {
		return -1, err
	}
	defer unix.Close(inside)
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return -1, err
	}
	defer unix.Close(home)
	if err := unix.Setns(inside, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return -1, err
	}
	fd, err = unix.Socket(family, kind, protocol)
	if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
		return fd, errors.Join(err, back) // and the thread ends with the goroutine
	}
	runtime.UnlockOSThread()
	return fd, err
}

// randomID is nobody else's to guess.
func randomID() uint16 {
	var b [2]byte
	_, _ = unix.Getrandom(b[:], 0)
	return binary.NativeEndian.Uint16(b[:])
}
