package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/test/alone"
	apinet "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// onLAN asks for a network on the LAN of newWorld, whose gateway is the world.
func onLAN(name, driver string, options ...string) apinet.CreateRequest {
	r := apinet.CreateRequest{Name: name, Driver: driver, Options: map[string]string{}, IPAM: &apinet.IPAM{Config: []apinet.IPAMConfig{{
		Subnet: netip.MustParsePrefix("203.0.113.0/24"), IPRange: netip.MustParsePrefix("203.0.113.64/26"), Gateway: worldAddr,
		AuxAddress: map[string]netip.Addr{"host": hostAddr},
	}}}}
	for i := 0; i+1 < len(options); i += 2 {
		r.Options[options[i]] = options[i+1]
	}
	return r
}

// needKind skips a test where the kernel has no such interfaces.
func needKind(t testing.TB, kind string) {
	t.Helper()
	m, err := newMaker()
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	if err := (&stackedDriver{kind: kind, parents: newParents(m, "")}).probe(); err != nil {
		t.Skipf("%v (tested by make vmtest)", err)
	}
}

// needVLAN skips a test where the kernel has no 802.1q.
func needVLAN(t testing.TB) {
	t.Helper()
	err := netlink.LinkAdd(&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "probe", ParentIndex: 1 << 30}, VlanId: 1})
	if errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("this kernel knows no 802.1q VLANs (tested by make vmtest)")
	}
}

// exists tells whether the test's namespace has an interface.
func exists(name string) bool {
	_, err := netlink.LinkByName(name)
	return err == nil
}

const brief = 300 * time.Millisecond

// TestMacvlan: containers are hosts of the LAN, in each mode.
func TestMacvlan(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	needKind(t, kindMacvlan)
	world := newWorld(t, 0)
	serve(t, world)
	s := open(t, testConfig(t))
	for _, c := range []struct {
		mode    string
		between bool // containers reach each other
	}{{"", true}, {"bridge", true}, {"private", false}, {"vepa", false}} {
		n := create(t, s, onLAN("lan"+c.mode, "macvlan", "parent", "uplink", "macvlan_mode", c.mode))
		a, b := acquire(t, s, Wish{Network: n.ID}), acquire(t, s, Wish{Network: n.ID})
		serve(t, b.NetNS)
		at, to := a.place().Address4.Addr(), b.place().Address4.Addr()
		if who, err := ask(t, a.NetNS, worldAddr, 5*time.Second); err != nil || who != at.String() {
			t.Errorf("mode %q: to the LAN: %q, %v", c.mode, who, err)
		}
		if who, err := ask(t, world, to, 5*time.Second); err != nil || who != worldAddr.String() {
			t.Errorf("mode %q: from the LAN: %q, %v", c.mode, who, err)
		}
		patience := brief
		if c.between {
			patience = 5 * time.Second
		}
		if who, err := ask(t, a.NetNS, to, patience); (err == nil) != c.between {
			t.Errorf("mode %q: from one to the other: %q, %v", c.mode, who, err)
		}
		if want := fmt.Sprintf("eth0: %s/24\nlo: 127.0.0.1/8 ::1/128\ndefault via %s dev eth0\n", at, worldAddr); look(t, a.NetNS) != want {
			t.Errorf("mode %q: inside:\n%swant\n%s", c.mode, look(t, a.NetNS), want)
		}
		for _, x := range []*Sandbox{a, b} {
			x.NetNS.Close()
			s.Release(*x.place())
		}
		if err := s.Remove(t.Context(), n.ID); err != nil {
			t.Error(err)
		}
	}
	if !exists("uplink") {
		t.Error("the parent went with its networks")
	}
}

