// Package forward passes on what arrives at the sockets that reserve published
// ports.
//
//	          rules of the firewall
//	client -------------------------------------> container
//	   |                                              ^
//	   '--> socket bound to the port --> forwarder ---'
//
// Most traffic never comes here: the firewall leads it to the container, and
// the sockets do nothing but keep the port. What the firewall cannot lead does:
// from ::1, from IPv6 to a container that has only IPv4, and everything while
// its rules are gone or must not be used. The container then sees an address of
// the host as the client's.
//
// It knows sockets and one address to pass on to; not what a container is, nor
// who asks. It runs in the container's shim, so it links little and costs
// memory only while there is traffic: one goroutine waits for all sockets, of
// which there may be ten thousand, two serve each connection, one each
// conversation over UDP, and none has a buffer while it waits.
//
// Concurrency: Forwarder.mu guards the sockets. Whoever uses one holds it for
// reading, so that none is closed, and its number another's, meanwhile.
// Conversations.mu is taken within it.
package forward

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// unpackDelay is how long packed sockets are left alone: the container's
	// first process, which is being started meanwhile, would have to close a copy
	// of each of them. Connections wait in them.
	unpackDelay = 100 * time.Millisecond
	// spare is how many descriptors stay free for connections and all else.
	spare = 1024
	// busy is the pause when the system has nothing left for one more connection.
	busy = 50 * time.Millisecond
	// inFlight is the kernel's SCM_MAX_FD: descriptors in one message.
	inFlight = 253
	// turns is how many connections or datagrams one socket brings at once.
	turns = 64
)

// Options say what is passed on, and where.
type Options struct {
	UDP     bool
	To      netip.AddrPort // for the first socket; the next one's port is the next
	Packed  bool           // the one file is a unix stream socket that has the sockets in its queue
	Reserve bool           // only keep the sockets
}

// Forwarder passes on until it is closed.
type Forwarder struct {
	options Options
	wait    *os.File // an epoll instance with all sockets; nil if they are only kept
	talks   *conversations

	mu      sync.RWMutex
	kept    []*os.File  // guarded by mu; what is not listened at
	sockets []int       // guarded by mu; by their place in the range
	closed  bool        // guarded by mu
	unpack  *time.Timer // guarded by mu
}

// Open begins. The sockets are non-blocking, TCP ones listen. It takes the
// files over, also on error.
func Open(o Options, files []*os.File) (_ *Forwarder, err error) {
	f := &Forwarder{options: o}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	f.kept = files
	if o.Packed && len(files) != 1 {
		return nil, fmt.Errorf("forwarding ports: %d sockets instead of one that holds them", len(files))
	}
	if o.Reserve {
		return f, nil
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		err = unix.SetNonblock(epoll, true) // which has the runtime wait for it without a thread
	}
	if err != nil {
		return nil, fmt.Errorf("forwarding ports: %w", err)
	}
	f.wait = os.NewFile(uintptr(epoll), "published ports")
	if o.UDP {
		f.talks = newConversations(f)
	}
	if o.Packed {
		f.unpack = time.AfterFunc(unpackDelay, f.unpackAll)
	} else {
		f.kept = nil
		for i, file := range files {
			fd, err := duplicate(file)
			file.Close()
			if err == nil {
				err = f.add(fd)
			}
			if err != nil {
				f.kept = files[i+1:]
				return nil, err
			}
		}
	}
	go f.run()
	return f, nil
}

// Close gives the ports back. Connections that were made go on.
func (f *Forwarder) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	if f.unpack != nil {
		f.unpack.Stop()
	}
	if f.wait != nil {
		f.wait.Close()
	}
	for _, fd := range f.sockets {
		unix.Close(fd)
	}
	for _, file := range f.kept {
		file.Close()
	}
	f.sockets, f.kept = nil, nil
	if f.talks != nil {
		f.talks.end()
	}
	return nil
}

// duplicate returns a descriptor for a file's socket, which the runtime's
// poller does not know.
func duplicate(file syscall.Conn) (fd int, err error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return -1, err
	}
	cerr := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(cerr, err); err != nil {
		return -1, fmt.Errorf("duplicating a socket: %w", err)
	}
	return fd, nil
}

// add waits for one more socket, and closes it if it cannot.
func (f *Forwarder) add(fd int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		unix.Close(fd)
		return os.ErrClosed
	}
	if f.options.UDP {
		if err := wantPacketInfo(fd); err != nil {
			unix.Close(fd)
			return err
		}
	}
	err := control(f.wait, func(epoll int) error {
		return unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(len(f.sockets))})
	})
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("waiting for a socket: %w", err)
	}
	f.sockets = append(f.sockets, fd)
	return nil
}

// unpackAll takes the sockets out of the one that holds them, as many as this
// process may have. The rest stays where it is: reserved, but not listened at.
func (f *Forwarder) unpackAll() {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return
	}
	oob := make([]byte, unix.CmsgSpace(4*inFlight))
	for {
		fds, err := f.unpackSome(oob)
		for i, fd := range fds {
			if f.add(fd) != nil {
				for _, rest := range fds[i+1:] {
					unix.Close(rest)
				}
				return
			}
		}
		if err != nil || len(fds) == 0 || uint64(fds[len(fds)-1])+inFlight+spare > limit.Cur {
			return
		}
	}
}

// unpackSome takes the sockets of one message; there are none after the last.
func (f *Forwarder) unpackSome(oob []byte) (fds []int, err error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed {
		return nil, os.ErrClosed
	}
	err = control(f.kept[0], func(pocket int) error {
		var one [1]byte
		n, oobn, flags, _, err := unix.Recvmsg(pocket, one[:], oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		if err != nil || n == 0 {
			return err
		}
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			return err
		}
		for i := range messages {
			some, err := unix.ParseUnixRights(&messages[i])
			if err != nil {
				return err
			}
			fds = append(fds, some...)
		}
		if flags&unix.MSG_CTRUNC != 0 {
			return unix.EMFILE
		}
		return nil
	})
	return fds, err
}

// run serves the sockets until they are closed.
func (f *Forwarder) run() {
	raw, err := f.wait.SyscallConn()
	if err != nil {
		return
	}
	var events [turns]unix.EpollEvent
	for {
		var n int
		err := raw.Read(func(epoll uintptr) bool {
			n, _ = unix.EpollWait(int(epoll), events[:], 0)
			return n > 0
		})
		if err != nil {
			return
		}
		for _, e := range events[:n] {
			if f.serve(int(e.Fd)) {
				time.Sleep(busy)
			}
		}
	}
}

// serve takes what one socket has. It reports whether the system has nothing
// left for more.
func (f *Forwarder) serve(i int) (exhausted bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed {
		return false
	}
	to := netip.AddrPortFrom(f.options.To.Addr(), f.options.To.Port()+uint16(i))
	for range turns {
		var err error
		if f.options.UDP {
			err = f.talks.receive(f.sockets[i], i, to)
		} else {
			err = accept(f.sockets[i], to)
		}
		switch {
		case errors.Is(err, unix.EAGAIN):
			return false
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOBUFS):
			return true
		}
	}
	return false
}

// control calls do with a file's descriptor, which stays open meanwhile and
// keeps its flags (Fd would make it blocking).
func control(f syscall.Conn, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = do(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// sockaddr is an address for the kernel.
func sockaddr(a netip.AddrPort) (unix.Sockaddr, int) {
	if ip := a.Addr().Unmap(); ip.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}, unix.AF_INET
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}, unix.AF_INET6
}
