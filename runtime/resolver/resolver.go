// Package resolver answers a container's questions for names: those of the
// networks that it is on from files that the engine writes, all others by
// asking the host's servers, or its own.
//
//	            container's namespace        |           host
//	                                         |
//	client --127.0.0.11:53--> lo --redirect--> sockets -- resolver --> names file of each network
//	                                         |                    '--> servers of /etc/resolv.conf
//	            servers of --dns <------------------------------- '
//
// It runs in the container's shim and reads its files at each question, so it
// goes on without the engine, follows the engine's changes without being told,
// and follows the host's resolver as it moves between networks. It answers
// from nothing that it remembers but which server was the last to answer.
//
// The package knows names, addresses and files, not containers, networks or
// who writes the files; it links neither net nor a DNS library. Whatever comes
// in over its sockets is from a container and may be hostile: it bounds the
// questions under way, the clients by TCP and what each may hold, and one that
// finds a fault of the package ends without an answer, not with the shim.
//
// Concurrency: one goroutine reads questions by UDP and answers those for names
// of the networks itself, each other question and each TCP client has one.
// planFile.mu and upstream.mu guard single fields and are never held together.
package resolver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxUnderWay = 512 // questions that others are asked, at a time
	maxClients  = 64  // by TCP, at a time
	idleLimit   = 10 * time.Second
	queueSize   = 1 << 20 // bytes of questions that wait: one who asks too much is not to lose those of others soon
)

// Resolver is the resolver of one container.
type Resolver struct {
	udp, tcp *os.File
	plan     planFile
	upstream upstream
	underWay chan struct{} // holds one for each question that others are asked
	clients  chan struct{} // holds one for each TCP client
	turn     atomic.Uint32 // of the addresses of a name
}

// Serve begins to answer at two non-blocking sockets, of which tcp listens, by
// the plan in a file. They are the resolver's from then on.
func Serve(udp, tcp *os.File, plan string) *Resolver { return serve(udp, tcp, plan, dnsPort) }

func serve(udp, tcp *os.File, plan string, port uint16) *Resolver {
	r := &Resolver{
		udp: udp, tcp: tcp, plan: planFile{path: plan}, upstream: upstream{within: udp, port: port},
		underWay: make(chan struct{}, maxUnderWay), clients: make(chan struct{}, maxClients),
	}
	if raw, err := udp.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, queueSize) })
		go r.serveUDP(raw)
	}
	go r.serveTCP()
	return r
}

// Close stops answering. Who has been asked already may still do so.
func (r *Resolver) Close() error { return errors.Join(r.udp.Close(), r.tcp.Close()) }

// serveUDP answers until the socket is closed.
func (r *Resolver) serveUDP(raw syscall.RawConn) {
	buf := make([]byte, maxQuery)
	for {
		var n int
		var from unix.Sockaddr
		var failed error
		if err := raw.Read(func(fd uintptr) bool {
			n, from, failed = unix.Recvfrom(int(fd), buf, unix.MSG_TRUNC)
			return failed != unix.EAGAIN && failed != unix.EINTR
		}); err != nil {
			return
		}
		if failed != nil || n > len(buf) {
			continue
		}
		r.datagram(raw, buf[:n], from)
	}
}

// datagram answers one question by UDP, later if others must be asked.
func (r *Resolver) datagram(raw syscall.RawConn, msg []byte, from unix.Sockaddr) {
	defer survive()
	q, rcode := parse(msg)
	if rcode < 0 {
		return
	}
	send := func(answer []byte) {
		_ = raw.Control(func(fd uintptr) { _ = unix.Sendto(int(fd), answer, unix.MSG_DONTWAIT, from) })
	}
	p := r.plan.get()
	if answer := r.own(p, &q, rcode, q.size); answer != nil {
		send(answer)
		return
	}
	select {
	case r.underWay <- struct{}{}:
	default:
		send(q.fail(rcodeFailure))
		return
	}
	q.msg = append([]byte(nil), msg...) // as msg is the next question's
	go func() {
		defer survive()
		defer func() { <-r.underWay }()
		send(r.upstream.ask(p, &q, false))
	}()
}

