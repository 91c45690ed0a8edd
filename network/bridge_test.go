package network

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/namespace"
	"github.com/davit-engine/davit/test/alone"
	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	apinet "github.com/moby/moby/api/types/network"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestTraffic(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	world := newWorld(t, 1400)
	b := open(t, testConfig(t))
	if got := b.Info(); got.Name != "davit0" || got.Subnet.String() != "172.17.0.0/16" || got.Gateway.String() != "172.17.0.1" || got.MTU != 1400 {
		t.Errorf("info: %+v", got)
	}
	web, client := acquire(t, b, Wish{}), acquire(t, b, Wish{})
	serve(t, web.NetNS)
	serve(t, world)

	// The first packet must not wait for ARP or for the bridge to learn.
	begin := time.Now()
	if who, err := ask(t, client.NetNS, web.place().Address4.Addr(), 5*time.Second); err != nil || who != client.place().Address4.Addr().String() {
		t.Errorf("between sandboxes: %q, %v", who, err)
	}
	if took := time.Since(begin); took > 500*time.Millisecond {
		t.Errorf("the first connection took %v", took)
	}
	if who, err := ask(t, client.NetNS, worldAddr, 5*time.Second); err != nil || who != hostAddr.String() {
		t.Errorf("to the world: %q, %v, want the host's address", who, err)
	}
	home, err := openNetNS()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	if who, err := ask(t, home, web.place().Address4.Addr(), 5*time.Second); err != nil || who != b.Info().Gateway.String() {
		t.Errorf("from the host: %q, %v", who, err)
	}
	// Somebody on the host's link who routes to the containers gets nowhere.
	if err := within(t, world, func() error {
		_, subnet, _ := net.ParseCIDR("172.17.0.0/16")
		return netlink.RouteAdd(&netlink.Route{Dst: subnet, Gw: hostAddr.AsSlice()})
	}); err != nil {
		t.Fatal(err)
	}
	if who, err := ask(t, world, web.place().Address4.Addr(), 300*time.Millisecond); err == nil {
		t.Errorf("from the world to a container: reached as %q", who)
	}
}

