package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A request of rtnetlink (man 7 rtnetlink), and several in one message:
//
//	+----------+---------------+-----------+-----------+--   +----------+--
//	| nlmsghdr | ifinfomsg ... | attribute | attribute | ... | nlmsghdr |
//	+----------+---------------+-----------+-----------+--   +----------+--
//
// The kernel works through them one by one in the thread that sends and goes
// on after one that failed. Only the last asks for an answer; failures of the
// others are answered anyway.
type batch struct {
	buf   []byte
	start int                          // of the request being written
	names []string                     // what each request does, in the words of errors
	minor map[int]bool                 // requests whose failure does not matter
	reply func(syscall.NetlinkMessage) // gets what the kernel answers besides errors; may be nil
}

// request begins the next one. fixed is the structure behind the header.
func (b *batch) request(name string, kind, flags uint16, fixed []byte) {
	b.end()
	b.start = len(b.buf)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, 0) // length, by end
	b.buf = binary.NativeEndian.AppendUint16(b.buf, kind)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, unix.NLM_F_REQUEST|flags)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, uint32(len(b.names)))
	b.buf = binary.NativeEndian.AppendUint32(b.buf, 0)
	b.buf = append(b.buf, fixed...)
	b.names = append(b.names, name)
}

// mayFail says that it does not matter if the request just written fails.
func (b *batch) mayFail() {
	if b.minor == nil {
		b.minor = map[int]bool{}
	}
	b.minor[len(b.names)-1] = true
}

// end completes the request being written.
func (b *batch) end() {
	if len(b.names) > 0 {
		binary.NativeEndian.PutUint32(b.buf[b.start:], uint32(len(b.buf)-b.start))
	}
}

// attr adds an attribute, padded to 4 bytes.
func (b *batch) attr(kind uint16, data []byte) {
	b.buf = binary.NativeEndian.AppendUint16(b.buf, uint16(unix.SizeofRtAttr+len(data)))
	b.buf = binary.NativeEndian.AppendUint16(b.buf, kind)
	b.buf = append(b.buf, data...)
	for len(b.buf)%4 != 0 {
		b.buf = append(b.buf, 0)
	}
}

func (b *batch) text(kind uint16, s string) { b.attr(kind, append([]byte(s), 0)) }

func (b *batch) number(kind uint16, n uint32) {
	b.attr(kind, binary.NativeEndian.AppendUint32(nil, n))
}

func (b *batch) addr(kind uint16, a netip.Addr) { b.attr(kind, a.AsSlice()) }

// nest adds an attribute that holds those which inner writes.
func (b *batch) nest(kind uint16, inner func()) {
	at := len(b.buf)
	b.attr(kind, nil)
	inner()
	binary.NativeEndian.PutUint16(b.buf[at:], uint16(len(b.buf)-at))
}

// ifinfomsg of an interface: flags are both the values and the mask.
func ifinfomsg(index int, flags uint32) []byte {
	m := make([]byte, 4, unix.SizeofIfInfomsg)
	m = binary.NativeEndian.AppendUint32(m, uint32(index))
	m = binary.NativeEndian.AppendUint32(m, flags)
	return binary.NativeEndian.AppendUint32(m, flags)
}

// family of an address, as the kernel numbers it.
func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func ifaddrmsg(index int, p netip.Prefix) []byte {
	scope := byte(unix.RT_SCOPE_UNIVERSE)
	if p.Addr().IsLinkLocalUnicast() {
		scope = unix.RT_SCOPE_LINK
	}
	flags := byte(0)
	if !p.Addr().Is4() {
		// Its own table says who has an address: nobody need ask on the wire
		// first, which takes a second or two.
		flags = unix.IFA_F_NODAD
	}
	m := []byte{family(p.Addr()), byte(p.Bits()), flags, scope}
	return binary.NativeEndian.AppendUint32(m, uint32(index))
}

// vethEnd is one interface of a pair.
type vethEnd struct {
	name  string
	index int // 0: chosen by the kernel
	mac   net.HardwareAddr
	mtu   int
}

// attrs writes what both ends have in common. One queue is enough: veth sends
// without a lock, and more queues (one per CPU by default) are a sysfs
// directory each, to be made and removed.
func (v vethEnd) attrs(b *batch) {
	b.text(unix.IFLA_IFNAME, v.name)
	b.attr(unix.IFLA_ADDRESS, v.mac)
	b.number(unix.IFLA_MTU, uint32(v.mtu))
	b.number(unix.IFLA_NUM_TX_QUEUES, 1)
	b.number(unix.IFLA_NUM_RX_QUEUES, 1)
}

