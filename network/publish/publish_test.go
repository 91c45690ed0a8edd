package publish

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/test/alone"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var loopback = netip.MustParseAddr("127.0.0.1")

func TestPlan(t *testing.T) {
	tcp := func(host, until, port uint16) Binding {
		return Binding{Proto: TCP, HostPort: host, Until: until, Port: port}
	}
	local := tcp(8081, 0, 81)
	local.HostIP = loopback
	udp := tcp(8081, 0, 81)
	udp.Proto = UDP
	for name, c := range map[string]struct {
		want []Binding
		text string
	}{
		"neighbours":      {[]Binding{tcp(8002, 0, 82), tcp(8000, 0, 80), tcp(8001, 0, 81)}, "0.0.0.0:8000/tcp -> 80 x3"},
		"gap":             {[]Binding{tcp(8000, 0, 80), tcp(8002, 0, 82)}, "0.0.0.0:8000/tcp -> 80 x1, 0.0.0.0:8002/tcp -> 82 x1"},
		"not in parallel": {[]Binding{tcp(8000, 0, 80), tcp(8001, 0, 80)}, "0.0.0.0:8000/tcp -> 80 x1, 0.0.0.0:8001/tcp -> 80 x1"},
		"twice":           {[]Binding{tcp(8000, 0, 80), tcp(8000, 8000, 80)}, "0.0.0.0:8000/tcp -> 80 x1"},
		"chosen last":     {[]Binding{tcp(0, 0, 80), tcp(0, 0, 80), tcp(8000, 8009, 80), tcp(8005, 0, 80)}, "0.0.0.0:8005/tcp -> 80 x1, 0.0.0.0:8000-8009/tcp -> 80 x1, 0.0.0.0:0/tcp -> 80 x1, 0.0.0.0:0/tcp -> 80 x1"},
		"others":          {[]Binding{tcp(8080, 0, 80), local, udp}, "0.0.0.0:8080/tcp -> 80 x1, 127.0.0.1:8081/tcp -> 81 x1, 0.0.0.0:8081/udp -> 81 x1"},
		"the last":        {[]Binding{tcp(65535, 0, 65535), tcp(65534, 0, 65534), tcp(0, 0, 0)}, "0.0.0.0:65534/tcp -> 65534 x2, 0.0.0.0:0/tcp -> 0 x1"},
	} {
		t.Run(name, func(t *testing.T) {
			var texts []string
			for _, r := range plan(c.want) {
				texts = append(texts, fmt.Sprintf("%s/%s -> %d x%d", hostText(r.HostIP, r.HostPort, r.Until), r.Proto, r.Port, r.count))
			}
			if text := strings.Join(texts, ", "); text != c.text {
				t.Errorf("got  %s\nwant %s", text, c.text)
			}
		})
	}
}

func TestOverlap(t *testing.T) {
	all4, all6, six := netip.IPv4Unspecified(), netip.IPv6Unspecified(), netip.MustParseAddr("::1")
	for _, c := range []struct {
		a, b netip.Addr
		want bool
	}{
		{netip.Addr{}, loopback, true}, {netip.Addr{}, six, true}, {all4, loopback, true}, {all6, six, true}, {all4, six, false},
		{all6, loopback, false}, {all4, all6, false}, {loopback, netip.MustParseAddr("127.0.0.2"), false},
	} {
		for _, pair := range [][2]netip.Addr{{c.a, c.b}, {c.b, c.a}} {
			if overlap(pair[0], pair[1]) != c.want {
				t.Errorf("%v and %v: %v", pair[0], pair[1], !c.want)
			}
		}
	}
	p, q := Port{TCP, netip.Addr{}, 8000, 80, 10}, Port{TCP, loopback, 8009, 80, 1}
	if !p.Overlaps(q) || !q.Overlaps(p) {
		t.Error("a range does not overlap its last port")
	}
	if q.HostPort++; p.Overlaps(q) || q.Overlaps(p) {
		t.Error("a range overlaps the port after it")
	}
}

// reserve reserves ports until the test ends.
func reserve(t *testing.T, listen bool, want ...Binding) ([]Socket, error) {
	t.Helper()
	s, err := Reserve(want, listen)
	t.Cleanup(func() { CloseAll(s) })
	return s, err
}