func TestInsideSandbox(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	b := open(t, testConfig(t))
	none, err := b.Acquire(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer none.NetNS.Close()
	bridged := acquire(t, b, Wish{})
	inspect := func(ns *os.File) (text string) {
		if err := within(t, ns, func() error {
			links, err := dump(netlink.LinkList)
			if err != nil {
				return err
			}
			for _, l := range links {
				addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
				if err != nil {
					return err
				}
				text += fmt.Sprintf("%d %s %v %d:", l.Attrs().Index, l.Attrs().Name, l.Attrs().Flags&net.FlagUp != 0, l.Attrs().MTU)
				for _, a := range addrs {
					text += " " + a.IPNet.String()
				}
				text += "\n"
			}
			routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
			for _, r := range routes {
				text += fmt.Sprintf("%v via %v\n", r.Dst, r.Gw)
			}
			for _, name := range []string{"ip_unprivileged_port_start", "ping_group_range"} {
				value, _ := os.ReadFile("/proc/sys/net/ipv4/" + name)
				text += strings.Join(strings.Fields(string(value)), " ") + "\n"
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return text
	}
	sysctls := "0\n0 2147483647\n"
	lo := "1 lo true 65536: 127.0.0.1/8 ::1/128\n"
	if got, want := inspect(none.NetNS), lo+sysctls; got != want {
		t.Errorf("none:\n%swant:\n%s", got, want)
	}
	want := lo + "2 eth0 true 1500: " + bridged.place().Address4.String() + "\n" + "0.0.0.0/0 via 172.17.0.1\n172.17.0.0/16 via <nil>\n" + sysctls
	if got := inspect(bridged.NetNS); got != want {
		t.Errorf("bridge:\n%swant:\n%s", got, want)
	}
	// The same in namespaces that belong to another user namespace.
	maps := []specs.LinuxIDMapping{{HostID: 0x24000000, Size: 65536}}
	given := func() *os.File {
		user, ns, err := namespace.New(maps, maps)
		if err != nil {
			t.Fatal(err)
		}
		user.Close()
		t.Cleanup(func() { ns.Close() })
		return ns
	}
	theirs, err := b.Acquire(t.Context(), nil, given())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := inspect(theirs.NetNS), lo+sysctls; got != want {
		t.Errorf("none in a user namespace:\n%swant:\n%s", got, want)
	}
	onBridge := acquireIn(t, b, Wish{}, given())
	want = strings.ReplaceAll(want, bridged.place().Address4.String(), onBridge.place().Address4.String())
	if got := inspect(onBridge.NetNS); got != want {
		t.Errorf("bridge in a user namespace:\n%swant:\n%s", got, want)
	}
	if mac := bridged.place().MAC; mac[0]&3 != 2 {
		t.Errorf("MAC %s is not a locally administered unicast address", mac)
	}
	text, err := json.Marshal(bridged.place())
	if err != nil {
		t.Fatal(err)
	}
	var back Endpoint
	if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, *bridged.place()) {
		t.Errorf("JSON %s gives %+v, %v", text, back, err)
	}
}

func TestWishes(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	b := open(t, testConfig(t))
	eventually(t, "a full pool", func() bool { return b.Info().Ready == DefaultPoolSize })
	mac := apinet.HardwareAddr{2, 1, 2, 3, 4, 5}
	for _, c := range []struct {
		name string
		wish Wish
		kind errs.Kind
	}{
		{"address and MAC of a ready one", Wish{MAC: mac, Address4: netip.MustParseAddr("172.17.0.3")}, errs.Unknown},
		{"address of a ready one", Wish{Address4: netip.MustParseAddr("172.17.0.4")}, errs.Unknown},
		{"address in use", Wish{Address4: netip.MustParseAddr("172.17.0.4")}, errs.Forbidden},
		{"far address", Wish{Address4: netip.MustParseAddr("172.17.200.1")}, errs.Unknown},
		{"the gateway", Wish{Address4: netip.MustParseAddr("172.17.0.1")}, errs.Forbidden},
		{"outside", Wish{Address4: netip.MustParseAddr("10.0.0.1")}, errs.InvalidParameter},
		{"IPv6", Wish{Address4: netip.MustParseAddr("fd00::1")}, errs.InvalidParameter},
		{"multicast MAC", Wish{MAC: apinet.HardwareAddr{1, 1, 2, 3, 4, 5}, Address4: netip.Addr{}}, errs.InvalidParameter},
		{"short MAC", Wish{MAC: apinet.HardwareAddr{2, 1}, Address4: netip.Addr{}}, errs.InvalidParameter},
	} {
		s, err := b.Acquire(t.Context(), []Wish{with(c.wish, "bridge")}, nil)
		if got := errs.KindOf(err); got != c.kind {
			t.Errorf("%s: kind %v (%v), want %v", c.name, got, err, c.kind)
		}
		if err != nil {
			continue
		}
		defer s.NetNS.Close()
		defer b.Release(*s.place())
		if s.place().Address4.Addr() != c.wish.Address4 || c.wish.MAC != nil && s.place().MAC.String() != mac.String() {
			t.Errorf("%s: got %+v", c.name, s.place())
		}
		if err := within(t, s.NetNS, func() error {
			l, err := netlink.LinkByName("eth0")
			if err == nil && l.Attrs().HardwareAddr.String() != s.place().MAC.String() {
				err = fmt.Errorf("eth0 has MAC %s", l.Attrs().HardwareAddr)
			}
			return err
		}); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Acquire(cancelled, onBridge, nil); errs.KindOf(err) != errs.Cancelled {
		t.Errorf("cancelled: %v", err)
	}
}

func TestNoInterconnect(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	// Frames between two ports of a bridge pass the table only where the
	// kernel is told to show them (as Docker does for icc=false).
	if err := sysctl("net/bridge/bridge-nf-call-iptables", "1"); err != nil {
		t.Skipf("kernel without br_netfilter: %v", err)
	}
	for _, apart := range []bool{false, true} {
		c := testConfig(t)
		c.NoInterconnect = apart
		b := open(t, c)
		web, client := acquire(t, b, Wish{}), acquire(t, b, Wish{})
		serve(t, web.NetNS)
		patience := 5 * time.Second
		if apart {
			patience = 300 * time.Millisecond
		}
		if _, err := ask(t, client.NetNS, web.place().Address4.Addr(), patience); (err != nil) != apart {
			t.Errorf("interconnect off %v: %v", apart, err)
		}
		b.Release(*web.place())
		b.Release(*client.place())
		if err := b.Close(true); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRepair(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	world := newWorld(t, 0)
	b := open(t, testConfig(t))
	s := acquire(t, b, Wish{})
	serve(t, world)
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	reaches := func() bool {
		who, err := ask(t, s.NetNS, worldAddr, time.Second)
		return err == nil && who == hostAddr.String()
	}
	for name, damage := range map[string]func(){
		"flush ruleset": conn.FlushRuleset,
		"delete table":  func() { conn.DelTable(&nftables.Table{Name: "davit", Family: nftables.TableFamilyINet}) },
	} {
		damage()
		if err := conn.Flush(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		eventually(t, "repair after "+name, reaches)
	}
}

func TestForwarding(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	value := func() string {
		v, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(v))
	}
	for _, c := range []struct {
		before        string
		forward, keep bool
		during, after string
		drop          bool
	}{
		{"0", true, false, "1", "0", true},
		{"0", true, true, "1", "0", false},
		{"1", true, false, "1", "1", false},
		{"0", false, false, "0", "0", false},
	} {
		if err := sysctl("net/ipv4/ip_forward", c.before); err != nil {
			t.Fatal(err)
		}
		config := testConfig(t)
		config.Forward, config.ForwardNoDrop = c.forward, c.keep
		for range 2 { // an engine that starts again goes on as the first
			b, err := Open(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Ready(); err != nil {
				t.Fatal(err)
			}
			if value() != c.during || drops(t) != c.drop {
				t.Errorf("%+v: ip_forward %s, drop %v", c, value(), drops(t))
			}
			b.Close(false)
		}
		b, err := Open(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		_ = b.Ready() // else the last engine's ready sandboxes could still be containers
		if err := b.Close(true); err != nil {
			t.Error(err)
		}
		if value() != c.after {
			t.Errorf("%+v: ip_forward %s after removal", c, value())
		}
	}
}

func TestAdoption(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	world := newWorld(t, 0)
	serve(t, world)
	c := testConfig(t)
	first, err := Open(t.Context(), c)
	if err == nil {
		err = first.Ready()
	}
	if err != nil {
		t.Fatal(err)
	}
	running, err1 := first.Acquire(t.Context(), onBridge, nil)
	dead, err2 := first.Acquire(t.Context(), onBridge, nil)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	defer running.NetNS.Close()
	defer dead.NetNS.Close()
	serve(t, running.NetNS)
	eventually(t, "a full pool", func() bool { return first.Info().Ready == DefaultPoolSize })
	before := first.lan()
	if err := first.Close(false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pool's interfaces to go", func() bool { return veths(t) == 2 })
	if who, err := ask(t, running.NetNS, worldAddr, 5*time.Second); err != nil || who != hostAddr.String() {
		t.Errorf("without an engine: %q, %v", who, err)
	}

	second := adopt(t, c)
	if !reflect.DeepEqual(before, second.lan()) {
		t.Errorf("bridge was %+v and is %+v", before, second.lan())
	}
	fresh := acquire(t, second, Wish{}) // even before Reserve, nothing clashes
	if a := fresh.place().Address4.Addr(); a == running.place().Address4.Addr() || a == dead.place().Address4.Addr() {
		t.Errorf("address %s given twice", a)
	}
	if err := second.Reserve(*running.place()); err != nil {
		t.Error(err)
	}
	if err := second.Reserve(*running.place()); err != nil {
		t.Errorf("again: %v", err)
	}
	thief := *running.place()
	thief.ID = "another"
	if err := second.Reserve(thief); errs.KindOf(err) != errs.Conflict {
		t.Errorf("reserving for two: %v", err)
	}
	second.Ready()
	eventually(t, "the dead endpoint's interface to go", func() bool {
		_, err := net.InterfaceByName(dead.place().HostVeth)
		return err != nil
	})
	if who, err := ask(t, fresh.NetNS, running.place().Address4.Addr(), 5*time.Second); err != nil || who != fresh.place().Address4.Addr().String() {
		t.Errorf("to the adopted container: %q, %v", who, err)
	}
	second.Release(thief) // not its own: must change nothing
	if n := second.Info().InUse; n != 2 {
		t.Errorf("%d addresses in use, want 2", n)
	}
	second.Release(*running.place())
	if n := second.Info().InUse; n != 1 {
		t.Errorf("%d addresses in use, want 1", n)
	}
}

func TestRangeIsStable(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	c := testConfig(t)
	block := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "docker0"}}
	if err := netlink.LinkAdd(block); err != nil {
		t.Fatal(err)
	}
	_, n, _ := net.ParseCIDR("172.17.0.0/16")
	if err := netlink.AddrAdd(block, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(172, 17, 0, 1), Mask: n.Mask}}); err != nil {
		t.Fatal(err)
	}
	b, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Info().Subnet.String(); got != "172.18.0.0/16" {
		t.Errorf("beside docker0: %s", got)
	}
	b.Close(false)
	// As after a reboot: the bridge is gone and Docker's too, the file is there.
	for _, name := range []string{"davit0", "docker0"} {
		l, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkDel(l)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := open(t, c).Info().Subnet.String(); got != "172.18.0.0/16" {
		t.Errorf("after a reboot: %s", got)
	}
}

func TestRefusals(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	newWorld(t, 0)
	other := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "taken"}, PeerName: "taken1"}
	if err := netlink.LinkAdd(other); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*Config)
		kind   errs.Kind
		text   string
	}{
		{"no bridge", func(c *Config) { c.Bridge = "taken" }, errs.Conflict, "ip link delete taken"},
		{"bip clash", func(c *Config) { c.BIP = netip.MustParsePrefix("203.0.113.129/25") }, errs.Conflict, "uplink"},
		{"small bip", func(c *Config) { c.BIP = netip.MustParsePrefix("10.0.0.1/31") }, errs.InvalidParameter, "/30"},
		{"bip is the network", func(c *Config) { c.BIP = netip.MustParsePrefix("10.0.0.0/24") }, errs.InvalidParameter, "10.0.0.0"},
		{"IPv6 bip", func(c *Config) { c.BIP = netip.MustParsePrefix("fd00::1/64") }, errs.InvalidParameter, "IPv4"},
		{"fixed-cidr outside", func(c *Config) {
			c.BIP, c.FixedCIDR = netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("10.0.1.0/25")
		}, errs.InvalidParameter, "fixed-cidr"},
		{"long name", func(c *Config) { c.Bridge = "abcdefghijklmnop" }, errs.InvalidParameter, "15 characters"},
		{"slash", func(c *Config) { c.Bridge = "a/b" }, errs.InvalidParameter, "name"},
		{"MTU", func(c *Config) { c.MTU = 10 }, errs.InvalidParameter, "MTU"},
	} {
		config := testConfig(t)
		c.change(&config)
		b, err := Open(t.Context(), config)
		if err == nil {
			b.Close(true)
		}
		if errs.KindOf(err) != c.kind || !strings.Contains(fmt.Sprint(err), c.text) {
			t.Errorf("%s: %v (%v), want %v with %q", c.name, err, errs.KindOf(err), c.kind, c.text)
		}
	}
	b := open(t, testConfig(t))
	same := testConfig(t)
	if _, err := Open(t.Context(), same); errs.KindOf(err) != errs.Conflict {
		t.Errorf("second engine on one bridge: %v", err)
	}
	same.Bridge, same.Table = "davit1", "davit"
	if _, err := Open(t.Context(), same); errs.KindOf(err) != errs.Conflict {
		t.Errorf("second engine on one table: %v", err)
	}
	s := acquire(t, b, Wish{})
	defer s.NetNS.Close()
}

func TestWithoutPrivilege(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	runtime.LockOSThread() // and the thread, which loses its capabilities, ends with the test
	c := testConfig(t)
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		t.Fatal(err)
	}
	data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	if err := unix.Capset(&head, &data[0]); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), c)
	if errs.KindOf(err) != errs.Forbidden || !strings.Contains(fmt.Sprint(err), "CAP_NET_ADMIN") {
		t.Errorf("without CAP_NET_ADMIN: %v", err)
	}
}

