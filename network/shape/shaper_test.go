package shape

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
)

// holds checks that a measured rate is about what was asked for: headers are
// counted by the limit and not by the stream, a loaded machine is slower, and
// what arrived before anybody looked is counted too.
func holds(t *testing.T, what string, got, limit float64) {
	t.Helper()
	t.Logf("%s: %.1f of %.0f Mbit/s", what, got/1e6, limit/1e6)
	if got > 1.1*limit || got < limit/4 {
		t.Errorf("%s: %.1f Mbit/s pass, with a limit of %.0f", what, got/1e6, limit/1e6)
	}
}

const (
	settle = 100 * time.Millisecond
	window = 400 * time.Millisecond
)

// TestRates sends through a limit in each direction, changes it while a stream
// is under way, and takes it away.
func TestRates(t *testing.T) {
	b := newBed(t)
	b.set(t, "up=20mbit,down=60mbit")
	holds(t, "down", stream(t, b.peer, b.container, containerAddr), 60e6)
	holds(t, "up", stream(t, b.container, b.peer, peerAddr), 20e6)
	if got := b.read(t).Rate; got != (Rate{Up: 20e6, Down: 60e6}) {
		t.Errorf("the kernel says %s", got)
	}
	if is := b.read(t); !is.Is(Rate{Up: 20e6 + 1, Down: 60e6, Burst: 1e6}) || is.Is(Rate{Up: 20e6}) || is.Is(Rate{Up: 20e6, Down: 60e6, Loss: 1}) {
		t.Error("a rate is not told from another")
	}
	b.set(t, "up=40mbit,down=20mbit,burst=64k")
	holds(t, "down, less", stream(t, b.peer, b.container, containerAddr), 20e6)
	holds(t, "up, more", stream(t, b.container, b.peer, peerAddr), 40e6)
	b.set(t, "up=4mbit,down=4mbit")
	b.set(t, "none")
	if got := b.read(t); got != (State{}) {
		t.Errorf("without a rate the kernel says %+v", got)
	}
	for what, got := range map[string]float64{
		"down": stream(t, b.peer, b.container, containerAddr),
		"up":   stream(t, b.container, b.peer, peerAddr),
	} {
		if got < 8e6 {
			t.Errorf("%s, held to nothing: %.1f Mbit/s", what, got/1e6)
		}
	}
	if left := b.interfaces(t); len(left) != 4 {
		t.Errorf("the host has %v", left)
	}
}

// TestChangeUnderWay changes a rate in the middle of one stream.
func TestChangeUnderWay(t *testing.T) {
	b := newBed(t)
	b.set(t, "down=10mbit")
	f := newFlow(t, b.peer, b.container, containerAddr)
	defer f.close()
	if got := f.rate(t); got > 11e6 {
		t.Errorf("%.1f Mbit/s, with a limit of 10", got/1e6)
	}
	b.set(t, "down=80mbit")
	// A connection looks for another speed in its own time, above all with BBR.
	for begin, got := time.Now(), 0.0; got < 20e6; got = f.rate(t) {
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("%.1f Mbit/s, with a limit of 80", got/1e6)
		}
	}
	b.set(t, "down=10mbit")
	if got := f.rate(t); got > 11e6 {
		t.Errorf("%.1f Mbit/s, with a limit of 10 again", got/1e6)
	}
}