// TestMacvlanPassthru: one container has the parent, and its MAC.
func TestMacvlanPassthru(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	needKind(t, kindMacvlan)
	world := newWorld(t, 0)
	serve(t, world)
	s := open(t, testConfig(t))
	n := create(t, s, onLAN("through", "macvlan", "parent", "uplink", "macvlan_mode", "passthru"))
	if _, _, err := s.Create(t.Context(), apinet.CreateRequest{Name: "more", Driver: "macvlan", Options: map[string]string{"parent": "uplink"}}); errs.KindOf(err) != errs.Conflict ||
		!strings.HasSuffix(err.Error(), "is already using parent interface uplink in mode passthru") {
		t.Errorf("another network: %v", err)
	}
	a := acquire(t, s, Wish{Network: n.ID})
	uplink, err := netlink.LinkByName("uplink")
	if err != nil {
		t.Fatal(err)
	}
	if a.place().MAC.String() != uplink.Attrs().HardwareAddr.String() {
		t.Errorf("MAC %s, that of the parent is %s", a.place().MAC, uplink.Attrs().HardwareAddr)
	}
	if who, err := ask(t, a.NetNS, worldAddr, 5*time.Second); err != nil || who != a.place().Address4.Addr().String() {
		t.Errorf("to the LAN: %q, %v", who, err)
	}
	if _, err := s.Acquire(t.Context(), []Wish{{Network: n.ID}}, nil); errs.KindOf(err) != errs.Conflict || !strings.Contains(err.Error(), "in mode passthru one container can have it") {
		t.Errorf("another container: %v", err)
	}
	if _, err := s.Acquire(t.Context(), []Wish{{Network: n.ID, MAC: apinet.HardwareAddr{2, 0, 0, 0, 0, 1}}}, nil); errs.KindOf(err) != errs.InvalidParameter {
		t.Errorf("another MAC: %v", err)
	}
}

// TestMacvlanWithoutParent: a network of its own that leads nowhere, in both
// families; it outlives the engine and goes with the network.
func TestMacvlanWithoutParent(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	needKind(t, kindMacvlan)
	config := testConfig(t)
	s := open(t, config)
	n := create(t, s, apinet.CreateRequest{Name: "alone", Driver: "macvlan", EnableIPv6: new(true)})
	parent := "dm-" + n.ID[:12]
	a := acquire(t, s, Wish{Network: n.ID})
	if !exists(parent) {
		t.Fatalf("no interface %s", parent)
	}
	if got := look(t, a.NetNS); strings.Contains(got, "default") || !a.place().Address6.IsValid() || !strings.Contains(got, a.place().Address6.String()) {
		t.Errorf("inside:\n%s", got)
	}
	if err := s.Close(false); err != nil {
		t.Fatal(err)
	}
	s = open(t, config)
	if err := s.Reserve(*a.place()); err != nil {
		t.Fatal(err)
	}
	s.Ready()
	b := acquire(t, s, Wish{Network: "alone"})
	if a.place().Address4 == b.place().Address4 {
		t.Fatalf("both have %s", a.place().Address4)
	}
	serve(t, a.NetNS)
	if who, err := ask(t, b.NetNS, a.place().Address4.Addr(), 5*time.Second); err != nil || who != b.place().Address4.Addr().String() {
		t.Errorf("to a container of the earlier engine: %q, %v", who, err)
	}
	for _, x := range []*Sandbox{a, b} {
		x.NetNS.Close()
		s.Release(*x.place())
	}
	if err := s.Remove(t.Context(), n.ID); err != nil || exists(parent) {
		t.Errorf("removed: %v; %s is there: %v", err, parent, exists(parent))
	}
}