func TestExhaustion(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	c := testConfig(t)
	c.BIP = netip.MustParsePrefix("10.9.8.1/29") // five containers
	b := open(t, c)
	var all []*Sandbox
	for i := range 5 {
		s, err := b.Acquire(t.Context(), onBridge, nil)
		if err != nil {
			t.Fatalf("container %d: %v", i, err)
		}
		all = append(all, s)
	}
	if _, err := b.Acquire(t.Context(), onBridge, nil); errs.KindOf(err) != errs.Exhausted || !strings.Contains(err.Error(), "10.9.8.0/29") {
		t.Errorf("sixth: %v", err)
	}
	// The address comes back although somebody still holds the namespace.
	victim := all[2]
	b.Release(*victim.place())
	eventually(t, "the free address in the pool", func() bool { return b.Info().Ready == 1 })
	again, err := b.Acquire(t.Context(), []Wish{{Network: "bridge", MAC: apinet.HardwareAddr{2, 0, 0, 0, 0, 9}}}, nil)
	if err != nil {
		t.Fatalf("after a release: %v", err)
	}
	if again.place().Address4 != victim.place().Address4 {
		t.Errorf("got %s, released %s", again.place().Address4, victim.place().Address4)
	}
	serve(t, again.NetNS)
	// A neighbour that still remembers the earlier holder's MAC in the host's
	// table would lose the first packets.
	home, err := openNetNS()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	if _, err := ask(t, home, again.place().Address4.Addr(), 5*time.Second); err != nil {
		t.Errorf("new holder of the address: %v", err)
	}
	all[2].NetNS.Close()
	all[2] = again
	for _, s := range all {
		s.NetNS.Close()
		b.Release(*s.place())
	}
}