func mustReserve(t *testing.T, listen bool, want ...Binding) []Socket {
	t.Helper()
	s, err := reserve(t, listen, want...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// listenLikeServers binds as nearly all servers do, which tell the kernel to
// reuse addresses.
func listenLikeServers(address string) error {
	l, err := net.Listen("tcp", address)
	if err == nil {
		l.Close()
	}
	return err
}

// TestReserved has nobody take a reserved port, however it is reserved.
func TestReserved(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	for _, listen := range []bool{true, false} {
		t.Run(fmt.Sprintf("listen=%v", listen), func(t *testing.T) {
			got := mustReserve(t, listen, Binding{Proto: TCP, HostPort: 8080, Port: 80}, Binding{Proto: UDP, HostPort: 8080, Port: 80})
			for _, a := range []string{"0.0.0.0:8080", "127.0.0.1:8080", "[::]:8080", "[::1]:8080"} {
				if err := listenLikeServers(a); !errors.Is(err, unix.EADDRINUSE) {
					t.Errorf("listening at %s: %v", a, err)
				}
				if c, err := net.ListenPacket("udp", a); !errors.Is(err, unix.EADDRINUSE) {
					c.Close()
					t.Errorf("udp at %s: %v", a, err)
				}
			}
			for _, ip := range []netip.Addr{{}, loopback, netip.IPv6Loopback()} {
				for _, proto := range []string{TCP, UDP} {
					var taken *TakenError
					if _, err := reserve(t, listen, Binding{Proto: proto, HostIP: ip, HostPort: 8080}); !errors.As(err, &taken) || !errs.Is(err, errs.System) || taken.HostPort != 8080 {
						t.Errorf("a second reservation of %v, %s: %v", ip, proto, err)
					}
				}
			}
			CloseAll(got)
			if err := listenLikeServers("0.0.0.0:8080"); err != nil {
				t.Error("given back:", err)
			}
		})
	}
}

func TestOneFamily(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	mustReserve(t, false, Binding{Proto: TCP, HostIP: netip.IPv4Unspecified(), HostPort: 8080})
	if err := listenLikeServers("[::1]:8080"); err != nil {
		t.Error("IPv6 beside IPv4:", err)
	}
	mustReserve(t, false, Binding{Proto: TCP, HostIP: netip.IPv6Unspecified(), HostPort: 8080})
	mustReserve(t, false, Binding{Proto: TCP, HostIP: loopback, HostPort: 8081}, Binding{Proto: TCP, HostIP: netip.MustParseAddr("127.0.0.2"), HostPort: 8081})
	_, err := reserve(t, false, Binding{Proto: TCP, HostIP: netip.MustParseAddr("192.0.2.1"), HostPort: 8080})
	if !errs.Is(err, errs.InvalidParameter) || !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Error("an address of another host:", err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	if got := mustReserve(t, false, Binding{Proto: TCP, HostPort: 9000}); got[0].HostIP != netip.IPv4Unspecified() {
		t.Error("without IPv6:", got)
	}
}

// TestConnectionsThatEnded has them keep no port, though the kernel does not
// let others have it for another minute.
func TestConnectionsThatEnded(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	l, err := net.Listen("tcp4", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp4", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s.Close() // first, so that the server's end has to wait
	io.Copy(io.Discard, c)
	c.Close()
	l.Close()
	for _, listen := range []bool{false, true} {
		CloseAll(mustReserve(t, listen, Binding{Proto: TCP, HostPort: 8080}))
	}
	// Those of a reserved port that somebody listened at, too.
	got := mustReserve(t, true, Binding{Proto: TCP, HostPort: 8080})
	server, err := net.FileListener(got[0].File)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = net.Dial("tcp4", "127.0.0.1:8080"); err != nil {
		t.Fatal(err)
	}
	if s, err = server.Accept(); err != nil {
		t.Fatal(err)
	}
	s.Close()
	io.Copy(io.Discard, c)
	c.Close()
	server.Close()
	CloseAll(got)
	mustReserve(t, false, Binding{Proto: TCP, HostPort: 8080})
	if err := listenLikeServers("127.0.0.1:8080"); !errors.Is(err, unix.EADDRINUSE) {
		t.Error("reserved beside an ended connection, taken by another:", err)
	}
}

// TestChoice has ports chosen: any, of a range, and none that another binding
// must have.
func TestChoice(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	any := Binding{Proto: TCP, Port: 80}
	some := Binding{Proto: TCP, Port: 80, HostPort: 8000, Until: 8002}
	got := mustReserve(t, true, any, some, Binding{Proto: TCP, Port: 80, HostPort: 8000}, any)
	if len(got) != 4 || got[0].HostPort != 8000 || got[1].HostPort != 8001 || got[2].HostPort == 0 || got[2].HostPort == got[3].HostPort {
		t.Fatal(got)
	}
	if err := listenLikeServers(fmt.Sprintf("127.0.0.1:%d", got[2].HostPort)); !errors.Is(err, unix.EADDRINUSE) {
		t.Error("a chosen port:", err)
	}
	mustReserve(t, true, some)
	if _, err := reserve(t, true, some); !errs.Is(err, errs.Exhausted) || !strings.Contains(err.Error(), "0.0.0.0:8000-8002/tcp") {
		t.Error("of a range that is full:", err)
	}
}

// TestRange reserves as many ports as asked, by one descriptor, or none.
func TestRange(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	const first, count = 20000, 1000
	var want []Binding
	for i := range uint16(count) {
		want = append(want, Binding{Proto: TCP, HostPort: first + i, Port: 1000 + i})
	}
	before := descriptors(t)
	got := mustReserve(t, true, want...)
	if len(got) != 1 || got[0].Port != (Port{TCP, netip.Addr{}, first, 1000, count}) || !got[0].Packed || descriptors(t) != before+1 {
		t.Fatal(got, descriptors(t)-before)
	}
	for _, port := range []int{first, first + 253, first + count - 1} {
		if err := listenLikeServers(fmt.Sprintf("0.0.0.0:%d", port)); !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("port %d: %v", port, err)
		}
	}
	CloseAll(got)
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+900))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := reserve(t, true, want...); !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "0.0.0.0:20900/tcp") {
		t.Error("a range with a port that is taken:", err)
	}
	if n := descriptors(t); n > before+4 { // those of the listener and of the poller
		t.Errorf("%d descriptors stay", n-before)
	}
	if err := listenLikeServers(fmt.Sprintf("0.0.0.0:%d", first)); err != nil {
		t.Error("given back:", err)
	}
}

