package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/davit-engine/davit/errs"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// ResolverAddr is where a container finds its resolver.
var ResolverAddr = netip.AddrFrom4([4]byte{127, 0, 0, 11})

const (
	namesPort = 53
	// resolverPort is where the resolver listens in truth, as a server of the
	// container's own that is bound to port 53 of all addresses could not
	// start else. Nothing has been assigned to it, and no port is chosen from
	// so far down.
	resolverPort = 4
	// queued is how many TCP clients wait to be accepted.
	queued = 64
)

// OpenResolver makes the sockets of a resolver in a container's namespace: one
// by UDP, one that listens by TCP, both non-blocking. Questions may come from
// then on; they wait. Error: Conflict when the namespace has a resolver.
func (s *Store) OpenResolver(ns *os.File) (sockets []*os.File, err error) {
	err = onThread(func() (err error) {
		sockets, err = s.maker.resolver(ns)
		return err
	})
	return sockets, err
}

// resolver is OpenResolver on a thread of its own.
func (m *maker) resolver(ns *os.File) (sockets []*os.File, err error) {
	err = m.enter(ns, func(rtnl) (err error) {
		sockets, err = openResolver(redirect)
		return err
	})
	if err != nil {
		closeAll(sockets)
		return nil, fmt.Errorf("making the sockets of a resolver: %w", err)
	}
	return sockets, nil
}

// openResolver is OpenResolver in the namespace of the calling thread; redirect
// has lo lead to resolverPort.
func openResolver(redirect func() error) ([]*os.File, error) {
	sockets, err := bindResolver(resolverPort)
	if err != nil {
		return nil, err
	}
	if redirect() == nil {
		return sockets, nil
	}
	// The kernel has no such hook (CONFIG_NF_TABLES_NETDEV). Names matter more
	// than servers that want the port too.
	closeAll(sockets)
	return bindResolver(namesPort)
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

func bindResolver(port int) (sockets []*os.File, err error) {
	defer func() {
		if err != nil {
			closeAll(sockets)
			sockets = nil
		}
	}()
	for _, kind := range []int{unix.SOCK_DGRAM, unix.SOCK_STREAM} {
		fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return sockets, err
		}
		sockets = append(sockets, os.NewFile(uintptr(fd), "resolver"))
		if kind == unix.SOCK_STREAM { // connections of an earlier resolver may linger
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
				return sockets, err
			}
		}
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: ResolverAddr.As4()})
		if errors.Is(err, unix.EADDRINUSE) {
			return sockets, errs.New(errs.Conflict, "%s:%d is in use in the container", ResolverAddr, port)
		}
		if err == nil && kind == unix.SOCK_STREAM {
			err = unix.Listen(fd, queued)
		}
		if err != nil {
			return sockets, fmt.Errorf("binding %s:%d: %w", ResolverAddr, port, err)
		}
	}
	return sockets, nil
}

// redirect has lo, and no other interface, exchange the resolver's two ports:
//
//	table netdev davit {
//		chain resolver { type filter hook ingress device lo priority 0; policy accept
//			@nh,96,32 != 127.0.0.11 @nh,128,32 != 127.0.0.11 accept
//			ip daddr 127.0.0.11 udp dport 53 udp dport set 4
//			ip daddr 127.0.0.11 tcp dport 53 tcp dport set 4
//			ip saddr 127.0.0.11 udp sport 4 udp sport set 53
//			ip saddr 127.0.0.11 tcp sport 4 tcp sport set 53
//		}
//	}
//
// The first rule has all other packets on lo pass at little cost (40 ns): it
// compares the places of IPv4's addresses without asking for the protocol. The
// table knows no connections, so a flood of questions fills none, and a
// container that flushes its iptables still has names.
func redirect() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := &nftables.Table{Family: nftables.TableFamilyNetdev, Name: defaultTable}
	c.CreateTable(table)
	chain := c.AddChain(&nftables.Chain{
		Name: "resolver", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookIngress,
		Priority: nftables.ChainPriorityFilter, Device: "lo",
	})
	const source, destination = 0, 1
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: slices.Concat(
		loadAddress(source), compare(expr.CmpOpNeq, ResolverAddr.AsSlice()), loadAddress(destination), compare(expr.CmpOpNeq, ResolverAddr.AsSlice()),
		[]expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}},
	)})
	for _, r := range []struct {
		end      uint32
		from, to uint16
	}{{destination, namesPort, resolverPort}, {source, resolverPort, namesPort}} {
		for _, p := range []struct {
			protocol byte
			sum      uint32 // where the checksum is in the transport header
		}{{unix.IPPROTO_UDP, 6}, {unix.IPPROTO_TCP, 16}} {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: slices.Concat(
				[]expr.Any{&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1}}, compare(expr.CmpOpEq, []byte{8, 0}), // IPv4
				loadAddress(r.end), compare(expr.CmpOpEq, ResolverAddr.AsSlice()),
				[]expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}}, compare(expr.CmpOpEq, []byte{p.protocol}),
				[]expr.Any{&expr.Payload{OperationType: expr.PayloadLoad, DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2 * r.end, Len: 2}},
				compare(expr.CmpOpEq, binary.BigEndian.AppendUint16(nil, r.from)),
				[]expr.Any{
					&expr.Immediate{Register: 1, Data: binary.BigEndian.AppendUint16(nil, r.to)},
					&expr.Payload{
						OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2 * r.end, Len: 2,
						CsumType: expr.CsumTypeInet, CsumOffset: p.sum,
					},
				},
			)})
		}
	}
	if err := c.Flush(); !errors.Is(err, unix.EEXIST) { // an earlier resolver's serves this one
		return err
	}
	return nil
}

// loadAddress loads one of the two addresses of an IPv4 packet, and compare looks at
// what was loaded.
func loadAddress(end uint32) []expr.Any {
	return []expr.Any{&expr.Payload{OperationType: expr.PayloadLoad, DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12 + 4*end, Len: 4}}
}

func compare(op expr.CmpOp, value []byte) []expr.Any {
	return []expr.Any{&expr.Cmp{Op: op, Register: 1, Data: value}}
}