func TestCyclesLeakNothing(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	b := open(t, testConfig(t))
	settled := func() bool {
		b.pool.mu.Lock()
		none := len(b.pool.none.ready)
		b.pool.mu.Unlock()
		return b.Info().Ready == DefaultPoolSize && veths(t) == DefaultPoolSize && none == DefaultPoolSize
	}
	cycle := func(n int) {
		for range n {
			s, err1 := b.Acquire(context.Background(), onBridge, nil)
			none, err2 := b.Acquire(context.Background(), nil, nil)
			if err := errors.Join(err1, err2); err != nil {
				t.Error(err)
				return
			}
			s.NetNS.Close()
			none.NetNS.Close()
			b.Release(*s.place())
		}
	}
	cycle(20)
	eventually(t, "a quiet start", settled)
	files, goroutines := openFiles(t), runtime.NumGoroutine()
	begin := time.Now()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { cycle(63) })
	}
	wg.Wait()
	t.Logf("504 cycles, 8 at once: %v", time.Since(begin))
	t.Logf("settled after %v more", eventually(t, "a quiet end", settled))
	eventually(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= goroutines })
	if got := openFiles(t); got != files {
		t.Errorf("%d files open, before %d", got, files)
	}
	if n := b.Info().InUse; n != 0 {
		t.Errorf("%d addresses in use", n)
	}
}

