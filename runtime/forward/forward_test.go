package forward

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const patience = 10 * time.Second

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

// echo serves what it reads, to its end, and says which of its ports it was.
func echo(t testing.TB, address string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
				fmt.Fprintf(c, "bye from %s", c.LocalAddr())
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// listener returns a socket as an engine would give it, and where it listens.
func listener(t testing.TB, address string) (*os.File, string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return file(t, l.(*net.TCPListener)), l.Addr().String()
}

func file(t testing.TB, c syscall.Conn) *os.File {
	t.Helper()
	fd, err := duplicate(c)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), "socket")
}

func open(t testing.TB, o Options, files ...*os.File) *Forwarder {
	t.Helper()
	f, err := Open(o, files)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func dialTest(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// TestConnection passes both directions on, each to its end, from IPv6 to IPv4.
func TestConnection(t *testing.T) {
	to := echo(t, "127.0.0.1:0")
	socket, at := listener(t, "[::1]:0")
	open(t, Options{To: to}, socket)
	for _, size := range []int{0, 1, 1 << 20} {
		c := dialTest(t, at)
		sent := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		go func() {
			c.Write(sent)
			c.CloseWrite() // and the answer still comes
		}()
		got, err := io.ReadAll(c)
		if want := append(sent, "bye from "+to.String()...); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %d came, %v", size, len(got), err)
		}
	}
}

func TestManyConnections(t *testing.T) {
	to := echo(t, "127.0.0.1:0")
	socket, at := listener(t, "127.0.0.1:0")
	goroutines := runtime.NumGoroutine()
	open(t, Options{To: to}, socket)
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			c, err := net.Dial("tcp", at)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			fmt.Fprintf(c, "%d\n", i)
			c.(*net.TCPConn).CloseWrite()
			if got, err := io.ReadAll(c); err != nil || !bytes.HasPrefix(got, fmt.Appendf(nil, "%d\nbye", i)) {
				t.Errorf("connection %d: %q, %v", i, got, err)
			}
		})
	}
	all.Wait()
	eventually(t, "nothing of the connections stays", func() bool { return runtime.NumGoroutine() <= goroutines+2 })
}

// TestRefused has a client of a port that nobody serves learn it, and a server
// whose client fails.
func TestRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	socket, at := listener(t, "127.0.0.1:0")
	open(t, Options{To: to}, socket)
	refused, err := net.Dial("tcp", at)
	if err == nil { // else it was as fast as the container's own refusal
		refused.SetDeadline(time.Now().Add(patience))
		_, err = refused.Read(make([]byte, 1))
		refused.Close()
	}
	if !errors.Is(err, unix.ECONNRESET) {
		t.Error("refused by the container:", err)
	}

	l, err = net.Listen("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := dialTest(t, at)
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c.SetLinger(0)
	c.Close()
	s.SetDeadline(time.Now().Add(patience))
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Error("given up by the client:", err)
	}
}

// TestClose gives the port back at once and leaves connections alone.
func TestClose(t *testing.T) {
	to := echo(t, "127.0.0.1:0")
	socket, at := listener(t, "127.0.0.1:0")
	f := open(t, Options{To: to}, socket)
	c := dialTest(t, at)
	say := func(word string) {
		t.Helper()
		got := make([]byte, len(word))
		io.WriteString(c, word)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != word {
			t.Errorf("%q, %v", got, err)
		}
	}
	say("before")
	f.Close()
	f.Close()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal("the port is not free:", err)
	}
	l.Close()
	say("after")
}

// pack puts sockets into the queue of another.
func pack(t testing.TB, files []*os.File) *os.File {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	for len(files) > 0 {
		n := min(len(files), inFlight)
		var fds []int
		for _, f := range files[:n] {
			fd, err := duplicate(f)
			if err != nil {
				t.Fatal(err)
			}
			fds = append(fds, fd)
			f.Close()
		}
		if err := unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(fds...), nil, 0); err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			unix.Close(fd)
		}
		files = files[n:]
	}
	return os.NewFile(uintptr(pair[1]), "pocket")
}

// TestRange leads each port of a range to its own, and serves connections that
// came before the sockets were taken out.
func TestRange(t *testing.T) {
	const count = 600
	var files []*os.File
	var ats []string
	for range count {
		socket, at := listener(t, "127.0.0.1:0")
		files, ats = append(files, socket), append(ats, at)
	}
	first, last := echo(t, "127.0.0.1:40000"), echo(t, "127.0.0.1:40599")
	open(t, Options{To: first, Packed: true}, pack(t, files))
	for i, to := range map[int]netip.AddrPort{0: first, count - 1: last} {
		c := dialTest(t, ats[i])
		c.CloseWrite()
		if got, err := io.ReadAll(c); err != nil || string(got) != "bye from "+to.String() {
			t.Errorf("port %d: %q, %v", i, got, err)
		}
	}
}