// TestMacvlanKinds: networks that are internal, have one family, or none.
func TestMacvlanKinds(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	needKind(t, kindMacvlan)
	newWorld(t, 0)
	s := open(t, testConfig(t))
	four, six := netip.MustParsePrefix("203.0.113.64/26"), netip.MustParsePrefix("2001:db8::/64")
	for _, c := range []struct {
		name string
		r    apinet.CreateRequest
		want string // inside, without lo
	}{
		{"internal", apinet.CreateRequest{Internal: true, IPAM: &apinet.IPAM{Config: []apinet.IPAMConfig{{Subnet: four}}}}, "eth0: 203.0.113.65/26\n"},
		{"v6 only", apinet.CreateRequest{EnableIPv4: new(false), EnableIPv6: new(true), IPAM: &apinet.IPAM{Config: []apinet.IPAMConfig{{Subnet: six}}}},
			"eth0: 2001:db8::2/64\ndefault via 2001:db8::1 dev eth0\n"},
		{"several", apinet.CreateRequest{IPAM: &apinet.IPAM{Config: []apinet.IPAMConfig{{Subnet: netip.MustParsePrefix("203.0.113.32/32"), Gateway: netip.MustParseAddr("203.0.113.32")}, {Subnet: four}}}},
			"eth0: 203.0.113.66/26\ndefault via 203.0.113.65 dev eth0\n"},
		{"no addresses", apinet.CreateRequest{IPAM: &apinet.IPAM{Driver: "null"}}, "eth0:\n"},
	} {
		c.r.Name, c.r.Driver, c.r.Options = c.name, "macvlan", map[string]string{"parent": "uplink"}
		n := create(t, s, c.r)
		box := acquire(t, s, Wish{Network: n.ID})
		if got := strings.Replace(look(t, box.NetNS), "lo: 127.0.0.1/8 ::1/128\n", "", 1); got != c.want {
			t.Errorf("%s: inside:\n%swant\n%s", c.name, got, c.want)
		}
		box.NetNS.Close()
		s.Release(*box.place())
		if err := s.Remove(t.Context(), n.ID); err != nil {
			t.Error(err)
		}
	}
}