func TestBridgeRemovedByHand(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	b := open(t, testConfig(t))
	old := acquire(t, b, Wish{})
	serve(t, old.NetNS)
	eventually(t, "a full pool", func() bool { return b.Info().Ready == DefaultPoolSize })
	l, err := netlink.LinkByName("davit0")
	if err == nil {
		err = netlink.LinkDel(l)
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new bridge", func() bool {
		s, err := b.Acquire(t.Context(), onBridge, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.NetNS.Close()
		b.Release(*s.place())
		_, err = net.InterfaceByName("davit0")
		return err == nil
	})
	fresh := acquire(t, b, Wish{})
	if _, err := ask(t, fresh.NetNS, old.place().Address4.Addr(), 5*time.Second); err != nil {
		t.Errorf("to a container from before: %v", err)
	}
}

func TestBridgeNone(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	c := testConfig(t)
	c.Bridge = "none"
	b := open(t, c)
	if _, err := b.Acquire(t.Context(), onBridge, nil); errs.KindOf(err) != errs.InvalidParameter {
		t.Errorf("a sandbox on no bridge: %v", err)
	}
	s, err := b.Acquire(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.NetNS.Close()
	links, err := dump(netlink.LinkList)
	if err != nil || slices.ContainsFunc(links, func(l netlink.Link) bool { return l.Type() == "bridge" }) {
		t.Errorf("there is a bridge, or %v", err)
	}
}

// drops reports whether a table of ours drops what is not containers'.
func drops(t *testing.T) bool {
	t.Helper()
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	chains, err := conn.ListChains()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range chains {
		if c.Table.Family != nftables.TableFamilyINet || c.Name != "forward" {
			continue
		}
		rules, err := conn.GetRules(c.Table, c)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(rules, func(r *nftables.Rule) bool {
			comment, _ := userdata.GetString(r.UserData, userdata.TypeComment)
			return comment == "nothing else of IPv4"
		}) {
			return true
		}
	}
	return false
}

func TestForeignDrop(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	drop := nftables.ChainPolicyDrop
	tbl := conn.AddTable(&nftables.Table{Name: "filter", Family: nftables.TableFamilyIPv4})
	conn.AddChain(&nftables.Chain{Table: tbl, Name: "FORWARD", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &drop})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	// Another engine's table drops too, but not what is ours.
	if err := sysctl("net/ipv4/ip_forward", "0"); err != nil {
		t.Fatal(err)
	}
	other := testConfig(t)
	other.Bridge, other.Table = "other", "other"
	if open(t, other); !drops(t) {
		t.Error("the first engine's policy is not drop")
	}
	b := open(t, testConfig(t))
	if w := b.Warnings(); len(w) != 1 || !strings.Contains(w[0], "ip filter FORWARD") || !strings.Contains(w[0], "davit0") {
		t.Errorf("warnings: %q", w)
	}
}

// TestTwoEngines starts several at one moment, each in a process of its own.
func TestTwoEngines(t *testing.T) {
	if os.Getenv("BRIDGE") != "" {
		engineProcess(t)
		return
	}
	if !alone.Run(t) {
		return
	}
	world := newWorld(t, 0)
	serve(t, world)
	ranges := map[string]bool{}
	var outs []*bufio.Scanner
	var kill []func()
	for i := range 4 {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestTwoEngines$")
		cmd.Env = append(os.Environ(), fmt.Sprintf("BRIDGE=davit%d", i), "TMPDIR="+t.TempDir()) // one that is killed cannot clean up
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		outs = append(outs, bufio.NewScanner(out))
		kill = append(kill, func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
	}
	for _, out := range outs {
		out.Scan()
		subnet, ok := strings.CutPrefix(out.Text(), "range ")
		if !ok || ranges[subnet] {
			t.Errorf("an engine says %q, others have %v", out.Text(), ranges)
		}
		ranges[subnet] = true
	}
	if n := veths(t); n != 4*(DefaultPoolSize+1) {
		t.Errorf("%d interfaces", n)
	}
	// Each said that it reached the world, through the others' tables too.
	for _, out := range outs {
		if out.Scan(); out.Text() != "world "+hostAddr.String() {
			t.Errorf("an engine says %q", out.Text())
		}
	}
	for _, k := range kill {
		k()
	}
	t.Logf("after kill -9 all interfaces are gone in %v", eventually(t, "no interface after kill -9", func() bool { return veths(t) == 0 }))
}

// engineProcess is one engine of TestTwoEngines. It never closes its bridge.
func engineProcess(t *testing.T) {
	c := testConfig(t)
	c.Bridge = os.Getenv("BRIDGE")
	b, err := Open(t.Context(), c)
	if err == nil {
		err = b.Ready()
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := b.Acquire(t.Context(), onBridge, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer runtime.KeepAlive(s) // which would else be closed as garbage, and its namespace gone
	eventually(t, "a full pool", func() bool { return b.Info().Ready == DefaultPoolSize })
	fmt.Println("range", b.Info().Subnet)
	who, err := ask(t, s.NetNS, worldAddr, 5*time.Second)
	if err != nil {
		who = err.Error()
	}
	fmt.Println("world", who)
	select {} // until it is killed
}
