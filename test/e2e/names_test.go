package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// network makes a network of this test's own, which is removed with it.
func ownNetwork(t *testing.T, cli enginetest.CLI, suffix string, flags ...string) string {
	t.Helper()
	n := strings.NewReplacer("/", "-", "#", "-").Replace(t.Name()) + suffix
	cli.OK(t, append(append([]string{"network", "create"}, flags...), n)...)
	t.Cleanup(func() { cli.Run(t, "network", "rm", n) }) // before it the containers go
	return n
}

// runOn starts a container that sleeps.
func runOn(t *testing.T, cli enginetest.CLI, suffix string, flags ...string) string {
	t.Helper()
	n := strings.NewReplacer("/", "-", "#", "-").Replace(t.Name()) + suffix
	t.Cleanup(func() { cli.Run(t, "rm", "-f", n) })
	cli.OK(t, append(append([]string{"run", "-d", "--name", n}, flags...), "busybox", "sleep", "1000")...)
	return n
}

// inNetwork runs fn on a thread in the network namespace of a container, which
// ends with it.
func inNetwork(t testing.TB, cli enginetest.CLI, container string, fn func() error) error {
	t.Helper()
	pid := cli.OK(t, "inspect", "-f", "{{.State.Pid}}", container)
	ns, err := os.Open("/proc/" + pid + "/ns/net")
	if err != nil {
		return err
	}
	defer ns.Close()
	return within(ns, fn)
}

func within(ns *os.File, fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}

// resolverOf asks as a program in the container would.
func resolverOf(t testing.TB, cli enginetest.CLI, container string) *net.Resolver {
	t.Helper()
	pid := cli.OK(t, "inspect", "-f", "{{.State.Pid}}", container)
	ns, err := os.Open("/proc/" + pid + "/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (c net.Conn, err error) {
		err = within(ns, func() (err error) {
			c, err = new(net.Dialer).DialContext(ctx, network, "127.0.0.11:53")
			return err
		})
		return c, err
	}}
}

// addresses looks a name up and sorts what it finds.
func addresses(t testing.TB, r *net.Resolver, family, name string) string {
	t.Helper()
	list, err := r.LookupNetIP(t.Context(), family, name+".")
	if err != nil {
		return "none"
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return strings.Trim(fmt.Sprint(list), "[]")
}

// TestNames has containers find each other by all the names they have.
func TestNames(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		on := ownNetwork(t, cli, "-Net", "--ipv6")
		a := runOn(t, cli, "-a", "--network", on, "--network-alias", "web", "--hostname", "First.example")
		b := runOn(t, cli, "-b", "--network", on, "--network-alias", "web")
		c := runOn(t, cli, "-c", "--network", on, "--link", a+":lnk", "--link", "nobody:gone")
		r := resolverOf(t, cli, c)
		ip := func(container string) (v4, v6 string) {
			t.Helper()
			v4, v6, _ = strings.Cut(cli.OK(t, "inspect", "-f", `{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}`, container), " ")
			return v4, v6
		}
		a4, a6 := ip(a)
		b4, _ := ip(b)
		both := strings.Join(slices.SortedFunc(slices.Values([]string{a4, b4}), func(x, y string) int {
			return netip.MustParseAddr(x).Compare(netip.MustParseAddr(y))
		}), " ")
		check := func(family string, want map[string]string) {
			t.Helper()
			for name, want := range want {
				if got := addresses(t, r, family, name); got != want {
					t.Errorf("%s of %s: %s, want %s", family, name, got, want)
				}
			}
		}
		id := cli.OK(t, "inspect", "-f", "{{.Id}}", a)[:12]
		check("ip4", map[string]string{
			a: a4, strings.ToUpper(a): a4, a + "." + on: a4, id: a4, "lnk": a4, "first.example": a4, "web": both, "web." + on: both, b: b4, "gone": "none", "nobody": "none",
		})
		check("ip6", map[string]string{a: a6, "lnk": a6})
		for _, address := range []string{a4, a6} {
			if list, err := r.LookupAddr(t.Context(), address); err != nil || !slices.Equal(list, []string{a + "." + on + "."}) {
				t.Errorf("%s is %v, %v", address, list, err)
			}
		}
		if got := cli.OK(t, "exec", c, "ping", "-c", "1", "-w", "5", a); !strings.Contains(got, a4) && !strings.Contains(got, a6) {
			t.Error(got)
		}
		// A container in another's network asks the other's resolver.
		if got := cli.OK(t, "run", "--rm", "--network", "container:"+c, "busybox", "nslookup", "-type=a", a); !strings.Contains(got, a4) {
			t.Error(got)
		}
		// A server of the container's own may have port 53 of all addresses.
		cli.OK(t, "exec", "-d", c, "nc", "-l", "-p", "53")
		enginetest.Eventually(t, 5*time.Second, func() error {
			if out := cli.OK(t, "exec", c, "netstat", "-lnt"); !strings.Contains(out, ":53 ") {
				return fmt.Errorf("no server at port 53:\n%s", out)
			}
			return nil
		})
		check("ip4", map[string]string{a: a4})

		cli.OK(t, "rename", b, b+"2")
		t.Cleanup(func() { cli.Run(t, "rm", "-f", b+"2") })
		check("ip4", map[string]string{b: "none", b + "2": b4, "web": both})
		cli.OK(t, "stop", "-t", "0", a)
		check("ip4", map[string]string{a: "none", "lnk": "none", "web": b4})
		cli.OK(t, "start", a)
		again, _ := ip(a)
		check("ip4", map[string]string{a: again, "lnk": again})
	})
}