// TestReserve keeps ports and does nothing else.
func TestReserve(t *testing.T) {
	for _, packed := range []bool{false, true} {
		socket, at := listener(t, "127.0.0.1:0")
		if packed {
			socket = pack(t, []*os.File{socket})
		}
		goroutines := runtime.NumGoroutine()
		f := open(t, Options{Packed: packed, Reserve: true}, socket)
		if l, err := net.Listen("tcp", at); err == nil {
			l.Close()
			t.Error("the port is free")
		}
		if n := runtime.NumGoroutine(); n > goroutines {
			t.Errorf("%d goroutines", n-goroutines)
		}
		f.Close()
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
}

// TestDatagrams passes conversations on, to a server that tells them apart, and
// answers from the address that was asked.
func TestDatagrams(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			server.WriteTo(fmt.Appendf(nil, "%s for %s", buf[:n], from), from)
		}
	}()
	for _, at := range []string{"[::]:0", "127.0.0.1:0"} {
		listen, err := net.ListenPacket("udp", at)
		if err != nil {
			t.Fatal(err)
		}
		port := listen.LocalAddr().(*net.UDPAddr).Port
		f := open(t, Options{UDP: true, To: server.LocalAddr().(*net.UDPAddr).AddrPort()}, file(t, listen.(*net.UDPConn)))
		listen.Close()
		seen := map[string]bool{}
		for _, ip := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
			if at == "127.0.0.1:0" && ip != "127.0.0.1" {
				continue
			}
			c, err := net.Dial("udp", net.JoinHostPort(ip, fmt.Sprint(port))) // takes answers from there only
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			var first string
			for i, word := range []string{"one", "two", string(make([]byte, 60000))} {
				io.WriteString(c, word)
				buf := make([]byte, 64<<10)
				n, err := c.Read(buf)
				if err != nil {
					t.Fatalf("%s at %s: %v", ip, at, err)
				}
				var who string
				if got, ok := bytes.CutPrefix(buf[:n], []byte(word+" for ")); ok {
					who = string(got)
				}
				if i == 0 {
					first = who
				}
				if who == "" || who != first {
					t.Errorf("%s at %s: answer of %d bytes for %q, first %q", ip, at, n, who, first)
				}
			}
			if seen[first] {
				t.Error("two clients share a conversation")
			}
			seen[first] = true
		}
		f.Close()
		again, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal("the port is not free:", err)
		}
		again.Close()
	}
}

// TestDatagramsToNobody has a conversation survive that its container refuses.
func TestDatagramsToNobody(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := server.LocalAddr().(*net.UDPAddr)
	server.Close()
	listen, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listen.Close()
	open(t, Options{UDP: true, To: to.AddrPort()}, file(t, listen.(*net.UDPConn)))
	c, err := net.Dial("udp", listen.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("early"))
	c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	c.Read(make([]byte, 1))
	if server, err = net.ListenUDP("udp", to); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	buf := make([]byte, 16)
	eventually(t, "the server hears the client", func() bool {
		c.Write([]byte("late"))
		server.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		n, _, err := server.ReadFrom(buf)
		return err == nil && string(buf[:n]) == "late"
	})
}

// TestTooManyTalks keeps their number.
func TestTooManyTalks(t *testing.T) {
	listen, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listen.Close()
	f := open(t, Options{UDP: true, To: netip.MustParseAddrPort("127.0.0.1:9")}, file(t, listen.(*net.UDPConn)))
	for i := range maxTalks + 10 {
		who := party{client: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(i))}
		if _, err := f.talks.with(who, f.options.To); err != nil {
			t.Fatal(err)
		}
	}
	f.talks.mu.Lock()
	n := len(f.talks.all)
	f.talks.mu.Unlock()
	if n > maxTalks {
		t.Errorf("%d conversations", n)
	}
}

func BenchmarkThroughput(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				buf := make([]byte, 1<<20)
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
				}
			}()
		}
	}()
	socket, at := listener(b, "[::1]:0")
	open(b, Options{To: l.Addr().(*net.TCPAddr).AddrPort()}, socket)
	for name, to := range map[string]string{"direct": l.Addr().String(), "forwarded": at} {
		b.Run(name, func(b *testing.B) {
			c, err := net.Dial("tcp", to)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			buf := make([]byte, 128<<10)
			b.SetBytes(int64(len(buf)))
			for b.Loop() {
				if _, err := c.Write(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
