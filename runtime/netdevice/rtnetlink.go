package netdevice

import (
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// conn is a socket of rtnetlink.
type conn struct {
	fd  int
	seq uint32
	buf []byte
}

func open() (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	return &conn{fd: fd, buf: make([]byte, 1<<16)}, nil
}

func (c *conn) close() { unix.Close(c.fd) }

var native = binary.NativeEndian

// attribute appends a struct rtattr.
func attribute(b []byte, kind uint16, value []byte) []byte {
	b = native.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = native.AppendUint16(b, kind)
	return pad(append(b, value...))
}

func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// attributes calls f for each attribute of a message's tail.
func attributes(b []byte, f func(kind uint16, value []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		n := int(native.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return
		}
		f(native.Uint16(b[2:]), b[unix.SizeofRtAttr:n])
		b = b[min(len(b), (n+3)&^3):]
	}
}

// ask sends a request and calls f with each answer, until the acknowledgment.
func (c *conn) ask(kind, flags uint16, body []byte, f func(kind uint16, body []byte)) error {
	c.seq++
	b := native.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = native.AppendUint16(b, kind)
	b = native.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags)
	b = native.AppendUint32(b, c.seq)
	b = native.AppendUint32(b, 0)
	if err := unix.Sendto(c.fd, append(b, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	for {
		n, _, err := unix.Recvfrom(c.fd, c.buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		done, err := c.answers(c.buf[:n], f)
		if done || err != nil {
			return err
		}
	}
}

// answers goes through the messages of one datagram.
func (c *conn) answers(b []byte, f func(kind uint16, body []byte)) (done bool, err error) {
	for len(b) >= unix.SizeofNlMsghdr {
		n := int(native.Uint32(b))
		if n < unix.SizeofNlMsghdr || n > len(b) {
			return true, unix.EBADMSG
		}
		kind, seq, body := native.Uint16(b[4:]), native.Uint32(b[8:]), b[unix.SizeofNlMsghdr:n]
		b = b[min(len(b), (n+3)&^3):]
		switch {
		case seq != c.seq:
		case kind == unix.NLMSG_DONE:
			return true, nil
		case kind == unix.NLMSG_ERROR && len(body) < 4:
			return true, unix.EBADMSG
		case kind == unix.NLMSG_ERROR:
			if e := int32(native.Uint32(body)); e != 0 {
				return true, unix.Errno(-e)
			}
			return true, nil
		case f != nil:
			f(kind, body)
		}
	}
	return false, nil
}

// ifinfo is struct ifinfomsg.
func ifinfo(index int32, flags, change uint32) []byte {
	b := make([]byte, 4, 64) // family, type
	b = native.AppendUint32(b, uint32(index))
	b = native.AppendUint32(b, flags)
	return native.AppendUint32(b, change)
}

// link finds a device's number.
func (c *conn) link(name string) (int32, error) {
	index := int32(0)
	body := attribute(ifinfo(0, 0, 0), unix.IFLA_IFNAME, append([]byte(name), 0))
	err := c.ask(unix.RTM_GETLINK, 0, body, func(_ uint16, b []byte) {
		if len(b) >= unix.SizeofIfInfomsg {
			index = int32(native.Uint32(b[4:]))
		}
	})
	if err == nil && index == 0 {
		err = unix.ENODEV
	}
	return index, err
}

func (c *conn) setUp(index int32, up bool) error {
	flags := uint32(0)
	if up {
		flags = unix.IFF_UP
	}
	return c.ask(unix.RTM_NEWLINK, 0, ifinfo(index, flags, unix.IFF_UP), nil)
}

// moveLink moves a device into a namespace and renames it there, in one step:
// its old name may be taken on that side, its new one on this.
func (c *conn) moveLink(index int32, name string, ns *os.File) error {
	body := attribute(ifinfo(index, 0, 0), unix.IFLA_IFNAME, append([]byte(name), 0))
	body = attribute(body, unix.IFLA_NET_NS_FD, native.AppendUint32(nil, uint32(ns.Fd())))
	return c.ask(unix.RTM_NEWLINK, 0, body, nil)
}

// address is one of a device, as the kernel told it.
type address struct {
	family, prefix uint8
	attributes     []byte // those that are the address's own, not the kernel's
}

// addresses returns a device's addresses of global scope that do not expire.
func (c *conn) addresses(index int32) (list []address, err error) {
	body := make([]byte, unix.SizeofIfAddrmsg)
	err = c.ask(unix.RTM_GETADDR, unix.NLM_F_DUMP, body, func(kind uint16, b []byte) {
		if kind != unix.RTM_NEWADDR || len(b) < unix.SizeofIfAddrmsg || int32(native.Uint32(b[4:])) != index || b[3] != unix.RT_SCOPE_UNIVERSE {
			return
		}
		a, flags := address{family: b[0], prefix: b[1]}, uint32(b[2])
		attributes(b[unix.SizeofIfAddrmsg:], func(kind uint16, value []byte) {
			switch kind {
			case unix.IFA_FLAGS:
				if len(value) == 4 {
					flags = native.Uint32(value)
				}
			case unix.IFA_ADDRESS, unix.IFA_LOCAL, unix.IFA_BROADCAST:
				a.attributes = attribute(a.attributes, kind, value)
			}
		})
		if flags&unix.IFA_F_PERMANENT != 0 {
			list = append(list, a)
		}
	})
	return list, err
}

// addAddress gives a device an address. One of IPv6 was the device's already
// on the host: nobody has to be asked again whether it is free.
func (c *conn) addAddress(index int32, a address) error {
	body := []byte{a.family, a.prefix, 0, unix.RT_SCOPE_UNIVERSE}
	if a.family == unix.AF_INET6 {
		body[2] = unix.IFA_F_NODAD
	}
	body = native.AppendUint32(body, uint32(index))
	err := c.ask(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, append(body, a.attributes...), nil)
	if err == unix.EEXIST { // the device has brought it along
		return nil
	}
	return err
}
