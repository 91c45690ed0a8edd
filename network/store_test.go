package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/test/alone"
	apinet "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// create makes a network that is removed with the test.
func create(t testing.TB, s *Store, r apinet.CreateRequest) apinet.Network {
	t.Helper()
	n, _, err := s.Create(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Remove(t.Context(), n.ID); err != nil && !errs.Is(err, errs.NotFound) && !errs.Is(err, errs.Unavailable) {
			t.Errorf("removing network %s: %v", n.Name, err)
		}
	})
	return n
}

// look describes the interfaces and routes of a namespace.
func look(t testing.TB, ns *os.File) (text string) {
	t.Helper()
	if err := within(t, ns, func() error {
		links, err := dump(netlink.LinkList)
		if err != nil {
			return err
		}
		slices.SortFunc(links, func(a, b netlink.Link) int { return strings.Compare(a.Attrs().Name, b.Attrs().Name) })
		for _, l := range links {
			addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(l, netlink.FAMILY_ALL) })
			if err != nil {
				return err
			}
			text += l.Attrs().Name + ":"
			for _, a := range addrs {
				if !a.IP.IsLinkLocalUnicast() || a.IP.To4() != nil {
					text += " " + a.IPNet.String()
				}
			}
			text += "\n"
		}
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			routes, err := dump(func() ([]netlink.Route, error) { return netlink.RouteList(nil, family) })
			if err != nil {
				return err
			}
			for _, r := range routes {
				if r.Dst == nil || r.Dst.IP.IsUnspecified() {
					text += fmt.Sprintf("default via %v dev %s\n", r.Gw, linkName(r.LinkIndex))
				}
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return text
}

func TestUserNetwork(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	world := newWorld(t, 0)
	serve(t, world)
	s := open(t, testConfig(t))
	a := create(t, s, apinet.CreateRequest{Name: "a"})
	b := create(t, s, apinet.CreateRequest{Name: "b"})
	if a.Driver != "bridge" || a.Scope != "local" || !a.EnableIPv4 || a.EnableIPv6 || len(a.IPAM.Config) != 1 || a.IPAM.Config[0].Subnet.Overlaps(b.IPAM.Config[0].Subnet) {
		t.Errorf("networks %+v and %+v", a, b)
	}
	web, client, stranger := acquire(t, s, Wish{Network: a.ID}), acquire(t, s, Wish{Network: "a"}), acquire(t, s, Wish{Network: b.ID})
	serve(t, web.NetNS)
	at := web.place().Address4.Addr()
	if who, err := ask(t, client.NetNS, at, 5*time.Second); err != nil || who != client.place().Address4.Addr().String() {
		t.Errorf("on one network: %q, %v", who, err)
	}
	if who, err := ask(t, client.NetNS, worldAddr, 5*time.Second); err != nil || who != hostAddr.String() {
		t.Errorf("to the world: %q, %v", who, err)
	}
	if who, err := ask(t, stranger.NetNS, at, 300*time.Millisecond); err == nil {
		t.Errorf("from another network: %q", who)
	}
	if err := s.Remove(t.Context(), "a"); errs.KindOf(err) != errs.Forbidden {
		t.Errorf("removing a network in use: %v", err)
	}
	if err := s.Remove(t.Context(), "bridge"); errs.KindOf(err) != errs.Forbidden {
		t.Errorf("removing the default bridge: %v", err)
	}
	c := create(t, s, apinet.CreateRequest{Name: "gone"})
	if err := s.Remove(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	if _, err := net.InterfaceByName("br-" + c.ID[:12]); err == nil {
		t.Error("the bridge of a removed network is there")
	}
	if _, err := s.Find("gone"); errs.KindOf(err) != errs.NotFound {
		t.Errorf("a removed network: %v", err)
	}
}

func TestSeveralNetworks(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	s := open(t, testConfig(t))
	subnet := func(p, gateway string) *apinet.IPAM {
		return &apinet.IPAM{Config: []apinet.IPAMConfig{{Subnet: netip.MustParsePrefix(p), Gateway: netip.MustParseAddr(gateway)}}}
	}
	create(t, s, apinet.CreateRequest{Name: "a", IPAM: subnet("10.1.0.0/24", "10.1.0.1")})
	create(t, s, apinet.CreateRequest{Name: "b", IPAM: subnet("10.2.0.0/24", "10.2.0.254")})
	create(t, s, apinet.CreateRequest{Name: "inside", IPAM: subnet("10.3.0.0/24", "10.3.0.1"), Internal: true})
	box, err := s.Acquire(t.Context(), []Wish{{Network: "b"}, {Network: "inside", Priority: 9}, {Network: "bridge", Address4: netip.MustParseAddr("172.17.9.2")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer box.NetNS.Close()
	expect := func(what, want string) {
		t.Helper()
		if got := look(t, box.NetNS); got != want {
			t.Errorf("%s:\n%swant:\n%s", what, got, want)
		}
	}
	lo := "lo: 127.0.0.1/8 ::1/128\n"
	expect("three networks", "eth0: 10.2.0.1/24\neth1: 10.3.0.2/24\neth2: 172.17.9.2/16\n"+lo+"default via 10.2.0.254 dev eth0\n")
	e, err := s.Connect(t.Context(), box.NetNS, box.Endpoints, Wish{Network: "a", LinkLocal: []netip.Addr{netip.MustParseAddr("169.254.9.9")}})
	if err != nil {
		t.Fatal(err)
	}
	expect("the first by name", "eth0: 10.2.0.1/24\neth1: 10.3.0.2/24\neth2: 172.17.9.2/16\neth3: 169.254.9.9/16 10.1.0.2/24\n"+lo+"default via 10.1.0.1 dev eth3\n")
	rest := box.Endpoints
	if err := s.Disconnect(t.Context(), box.NetNS, e, rest); err != nil {
		t.Fatal(err)
	}
	expect("without it", "eth0: 10.2.0.1/24\neth1: 10.3.0.2/24\neth2: 172.17.9.2/16\n"+lo+"default via 10.2.0.254 dev eth0\n")
	if e, err = s.Connect(t.Context(), box.NetNS, rest, Wish{Network: "a", Interface: "net7", Priority: -1}); err != nil {
		t.Fatal(err)
	}
	expect("of low priority", "eth0: 10.2.0.1/24\neth1: 10.3.0.2/24\neth2: 172.17.9.2/16\n"+lo+"net7: 10.1.0.3/24\ndefault via 10.2.0.254 dev eth0\n")
	if _, err := s.Connect(t.Context(), box.NetNS, rest, Wish{Network: "a", Interface: "eth1"}); errs.KindOf(err) != errs.Conflict {
		t.Errorf("a name that is taken: %v", err)
	}
	for _, e := range append(rest, e) {
		s.Release(e)
	}
	for _, n := range s.List()[3:] {
		if err := s.Remove(t.Context(), n.ID); err != nil {
			t.Error(err)
		}
	}
}

func TestNetworksStay(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	c := testConfig(t)
	first, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	n, _, err := first.Create(t.Context(), apinet.CreateRequest{Name: "n", EnableIPv6: new(true), Labels: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	only, _, err := first.Create(t.Context(), apinet.CreateRequest{Name: "v6", EnableIPv4: new(false), EnableIPv6: new(true)})
	if err != nil {
		t.Fatal(err)
	}
	var boxes []*Sandbox
	for _, w := range []Wish{{Network: n.ID}, {Network: only.ID}, {Network: n.ID}} {
		box, err := first.Acquire(t.Context(), []Wish{w}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer box.NetNS.Close()
		boxes = append(boxes, box)
	}
	if err := first.Close(false); err != nil {
		t.Fatal(err)
	}
	second := adopt(t, c)
	again, err := second.Find("n")
	if err != nil || fmt.Sprint(again) != fmt.Sprint(n) {
		t.Errorf("network was %+v and is %+v, %v", n, again, err)
	}
	for _, box := range boxes[:2] {
		if err := second.Reserve(*box.place()); err != nil {
			t.Error(err)
		}
	}
	fresh := acquire(t, second, Wish{Network: only.ID})
	if fresh.place().Address6 == boxes[1].place().Address6 {
		t.Errorf("address %s given twice", fresh.place().Address6)
	}
	second.Ready()
	eventually(t, "the dead endpoint's interface to go", func() bool {
		_, err := net.InterfaceByName(boxes[2].place().HostVeth)
		return err != nil
	})
	if got, want := look(t, boxes[0].NetNS), fmt.Sprintf("eth0: %v %v\nlo: 127.0.0.1/8 ::1/128\ndefault via %v dev eth0\ndefault via %v dev eth0\n",
		boxes[0].place().Address4, boxes[0].place().Address6, boxes[0].place().Gateway4, boxes[0].place().Gateway6); got != want {
		t.Errorf("dual stack:\n%swant:\n%s", got, want)
	}
	for _, box := range boxes[:2] {
		second.Release(*box.place())
	}
}

func TestIPv6Traffic(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	s := open(t, testConfig(t))
	create(t, s, apinet.CreateRequest{Name: "n", EnableIPv4: new(false), EnableIPv6: new(true)})
	web, client := acquire(t, s, Wish{Network: "n"}), acquire(t, s, Wish{Network: "n"})
	var l net.Listener
	if err := within(t, web.NetNS, func() (err error) {
		l, err = net.Listen("tcp6", "[::]:80")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	begin := time.Now()
	for _, ns := range []*os.File{client.NetNS, s.maker.home} {
		if err := within(t, ns, func() error {
			c, err := net.DialTimeout("tcp6", netip.AddrPortFrom(web.place().Address6.Addr(), 80).String(), 5*time.Second)
			if err == nil {
				c.Close()
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	}
	if took := time.Since(begin); took > 500*time.Millisecond {
		t.Errorf("the first connections took %v", took)
	}
}

func TestApart(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	// However the host treats frames between two ports of a bridge.
	_ = sysctl("net/bridge/bridge-nf-call-iptables", "0")
	_ = sysctl("net/bridge/bridge-nf-call-ip6tables", "0")
	s := open(t, testConfig(t))
	world := newWorld(t, 0)
	serve(t, world)
	create(t, s, apinet.CreateRequest{Name: "n", Options: map[string]string{optionICC: "false"}})
	web, client := acquire(t, s, Wish{Network: "n"}), acquire(t, s, Wish{Network: "n"})
	serve(t, web.NetNS)
	if who, err := ask(t, client.NetNS, web.place().Address4.Addr(), 300*time.Millisecond); err == nil {
		t.Errorf("between containers that are apart: %q", who)
	}
	if _, err := ask(t, client.NetNS, worldAddr, 5*time.Second); err != nil {
		t.Errorf("to the world: %v", err)
	}
	if _, err := ask(t, s.maker.home, web.place().Address4.Addr(), 5*time.Second); err != nil {
		t.Errorf("from the host: %v", err)
	}
	// One that takes the other's MAC and address does not get what is its.
	if err := within(t, client.NetNS, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: web.place().Address4.Addr().AsSlice(), Mask: net.CIDRMask(24, 32)}}
		if err := netlink.AddrAdd(l, addr); err != nil {
			return err
		}
		return netlink.LinkSetHardwareAddr(l, net.HardwareAddr(web.place().MAC))
	}); err != nil {
		t.Fatal(err)
	}
	_, _ = ask(t, client.NetNS, worldAddr, 300*time.Millisecond)
	if who, err := ask(t, s.maker.home, web.place().Address4.Addr(), 5*time.Second); err != nil || who == "" {
		t.Errorf("from the host to one whose MAC another has taken: %q, %v", who, err)
	}
}

func TestRefusedNetworks(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	s := open(t, testConfig(t))
	create(t, s, apinet.CreateRequest{Name: "there", IPAM: &apinet.IPAM{Config: []apinet.IPAMConfig{{Subnet: netip.MustParsePrefix("10.5.0.0/24")}}}})
	for _, c := range []struct {
		name string
		r    apinet.CreateRequest
		kind errs.Kind
		text string
	}{
		{"name", apinet.CreateRequest{Name: "there"}, errs.Conflict, "network with name there already exists"},
		{"host", apinet.CreateRequest{Name: "h", Driver: "host"}, errs.Forbidden, "only one instance"},
		{"driver", apinet.CreateRequest{Name: "h", Driver: "odd"}, errs.NotFound, `"odd" not found`},
		{"overlap", apinet.CreateRequest{Name: "o", IPAM: &apinet.IPAM{Config: []apinet.IPAMConfig{{Subnet: netip.MustParsePrefix("10.5.0.128/25")}}}}, errs.Forbidden, "network there"},
		{"no family", apinet.CreateRequest{Name: "o", EnableIPv4: new(false)}, errs.InvalidParameter, "IPv4 or IPv6 must be enabled"},
		{"mode", apinet.CreateRequest{Name: "o", Options: map[string]string{optionMode4: "odd"}}, errs.InvalidParameter, "unknown gateway mode odd"},
		{"isolated", apinet.CreateRequest{Name: "o", Options: map[string]string{optionMode4: "isolated"}}, errs.InvalidParameter, "internal network"},
		{"icc", apinet.CreateRequest{Name: "o", Options: map[string]string{optionICC: "odd"}}, errs.InvalidParameter, `failed to parse com.docker.network.bridge.enable_icc value: odd (strconv.ParseBool: parsing "odd": invalid syntax)`},
		{"mtu", apinet.CreateRequest{Name: "o", Options: map[string]string{optionMTU: "9"}}, errs.InvalidParameter, "invalid MTU number: 9"},
		{"bridge", apinet.CreateRequest{Name: "o", Options: map[string]string{optionName: "davit0"}}, errs.Conflict, "davit0 belongs to another network"},
		{"no bridge", apinet.CreateRequest{Name: "o", Options: map[string]string{optionName: "lo"}}, errs.Conflict, "lo exists and is no bridge"},
		{"long name", apinet.CreateRequest{Name: "o", Options: map[string]string{optionName: "abcdefghijklmnop"}}, errs.InvalidParameter, "15 characters"},
	} {
		_, _, err := s.Create(t.Context(), c.r)
		if errs.KindOf(err) != c.kind || !strings.Contains(fmt.Sprint(err), c.text) {
			t.Errorf("%s: %v (%v), want %v with %q", c.name, err, errs.KindOf(err), c.kind, c.text)
		}
	}
	if n := len(s.List()); n != 4 {
		t.Errorf("%d networks", n)
	}
}

func TestConfigurationNetwork(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	s := open(t, testConfig(t))
	create(t, s, apinet.CreateRequest{Name: "config", ConfigOnly: true, Options: map[string]string{optionMTU: "1400"},
		IPAM: &apinet.IPAM{Config: []apinet.IPAMConfig{{Subnet: netip.MustParsePrefix("10.6.0.0/24")}}}})
	if _, err := s.Acquire(t.Context(), []Wish{{Network: "config"}}, nil); errs.KindOf(err) != errs.Forbidden {
		t.Errorf("a container on a configuration: %v", err)
	}
	// Its range is not taken by it.
	create(t, s, apinet.CreateRequest{Name: "n", IPAM: &apinet.IPAM{Config: []apinet.IPAMConfig{{Subnet: netip.MustParsePrefix("10.6.0.0/24")}}}})
}

func TestSurroundings(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	newWorld(t, 0)
	s := open(t, testConfig(t))
	n := create(t, s, apinet.CreateRequest{Name: "n"})
	subnet := n.IPAM.Config[0].Subnet
	eventually(t, "a full pool", func() bool { return s.Info().Ready == DefaultPoolSize })
	if w := s.Warnings(); len(w) != 0 {
		t.Errorf("warnings %q", w)
	}
	// A VPN comes up, with a route over the network and another MTU.
	uplink, err := netlink.LinkByName("uplink")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetMTU(uplink, 1380); err != nil {
		t.Fatal(err)
	}
	vpn := &net.IPNet{IP: subnet.Addr().AsSlice(), Mask: net.CIDRMask(20, 32)}
	if err := netlink.RouteAdd(&netlink.Route{Dst: vpn, LinkIndex: uplink.Attrs().Index}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a warning", func() bool { return len(s.Warnings()) == 1 })
	if w := s.Warnings()[0]; !strings.Contains(w, "network n has the addresses "+subnet.String()) || !strings.Contains(w, "uplink") {
		t.Errorf("warning %q", w)
	}
	next := create(t, s, apinet.CreateRequest{Name: "next"})
	if got := next.IPAM.Config[0].Subnet; prefixOf(vpn).Overlaps(got) {
		t.Errorf("a new network got %s", got)
	}
	if got := s.Info().MTU; got != 1380 {
		t.Errorf("MTU %d", got)
	}
	box := acquire(t, s, Wish{Network: "bridge"})
	if err := within(t, box.NetNS, func() error {
		i, err := net.InterfaceByName("eth0")
		if err == nil && i.MTU != 1380 {
			t.Errorf("a new container has MTU %d", i.MTU)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	if err := netlink.RouteDel(&netlink.Route{Dst: vpn, LinkIndex: uplink.Attrs().Index}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no warning", func() bool { return len(s.Warnings()) == 0 })
}

// TestFullBridge looks for the kernel's limit of interfaces on a bridge.
func TestFullBridge(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	c := testConfig(t)
	c.PoolSize = -1
	s := open(t, c)
	d := s.lan()
	link, err := netlink.LinkByName("davit0")
	if err != nil {
		t.Fatal(err)
	}
	// The other ends need no namespaces.
	r, err := openRtnl()
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	for i := range 1022 {
		var b batch
		b.addVeth(vethEnd{name: fmt.Sprintf("x%d", i), mac: randomMAC(), mtu: d.mtu}, link.Attrs().Index, vethEnd{name: fmt.Sprintf("y%d", i), mac: randomMAC(), mtu: d.mtu}, int(s.maker.home.Fd()))
		b.setUp(0)
		b.text(unix.IFLA_IFNAME, fmt.Sprintf("x%d", i))
		b.number(unix.IFLA_GROUP, doomedGroup)
		if err := r.do(&b); err != nil {
			t.Fatalf("interface %d: %v", i, err)
		}
	}
	acquire(t, s, Wish{})
	if _, err := s.Acquire(t.Context(), onBridge, nil); errs.KindOf(err) != errs.Exhausted || !strings.Contains(err.Error(), "1023") {
		t.Errorf("beyond the limit: %v", err)
	}
	if got := s.Info().InUse; got != 1 {
		t.Errorf("%d addresses in use", got)
	}
	begin := time.Now()
	var b batch
	b.delGroup(doomedGroup)
	if err := r.do(&b); err != nil {
		t.Error(err)
	}
	t.Logf("1022 pairs removed at once in %v", time.Since(begin))
}

func TestDefaultBridgeIPv6(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	c := testConfig(t)
	c.IPv6, c.BIP, c.Gateway4 = true, netip.MustParsePrefix("10.7.0.1/24"), netip.MustParseAddr("10.7.0.9")
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	n, err := s.Find("bridge")
	if err != nil || !n.EnableIPv6 || len(n.IPAM.Config) != 2 || !n.IPAM.Config[1].Subnet.Addr().IsPrivate() {
		t.Errorf("%+v, %v", n, err)
	}
	box, err := s.Acquire(t.Context(), onBridge, nil)
	if err != nil {
		t.Fatal(err)
	}
	six := n.IPAM.Config[1].Gateway
	if got, want := look(t, box.NetNS), fmt.Sprintf("eth0: %v %v\nlo: 127.0.0.1/8 ::1/128\ndefault via 10.7.0.9 dev eth0\ndefault via %v dev eth0\n", box.place().Address4, box.place().Address6, six); got != want {
		t.Errorf("%swant:\n%s", got, want)
	}
	s.Release(*box.place())
	box.NetNS.Close()
	if err := s.Close(false); err != nil {
		t.Fatal(err)
	}
	if again, err := open(t, c).Find("bridge"); err != nil || fmt.Sprint(again.IPAM) != fmt.Sprint(n.IPAM) {
		t.Errorf("was %+v and is %+v, %v", n.IPAM, again.IPAM, err)
	}
}

func TestForwarding6(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	newWorld(t, 0)
	value := func(name string) string {
		v, err := readSysctl(name)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	c := testConfig(t)
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ra := "net/ipv6/conf/uplink/accept_ra"
	if f, r := value(forwardIPv6), value(ra); f != "0" || r != "1" {
		t.Fatalf("before: forwarding %s, accept_ra %s", f, r)
	}
	n, _, err := s.Create(t.Context(), apinet.CreateRequest{Name: "six", EnableIPv6: new(true)})
	if err != nil {
		t.Fatal(err)
	}
	for _, again := range []bool{false, true} {
		if f, r, b := value(forwardIPv6), value(ra), value("net/ipv6/conf/br-"+n.ID[:12]+"/accept_ra"); f != "1" || r != "2" || b != "0" {
			t.Errorf("again %v: forwarding %s, accept_ra %s, of the bridge %s", again, f, r, b)
		}
		if err := s.Close(false); err != nil {
			t.Error(err)
		}
		if s, err = Open(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	s.Ready()
	if err := s.Close(true); err != nil {
		t.Error(err)
	}
	if f, r := value(forwardIPv6), value(ra); f != "0" || r != "1" {
		t.Errorf("after: forwarding %s, accept_ra %s", f, r)
	}
}

// TestNextEngineChangesNothing has one engine follow another whose containers
// run on.
func TestNextEngineChangesNothing(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	newWorld(t, 0)
	c := testConfig(t)
	c.PoolSize = -1
	first, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	n, _, err := first.Create(t.Context(), apinet.CreateRequest{Name: "n", EnableIPv6: new(true)})
	if err != nil {
		t.Fatal(err)
	}
	box, err := first.Acquire(t.Context(), []Wish{{Network: n.ID}, {Network: "bridge"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer box.NetNS.Close()
	if err := first.Close(false); err != nil { // as of one that is killed, but for its locks
		t.Fatal(err)
	}
	updates, done := make(chan netlink.LinkUpdate, 100), make(chan struct{})
	defer close(done)
	addresses, routes := make(chan netlink.AddrUpdate, 100), make(chan netlink.RouteUpdate, 100)
	if err := errors.Join(netlink.LinkSubscribe(updates, done), netlink.AddrSubscribe(addresses, done), netlink.RouteSubscribe(routes, done)); err != nil {
		t.Fatal(err)
	}
	second, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close(true)
	for _, e := range box.Endpoints {
		if err := second.Reserve(e); err != nil {
			t.Error(err)
		}
	}
	if err := second.Ready(); err != nil {
		t.Fatal(err)
	}
	// What is changed now is seen after what was changed before.
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "last"}}); err != nil {
		t.Fatal(err)
	}
	for u := range updates {
		if u.Attrs().Name == "last" {
			break
		}
		t.Errorf("interface %s was changed", u.Attrs().Name)
	}
	for len(addresses) > 0 {
		t.Errorf("an address was changed: %+v", <-addresses)
	}
	for len(routes) > 0 {
		t.Errorf("a route was changed: %+v", <-routes)
	}
	for _, e := range box.Endpoints {
		second.Release(e)
	}
}

func TestWithoutAddresses(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	c := testConfig(t)
	first, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	n, _, err := first.Create(t.Context(), apinet.CreateRequest{Name: "n", IPAM: &apinet.IPAM{Driver: "null"}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		box, err := first.Acquire(t.Context(), []Wish{{Network: n.ID}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer box.NetNS.Close()
		if got, want := look(t, box.NetNS), "eth0:\nlo: 127.0.0.1/8 ::1/128\n"; got != want {
			t.Errorf("%swant:\n%s", got, want)
		}
	}
	if err := first.Close(false); err != nil {
		t.Fatal(err)
	}
	second := open(t, c)
	second.Ready()
	eventually(t, "their interfaces to go", func() bool { return veths(t) == second.Info().Ready })
}

// TestRemoveWhileComing removes networks while containers come to them: either
// the container has its place or the network is gone.
func TestRemoveWhileComing(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	s := open(t, testConfig(t))
	for range 10 {
		n := create(t, s, apinet.CreateRequest{Name: "n"})
		var boxes [4]*Sandbox
		var coming sync.WaitGroup
		for i := range boxes {
			coming.Go(func() {
				box, err := s.Acquire(context.Background(), []Wish{{Network: n.ID}}, nil)
				if err != nil && !errs.Is(err, errs.NotFound) {
					t.Error(err)
				}
				boxes[i] = box
			})
		}
		err := s.Remove(t.Context(), n.ID)
		coming.Wait()
		for _, box := range boxes {
			if box == nil {
				continue
			}
			if err == nil {
				t.Error("a container is on a network that was removed")
			}
			box.close()
			s.Release(box.Endpoints[0])
		}
		if err != nil && !errs.Is(err, errs.Forbidden) {
			t.Error(err)
		}
		if err != nil {
			if err := s.Remove(t.Context(), n.ID); err != nil {
				t.Error(err)
			}
		}
		if _, err := net.InterfaceByName("br-" + n.ID[:12]); err == nil {
			t.Error("the bridge of a removed network is there")
		}
	}
}

func TestOutward(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	world := newWorld(t, 0)
	serve(t, world)
	s := open(t, testConfig(t))
	here, there := netip.MustParsePrefix("2001:db8::1/64"), netip.MustParsePrefix("2001:db8::2/64")
	add := func(name string, p netip.Prefix) error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD})
	}
	if err := errors.Join(add("uplink", here), within(t, world, func() error { return add("w0", there) })); err != nil {
		t.Fatal(err)
	}
	var l net.Listener
	if err := within(t, world, func() (err error) {
		l, err = net.Listen("tcp6", "[::]:81")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	clients := make(chan string, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			clients <- host
			c.Close()
		}
	}()
	ask6 := func(ns *os.File, patience time.Duration) error {
		return within(t, ns, func() error {
			c, err := net.DialTimeout("tcp6", netip.AddrPortFrom(there.Addr(), 81).String(), patience)
			if err == nil {
				c.Close()
			}
			return err
		})
	}
	create(t, s, apinet.CreateRequest{Name: "n", EnableIPv6: new(true)})
	create(t, s, apinet.CreateRequest{Name: "inside", EnableIPv6: new(true), Internal: true})
	out, in := acquire(t, s, Wish{Network: "n"}), acquire(t, s, Wish{Network: "inside"})
	if err := ask6(out.NetNS, 5*time.Second); err != nil {
		t.Errorf("by IPv6: %v", err)
	} else if got := <-clients; got != here.Addr().String() {
		t.Errorf("by IPv6 as %s, want the host's address", got)
	}
	// A container may give itself a route.
	if err := within(t, in.NetNS, func() error {
		n, err := s.Find("inside")
		return errors.Join(err, netlink.RouteAdd(&netlink.Route{Gw: n.IPAM.Config[0].Gateway.AsSlice()}), netlink.RouteAdd(&netlink.Route{Gw: n.IPAM.Config[1].Gateway.AsSlice()}))
	}); err != nil {
		t.Fatal(err)
	}
	if err := ask6(in.NetNS, 300*time.Millisecond); err == nil {
		t.Error("out of an internal network by IPv6")
	}
	if who, err := ask(t, in.NetNS, worldAddr, 300*time.Millisecond); err == nil {
		t.Errorf("out of an internal network: %q", who)
	}
}

// TestBridgeOfTheHost gives a network a bridge that is somebody else's.
func TestBridgeOfTheHost(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	own := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "lan0", MTU: 1450}}
	if err := errors.Join(netlink.LinkAdd(own), netlink.LinkSetUp(own)); err != nil {
		t.Fatal(err)
	}
	s := open(t, testConfig(t))
	n := create(t, s, apinet.CreateRequest{Name: "n", Options: map[string]string{optionName: "lan0"}})
	box := acquire(t, s, Wish{Network: n.ID})
	if off, err := readSysctl("net/ipv6/conf/lan0/disable_ipv6"); err != nil || off != "0" {
		t.Errorf("its IPv6 is off: %s, %v", off, err)
	}
	if i, err := net.InterfaceByName("lan0"); err != nil || i.MTU != 1450 {
		t.Errorf("%+v, %v", i, err)
	}
	box.close()
	s.Release(box.Endpoints[0])
	if err := s.Remove(t.Context(), n.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := net.InterfaceByName("lan0"); err != nil {
		t.Errorf("it went with the network: %v", err)
	}
}

// TestLingeringNamespace has a namespace live on when its container has ended,
// as one does that has a connection whose other end does not listen any more.
func TestLingeringNamespace(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	s := open(t, testConfig(t))
	n, _, err := s.Create(t.Context(), apinet.CreateRequest{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	there := func(e *Endpoint) bool {
		_, err := net.InterfaceByName(e.HostVeth)
		return err == nil
	}
	late := acquire(t, s, Wish{Network: n.ID})
	s.Release(*late.place())
	other := acquire(t, s, Wish{Network: n.ID})
	eventually(t, "the interface goes, and the address is free", func() bool {
		return !there(late.place()) && s.Status(n.ID).IPAM.Subnets[late.place().Address4.Masked()].IPsInUse == 4
	})
	if !there(other.place()) {
		t.Error("an interface in use has gone")
	}
	again := acquire(t, s, Wish{Network: n.ID, Address4: late.place().Address4.Addr()})
	s.Release(*again.place())
	s.Release(*other.place())
	if err := s.Remove(t.Context(), n.ID); err != nil {
		t.Fatal(err)
	}
	if there(again.place()) || there(other.place()) {
		t.Error("interfaces outlive their network")
	}
}