// TestMacvlanLive: a running container joins a LAN and leaves it, whatever it
// has made of its interface.
func TestMacvlanLive(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	needKind(t, kindMacvlan)
	world := newWorld(t, 0)
	serve(t, world)
	s := open(t, testConfig(t))
	n := create(t, s, onLAN("lan", "macvlan", "parent", "uplink"))
	box := acquire(t, s, Wish{})
	mac := apinet.HardwareAddr{2, 0, 0, 0, 0, 7}
	e, err := s.Connect(t.Context(), box.NetNS, box.Endpoints, Wish{Network: n.ID, MAC: mac, Priority: 1})
	if err != nil {
		t.Fatal(err)
	}
	if e.Interface != "eth1" || e.MAC.String() != mac.String() {
		t.Errorf("endpoint %+v", e)
	}
	if who, err := ask(t, box.NetNS, worldAddr, 5*time.Second); err != nil || who != e.Address4.Addr().String() {
		t.Errorf("on the LAN: %q, %v", who, err)
	}
	if err := within(t, box.NetNS, func() error {
		l, err := netlink.LinkByName("eth1")
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetDown(l), netlink.LinkSetName(l, "mine"), netlink.LinkSetUp(l))
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Disconnect(t.Context(), box.NetNS, e, box.Endpoints); err != nil {
		t.Fatal(err)
	}
	if got := look(t, box.NetNS); strings.Contains(got, "mine") || !strings.Contains(got, "default via "+box.place().Gateway4.String()+" dev eth0") {
		t.Errorf("after it left:\n%s", got)
	}
	if who, err := ask(t, box.NetNS, worldAddr, 5*time.Second); err != nil || who != hostAddr.String() {
		t.Errorf("by the bridge again: %q, %v", who, err)
	}
}

// TestAnnounced: an address that passes to another container is reached at
// once, though the neighbours remember who had it.
func TestAnnounced(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	needKind(t, kindMacvlan)
	world := newWorld(t, 0)
	s := open(t, testConfig(t))
	n := create(t, s, onLAN("lan", "macvlan", "parent", "uplink"))
	at := netip.MustParseAddr("203.0.113.77")
	for range 3 {
		box, err := s.Acquire(t.Context(), []Wish{{Network: n.ID, Address4: at}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		serve(t, box.NetNS)
		if _, err := ask(t, world, at, 2*time.Second); err != nil {
			t.Errorf("from the LAN: %v", err)
		}
		box.NetNS.Close()
		s.Release(*box.place())
	}
}

// TestInterfaceGoesFirst: an interface goes when its endpoint is released, even
// while its namespace lives on, and an engine that has not made it finds it.
func TestInterfaceGoesFirst(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	needKind(t, kindMacvlan)
	newWorld(t, 0)
	config := testConfig(t)
	s := open(t, config)
	n := create(t, s, onLAN("lan", "macvlan", "parent", "uplink"))
	bridged := create(t, s, apinet.CreateRequest{Name: "other"})
	for _, c := range []struct {
		name   string
		wishes []Wish
		again  bool // by the next engine
	}{
		{"alone", []Wish{{Network: n.ID}}, false},
		{"beside another", []Wish{{Network: n.ID}, {Network: bridged.ID}}, false},
		{"of an earlier engine", []Wish{{Network: n.ID}}, true},
	} {
		box, err := s.Acquire(t.Context(), c.wishes, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer box.NetNS.Close() // it lives on
		if c.again {
			if err := s.Close(false); err != nil {
				t.Fatal(err)
			}
			s = open(t, config)
			if err := s.Reserve(box.Endpoints[0]); err != nil {
				t.Fatal(err)
			}
			s.Ready()
		}
		before := look(t, box.NetNS)
		for _, e := range box.Endpoints {
			s.Release(e)
		}
		eventually(t, c.name+": eth0 is gone", func() bool { return !strings.Contains(look(t, box.NetNS), "eth0") })
		if !strings.Contains(before, "eth0") {
			t.Errorf("%s: before:\n%s", c.name, before)
		}
	}
}

// TestParentComesLater: an engine that starts before a network's parent is
// there does not give the network up.
func TestParentComesLater(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	needKind(t, kindMacvlan)
	world := newWorld(t, 0)
	serve(t, world)
	config := testConfig(t)
	s := open(t, config)
	n := create(t, s, onLAN("lan", "macvlan", "parent", "uplink"))
	if err := s.Close(false); err != nil {
		t.Fatal(err)
	}
	rename := func(from, to string) {
		t.Helper()
		l, err := netlink.LinkByName(from)
		if err == nil {
			err = errors.Join(netlink.LinkSetDown(l), netlink.LinkSetName(l, to), netlink.LinkSetUp(l))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	rename("uplink", "later")
	s = open(t, config)
	if _, err := s.Acquire(t.Context(), []Wish{{Network: n.ID}}, nil); errs.KindOf(err) != errs.NotFound || !strings.Contains(err.Error(), "-o parent interface was not found on the host: uplink") {
		t.Errorf("without its parent: %v", err)
	}
	rename("later", "uplink")
	box := acquire(t, s, Wish{Network: n.ID})
	if who, err := ask(t, box.NetNS, worldAddr, 5*time.Second); err != nil || who != box.place().Address4.Addr().String() {
		t.Errorf("to the LAN: %q, %v", who, err)
	}
}

// TestVLAN: a parent such as uplink.7 is made, serves several networks, and
// goes with the last one; what the host has is left alone.
func TestVLAN(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	needKind(t, kindMacvlan)
	needVLAN(t)
	world := newWorld(t, 0)
	if err := within(t, world, func() error {
		trunk, err := netlink.LinkByName("w0")
		if err != nil {
			return err
		}
		v := &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "w0.7", ParentIndex: trunk.Attrs().Index}, VlanId: 7}
		address, _ := netlink.ParseAddr("198.51.100.1/24")
		return errors.Join(netlink.LinkAdd(v), netlink.AddrAdd(v, address), netlink.LinkSetUp(v))
	}); err != nil {
		t.Fatal(err)
	}
	serve(t, world)
	config := testConfig(t)
	s := open(t, config)
	request := func(name string) apinet.CreateRequest {
		r := apinet.CreateRequest{Name: name, Driver: "macvlan", Options: map[string]string{"parent": "uplink.7"}, IPAM: &apinet.IPAM{}}
		if name == "one" {
			r.IPAM.Config = []apinet.IPAMConfig{{Subnet: netip.MustParsePrefix("198.51.100.0/24"), Gateway: netip.MustParseAddr("198.51.100.1")}}
		}
		return r
	}
	one, two := create(t, s, request("one")), create(t, s, request("two"))
	a := acquire(t, s, Wish{Network: one.ID})
	if who, err := ask(t, a.NetNS, netip.MustParseAddr("198.51.100.1"), 5*time.Second); err != nil || who != a.place().Address4.Addr().String() {
		t.Errorf("on the VLAN: %q, %v", who, err)
	}
	// After a boot it is made again; when somebody removes it, too.
	vlan, err := netlink.LinkByName("uplink.7")
	if err == nil {
		err = netlink.LinkDel(vlan)
	}
	if err != nil {
		t.Fatal(err)
	}
	again := acquire(t, s, Wish{Network: one.ID})
	if _, err := ask(t, again.NetNS, netip.MustParseAddr("198.51.100.1"), 5*time.Second); err != nil {
		t.Errorf("after it was removed: %v", err)
	}
	for _, x := range []*Sandbox{a, again} {
		x.NetNS.Close()
		s.Release(*x.place())
	}
	if err := s.Close(false); err != nil || !exists("uplink.7") {
		t.Fatalf("closed: %v; the VLAN is there: %v", err, exists("uplink.7"))
	}
	s = open(t, config)
	if err := s.Remove(t.Context(), one.ID); err != nil || !exists("uplink.7") {
		t.Errorf("one of two removed: %v; the VLAN is there: %v", err, exists("uplink.7"))
	}
	if err := s.Remove(t.Context(), two.ID); err != nil || exists("uplink.7") {
		t.Errorf("both removed: %v; the VLAN is there: %v", err, exists("uplink.7"))
	}
	under, err := netlink.LinkByName("uplink")
	if err == nil {
		err = netlink.LinkAdd(&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "uplink.8", ParentIndex: under.Attrs().Index}, VlanId: 8})
	}
	if err != nil {
		t.Fatal(err)
	}
	mine := create(t, s, apinet.CreateRequest{Name: "mine", Driver: "macvlan", Options: map[string]string{"parent": "uplink.8"}})
	if err := s.Remove(t.Context(), mine.ID); err != nil || !exists("uplink.8") {
		t.Errorf("removed: %v; the host's own VLAN is there: %v", err, exists("uplink.8"))
	}
	if _, _, err := s.Create(t.Context(), apinet.CreateRequest{Name: "x", Driver: "macvlan", Options: map[string]string{"parent": "uplink.4095"}}); errs.KindOf(err) != errs.InvalidParameter {
		t.Errorf("VLAN 4095: %v", err)
	}
}

// TestIPvlan: containers share the MAC of the parent, in each mode.
func TestIPvlan(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	needKind(t, kindIPvlan)
	world := newWorld(t, 0)
	serve(t, world)
	uplink, err := netlink.LinkByName("uplink")
	if err != nil {
		t.Fatal(err)
	}
	// In the modes of layer 3 nobody asks for neighbours: the world has a route.
	if err := within(t, world, func() error {
		_, dst, _ := net.ParseCIDR("203.0.113.64/26")
		w0, err := netlink.LinkByName("w0")
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: hostAddr.AsSlice(), LinkIndex: w0.Attrs().Index})
	}); err != nil {
		t.Fatal(err)
	}
	s := open(t, testConfig(t))
	for _, c := range []struct {
		mode, flag string
		between    bool
	}{{"", "", true}, {"l2", "private", false}, {"l2", "vepa", false}, {"l3", "", true}, {"l3", "private", false}, {"l3s", "", true}} {
		name := c.mode + c.flag + "x"
		// The next one waits until the kernel has let go of the addresses.
		t.Run(name, func(t *testing.T) {
			n := create(t, s, onLAN(name, "ipvlan", "parent", "uplink", "ipvlan_mode", c.mode, "ipvlan_flag", c.flag))
			a, b := acquire(t, s, Wish{Network: n.ID}), acquire(t, s, Wish{Network: n.ID})
			serve(t, b.NetNS)
			if a.place().MAC.String() != uplink.Attrs().HardwareAddr.String() {
				t.Errorf("%s: MAC %s, that of the parent is %s", name, a.place().MAC, uplink.Attrs().HardwareAddr)
			}
			via := "via " + worldAddr.String()
			if strings.HasPrefix(c.mode, "l3") {
				via = "via <nil>"
			}
			if got := look(t, a.NetNS); !strings.Contains(got, "default "+via+" dev eth0") {
				t.Errorf("%s: inside:\n%s", name, got)
			}
			if who, err := ask(t, a.NetNS, worldAddr, 5*time.Second); err != nil || who != a.place().Address4.Addr().String() {
				t.Errorf("%s: to the LAN: %q, %v", name, who, err)
			}
			patience := brief
			if c.between {
				patience = 5 * time.Second
			}
			if who, err := ask(t, a.NetNS, b.place().Address4.Addr(), patience); (err == nil) != c.between {
				t.Errorf("%s: from one to the other: %q, %v", name, who, err)
			}
			if _, err := s.Acquire(t.Context(), []Wish{{Network: n.ID, MAC: apinet.HardwareAddr{2, 0, 0, 0, 0, 1}}}, nil); errs.KindOf(err) != errs.InvalidParameter ||
				!strings.HasPrefix(err.Error(), "ipvlan interfaces do not support custom mac address assignment") {
				t.Errorf("%s: a MAC of its own: %v", name, err)
			}
			if _, _, err := s.Create(t.Context(), apinet.CreateRequest{Name: "other", Driver: "ipvlan", Options: map[string]string{"parent": "uplink"}}); errs.KindOf(err) != errs.Conflict {
				t.Errorf("%s: another network on the parent: %v", name, err)
			}
		})
	}
}

