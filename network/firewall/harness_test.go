package firewall

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// run runs a program that must succeed.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// ip runs lines of the ip program on a host.
func ip(t testing.TB, h host, lines ...string) {
	t.Helper()
	cmd := exec.Command("ip", "-batch", "-")
	if h != self {
		cmd = exec.Command("ip", "-n", string(h), "-batch", "-")
	}
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ip: %v\n%s\n%s", err, out, strings.Join(lines, "\n"))
	}
}

// host is a network namespace with a name; "" is the test's own, which plays
// the host.
type host string

// topology, all in the test's namespaces:
//
//	lan ---- uplink (host) br1 ---- a, b
//	                       br2 ---- c
//
// lan has routes to both bridges, as a neighbour that wants to get in does.
const (
	self         host = ""
	lan, a, b, c host = "lan", "a", "b", "c"
)

// addresses of each host, of both families.
var addresses = map[host][2]netip.Addr{
	self: {netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8::1")},
	lan:  {netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("2001:db8::2")},
	a:    {netip.MustParseAddr("172.30.1.2"), netip.MustParseAddr("fd30:1::2")},
	b:    {netip.MustParseAddr("172.30.1.3"), netip.MustParseAddr("fd30:1::3")},
	c:    {netip.MustParseAddr("172.30.2.2"), netip.MustParseAddr("fd30:2::2")},
}

func topology(t testing.TB) {
	t.Helper()
	sysctl(t, "net.ipv4.ip_forward", "1")
	sysctl(t, "net.ipv6.conf.all.forwarding", "1")
	sysctl(t, "net.ipv6.conf.default.accept_dad", "0")
	lines := []string{"link set lo up"}
	for _, br := range []string{"1", "2"} {
		lines = append(lines, "link add br"+br+" type bridge", "link set br"+br+" up",
			"addr add 172.30."+br+".1/24 dev br"+br, "addr add fd30:"+br+"::1/64 dev br"+br+" nodad")
	}
	ip(t, self, lines...)
	join := func(h host, device, gateway4, gateway6 string) {
		ns := string(h)
		ip(t, self, "netns add "+ns, "link add "+device+" type veth peer name eth0 netns "+ns)
		within(t, h, func() error {
			return os.WriteFile("/proc/sys/net/ipv6/conf/eth0/accept_dad", []byte("0"), 0)
		})
		ip(t, self, "link set "+device+" up")
		at := addresses[h]
		ip(t, h, "link set lo up", "addr add "+at[0].String()+"/24 dev eth0", "addr add "+at[1].String()+"/64 dev eth0 nodad", "link set eth0 up",
			"route add default via "+gateway4, "route add default via "+gateway6)
	}
	join(lan, "uplink", "203.0.113.1", "2001:db8::1")
	ip(t, self, "addr add 203.0.113.1/24 dev uplink", "addr add 203.0.113.11/24 dev uplink", "addr add 2001:db8::1/64 dev uplink nodad", "addr add 2001:db8::11/64 dev uplink nodad preferred_lft 0")
	for h, br := range map[host]string{a: "1", b: "1", c: "2"} {
		join(h, "v"+string(h), "172.30."+br+".1", "fd30:"+br+"::1")
		ip(t, self, "link set v"+string(h)+" master br"+br, "link set v"+string(h)+" type bridge_slave hairpin on")
	}
	t.Cleanup(func() {
		for _, h := range []host{lan, a, b, c} {
			ip(t, self, "netns del "+string(h))
		}
	})
}

func sysctl(t testing.TB, name, value string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/"+strings.ReplaceAll(name, ".", "/"), []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

// within runs fn in a host's namespace, on a thread that ends with it.
func within(t testing.TB, h host, fn func() error) error {
	t.Helper()
	if h == self {
		return fn()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		f, err := os.Open("/run/netns/" + string(h))
		if err == nil {
			defer f.Close()
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = fn()
		}
		done <- err
	}()
	return <-done
}

// serve has h answer on a port of tcp and udp with its name and who asks.
func serve(t testing.TB, h host, port int) {
	t.Helper()
	var l net.Listener
	var u *net.UDPConn
	if err := within(t, h, func() (err error) {
		if l, err = net.Listen("tcp", fmt.Sprintf(":%d", port)); err != nil {
			return err
		}
		u, err = net.ListenUDP("udp", &net.UDPAddr{Port: port})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); u.Close() })
	answer := func(who string) string {
		at, _ := netip.ParseAddrPort(who)
		return fmt.Sprintf("%s:%d for %s", h, port, at.Addr().Unmap())
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, answer(c.RemoteAddr().String()))
			c.Close()
		}
	}()
	go func() {
		buf := make([]byte, 100)
		for {
			_, who, err := u.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			u.WriteToUDPAddrPort([]byte(answer(who.String())), who)
		}
	}()
}