// TestNamesLive has a container come to a network with names, and leave it,
// while it runs.
func TestNamesLive(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		on := ownNetwork(t, cli, "-net")
		a := runOn(t, cli, "-a", "--network", on)
		b := runOn(t, cli, "-b", "--dns", "192.0.2.1", "-h", "box")
		file := func(name string) string { t.Helper(); return cli.OK(t, "exec", b, "cat", "/etc/"+name) }
		if got := file("resolv.conf"); !strings.Contains(got, "nameserver 192.0.2.1") {
			t.Errorf("on the default bridge resolv.conf is\n%s", got)
		}
		cli.OK(t, "network", "connect", "--alias", "mine", on, b)
		address := cli.OK(t, "inspect", "-f", `{{(index .NetworkSettings.Networks "`+on+`").IPAddress}}`, b)
		if got := file("resolv.conf"); !strings.Contains(got, "nameserver 127.0.0.11") || !strings.Contains(got, "# ExtServers: [192.0.2.1]") {
			t.Errorf("once it is on a network with names resolv.conf is\n%s", got)
		}
		if got := file("hosts"); strings.Count(got, "\tbox") != 2 || !strings.Contains(got, address+"\tbox") {
			t.Errorf("on two networks hosts is\n%s", got)
		}
		cli.OK(t, "exec", b, "ping", "-c", "1", "-w", "5", a)
		cli.OK(t, "exec", a, "ping", "-c", "1", "-w", "5", "mine")
		r := resolverOf(t, cli, a)
		cli.OK(t, "network", "disconnect", on, b)
		if got := addresses(t, r, "ip4", "mine"); got != "none" {
			t.Errorf("the name of a container that has left leads to %s", got)
		}
		if got := file("hosts"); strings.Count(got, "\tbox") != 1 || strings.Contains(got, address+"\t") {
			t.Errorf("back on one network hosts is\n%s", got)
		}
		cli.OK(t, "network", "connect", on, b)
		cli.OK(t, "exec", b, "ping", "-c", "1", "-w", "5", a)

		// What somebody has written stays.
		c := runOn(t, cli, "-c")
		cli.OK(t, "exec", c, "sh", "-c", "echo nameserver 192.0.2.9 >/etc/resolv.conf; echo 192.0.2.8 theirs >>/etc/hosts")
		cli.OK(t, "network", "connect", on, c)
		cli.OK(t, "network", "disconnect", on, c)
		if got := cli.OK(t, "exec", c, "cat", "/etc/resolv.conf", "/etc/hosts"); !strings.HasPrefix(got, "nameserver 192.0.2.9\n") || !strings.Contains(got, "192.0.2.8 theirs") || strings.Contains(got, "127.0.0.11") {
			t.Errorf("somebody's own files are\n%s", got)
		}
	})
}

