package publish

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

const (
	backlog  = 4096 // the kernel takes net.core.somaxconn if that is less
	inFlight = 253  // the kernel's SCM_MAX_FD: descriptors in one message
)

// Socket is what reserves a port, until its file and all duplicates are closed.
type Socket struct {
	Port
	File   *os.File // bound; of a TCP port it listens if that was asked for. Nil where the kernel has no SCTP, and so nobody to reserve it from
	Packed bool     // File is a unix stream socket with Count sockets in its queue, in order, up to 253 with each byte
}

// TakenError says that a port of the host cannot be had because somebody has
// it.
type TakenError struct {
	Port       // without that of a container
	Err  error // the kernel's
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("failed to bind host port %s: %v", e.Port, e.Err)
}

func (e *TakenError) Unwrap() error { return e.Err }

// CloseAll gives reserved ports back.
func CloseAll(sockets []Socket) {
	for _, s := range sockets {
		if s.File != nil {
			s.File.Close()
		}
	}
}

// Reserve binds the host's ports for all bindings or for none. With listen, TCP
// ports take connections from now on, for whoever gets the sockets. Errors:
// *TakenError, of kind System as Docker has it; Exhausted when no port of a
// range is free; InvalidParameter for an address that is not the host's.
func Reserve(want []Binding, listen bool) (_ []Socket, err error) {
	var done []Socket
	defer func() {
		if err != nil {
			CloseAll(done)
		}
	}()
	six := hasIPv6()
	for _, r := range plan(want) {
		if !r.HostIP.IsValid() && !six {
			r.HostIP = netip.IPv4Unspecified()
		}
		s, err := r.reserve(listen)
		if err != nil {
			return nil, err
		}
		done = append(done, s)
	}
	return done, nil
}

// hasIPv6 reports whether the host uses IPv6 at all.
func hasIPv6() bool {
	b, err := os.ReadFile("/proc/thread-self/net/if_inet6")
	return err == nil && len(b) > 0
}

func (r *request) reserve(listen bool) (Socket, error) {
	switch {
	case r.Proto == SCTP && !hasSCTP():
		return r.unreserved()
	case r.count > 1:
		return r.pack(listen)
	case r.HostPort == r.Until: // which may be 0
		return r.one(r.HostPort, listen)
	}
	for p := int(r.HostPort); p <= int(r.Until); p++ {
		s, err := r.one(uint16(p), listen)
		if taken := (*TakenError)(nil); !errors.As(err, &taken) {
			return s, err
		}
	}
	return Socket{}, errs.New(errs.Exhausted, "failed to bind host port %s/%s: no port of the range is free", hostText(r.HostIP, r.HostPort, r.Until), r.Proto)
}

// hasSCTP reports whether the kernel has SCTP sockets, or a module with them.
func hasSCTP() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if err == nil {
		unix.Close(fd)
	}
	return err == nil
}

// unreserved is a port that no socket of the host can have. The first of a
// range will do; where any port will, one that is free for UDP.
func (r *request) unreserved() (Socket, error) {
	port := r.HostPort
	if port == 0 {
		any := *r
		any.Proto = UDP
		s, err := any.one(0, false)
		if err != nil {
			return Socket{}, err
		}
		s.File.Close()
		port = s.HostPort
	}
	return Socket{Port: Port{r.Proto, r.HostIP, port, r.Port, r.count}}, nil
}

// one reserves a single port.
func (r *request) one(port uint16, listen bool) (Socket, error) {
	fd, err := r.bind(port, listen)
	if err != nil {
		return Socket{}, err
	}
	f := os.NewFile(uintptr(fd), "published port")
	if port == 0 {
		if port, err = boundPort(fd); err != nil {
			f.Close()
			return Socket{}, err
		}
	}
	return Socket{Port: Port{r.Proto, r.HostIP, port, r.Port, 1}, File: f}, nil
}

func boundPort(fd int) (uint16, error) {
	a, err := unix.Getsockname(fd)
	if err != nil {
		return 0, fmt.Errorf("looking for the port that was chosen: %w", err)
	}
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return uint16(a.Port), nil
	case *unix.SockaddrInet6:
		return uint16(a.Port), nil
	}
	return 0, errors.New("looking for the port that was chosen: the socket has another kind of address")
}

