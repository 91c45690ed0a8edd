package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/test/alone"
	apinet "github.com/moby/moby/api/types/network"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// openStore opens a store without a default bridge.
func openStore(t testing.TB) *Store {
	t.Helper()
	c := testConfig(t)
	c.Bridge = noBridge
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(true); err != nil {
			t.Error(err)
		}
	})
	return s
}

// resolved opens a resolver in a namespace of its own.
func resolved(t testing.TB, s *Store) *os.File {
	t.Helper()
	box, err := s.Acquire(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { box.NetNS.Close() })
	sockets, err := s.OpenResolver(box.NetNS)
	if err != nil {
		t.Fatal(err)
	}
	answer(t, sockets)
	return box.NetNS
}

// answer answers each question with the address 192.0.2.1.
func answer(t testing.TB, sockets []*os.File) {
	t.Helper()
	udp, err := net.FilePacketConn(sockets[0])
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.FileListener(sockets[1])
	if err != nil {
		t.Fatal(err)
	}
	closeAll(sockets)
	t.Cleanup(func() { udp.Close(); tcp.Close() })
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			udp.WriteTo(reply(t, buf[:n], "udp"), from)
		}
	}()
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 1<<16)
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				out := reply(t, buf[2:n], "tcp")
				c.Write(append([]byte{byte(len(out) >> 8), byte(len(out))}, out...))
			}()
		}
	}()
}

// reply answers a question by UDP with word that it is to come by TCP, and one by
// TCP with many addresses.
func reply(t testing.TB, msg []byte, network string) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(msg); err != nil {
		t.Error(err)
		return nil
	}
	m.Response, m.Additionals = true, nil
	m.Truncated = network == "udp" && strings.HasPrefix(m.Questions[0].Name.String(), "big")
	list := 1
	if network == "tcp" {
		list = 400
	}
	for i := range list {
		if m.Questions[0].Type == dnsmessage.TypeA {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET},
				Body:   &dnsmessage.AResource{A: [4]byte{192, 0, byte(2 + i>>8), byte(1 + i)}},
			})
		}
	}
	out, err := m.Pack()
	if err != nil {
		t.Error(err)
	}
	return out
}

// lookUp asks 127.0.0.11, as resolv.conf would have it, in a namespace.
func lookUp(t testing.TB, ns *os.File, name string) (list []string, err error) {
	t.Helper()
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (c net.Conn, err error) {
		err = within(t, ns, func() (err error) {
			c, err = new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(ResolverAddr.String(), "53"))
			return err
		})
		return c, err
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ips, err := r.LookupIP(ctx, "ip4", name)
	for _, ip := range ips {
		list = append(list, ip.String())
	}
	return list, err
}