// TestParentInUse: the kernel lets a parent have interfaces of one kind only,
// and the error says so.
func TestParentInUse(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	needKind(t, kindMacvlan)
	newWorld(t, 0)
	s := open(t, testConfig(t))
	n := create(t, s, onLAN("lan", "macvlan", "parent", "uplink"))
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "own0"}}
	uplink, err := netlink.LinkByName("uplink")
	if err == nil {
		err = errors.Join(netlink.LinkAdd(bridge), netlink.LinkSetMaster(uplink, bridge))
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Acquire(t.Context(), []Wish{{Network: n.ID}}, nil); errs.KindOf(err) != errs.Conflict || !strings.Contains(err.Error(), "something else has it: a bridge") {
		t.Errorf("%v", err)
	}
}

func TestStackedRefusals(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	needKind(t, kindMacvlan)
	newWorld(t, 0)
	s := open(t, testConfig(t))
	create(t, s, onLAN("lan", "macvlan", "parent", "uplink"))
	for _, c := range []struct {
		driver  string
		options []string
		kind    errs.Kind
		text    string
	}{
		{"macvlan", []string{"parent", "lo"}, errs.InvalidParameter, "loopback interface is not a valid macvlan parent link"},
		{"macvlan", []string{"parent", "nothing"}, errs.NotFound, "-o parent interface was not found on the host: nothing: "},
		{"macvlan", []string{"parent", "nothing.7"}, errs.NotFound, "-o parent interface was not found on the host: nothing, for VLAN 7"},
		{"macvlan", []string{"parent", "uplink.x"}, errs.InvalidParameter, "unable to parse a valid vlan id from: x"},
		{"macvlan", []string{"parent", "uplink.0"}, errs.InvalidParameter, "vlan id must be between 1-4094, received: 0"},
		{"macvlan", []string{"parent", "up/link"}, errs.InvalidParameter, `"up/link" cannot be -o parent`},
		{"macvlan", []string{"parent", "uplink", "macvlan_mode", "odd"}, errs.InvalidParameter, "requested macvlan mode 'odd' is not valid, 'bridge' mode is the macvlan driver default"},
		{"macvlan", []string{"parent", "uplink", "macvlan_mode", "passthru"}, errs.Conflict, "cannot use mode passthru, macvlan network "},
		{"macvlan", []string{"parent", "uplink", optionMTU, "9000"}, errs.InvalidParameter, "invalid MTU number: 9000: parent interface uplink has 1500"},
		{"macvlan", []string{"parent", "uplink", optionMTU, "x"}, errs.InvalidParameter, "invalid MTU number: x"},
		{"macvlan", []string{"parent", "uplink", optionIfacePrefix, "averylongprefix"}, errs.InvalidParameter, "is no beginning of an interface's name"},
		{"ipvlan", []string{"parent", "uplink", "ipvlan_mode", "l4"}, errs.InvalidParameter, "requested ipvlan mode 'l4' is not valid, 'l2' mode is the ipvlan driver default"},
		{"ipvlan", []string{"parent", "uplink", "ipvlan_flag", "odd"}, errs.InvalidParameter, "requested ipvlan flag 'odd' is not valid, 'bridge' is the ipvlan driver default"},
		{"ipvlan", []string{"parent", "lo"}, errs.InvalidParameter, "loopback interface is not a valid ipvlan parent link"},
	} {
		r := apinet.CreateRequest{Name: "x", Driver: c.driver, Options: map[string]string{}}
		for i := 0; i+1 < len(c.options); i += 2 {
			r.Options[c.options[i]] = c.options[i+1]
		}
		if _, _, err := s.Create(t.Context(), r); errs.KindOf(err) != c.kind || !strings.Contains(fmt.Sprint(err), c.text) {
			t.Errorf("%s %v: %v (%v), want %v with %q", c.driver, c.options, err, errs.KindOf(err), c.kind, c.text)
		}
	}
	if _, err := s.Find("x"); errs.KindOf(err) != errs.NotFound {
		t.Errorf("a refused network: %v", err)
	}
	if r := s.parentsOf(); len(r["uplink"]) != 1 || len(r) != 1 {
		t.Errorf("parents in use: %v", r)
	}
	_, _, err := s.Create(t.Context(), apinet.CreateRequest{Name: "x", Driver: "ipvlan", Options: map[string]string{"parent": "uplink"}})
	if err == nil {
		t.Log("this kernel has ipvlan")
	} else if errs.KindOf(err) != errs.System || !strings.Contains(err.Error(), "this kernel has no ipvlan interfaces: load the module (modprobe ipvlan), or use another driver") {
		t.Errorf("ipvlan: %v", err)
	}
}

