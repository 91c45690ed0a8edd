package shape

import (
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// space is a network namespace of a test's own.
type space struct{ ns *os.File }

func newSpace(t testing.TB) space {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	made := make(chan *os.File, 1)
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the thread ends with it
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil { // a connection must not begin as slowly as the one before it
			err = os.WriteFile("/proc/sys/net/ipv4/tcp_no_metrics_save", []byte("1"), 0o644)
		}
		if err == nil {
			var f *os.File
			if f, err = os.Open("/proc/thread-self/ns/net"); err == nil {
				made <- f
				return
			}
		}
		failed <- err
	}()
	select {
	case f := <-made:
		t.Cleanup(func() { f.Close() })
		return space{f}
	case err := <-failed:
		t.Fatal(err)
		return space{}
	}
}

// do runs fn on a thread in the namespace.
func (s space) do(t testing.TB, fn func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(s.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	if err := <-done; err != nil {
		t.Helper()
		t.Fatal(err)
	}
}

// bed is a host with a bridge, a container on it and a peer, which nothing holds.
type bed struct {
	host, container, peer space
	shaper                *Shaper
}

const held = "dv0a000002"

var containerAddr, peerAddr = netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")

func newBed(t testing.TB) *bed {
	t.Helper()
	b := &bed{host: newSpace(t), container: newSpace(t), peer: newSpace(t)}
	b.host.do(t, func() error { return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "davit0"}}) })
	b.host.do(t, func() error { return up("davit0", netip.Prefix{}) })
	b.plug(t, held, b.container, containerAddr)
	b.plug(t, "dv0a000003", b.peer, peerAddr)
	b.open(t)
	return b
}

func (b *bed) open(t testing.TB) {
	t.Helper()
	b.host.do(t, func() (err error) {
		b.shaper, err = Open()
		return err
	})
	t.Cleanup(b.shaper.Close)
}

// plug connects a namespace to the bridge.
func (b *bed) plug(t testing.TB, name string, to space, a netip.Addr) {
	t.Helper()
	b.host.do(t, func() error {
		bridge, err := netlink.LinkByName("davit0")
		if err != nil {
			return err
		}
		v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MasterIndex: bridge.Attrs().Index}, PeerName: "eth0", PeerNamespace: netlink.NsFd(to.ns.Fd())}
		if err := netlink.LinkAdd(v); err != nil {
			return err
		}
		return up(name, netip.Prefix{})
	})
	to.do(t, func() error { return up("eth0", netip.PrefixFrom(a, 24)) })
}

func up(name string, p netip.Prefix) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if p.IsValid() {
		n := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
		if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: n}); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(l)
}

func (b *bed) set(t testing.TB, rate string) {
	t.Helper()
	r, err := Parse(rate)
	if err == nil {
		err = b.shaper.Set(held, r)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bed) read(t testing.TB) State {
	t.Helper()
	s, err := b.shaper.Read(held)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// interfaces lists the host's.
func (b *bed) interfaces(t testing.TB) (names []string) {
	t.Helper()
	b.host.do(t, func() error {
		all, err := net.Interfaces()
		for _, i := range all {
			names = append(names, i.Name)
		}
		return err
	})
	return names
}

// flow is a TCP connection from one namespace to an address of another that
// carries what it can.
type flow struct{ sender, receiver net.Conn }

func newFlow(t testing.TB, from, to space, at netip.Addr) flow {
	t.Helper()
	var l net.Listener
	to.do(t, func() (err error) {
		l, err = net.Listen("tcp4", netip.AddrPortFrom(at, 0).String())
		return err
	})
	defer l.Close()
	var f flow
	from.do(t, func() (err error) {
		f.sender, err = net.DialTimeout("tcp4", l.Addr().String(), 5*time.Second)
		return err
	})
	var err error
	if f.receiver, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	go func() {
		data := make([]byte, 128<<10)
		for {
			if _, err := f.sender.Write(data); err != nil {
				return
			}
		}
	}()
	return f
}

func (f flow) close() {
	f.receiver.Close()
	f.sender.Close()
}

// rate measures in bits per second what arrives for a while, after the first
// part of it, in which what was saved up passes.
func (f flow) rate(t testing.TB) float64 {
	t.Helper()
	count(t, f.receiver, settle)
	begin := time.Now()
	n := count(t, f.receiver, window)
	return float64(n) * 8 / time.Since(begin).Seconds()
}

// stream is the rate of a flow of its own.
func stream(t testing.TB, from, to space, at netip.Addr) float64 {
	t.Helper()
	f := newFlow(t, from, to, at)
	defer f.close()
	return f.rate(t)
}

// count reads for a while.
func count(t testing.TB, c net.Conn, while time.Duration) (n int64) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(while)); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, c)
	if err != nil && !os.IsTimeout(err) {
		t.Fatal(err)
	}
	return n
}