// TestHostileContainer is root in a container with NET_ADMIN, and floods.
func TestHostileContainer(t *testing.T) {
	b := newBed(t)
	b.set(t, "up=10mbit")
	b.container.do(t, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		at := netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: rootTBF, Parent: netlink.HANDLE_ROOT}
		fast := &netlink.Tbf{QdiscAttrs: at, Rate: 1e9, Limit: 100e6, Buffer: 1e6}
		if err := netlink.QdiscReplace(fast); err != nil {
			return fmt.Errorf("tbf: %w", err)
		}
		if err := netlink.QdiscDel(fast); err != nil {
			return fmt.Errorf("no tbf: %w", err)
		}
		if err := netlink.LinkSetMTU(l, 60000); err != nil {
			return fmt.Errorf("mtu: %w", err)
		}
		return nil
	})
	var sink *net.UDPConn
	b.peer.do(t, func() (err error) {
		sink, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(peerAddr, 0)))
		if err == nil {
			err = sink.SetReadBuffer(1 << 20)
		}
		return err
	})
	defer sink.Close()
	stop := make(chan struct{})
	defer close(stop)
	var flood net.Conn
	b.container.do(t, func() (err error) {
		flood, err = net.Dial("udp4", sink.LocalAddr().String())
		return err
	})
	defer flood.Close()
	go func() {
		packet := make([]byte, 1400)
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = flood.Write(packet)
			}
		}
	}()
	buf := make([]byte, 2048)
	if err := sink.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := sink.Read(buf); err != nil {
		t.Fatal(err)
	}
	begin, n := time.Now(), 0
	if err := sink.SetReadDeadline(begin.Add(window)); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := sink.Read(buf)
		if err != nil {
			if !os.IsTimeout(err) {
				t.Fatal(err)
			}
			break
		}
		n += m
	}
	const burst = 15140 * 8
	if got := (float64(n)*8 - burst) / time.Since(begin).Seconds(); got > 11e6 || got < 1e6 {
		t.Errorf("%.1f Mbit/s of a flood pass, with a limit of 10", got/1e6)
	}
	s := b.read(t)
	if s.Up.Dropped == 0 || s.Up.Held == 0 || s.Up.Bytes < uint64(n) || s.Up.Packets == 0 || s.Down != (Queue{}) {
		t.Errorf("counted: %+v", s)
	}
}

// TestAdopt has the interface of one container go while no engine runs, and
// that of another one stay.
func TestAdopt(t *testing.T) {
	b := newBed(t)
	other := newSpace(t)
	b.plug(t, "dv0a000004", other, netip.MustParseAddr("10.0.0.4"))
	b.set(t, "up=20mbit")
	if err := b.shaper.Set("dv0a000004", Rate{Up: 1e6}); err != nil {
		t.Fatal(err)
	}
	devices := func() (n int) {
		for _, name := range b.interfaces(t) {
			if strings.HasPrefix(name, ifbPrefix) {
				n++
			}
		}
		return n
	}
	if devices() != 2 {
		t.Fatalf("the host has %v", b.interfaces(t))
	}
	b.host.do(t, func() error {
		l, err := netlink.LinkByName("dv0a000004")
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	})
	b.open(t)
	if err := b.shaper.Sweep(); err != nil {
		t.Fatal(err)
	}
	if devices() != 1 {
		t.Errorf("after another start the host has %v", b.interfaces(t))
	}
	if got := b.read(t).Rate; got != (Rate{Up: 20e6}) {
		t.Errorf("after another start the kernel says %s", got)
	}
	b.set(t, "up=30mbit")
	holds(t, "up", stream(t, b.container, b.peer, peerAddr), 30e6)

	// The next container has the address of the one that ends, before the first
	// one's device is removed.
	remove := b.shaper.Forget(held)
	b.host.do(t, func() error {
		l, err := netlink.LinkByName(held)
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	})
	next := newSpace(t)
	b.plug(t, held, next, containerAddr)
	b.set(t, "up=20mbit")
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	holds(t, "the next one's up", stream(t, next, b.peer, peerAddr), 20e6)

	// That one's interface is removed by somebody, and another takes its place.
	b.host.do(t, func() error {
		l, err := netlink.LinkByName(held)
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	})
	b.plug(t, held, newSpace(t), containerAddr)
	b.set(t, "up=20mbit")
	if devices() != 1 {
		t.Errorf("for one container the host has %v", b.interfaces(t))
	}
	if err := b.shaper.Forget(held)(); err != nil {
		t.Fatal(err)
	}
	if b.shaper.Forget(held) != nil {
		t.Error("there is something to remove for an interface of nobody")
	}
	if devices() != 0 {
		t.Errorf("in the end the host has %v", b.interfaces(t))
	}
}