const vethInfoPeer = 1 // VETH_INFO_PEER, linux/veth.h

// addVeth makes a pair: host, switched on, on the bridge of the index master,
// peer in the namespace ns. The peer stays off: the kernel refuses to switch it
// on before the two know each other (ENOTCONN from veth_open).
func (b *batch) addVeth(host vethEnd, master int, peer vethEnd, ns int) {
	b.request("creating veth "+host.name, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, ifinfomsg(0, unix.IFF_UP))
	host.attrs(b)
	b.number(unix.IFLA_MASTER, uint32(master))
	b.nest(unix.IFLA_LINKINFO, func() {
		b.text(unix.IFLA_INFO_KIND, "veth")
		b.nest(unix.IFLA_INFO_DATA, func() {
			b.nest(vethInfoPeer, func() {
				b.buf = append(b.buf, ifinfomsg(peer.index, 0)...)
				peer.attrs(b)
				b.number(unix.IFLA_NET_NS_FD, uint32(ns))
			})
		})
	})
}

func (b *batch) setUp(index int) {
	b.request("switching an interface on", unix.RTM_NEWLINK, 0, ifinfomsg(index, unix.IFF_UP))
}

// delLinkIn removes an interface by its name, or another name that it has, in
// the namespace of this number.
func (b *batch) delLinkIn(space int, name string) {
	b.request("deleting interface "+name, unix.RTM_DELLINK, 0, ifinfomsg(0, 0))
	b.number(unix.IFLA_TARGET_NETNSID, uint32(space))
	b.text(unix.IFLA_ALT_IFNAME, name)
}

// rename gives an interface that is switched off another name.
func (b *batch) rename(index int, name string) {
	b.request("naming interface "+name, unix.RTM_SETLINK, 0, ifinfomsg(index, 0))
	b.text(unix.IFLA_IFNAME, name)
}

func (b *batch) delLink(index int) {
	b.request("deleting an interface", unix.RTM_DELLINK, 0, ifinfomsg(index, 0))
}

// delGroup removes all interfaces of a group at once. The kernel waits for
// everybody who may still use one of them, some 15 ms; so once for all.
func (b *batch) delGroup(group uint32) {
	b.request("deleting interfaces", unix.RTM_DELLINK, 0, ifinfomsg(0, 0))
	b.number(unix.IFLA_GROUP, group)
}

func (b *batch) setGroup(index int, group uint32) {
	b.request("marking an interface", unix.RTM_SETLINK, 0, ifinfomsg(index, 0))
	b.number(unix.IFLA_GROUP, group)
}

// setPort sets an interface up as one of a bridge. What is for where it came
// from goes back there: with br_netfilter a container's packets to its own
// published port do not leave the bridge. apart makes it one that speaks with
// the bridge itself only, not with others that are so (Linux 4.18), and that
// does not teach the bridge where a MAC is.
func (b *batch) setPort(name string, apart bool) {
	b.request("setting up interface "+name, unix.RTM_NEWLINK, 0, ifinfomsg(0, 0))
	b.text(unix.IFLA_IFNAME, name)
	b.nest(unix.IFLA_LINKINFO, func() {
		b.text(unix.IFLA_INFO_SLAVE_KIND, "bridge")
		b.nest(unix.IFLA_INFO_SLAVE_DATA, func() {
			b.attr(unix.IFLA_BRPORT_MODE, []byte{1}) // hairpin
			if apart {
				b.attr(unix.IFLA_BRPORT_ISOLATED, []byte{1})
				b.attr(unix.IFLA_BRPORT_LEARNING, []byte{0})
			}
		})
	})
}

// addForwarding tells a bridge behind which of its interfaces a MAC is.
func (b *batch) addForwarding(port int, mac net.HardwareAddr) {
	m := []byte{unix.AF_BRIDGE, 0, 0, 0}
	m = binary.NativeEndian.AppendUint32(m, uint32(port))
	m = binary.NativeEndian.AppendUint16(m, unix.NUD_NOARP)
	b.request("pinning "+mac.String(), unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, append(m, unix.NTF_MASTER, 0))
	b.attr(unix.NDA_LLADDR, mac)
}

// setAlias notes a text on an interface, by its name.
func (b *batch) setAlias(name, alias string) {
	b.request("noting the address of interface "+name, unix.RTM_SETLINK, 0, ifinfomsg(0, 0))
	b.text(unix.IFLA_IFNAME, name)
	b.text(unix.IFLA_IFALIAS, alias)
}