// own is the answer to a question that nobody else need be asked; nil if they
// must.
func (r *Resolver) own(p *Plan, q *query, rcode, limit int) []byte {
	switch {
	case rcode > 0:
		return q.fail(rcode)
	case q.in != classInternet:
		return nil
	case q.kind == typePTR:
		if a, ok := reversed(q.name); ok {
			if name := p.reverse(a); name != "" {
				return q.pointer(name, limit)
			}
		}
		return nil
	}
	list, known := p.lookup(q.name)
	switch {
	case known:
		return q.addresses(r.rotate(list), limit)
	case p.Undotted && (q.kind == typeA || q.kind == typeAAAA) && q.undotted():
		return q.addresses(nil, limit)
	}
	return nil
}

// rotate begins with another address each time, so that clients who take the
// first spread over all.
func (r *Resolver) rotate(list []netip.Addr) []netip.Addr {
	if len(list) < 2 {
		return list
	}
	at := int(r.turn.Add(1) % uint32(len(list)))
	return append(list[at:len(list):len(list)], list[:at]...)
}

// serveTCP answers until the socket is closed.
func (r *Resolver) serveTCP() {
	raw, err := r.tcp.SyscallConn()
	if err != nil {
		return
	}
	for {
		r.clients <- struct{}{}
		var fd int
		var failed error
		if err := raw.Read(func(l uintptr) bool {
			fd, _, failed = unix.Accept4(int(l), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return failed != unix.EAGAIN && failed != unix.EINTR
		}); err != nil {
			return
		}
		if failed != nil {
			<-r.clients
			if failed != unix.ECONNABORTED {
				time.Sleep(100 * time.Millisecond) // out of descriptors or memory
			}
			continue
		}
		go func() {
			defer func() { <-r.clients }()
			r.client(os.NewFile(uintptr(fd), "client"))
		}()
	}
}

// client answers the questions of one TCP connection, one after the other.
func (r *Resolver) client(c *os.File) {
	defer survive()
	defer c.Close()
	for {
		if c.SetDeadline(time.Now().Add(idleLimit)) != nil {
			return
		}
		msg, err := readFrame(c, maxQuery)
		if err != nil {
			return
		}
		q, rcode := parse(msg)
		if rcode < 0 {
			return
		}
		p := r.plan.get()
		answer := r.own(p, &q, rcode, maxSize)
		if answer == nil {
			answer = r.upstream.ask(p, &q, true)
		}
		if c.SetDeadline(time.Now().Add(idleLimit)) != nil || writeFrame(c, answer) != nil {
			return
		}
	}
}

// readFrame reads a message with its length before it, as DNS has it over TCP.
func readFrame(f *os.File, limit int) ([]byte, error) {
	var head [2]byte
	if err := readFull(f, head[:]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint16(head[:]))
	if size > limit {
		return nil, unix.EMSGSIZE
	}
	msg := make([]byte, size)
	return msg, readFull(f, msg)
}

func readFull(f *os.File, b []byte) error {
	for len(b) > 0 {
		n, err := f.Read(b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func writeFrame(f *os.File, msg []byte) error {
	_, err := f.Write(append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(msg)), uint16(len(msg))), msg...))
	return err
}

// survive ends a goroutine that has panicked: whoever supervises a container
// must not die of a question, as the container dies with it.
func survive() {
	if fault := recover(); fault != nil {
		fmt.Fprintf(os.Stderr, "resolver: %v\n%s", fault, debug.Stack())
	}
}

// undotted reports whether a name has one label.
func (q *query) undotted() bool {
	size := int(q.msg[headerSize])
	return size > 0 && q.msg[headerSize+1+size] == 0
}