// pack reserves count ports and puts their sockets into the queue of another.
// A socket that is closed while it lies there stays bound.
func (r *request) pack(listen bool) (_ Socket, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return Socket{}, fmt.Errorf("reserving ports: %w", err)
	}
	pocket := os.NewFile(uintptr(pair[1]), "published ports")
	defer unix.Close(pair[0])
	defer func() {
		if err != nil {
			pocket.Close()
		}
	}()
	// Each message counts with about 1 KiB.
	if err := unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 1<<20); err != nil {
		return Socket{}, fmt.Errorf("reserving ports: %w", err)
	}
	fds := make([]int, 0, inFlight)
	flush := func() error {
		err := unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(fds...), nil, unix.MSG_DONTWAIT)
		for _, fd := range fds {
			unix.Close(fd)
		}
		fds = fds[:0]
		return err
	}
	for i := range int(r.count) {
		fd, err := r.bind(r.HostPort+uint16(i), listen)
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
			return Socket{}, err
		}
		if fds = append(fds, fd); len(fds) == inFlight || i == int(r.count)-1 {
			if err := flush(); err != nil {
				return Socket{}, fmt.Errorf("reserving ports: %w", err)
			}
		}
	}
	return Socket{Port: Port{r.Proto, r.HostIP, r.HostPort, r.Port, r.count}, File: pocket, Packed: true}, nil
}

// bind makes a socket on a port, 0 for any that is free.
func (r *request) bind(port uint16, listen bool) (_ int, err error) {
	to, domain, err := sockaddr(r.HostIP, port)
	if err != nil {
		return -1, err
	}
	kind, proto := unix.SOCK_STREAM, 0
	switch r.Proto {
	case UDP:
		kind = unix.SOCK_DGRAM
	case SCTP:
		proto = unix.IPPROTO_SCTP
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if err != nil {
		return -1, fmt.Errorf("reserving %s: %w", Port{Proto: r.Proto, HostIP: r.HostIP, HostPort: port, Count: 1}, err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if domain == unix.AF_INET6 {
		only := 0
		if r.HostIP.IsValid() {
			only = 1
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return -1, fmt.Errorf("reserving a port: %w", err)
		}
	}
	switch {
	case r.Proto == TCP && listen:
		err = bindToListen(fd, to)
	case r.Proto == TCP:
		err = bindToReserve(fd, to)
	default:
		err = unix.Bind(fd, to)
	}
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return -1, errs.Wrap(errs.System, &TakenError{Port{Proto: r.Proto, HostIP: r.HostIP, HostPort: port, Count: 1}, unix.EADDRINUSE})
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return -1, errs.New(errs.InvalidParameter, "failed to bind host port %s/%s: %w: no interface of this host has the address", hostText(r.HostIP, port, port), r.Proto, err)
	case err != nil:
		return -1, fmt.Errorf("failed to bind host port %s/%s: %w", hostText(r.HostIP, port, port), r.Proto, err)
	}
	return fd, nil
}

// bindToListen binds and listens. As with all servers, connections that have
// ended, and that the kernel keeps for another minute, do not stand in the way,
// nor will those of this socket. That it listens keeps everybody else away.
func bindToListen(fd int, to unix.Sockaddr) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := unix.Bind(fd, to); err != nil {
		return err
	}
	return unix.Listen(fd, backlog)
}

// bindToReserve binds and nothing else. A socket that consents to others, for
// connections that have ended, has to take that back: the kernel would let a
// server join it.
func bindToReserve(fd int, to unix.Sockaddr) error {
	err := unix.Bind(fd, to)
	if !errors.Is(err, unix.EADDRINUSE) {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := unix.Bind(fd, to); err != nil {
		return err
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0)
}

// sockaddr is where to bind for an address; invalid means all of both families.
func sockaddr(ip netip.Addr, port uint16) (unix.Sockaddr, int, error) {
	if ip.Is4() {
		return &unix.SockaddrInet4{Port: int(port), Addr: ip.As4()}, unix.AF_INET, nil
	}
	a := &unix.SockaddrInet6{Port: int(port)}
	if ip.IsValid() {
		a.Addr = ip.As16()
		if zone := ip.Zone(); zone != "" {
			link, err := net.InterfaceByName(zone)
			if err != nil {
				return nil, 0, errs.New(errs.InvalidParameter, "failed to bind host port %s: there is no interface %s", hostText(ip, port, port), zone)
			}
			a.ZoneId = uint32(link.Index)
		}
	}
	return a, unix.AF_INET6, nil
}