// getState asks for an interface's index and whether it passes packets, by its
// name.
func (b *batch) getState(name string, state func(index int, operational bool)) {
	b.request("looking at interface "+name, unix.RTM_GETLINK, 0, ifinfomsg(0, 0))
	b.text(unix.IFLA_IFNAME, name)
	b.number(unix.IFLA_EXT_MASK, rtextSkipStats)
	b.reply = func(m syscall.NetlinkMessage) {
		if m.Header.Type != unix.RTM_NEWLINK || len(m.Data) < unix.SizeofIfInfomsg {
			return
		}
		index := int(int32(binary.NativeEndian.Uint32(m.Data[4:])))
		attrs, err := syscall.ParseNetlinkRouteAttr(&m)
		if err != nil {
			return
		}
		for _, a := range attrs {
			if a.Attr.Type == unix.IFLA_OPERSTATE && len(a.Value) > 0 {
				state(index, a.Value[0] == ifOperUp)
			}
		}
	}
}

// getOwn asks whether an IPv6 address is the namespace's own by now.
func (b *batch) getOwn(a netip.Addr, own func()) {
	b.request("looking for address "+a.String(), unix.RTM_GETROUTE, 0, []byte{family(a), byte(a.BitLen()), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	b.addr(unix.RTA_DST, a)
	b.mayFail()
	b.reply = func(m syscall.NetlinkMessage) {
		const kind = 7 // rtm_type
		if m.Header.Type == unix.RTM_NEWROUTE && len(m.Data) > kind && m.Data[kind] == unix.RTN_LOCAL {
			own()
		}
	}
}

const (
	ifOperUp       = 6      // IF_OPER_UP, linux/if.h
	rtextSkipStats = 1 << 3 // RTEXT_FILTER_SKIP_STATS, linux/rtnetlink.h
)

func (b *batch) addAddress(index int, p netip.Prefix) {
	b.request("adding address "+p.String(), unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, ifaddrmsg(index, p))
	b.addr(unix.IFA_LOCAL, p.Addr())
	b.addr(unix.IFA_ADDRESS, p.Addr())
	if p.Addr().Is4() && p.Bits() < 31 {
		b.addr(unix.IFA_BROADCAST, lastOf(p))
	}
}

// setDefaultRoute makes the default route of a family go through an interface,
// by a gateway if that is valid, in place of another.
func (b *batch) setDefaultRoute(index int, v4 bool, gateway netip.Addr) {
	fam, flags := byte(unix.AF_INET6), uint16(unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	if v4 {
		fam = unix.AF_INET
	}
	scope := byte(unix.RT_SCOPE_UNIVERSE)
	if !gateway.IsValid() && v4 {
		scope = unix.RT_SCOPE_LINK
	}
	b.request("setting the default route", unix.RTM_NEWROUTE, flags, []byte{
		fam, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, scope, unix.RTN_UNICAST, 0, 0, 0, 0,
	})
	if gateway.IsValid() {
		b.addr(unix.RTA_GATEWAY, gateway)
	}
	b.number(unix.RTA_OIF, uint32(index))
}

// fixNeighbour says which MAC has an address, whatever anybody says on the
// wire.
func (b *batch) fixNeighbour(index int, a netip.Addr, mac net.HardwareAddr) {
	b.neighbour(index, a, mac, unix.NUD_PERMANENT, unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
}

// updateNeighbour says which MAC has an address now, if an earlier holder's is
// known: the first packets would be lost. Others are left to be asked for, since
// the kernel has room for some 1,000 (gc_thresh3), in all namespaces together.
func (b *batch) updateNeighbour(index int, a netip.Addr, mac net.HardwareAddr) {
	b.neighbour(index, a, mac, unix.NUD_STALE, unix.NLM_F_REPLACE)
	b.mayFail()
}

func (b *batch) neighbour(index int, a netip.Addr, mac net.HardwareAddr, state, flags uint16) {
	m := []byte{family(a), 0, 0, 0}
	m = binary.NativeEndian.AppendUint32(m, uint32(index))
	m = binary.NativeEndian.AppendUint16(m, state)
	b.request("setting neighbour "+a.String(), unix.RTM_NEWNEIGH, flags, append(m, 0, 0))
	b.addr(unix.NDA_DST, a)
	b.attr(unix.NDA_LLADDR, mac)
}

func (b *batch) delNeighbour(index int, a netip.Addr) {
	m := []byte{family(a), 0, 0, 0}
	m = binary.NativeEndian.AppendUint32(m, uint32(index))
	b.request("forgetting neighbour "+a.String(), unix.RTM_DELNEIGH, 0, append(m, 0, 0, 0, 0))
	b.addr(unix.NDA_DST, a)
}

// rtnl is a socket to the routing part of the kernel, in the network namespace
// of the thread that opened it. Not safe for concurrent use.
type rtnl struct{ fd int }

func openRtnl() (rtnl, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return rtnl{-1}, fmt.Errorf("opening a netlink socket: %w", err)
	}
	// Answers need not repeat the request, but say why it was refused.
	unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	return rtnl{fd}, nil
}

func (r rtnl) close() { unix.Close(r.fd) }

// requestError is the kernel's answer to a request that failed.
type requestError struct {
	index int    // which request of the batch
	name  string // what it was to do
	errno unix.Errno
	text  string // the kernel's own words, often ""
}

func (e *requestError) Error() string {
	if e.text != "" {
		return fmt.Sprintf("%s: %v (%s)", e.name, e.errno, e.text)
	}
	return fmt.Sprintf("%s: %v", e.name, e.errno)
}

func (e *requestError) Unwrap() error { return e.errno }

// do sends a batch and waits for the answers. The error joins those of all
// requests that failed and matter; the others have taken effect.
func (r rtnl) do(b *batch) error {
	b.end()
	last := len(b.names) - 1
	flags := b.buf[b.start+6:]
	binary.NativeEndian.PutUint16(flags, binary.NativeEndian.Uint16(flags)|unix.NLM_F_ACK)
	if err := unix.Sendto(r.fd, b.buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("%s: sending to the kernel: %w", b.names[0], err)
	}
	var failed []error
	buf := make([]byte, 16<<10)
	for {
		n, _, err := unix.Recvfrom(r.fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: receiving from the kernel: %w", b.names[0], err)
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return fmt.Errorf("%s: reading the kernel's answer: %w", b.names[0], err)
		}
		for _, m := range messages {
			seq := int(m.Header.Seq)
			if m.Header.Type != unix.NLMSG_ERROR && b.reply != nil {
				b.reply(m)
			}
			if m.Header.Type != unix.NLMSG_ERROR || len(m.Data) < 4 || seq > last {
				continue
			}
			if errno := -int32(binary.NativeEndian.Uint32(m.Data)); errno != 0 && !b.minor[seq] {
				failed = append(failed, &requestError{seq, b.names[seq], unix.Errno(errno), ackText(m)})
			}
			if seq == last {
				return errors.Join(failed...)
			}
		}
	}
}

// ackText returns the words of an extended acknowledgement, which follow the
// error number and the header of the request.
func ackText(m syscall.NetlinkMessage) string {
	const ackTLVs = 0x200 // NLM_F_ACK_TLVS
	const head = 4 + unix.SizeofNlMsghdr
	if m.Header.Flags&ackTLVs == 0 || len(m.Data) < head {
		return ""
	}
	for rest := m.Data[head:]; len(rest) >= unix.SizeofRtAttr; {
		size := int(binary.NativeEndian.Uint16(rest))
		if size < unix.SizeofRtAttr || size > len(rest) {
			return ""
		}
		if binary.NativeEndian.Uint16(rest[2:]) == 1 { // NLMSGERR_ATTR_MSG
			text := rest[unix.SizeofRtAttr:size]
			for len(text) > 0 && text[len(text)-1] == 0 {
				text = text[:len(text)-1]
			}
			return string(text)
		}
		rest = rest[min(len(rest), (size+3)&^3):]
	}
	return ""
}

// namespaces lists the numbers that the thread's network namespace has for
// others.
func namespaces() (numbers []int, err error) {
	request := nl.NewNetlinkRequest(unix.RTM_GETNSID, unix.NLM_F_DUMP)
	request.AddData(nl.NewRtGenMsg())
	answers, err := dump(func() ([][]byte, error) { return request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNSID) })
	if err != nil {
		return nil, err
	}
	for _, m := range answers {
		attrs, err := nl.ParseRouteAttr(m[nl.DeserializeRtGenMsg(m).Len():])
		if err != nil {
			return nil, err
		}
		for _, a := range attrs {
			if a.Attr.Type == netlink.NETNSA_NSID && len(a.Value) >= 4 {
				numbers = append(numbers, int(int32(binary.NativeEndian.Uint32(a.Value))))
			}
		}
	}
	return numbers, nil
}
