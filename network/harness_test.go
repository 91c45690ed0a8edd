package network

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func testConfig(t testing.TB) Config {
	return Config{Forward: true, Masquerade: true, StateDir: t.TempDir(), Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

// open opens a store that is closed, and what it made removed, with the test.
func open(t testing.TB, c Config) *Store {
	t.Helper()
	s := adopt(t, c)
	if err := s.Ready(); err != nil {
		t.Fatal(err)
	}
	return s
}

// adopt is open for a store that is not ready yet.
func adopt(t testing.TB, c Config) *Store {
	t.Helper()
	b, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(true); err != nil {
			t.Error(err)
		}
	})
	return b
}

// place is a sandbox's first endpoint.
func (s *Sandbox) place() *Endpoint { return &s.Endpoints[0] }

// lan is the default bridge's device.
func (s *Store) lan() device { return s.networks.bridge.lan.(*bridge).now() }

// describe takes an address of the default bridge for an endpoint.
func (s *Store) describe(t testing.TB) *Endpoint {
	s.networks.bridge.mu.Lock()
	defer s.networks.bridge.mu.Unlock()
	e, err := s.networks.bridge.describeLocked(Wish{}, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// forget is the opposite of describe.
func (g *segment) forget(e *Endpoint) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.addresses.give(*e)
}

// with is a wish for an endpoint on a network.
func with(w Wish, network string) Wish {
	w.Network = network
	return w
}

// onBridge are wishes for an endpoint on the default bridge.
var onBridge = []Wish{{Network: "bridge"}}

// acquire returns a sandbox that is closed and released with the test.
func acquire(t testing.TB, b *Store, w Wish) *Sandbox {
	t.Helper()
	return acquireIn(t, b, w, nil)
}

// acquireIn is acquire of a namespace that is given, unless that is nil.
func acquireIn(t testing.TB, b *Store, w Wish, given *os.File) *Sandbox {
	t.Helper()
	if w.Network == "" {
		w.Network = "bridge"
	}
	s, err := b.Acquire(context.Background(), []Wish{w}, given)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.NetNS.Close()
		for _, e := range s.Endpoints {
			b.Release(e)
		}
	})
	return s
}

// eventually polls until ok, for at most ten seconds.
func eventually(t testing.TB, what string, ok func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for !ok() {
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("did not happen in 10 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(begin)
}

// within runs fn on a thread in the namespace ns; the thread ends with it.
func within(t testing.TB, ns *os.File, fn func() error) error {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}

// serve answers each connection to port 80 in ns with the client's address.
func serve(t testing.TB, ns *os.File) {
	t.Helper()
	var l net.Listener
	if err := within(t, ns, func() (err error) {
		l, err = net.Listen("tcp4", "0.0.0.0:80")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			io.WriteString(c, host)
			c.Close()
		}
	}()
}

// ask connects from ns to a server of serve and returns who it says we are.
func ask(t testing.TB, ns *os.File, server netip.Addr, patience time.Duration) (string, error) {
	t.Helper()
	var answer []byte
	err := within(t, ns, func() error {
		c, err := net.DialTimeout("tcp4", net.JoinHostPort(server.String(), "80"), patience)
		if err != nil {
			return err
		}
		defer c.Close()
		answer, err = io.ReadAll(c)
		return err
	})
	return string(answer), err
}

// addrs of the world outside: documentation addresses (RFC 5737).
var (
	worldAddr = netip.MustParseAddr("203.0.113.2")
	hostAddr  = netip.MustParseAddr("203.0.113.1")
)

// newWorld makes a namespace that is connected to the test's by an uplink.
func newWorld(t testing.TB, mtu int) *os.File {
	t.Helper()
	var ns *os.File
	if err := onThread(func() error {
		m, err := newMaker()
		if err != nil {
			return err
		}
		defer m.close()
		ns, err = m.sandbox(t.Context(), nil, nil)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "uplink", MTU: mtu}, PeerName: "w0"}))
	peer, err := netlink.LinkByName("w0")
	must(err)
	must(netlink.LinkSetNsFd(peer, int(ns.Fd())))
	up := func(name string, a netip.Addr) error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		n := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(24, 32)}
		return errors.Join(netlink.AddrAdd(l, &netlink.Addr{IPNet: n}), netlink.LinkSetUp(l))
	}
	must(up("uplink", hostAddr))
	must(within(t, ns, func() error { return up("w0", worldAddr) }))
	must(netlink.RouteAdd(&netlink.Route{Gw: worldAddr.AsSlice()}))
	return ns
}

// veths counts our interfaces.
func veths(t testing.TB) int {
	t.Helper()
	links, err := dump(netlink.LinkList)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, vethPrefix) && l.Type() == "veth" {
			n++
		}
	}
	return n
}

func openFiles(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