// TestResolver reaches the resolver at its address, by UDP and TCP, beside a
// server that has port 53 of all addresses.
func TestResolver(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	s := openStore(t)
	ns := resolved(t, s)
	if list, err := lookUp(t, ns, "db."); err != nil || len(list) != 1 {
		t.Errorf("by UDP: %v, %v", list, err)
	}
	if list, err := lookUp(t, ns, "big."); err != nil || len(list) != 400 {
		t.Errorf("by TCP: %d addresses, %v", len(list), err)
	}
	if err := within(t, ns, func() error {
		udp, err := net.ListenPacket("udp", ":53")
		if err != nil {
			return err
		}
		t.Cleanup(func() { udp.Close() })
		tcp, err := net.Listen("tcp", ":53")
		if err != nil {
			return err
		}
		t.Cleanup(func() { tcp.Close() })
		return nil
	}); err != nil {
		t.Errorf("a server on port 53: %v", err)
	}
	if list, err := lookUp(t, ns, "db."); err != nil || len(list) != 1 {
		t.Errorf("beside a server on port 53: %v, %v", list, err)
	}
	if list, err := lookUp(t, ns, "big."); err != nil || len(list) != 400 {
		t.Errorf("by TCP beside a server on port 53: %d addresses, %v", len(list), err)
	}
	if _, err := s.OpenResolver(ns); !errs.Is(err, errs.Conflict) {
		t.Errorf("a second resolver: %v", err)
	}
	if nft, err := exec.LookPath("nft"); err == nil {
		if err := within(t, ns, func() error {
			out, err := exec.Command(nft, "list", "ruleset").CombinedOutput()
			if strings.Count(string(out), "127.0.0.11") != 4 || strings.Count(string(out), "table") != 1 {
				err = errors.Join(err, fmt.Errorf("%s", out))
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	}
}

// TestResolverWithoutRedirection has the resolver at port 53 itself, on a kernel
// that can lead no packet elsewhere.
func TestResolverWithoutRedirection(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	s := openStore(t)
	box, err := s.Acquire(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer box.NetNS.Close()
	var sockets []*os.File
	if err := within(t, box.NetNS, func() (err error) {
		sockets, err = openResolver(func() error { return unix.EAFNOSUPPORT })
		return err
	}); err != nil {
		t.Fatal(err)
	}
	answer(t, sockets)
	for name, want := range map[string]int{"db.": 1, "big.": 400} {
		if list, err := lookUp(t, box.NetNS, name); err != nil || len(list) != want {
			t.Errorf("%s: %d addresses, %v", name, len(list), err)
		}
	}
}

// TestResolverInUserNamespace has the sockets in a namespace that belongs to a
// user namespace other than the host's.
func TestResolverInUserNamespace(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	s := openStore(t)
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Skipf("user namespaces: %v", err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	for range 2 { // the second finds the redirection of the first
		sockets, err := s.OpenResolver(ns)
		if err != nil {
			t.Fatal(err)
		}
		closeAll(sockets)
	}
}

// TestResolverAhead has a network that containers are on make resolvers ahead,
// and leave none open when it goes.
func TestResolverAhead(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	before := openFiles(t)
	s := open(t, testConfig(t))
	n := create(t, s, apinet.CreateRequest{Name: "front"})
	take := func(network string) int {
		box, err := s.Acquire(t.Context(), []Wish{{Network: network}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		box.close()
		s.Release(box.Endpoints[0])
		return len(box.Resolver)
	}
	eventually(t, "a sandbox with the sockets of a resolver", func() bool { return take(n.ID) == 2 })
	eventually(t, "a ready sandbox of the default bridge", func() bool { return s.Info().Ready > 0 })
	if got := take(s.networks.bridge.net.ID); got != 0 {
		t.Errorf("on the default bridge, where there are no names, %d sockets were made", got)
	}
	if err := s.Remove(t.Context(), n.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all files are closed", func() bool { return openFiles(t) <= before })
}

// BenchmarkResolver shows what the resolver's sockets and their redirection cost
// a sandbox, and what the redirection costs a packet on lo that is not the
// resolver's.
func BenchmarkResolver(b *testing.B) {
	if !alone.Run(b) {
		return
	}
	s := openStore(b)
	for _, with := range []bool{false, true} {
		b.Run(fmt.Sprintf("sandbox/resolver=%v", with), func(b *testing.B) {
			for b.Loop() {
				box, err := s.Acquire(b.Context(), nil, nil)
				if err != nil {
					b.Fatal(err)
				}
				if with {
					sockets, err := s.OpenResolver(box.NetNS)
					if err != nil {
						b.Fatal(err)
					}
					closeAll(sockets)
				}
				box.NetNS.Close()
			}
		})
	}
	for _, with := range []bool{false, true} {
		b.Run(fmt.Sprintf("lo/resolver=%v", with), func(b *testing.B) {
			box, err := s.Acquire(b.Context(), nil, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer box.NetNS.Close()
			if with {
				sockets, err := s.OpenResolver(box.NetNS)
				if err != nil {
					b.Fatal(err)
				}
				defer closeAll(sockets)
			}
			var fd int
			if err := within(b, box.NetNS, func() (err error) { fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0); return err }); err != nil {
				b.Fatal(err)
			}
			defer unix.Close(fd)
			here := &unix.SockaddrInet4{Port: 5000, Addr: [4]byte{127, 0, 0, 1}}
			if err := errors.Join(unix.Bind(fd, here), unix.Connect(fd, here)); err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, 64)
			best := time.Hour
			for b.Loop() {
				begin := time.Now()
				for range 1000 {
					if _, err := unix.Write(fd, buf); err != nil {
						b.Fatal(err)
					}
					if _, err := unix.Read(fd, buf); err != nil {
						b.Fatal(err)
					}
				}
				best = min(best, time.Since(begin)/1000)
			}
			b.ReportMetric(float64(best.Nanoseconds()), "min-ns/packet")
		})
	}
}