// patience of those who expect no answer.
const patience = 200 * time.Millisecond

// ask asks a server of serve, by tcp or udp; "" is no answer.
func ask(t testing.TB, from host, proto, to string, wait time.Duration) string {
	t.Helper()
	var answer []byte
	within(t, from, func() error {
		c, err := net.DialTimeout(proto, to, wait)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(wait))
		if proto == "udp" {
			c.Write([]byte("?"))
			answer = make([]byte, 100)
			n, err := c.Read(answer)
			answer = answer[:max(n, 0)]
			return err
		}
		answer, err = io.ReadAll(c)
		return err
	})
	return string(answer)
}

// expect asks and compares; want "" is no answer.
func expect(t testing.TB, what string, from host, proto, to, want string) {
	t.Helper()
	wait := 5 * time.Second
	if want == "" {
		wait = patience
	}
	begin := time.Now()
	if got := ask(t, from, proto, to, wait); got != want {
		t.Errorf("%s: %s asks %s %s: %q, want %q", what, from, proto, to, got, want)
	}
	if took := time.Since(begin); took > 900*time.Millisecond {
		t.Logf("%s: %s asks %s %s: took %v", what, from, proto, to, took)
	}
}

// eventually polls until ok, for at most five seconds.
func eventually(t testing.TB, what string, ok func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for !ok() {
		if time.Since(begin) > 5*time.Second {
			t.Fatalf("did not happen in 5 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(begin)
}

const testGroup = 0xda417

// open opens a table that is removed with the test.
func open(t testing.TB) *Table {
	t.Helper()
	table, err := Open(Config{Name: "davit", Group: testGroup})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Remove(); err != nil {
			t.Error(err)
		}
	})
	return table
}

// settled opens a table with networks and forwards, and settles it.
func settled(t testing.TB, networks []Network, forwards ...Forward) *Table {
	t.Helper()
	table := open(t)
	for _, n := range networks {
		if err := table.SetNetwork(n); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(table.Publish(forwards), table.Settle()); err != nil {
		t.Fatal(err)
	}
	return table
}

// plain is a network as most are.
func plain(bridge string) Network {
	n := strings.TrimPrefix(bridge, "br")
	return Network{Bridge: bridge, Subnets: []netip.Prefix{netip.MustParsePrefix("172.30." + n + ".0/24"), netip.MustParsePrefix("fd30:" + n + "::/64")},
		Masquerade4: true, Masquerade6: true, Interconnect: true}
}

// fwd describes a forward to port 80 of a host or, for a range, to the same ports.
func fwd(proto, hostIP string, port, count uint16, to host) Forward {
	f := Forward{Bridge: "br1", Proto: proto, HostIP: netip.MustParseAddr(hostIP), HostPort: port, Count: count, Port: 80}
	if to == c {
		f.Bridge = "br2"
	}
	f.Address = addresses[to][0]
	if f.HostIP.Is6() {
		f.Address = addresses[to][1]
	}
	if count > 1 {
		f.Port = port
	}
	return f
}
