package network

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network/publish"
	"github.com/davit-engine/davit/test/alone"
	apinet "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func tcp(host, port uint16) publish.Binding {
	return publish.Binding{Proto: publish.TCP, HostPort: host, Port: port}
}

// publishing publishes until the test ends; the sockets stay here.
func publishing(t *testing.T, s *Store, e *Endpoint, want ...publish.Binding) []publish.Socket {
	t.Helper()
	sockets, err := s.Ports().Publish(e, want)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { publish.CloseAll(sockets) })
	return sockets
}

// askPort is ask for another port.
func askPort(t *testing.T, ns *os.File, server netip.AddrPort) (string, error) {
	t.Helper()
	var answer []byte
	err := within(t, ns, func() error {
		c, err := net.DialTimeout("tcp", server.String(), 2*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Second))
		answer, err = io.ReadAll(c)
		return err
	})
	return string(answer), err
}

// TestPublishedPort reaches a container from the world by the host's address,
// with the client's own, also after another engine took it over, until the
// container is released.
func TestPublishedPort(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	world := newWorld(t, 0)
	home, err := openNetNS()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	config := testConfig(t)
	first, err := Open(t.Context(), config)
	if err == nil {
		err = first.Ready()
	}
	if err != nil {
		t.Fatal(err)
	}
	box, err := first.Acquire(t.Context(), onBridge, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer box.NetNS.Close()
	serve(t, box.NetNS)
	sockets := publishing(t, first, box.place(), tcp(8080, 80), publish.Binding{Proto: publish.TCP, HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: 8081, Port: 80})
	reaches := func(when string) {
		t.Helper()
		if who, err := askPort(t, world, netip.AddrPortFrom(hostAddr, 8080)); err != nil || who != worldAddr.String() {
			t.Errorf("%s: the world is %q, %v", when, who, err)
		}
		if _, err := askPort(t, home, netip.MustParseAddrPort("127.0.0.1:8081")); err != nil {
			t.Errorf("%s: the host by 127.0.0.1: %v", when, err)
		}
	}
	reaches("published")
	if _, err := askPort(t, world, netip.AddrPortFrom(hostAddr, 8081)); err == nil {
		t.Error("a port of 127.0.0.1 is open to the world")
	}
	if err := first.Close(false); err != nil {
		t.Fatal(err)
	}
	second := adopt(t, config)
	if err := second.Reserve(*box.place()); err != nil {
		t.Fatal(err)
	}
	reaches("before the second engine is ready")
	if err := second.Ready(); err != nil {
		t.Fatal(err)
	}
	reaches("taken over")
	other := acquire(t, second, Wish{})
	var taken *PortTakenError
	if _, err := second.Ports().Publish(other.place(), []publish.Binding{tcp(8080, 80)}); !errors.As(err, &taken) || taken.Endpoint != box.place().ID || !errs.Is(err, errs.System) ||
		err.Error() != "Bind for 0.0.0.0:8080 failed: port is already allocated" {
		t.Errorf("published twice: %v", err)
	}
	if len(other.place().Ports) != 0 {
		t.Errorf("after an error: %v", other.place().Ports)
	}

	// The container ends: first its sockets go, then the engine hears of it.
	publish.CloseAll(sockets)
	serve(t, other.NetNS)
	publishing(t, second, other.place(), tcp(8080, 80), publish.Binding{Proto: publish.TCP, HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: 8081, Port: 80})
	reaches("published by the next before the last was released")
	second.Release(*box.place())
	if _, err := askPort(t, world, netip.AddrPortFrom(hostAddr, 8080)); err != nil {
		t.Error("the last was released:", err)
	}
	second.Release(*other.place())
	if _, err := askPort(t, world, netip.AddrPortFrom(hostAddr, 8080)); err == nil {
		t.Error("a released port still leads to its container")
	}
}

// TestPublishedFamilies publishes what each sort of network can.
func TestPublishedFamilies(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	config := testConfig(t)
	config.PublishOn = netip.MustParseAddr("127.0.0.1")
	s := open(t, config)
	create(t, s, apinet.CreateRequest{Name: "four", Options: map[string]string{optionBinding: "0.0.0.0"}})
	create(t, s, apinet.CreateRequest{Name: "six", EnableIPv4: new(false), EnableIPv6: new(true), Options: map[string]string{optionBinding: "0.0.0.0"}})
	create(t, s, apinet.CreateRequest{Name: "local"})
	create(t, s, apinet.CreateRequest{Name: "internal", Internal: true})
	create(t, s, apinet.CreateRequest{Name: "routed", Options: map[string]string{optionMode4: modeRouted}})
	create(t, s, apinet.CreateRequest{Name: "half", EnableIPv6: new(true), Options: map[string]string{optionMode6: modeRouted, optionBinding: "0.0.0.0"}})
	port := uint16(8000)
	for network, c := range map[string]struct{ proxy, without string }{
		"four":     {"0.0.0.0 ::", "0.0.0.0"},
		"six":      {"0.0.0.0 ::", "::"},
		"local":    {"127.0.0.1", "127.0.0.1"},
		"bridge":   {"127.0.0.1", "127.0.0.1"},
		"internal": {"", ""},
		"routed":   {"opened", "opened"},
		"half":     {"0.0.0.0 :: opened", "0.0.0.0 opened"},
	} {
		for _, proxy := range []bool{true, false} {
			s.ports.passing = proxy
			box := acquire(t, s, Wish{Network: network})
			port++
			publishing(t, s, box.place(), tcp(port, 80))
			var shown []string
			for _, p := range box.place().Ports {
				if p.HostPort == 0 {
					shown = append(shown, "opened")
					continue
				}
				for _, ip := range p.HostIPs() {
					shown = append(shown, ip.String())
				}
			}
			slices.Sort(shown)
			want := c.without
			if proxy {
				want = c.proxy
			}
			if got := strings.Join(shown, " "); got != want {
				t.Errorf("%s, proxy %v: published on %q, want %q", network, proxy, got, want)
			}
		}
	}
	on := []Endpoint{*acquire(t, s, Wish{Network: "internal"}).place(), *acquire(t, s, Wish{Network: "local"}).place(), *acquire(t, s, Wish{Network: "four"}).place()}
	if home := s.Ports().Home(on); home != 2 {
		t.Errorf("ports are published on endpoint %d, want the first by name", home)
	}
	on[1].Priority = 1
	if home := s.Ports().Home(on); home != 1 {
		t.Errorf("ports are published on endpoint %d, want that of priority", home)
	}
	if home := s.Ports().Home(on[:1]); home != -1 {
		t.Errorf("ports are published on endpoint %d of an internal network", home)
	}
}

// TestUnpublish takes one port back and leaves the other.
func TestUnpublish(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	world := newWorld(t, 0)
	s := open(t, testConfig(t))
	box := acquire(t, s, Wish{})
	serve(t, box.NetNS)
	publishing(t, s, box.place(), tcp(8080, 80), tcp(9090, 80))
	gone := box.place().Ports[:1]
	if err := s.Ports().Unpublish(box.place(), gone); err != nil {
		t.Fatal(err)
	}
	if len(box.place().Ports) != 1 || box.place().Ports[0].HostPort != 9090 {
		t.Errorf("left: %v", box.place().Ports)
	}
	for port, want := range map[uint16]bool{8080: false, 9090: true} {
		if _, err := askPort(t, world, netip.AddrPortFrom(hostAddr, port)); (err == nil) != want {
			t.Errorf("port %d: %v", port, err)
		}
	}
}

// TestDatagramsFollow has a client over UDP that does not pause reach the
// container that has the port by now.
func TestDatagramsFollow(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	world := newWorld(t, 0)
	s := open(t, testConfig(t))
	var client net.Conn
	if err := within(t, world, func() (err error) {
		client, err = net.Dial("udp4", netip.AddrPortFrom(hostAddr, 53).String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for round := range 3 {
		for range 3 { // before anybody is there: the host itself is asked, and the kernel remembers it
			client.Write([]byte("early"))
		}
		box := acquire(t, s, Wish{})
		var server net.PacketConn
		if err := within(t, box.NetNS, func() (err error) {
			server, err = net.ListenPacket("udp4", ":53")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		sockets := publishing(t, s, box.place(), publish.Binding{Proto: publish.UDP, HostPort: 53, Port: 53})
		eventually(t, fmt.Sprintf("container %d is asked", round), func() bool {
			client.Write([]byte("late"))
			server.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			_, from, err := server.ReadFrom(make([]byte, 16))
			return err == nil && strings.HasPrefix(from.String(), worldAddr.String())
		})
		server.Close()
		publish.CloseAll(sockets)
		s.Release(*box.place())
		s.ports.forgetter.Wait()
		flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range flows {
			if f.Reverse.SrcIP.String() == box.place().Address4.Addr().String() {
				t.Errorf("the kernel remembers %v", f)
			}
		}
	}
}