// parentsOf are the parents in use.
func (s *Store) parentsOf() map[string][]tenant {
	p := s.drivers[kindMacvlan].(*stackedDriver).parents
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.users
}

// TestStackedMTU: an interface has the MTU that the network says, else that of
// its parent.
func TestStackedMTU(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	needKind(t, kindMacvlan)
	newWorld(t, 1400)
	s := open(t, testConfig(t))
	for option, want := range map[string]int{"": 1400, "1300": 1300} {
		r := onLAN("lan"+option, "macvlan", "parent", "uplink")
		if option != "" {
			r.Options[optionMTU] = option
		}
		n := create(t, s, r)
		box := acquire(t, s, Wish{Network: n.ID})
		got := 0
		if err := within(t, box.NetNS, func() error {
			l, err := netlink.LinkByName("eth0")
			if err == nil {
				got = l.Attrs().MTU
			}
			return err
		}); err != nil || got != want {
			t.Errorf("option %q: MTU %d, %v", option, got, err)
		}
		box.NetNS.Close()
		s.Release(*box.place())
		if err := s.Remove(t.Context(), n.ID); err != nil {
			t.Error(err)
		}
	}
}

// TestStackedLeavesNothing: interfaces go with their namespaces.
func TestStackedLeavesNothing(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	needKind(t, kindMacvlan)
	newWorld(t, 0)
	config := testConfig(t)
	config.PoolSize = -1
	s := open(t, config)
	n := create(t, s, onLAN("lan", "macvlan", "parent", "uplink"))
	files := openFiles(t)
	var last *os.File
	for range 20 {
		box, err := s.Acquire(t.Context(), []Wish{{Network: n.ID}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		last = box.NetNS
		last.Close()
		s.Release(*box.place())
	}
	if now := openFiles(t); now > files+2 {
		t.Errorf("%d open files, %d before", now, files)
	}
	if got := s.Status(n.ID).IPAM.Subnets[netip.MustParsePrefix("203.0.113.0/24")]; got.IPsInUse != 4 { // subnet, broadcast, gateway, host
		t.Errorf("%+v", got)
	}
}