// TestLate delays and loses, or says why not and leaves nothing behind.
func TestLate(t *testing.T) {
	b := newBed(t)
	err := b.shaper.Set(held, Rate{Down: 50e6, Delay: 30 * time.Millisecond, Loss: 50})
	if errs.Is(err, errs.NotImplemented) {
		if !strings.Contains(err.Error(), "sch_netem") {
			t.Error(err)
		}
		if got, left := b.read(t), b.interfaces(t); got != (State{}) || slices.ContainsFunc(left, func(s string) bool { return strings.HasPrefix(s, ifbPrefix) }) {
			t.Errorf("after a refusal: %+v, %v", got, left)
		}
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	got := b.read(t).Rate
	if got.Down != 50e6 || got.Delay.Round(time.Millisecond) != 30*time.Millisecond || got.Loss < 49.9 || got.Loss > 50.1 {
		t.Errorf("the kernel says %+v", got)
	}
	b.set(t, "up=20mbit,delay=30ms")
	if trip := echo(t, b.peer, b.container); trip < 30*time.Millisecond {
		t.Errorf("a round trip of %s, with a delay of 30 ms", trip)
	}
	if got := stream(t, b.container, b.peer, peerAddr); got > 20e6 || got < 1e6 { // TCP takes its time on a long line
		t.Errorf("up, late: %.1f Mbit/s, with a limit of 20", got/1e6)
	}
	b.set(t, "delay=10ms")
	if got := b.read(t).Rate; got.Up != 0 || got.Delay.Round(time.Millisecond) != 10*time.Millisecond {
		t.Errorf("the kernel says %+v", got)
	}
	b.set(t, "up=20mbit")
	holds(t, "up, not late", stream(t, b.container, b.peer, peerAddr), 20e6)
}

// echo is the time of a packet there and back.
func echo(t *testing.T, from, to space) time.Duration {
	t.Helper()
	var server *net.UDPConn
	to.do(t, func() (err error) {
		server, err = net.ListenUDP("udp4", &net.UDPAddr{IP: containerAddr.AsSlice()})
		return err
	})
	defer server.Close()
	go func() {
		buf := make([]byte, 100)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(buf[:n], from)
		}
	}()
	var client net.Conn
	from.do(t, func() (err error) {
		client, err = net.Dial("udp4", server.LocalAddr().String())
		return err
	})
	defer client.Close()
	begin := time.Now()
	if _, err := client.Write([]byte("there and back")); err != nil {
		t.Fatal(err)
	}
	if err := client.SetReadDeadline(begin.Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	return time.Since(begin)
}

func TestGone(t *testing.T) {
	b := newBed(t)
	if err := b.shaper.Set("dvffffffff", Rate{Up: 1e6}); !errs.Is(err, errs.NotFound) {
		t.Error(err)
	}
	if _, err := b.shaper.Read("dvffffffff"); !errs.Is(err, errs.NotFound) {
		t.Error(err)
	}
	if b.shaper.Forget("dvffffffff") != nil {
		t.Error("there is something to remove for an interface that never was")
	}
}

func TestIFBName(t *testing.T) {
	for name, want := range map[string]int{"di0000002a": 42, "di0000002A": -1, "di2a": -1, "div0000002a": -1, "diffffffff": -1, "eth0": -1} {
		got, ok := ifbOwner(name)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%s: %d, %t", name, got, ok)
		}
	}
}

func BenchmarkSet(b *testing.B) {
	n := newBed(b)
	r := Rate{Up: 10e6, Down: 50e6}
	for b.Loop() {
		if err := n.shaper.Set(held, r); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := n.shaper.Set(held, Rate{}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkRead(b *testing.B) {
	n := newBed(b)
	n.set(b, "up=10mbit,down=50mbit")
	for b.Loop() {
		if _, err := n.shaper.Read(held); err != nil {
			b.Fatal(err)
		}
	}
}

// TestUnspecificFamilies checks that what is not IP is held too: a container
// may speak any protocol of Ethernet.
func TestUnspecificFamilies(t *testing.T) {
	b := newBed(t)
	b.set(t, "up=1mbit")
	b.container.do(t, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		frame := slices.Concat([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, l.Attrs().HardwareAddr, []byte{0x88, 0xb5}, make([]byte, 1000))
		for range 300 {
			if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index}); err != nil && err != unix.ENOBUFS {
				return err
			}
		}
		return nil
	})
	if s := b.read(t); s.Up.Dropped+s.Up.Waiting == 0 {
		t.Errorf("300 frames of 1 kB at once: %+v", s.Up)
	}
}
