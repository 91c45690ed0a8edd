package forward

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// quietTime ends a conversation over UDP that nobody adds to.
	quietTime = 90 * time.Second
	// maxTalks is how many conversations one forwarder has; a new one ends
	// another then.
	maxTalks = 4096
)

// conversations are those over UDP, each of one client with one port.
type conversations struct {
	owner *Forwarder

	mu   sync.Mutex
	all  map[party]*conversation // guarded by mu
	over bool                    // guarded by mu
}

// party is who talks, and to which of the host's addresses.
type party struct {
	socket int // by its place in the range
	client netip.AddrPort
	asked  netip.Addr
	link   uint32 // interface of a link-local address
}

// conversation is a socket that is connected to the container.
type conversation struct {
	file *os.File
	last atomic.Int64 // when something was said, in nanoseconds
}

func newConversations(owner *Forwarder) *conversations {
	return &conversations{owner: owner, all: map[party]*conversation{}}
}

// wantPacketInfo has a socket tell the address that each datagram is for.
func wantPacketInfo(fd int) error {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err == nil && domain == unix.AF_INET6 { // IPv4's come as mapped addresses
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	} else if err == nil {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	}
	if err != nil {
		return fmt.Errorf("preparing a socket: %w", err)
	}
	return nil
}

// receive takes one datagram from a client. The forwarder's sockets are not
// closed meanwhile.
func (c *conversations) receive(fd, socket int, to netip.AddrPort) error {
	buf := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(buf)
	var oob [128]byte
	n, oobn, _, from, err := unix.Recvmsg(fd, buf[:], oob[:], unix.MSG_DONTWAIT)
	if err != nil {
		return err
	}
	who := party{socket: socket}
	switch from := from.(type) {
	case *unix.SockaddrInet4:
		who.client = netip.AddrPortFrom(netip.AddrFrom4(from.Addr), uint16(from.Port))
	case *unix.SockaddrInet6:
		who.client = netip.AddrPortFrom(netip.AddrFrom16(from.Addr), uint16(from.Port))
		who.link = from.ZoneId
	default:
		return nil
	}
	who.asked = asked(oob[:oobn])
	one, err := c.with(who, to)
	if err != nil {
		return err
	}
	one.last.Store(time.Now().UnixNano())
	_ = control(one.file, func(fd int) error { // what is lost here could have been on any wire
		return unix.Send(fd, buf[:n], unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	})
	return nil
}

// asked reads the address that a datagram was sent to.
func asked(oob []byte) netip.Addr {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return netip.Addr{}
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			return netip.AddrFrom4([4]byte(m.Data[4:])) // the local one, of a broadcast too
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			return netip.AddrFrom16([16]byte(m.Data))
		}
	}
	return netip.Addr{}
}

// with returns the conversation with a client, a new one if need be.
func (c *conversations) with(who party, to netip.AddrPort) (*conversation, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one := c.all[who]; one != nil {
		return one, nil
	}
	if c.over {
		return nil, os.ErrClosed
	}
	address, domain := sockaddr(to)
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, address); err != nil {
		unix.Close(fd)
		return nil, err
	}
	for other, one := range c.all { // any of them
		if len(c.all) < maxTalks {
			break
		}
		one.file.Close()
		delete(c.all, other)
	}
	one := &conversation{file: os.NewFile(uintptr(fd), "forwarded conversation")}
	c.all[who] = one
	go c.answer(who, one)
	return one, nil
}

// answer passes on what the container says, until nobody has said anything for
// a while.
func (c *conversations) answer(who party, one *conversation) {
	defer func() {
		one.file.Close()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.all[who] == one {
			delete(c.all, who)
		}
	}()
	raw, err := one.file.SyscallConn()
	if err != nil {
		return
	}
	one.last.Store(time.Now().UnixNano())
	for {
		end := time.Unix(0, one.last.Load()).Add(quietTime)
		if !time.Now().Before(end) || one.file.SetReadDeadline(end) != nil {
			return
		}
		err := raw.Read(func(fd uintptr) bool {
			buf := buffers.Get().(*[64 << 10]byte)
			defer buffers.Put(buf)
			n, err := unix.Read(int(fd), buf[:])
			if err != nil { // of an earlier datagram's delivery, or there is nothing
				return err != unix.EAGAIN && err != unix.EINTR
			}
			one.last.Store(time.Now().UnixNano())
			c.reply(who, buf[:n])
			return true
		})
		if err != nil && !os.IsTimeout(err) {
			return
		}
	}
}

// reply sends to a client, from the address that it asked.
func (c *conversations) reply(who party, p []byte) {
	f := c.owner
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed {
		return
	}
	var to unix.Sockaddr
	if a := who.client.Addr(); a.Is4() {
		to = &unix.SockaddrInet4{Port: int(who.client.Port()), Addr: a.As4()}
	} else {
		to = &unix.SockaddrInet6{Port: int(who.client.Port()), Addr: a.As16(), ZoneId: who.link}
	}
	_ = unix.Sendmsg(f.sockets[who.socket], p, packetInfo(who.asked, who.link), to, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

// packetInfo is the control message that has a datagram sent from an address.
func packetInfo(from netip.Addr, link uint32) []byte {
	level, kind, size := unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo
	switch {
	case !from.IsValid():
		return nil
	case from.Is4():
		level, kind, size = unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo
	}
	oob := make([]byte, unix.CmsgSpace(size))
	head := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
	head.Level, head.Type = int32(level), int32(kind)
	head.SetLen(unix.CmsgLen(size))
	data := oob[unix.CmsgLen(0):]
	if from.Is4() {
		copy(data[4:], from.AsSlice()) // after the interface: the address to send from
	} else {
		copy(data, from.AsSlice())
		binary.NativeEndian.PutUint32(data[16:], link)
	}
	return oob
}

// end stops all conversations.
func (c *conversations) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	for _, one := range c.all {
		one.file.Close()
	}
}