func descriptors(t *testing.T) int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestHolder(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	me := fmt.Sprintf("(process %d)", os.Getpid())
	for _, a := range []string{"127.0.0.1:8080", "[::]:8080"} {
		l, err := net.Listen("tcp", a)
		if err != nil {
			t.Fatal(err)
		}
		if h := Holder(Port{Proto: TCP, HostPort: 8080, Count: 1}); !strings.HasSuffix(h, me) {
			t.Errorf("holder of %s: %q", a, h)
		}
		if h := Holder(Port{Proto: TCP, HostIP: netip.MustParseAddr("127.0.0.2"), HostPort: 8080, Count: 1}); (h != "") != strings.Contains(a, "::") {
			t.Errorf("holder of 127.0.0.2 beside %s: %q", a, h)
		}
		l.Close()
	}
	c, err := net.ListenPacket("udp4", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if h := Holder(Port{Proto: UDP, HostPort: 53, Count: 1}); !strings.HasSuffix(h, me) {
		t.Errorf("holder of udp: %q", h)
	}
	mustReserve(t, false, Binding{Proto: TCP, HostPort: 9000})
	if h := Holder(Port{Proto: TCP, HostPort: 9000, Count: 1}); h != "" && !strings.HasSuffix(h, me) { // older kernels do not list it
		t.Errorf("holder of a port that is bound only: %q", h)
	}
	if h := Holder(Port{Proto: TCP, HostPort: 9999, Count: 1}); h != "" {
		t.Errorf("holder of a free port: %q", h)
	}
}

func FuzzParseLocal(f *testing.F) {
	f.Add(make([]byte, diagMessageSize))
	f.Fuzz(func(t *testing.T, m []byte) { parseLocal(m, 0) })
}

// TestForget has the kernel forget the conversations of a port and of a
// container's address, and no others.
func TestForget(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	rules := exec.Command("nft", "-f", "-")
	rules.Stdin = strings.NewReader(`table inet t {
		chain o { type nat hook output priority -100; ip daddr 127.0.0.1 udp dport 5000 dnat ip to 127.0.0.9:53; udp dport 5001 accept; }
		chain f { type filter hook input priority 0; ct state established accept; }
	}`)
	if out, err := rules.CombinedOutput(); err != nil {
		t.Skipf("no nft: %v %s", err, out)
	}
	known := func(port uint16) bool {
		flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range flows {
			if f.Forward.DstPort == port && f.Forward.Protocol == unix.IPPROTO_UDP {
				return true
			}
		}
		return false
	}
	talk := func() {
		for _, port := range []string{"5000", "5001"} {
			c, err := net.Dial("udp4", "127.0.0.1:"+port)
			if err != nil {
				t.Fatal(err)
			}
			c.Write([]byte("x"))
			c.Close()
		}
	}
	talk()
	if !known(5000) || !known(5001) {
		t.Skip("this kernel does not track connections here")
	}
	var log bytes.Buffer
	f := NewForgetter(slog.New(slog.NewTextHandler(&log, nil)))
	f.Wait()
	f.Arrivals([]Port{{UDP, netip.Addr{}, 4990, 53, 11}, {TCP, netip.Addr{}, 5001, 53, 1}})
	f.Wait()
	if known(5000) || !known(5001) {
		t.Errorf("by port: forgotten %v, the other %v", !known(5000), !known(5001))
	}
	talk()
	f.Target(netip.Addr{}, netip.MustParseAddr("127.0.0.9"))
	f.Target(loopback) // where the other was sent to itself
	f.Wait()
	if known(5000) || !known(5001) {
		t.Errorf("by address: forgotten %v, the other %v", !known(5000), !known(5001))
	}
	if log.Len() > 0 {
		t.Error(log.String())
	}
}

func BenchmarkReserve(b *testing.B) {
	if !alone.Run(b) {
		return
	}
	var want []Binding
	for i := range uint16(10000) {
		want = append(want, Binding{Proto: TCP, HostPort: 20000 + i, Port: 20000 + i})
	}
	for _, n := range []int{1, 10000} {
		b.Run(fmt.Sprintf("ports=%d", n), func(b *testing.B) {
			for b.Loop() {
				s, err := Reserve(want[:n], true)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				CloseAll(s)
				for err = unix.EADDRINUSE; err != nil; time.Sleep(time.Millisecond) { // the kernel empties the queue later
					err = listenLikeServers(fmt.Sprintf(":%d", 20000+n-1))
				}
				b.StartTimer()
			}
		})
	}
}