// nameServer answers A questions at an address with ips; no more once it is
// closed. It is where the calling thread is.
func nameServer(t testing.TB, address string, ip [4]byte) (io.Closer, error) {
	udp, err := net.ListenPacket("udp4", address)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { udp.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
			if m.Questions[0].Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 1}, Body: &dnsmessage.AResource{A: ip}}}
			}
			if out, err := m.Pack(); err == nil {
				udp.WriteTo(out, from)
			}
		}
	}()
	return udp, nil
}

// loopback is an address of the host's that no other test uses.
func loopback() string {
	return netip.AddrFrom4([4]byte{127, byte(100 + rand.IntN(100)), byte(rand.IntN(256)), byte(1 + rand.IntN(250))}).String()
}

// TestNamesOutside asks the host's servers, from the host, wherever they are,
// and those of --dns from the container; from an internal network the host's
// are not asked.
func TestNamesOutside(t *testing.T) {
	first, second := loopback(), loopback()
	for i, address := range []string{first, second} {
		if _, err := nameServer(t, address+":53", [4]byte{192, 0, 2, byte(1 + i)}); err != nil {
			t.Skipf("port 53 of %s: %v", address, err)
		}
	}
	e := enginetest.Start(t, enginetest.Config{Etc: map[string]string{"resolv.conf": "nameserver " + first + "\nsearch lan.example\noptions timeout:1\n"}})
	e.Busybox(t)
	cli := e.Davit()
	on, inside := ownNetwork(t, cli, "-net"), ownNetwork(t, cli, "-inside", "--internal")
	a := runOn(t, cli, "-a", "--network", on)
	b := runOn(t, cli, "-b", "--network", inside)
	c := runOn(t, cli, "-c", "--network", inside, "--dns", "127.0.0.1")
	d := runOn(t, cli, "-d", "--dns-option", "ndots:2", "--network", on)
	bridged := runOn(t, cli, "-bridged")
	if err := inNetwork(t, cli, c, func() error {
		_, err := nameServer(t, "127.0.0.1:53", [4]byte{192, 0, 2, 3})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	check := func(container, name, want string) {
		t.Helper()
		if got := addresses(t, resolverOf(t, cli, container), "ip4", name); got != want {
			t.Errorf("%s finds %s at %s, want %s", container, name, got, want)
		}
	}
	check(a, "outside.example", "192.0.2.1")
	check(a, "short", "192.0.2.1")
	check(b, "outside.example", "none")
	check(c, "outside.example", "192.0.2.3")
	check(d, "outside.example", "192.0.2.1")
	check(d, "short", "none")
	// No server of the host's can be reached from the default bridge but
	// through a resolver.
	check(bridged, "outside.example", "192.0.2.1")
	check(bridged, bridged, "192.0.2.1")
	for container, want := range map[string]string{
		a: "search lan.example\noptions timeout:1 ndots:0", d: "search lan.example\noptions ndots:2", bridged: "nameserver 127.0.0.11",
	} {
		if got := cli.OK(t, "exec", container, "cat", "/etc/resolv.conf"); !strings.Contains(got, want) {
			t.Errorf("resolv.conf of %s lacks %q:\n%s", container, want, got)
		}
	}
	// The way out that a container gets while it runs leads to names too.
	cli.OK(t, "network", "connect", on, b)
	check(b, "outside.example", "192.0.2.1")
	cli.OK(t, "network", "disconnect", on, b)
	check(b, "outside.example", "none")
	// The host moves to another network while the engine is down.
	r := resolverOf(t, cli, a)
	e.Kill(t)
	if err := os.WriteFile(filepath.Join(e.Root, "etc-resolv.conf"), []byte("nameserver "+second+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := addresses(t, r, "ip4", "outside.example"); got != "192.0.2.2" {
		t.Errorf("in another network the host's server is not asked: %s", got)
	}
	e.Restart(t)
}

// TestNamesOutliveEngine looks names up without a pause while the engine is
// killed and started again: none fails, and what is right is not written again.
func TestNamesOutliveEngine(t *testing.T) {
	e := enginetest.Start(t, enginetest.Config{Quiet: true})
	e.Busybox(t)
	cli := e.Davit()
	on := ownNetwork(t, cli, "-net")
	a := runOn(t, cli, "-a", "--network", on)
	b := runOn(t, cli, "-b", "--network", on)
	want := cli.OK(t, "inspect", "-f", `{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}`, a)
	pid := cli.OK(t, "inspect", "-f", "{{.State.Pid}}", b)
	names, err := filepath.Glob(filepath.Join(e.Exec, "networks", "*"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	before, err := os.Stat(names[0])
	if err != nil {
		t.Fatal(err)
	}
	ns, err := os.Open("/proc/" + pid + "/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	var asked, failed atomic.Int64
	stop := make(chan struct{})
	var asking sync.WaitGroup
	for i := range 2 {
		asking.Go(func() {
			q := dnsQuestion(t, a+".")
			var c net.Conn
			if err := within(ns, func() (err error) { c, err = net.Dial("udp4", "127.0.0.11:53"); return err }); err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			buf := make([]byte, 4096)
			for n := uint16(i); ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				binary.BigEndian.PutUint16(q, n)
				c.SetDeadline(time.Now().Add(time.Second))
				_, err := c.Write(q)
				size := 0
				if err == nil {
					size, err = c.Read(buf)
				}
				var m dnsmessage.Message
				if err != nil || m.Unpack(buf[:size]) != nil || len(m.Answers) != 1 || netip.AddrFrom4(m.Answers[0].Body.(*dnsmessage.AResource).A).String() != want {
					failed.Add(1)
				}
				asked.Add(1)
			}
		})
	}
	for range 4 {
		e.Kill(t)
		e.Restart(t)
	}
	after, err := os.Stat(names[0])
	if err != nil || !os.SameFile(before, after) || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the names were written again: %v", err)
	}
	// Others come and go.
	for i := range 5 {
		cli.OK(t, "run", "--rm", "--network", on, "--name", "other"+strconv.Itoa(i), "busybox", "true")
	}
	close(stop)
	asking.Wait()
	if failed.Load() > 0 || asked.Load() < 1000 {
		t.Errorf("%d of %d questions failed", failed.Load(), asked.Load())
	}
	t.Logf("%d questions, %d failed", asked.Load(), failed.Load())

	// A container that ends while nobody looks is not found any more.
	aPid, err := strconv.Atoi(cli.OK(t, "inspect", "-f", "{{.State.Pid}}", a))
	if err != nil {
		t.Fatal(err)
	}
	e.Kill(t)
	if err := unix.Kill(aPid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	e.Restart(t)
	if got := addresses(t, resolverOf(t, cli, b), "ip4", a); got != "none" {
		t.Errorf("a container that has ended is found at %s", got)
	}
	cli.OK(t, "rm", "-f", b)
	if left, err := filepath.Glob(filepath.Join(e.Exec, "networks", "*")); len(left) > 0 {
		t.Errorf("names are left: %v, %v", left, err)
	}
}

func dnsQuestion(t testing.TB, name string) []byte {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	out, err := m.Pack()
	if err != nil {
		t.Error(err)
	}
	return out
}
