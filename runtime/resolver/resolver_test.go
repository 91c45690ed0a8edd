package resolver

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

const (
	a    = dnsmessage.TypeA
	aaaa = dnsmessage.TypeAAAA
	ptr  = dnsmessage.TypePTR
)

// TestOwn asks for names of the networks, over both protocols.
func TestOwn(t *testing.T) {
	p := onNetworks()
	p.Links = []Link{{"store", "DB"}, {"gone", "nobody"}, {"web1", "far"}}
	b := newBench(t, p, 0)
	for _, test := range []struct {
		name string
		kind dnsmessage.Type
		want string
	}{
		{"db.", a, "172.18.0.2"},
		{"DB.", a, "172.18.0.2"},
		{"db.front.", a, "172.18.0.2"},
		{"db.back.", a, "172.19.0.9"},
		{"db.BACK.", a, "172.19.0.9"},
		{"far.", a, "172.19.0.9"},
		{"far.front.", a, "ServerFailure"},
		{"4c01db0b339c.", a, "172.18.0.2"},
		{"postgres.", a, "172.18.0.2"},
		{"a.b.", a, "172.18.0.2"},
		{"a.b.front.", a, "172.18.0.2"},
		{"db.", aaaa, "fd00::2"},
		{"web2.", a, "172.18.0.4"},
		{"web2.", aaaa, ""},
		{"db.", dnsmessage.TypeMX, ""},
		{"db.", dnsmessage.Type(65), ""},
		{"store.", a, "172.18.0.2"},
		{"store.front.", a, "172.18.0.2"},
		{"gone.", a, "ServerFailure"},
		{"2.0.18.172.in-addr.arpa.", ptr, "db.front."},
		{"9.0.19.172.IN-ADDR.arpa.", ptr, "far.Back."},
		{"2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", ptr, "db.front."},
		{"9.0.18.172.in-addr.arpa.", ptr, "ServerFailure"},
		{"18.172.in-addr.arpa.", ptr, "ServerFailure"},
		{"nobody.", a, "ServerFailure"},
		{".", a, "ServerFailure"},
		{"front.", a, "ServerFailure"},
		{".front.", a, "ServerFailure"},
		{"d b.", a, "ServerFailure"},
		{"172.18.0.2,fd00::2.", a, "ServerFailure"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if strings.HasPrefix(test.name, ".f") {
				continue // dnsmessage packs no empty label
			}
			m := b.ask(network, question(t, test.name, test.kind, 0))
			if got := text(m); got != test.want {
				t.Errorf("%s %s by %s: %q, want %q", test.name, test.kind, network, got, test.want)
			}
			if !m.RecursionAvailable || !m.RecursionDesired {
				t.Errorf("%s: header %+v", test.name, m.Header)
			}
			if len(m.Questions) != 1 || m.Questions[0].Name.String() != test.name {
				t.Errorf("%s: the question came back as %v", test.name, m.Questions)
			}
			for _, r := range m.Answers {
				if r.Header.TTL > 30 {
					t.Errorf("%s may be remembered for %d s", test.name, r.Header.TTL)
				}
			}
		}
	}
}

// TestRotation has each of several addresses come first.
func TestRotation(t *testing.T) {
	b := newBench(t, onNetworks(), 0)
	first := map[string]int{}
	for range 30 {
		list := strings.Fields(text(b.ask("udp", question(t, "web.", a, 0))))
		if len(list) != 3 {
			t.Fatal(list)
		}
		first[list[0]]++
	}
	for _, n := range first {
		if n != 10 {
			t.Errorf("came first: %v", first)
		}
	}
}

// TestSize cuts answers to what the client takes, and sends all by TCP.
func TestSize(t *testing.T) {
	b := newBench(t, onNetworks(), 0)
	var list []Entry
	for i := range 2000 {
		list = append(list, Entry{[]netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}, []string{fmt.Sprintf("n%d", i), "many"}})
	}
	b.write("names", NamesFile(list))
	for _, test := range []struct{ network string }{{"udp"}, {"tcp"}} {
		for _, size := range []int{0, 100, 512, 1232, 4096, 65000} {
			limit := max(size, 512)
			if test.network == "tcp" {
				limit = 65535
			}
			raw, err := b.exchange(test.network, question(t, "many.", a, size), 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			var m dnsmessage.Message
			if err := m.Unpack(raw); err != nil {
				t.Fatal(err)
			}
			fits := min(2000, (limit-len("many")-18-11)/16)
			if len(raw) > limit || len(m.Answers) < fits || m.Truncated != (len(m.Answers) < 2000) || (len(m.Additionals) == 1) != (size > 0) {
				t.Errorf("%s, %d: %d bytes, %d answers, %d additional, truncated %v", test.network, size, len(raw), len(m.Answers), len(m.Additionals), m.Truncated)
			}
		}
	}
}

// TestChanges has the resolver notice files that were replaced.
func TestChanges(t *testing.T) {
	b := newBench(t, onNetworks(), 0)
	ask := func(want string) {
		t.Helper()
		if got := text(b.ask("udp", question(t, "db.", a, 0))); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	ask("172.18.0.2")
	b.write("names", NamesFile([]Entry{{addrs("172.18.0.77"), []string{"db"}}}))
	ask("172.18.0.77")
	b.plan(&Plan{Networks: []Network{{"back", "other"}}})
	ask("172.19.0.9")
	b.write("plan", []byte("{"))
	ask("172.19.0.9") // a plan that is broken does not count
	b.must(os.Remove(filepath.Join(b.dir, "other")))
	ask("ServerFailure")
}

// TestUndotted keeps names without a dot, but only addresses of them.
func TestUndotted(t *testing.T) {
	port, _ := serveAt(t, func(_ string, _ bool, q []byte) []byte { return answerWith(t, q, 0, "192.0.2.1") }, "127.0.0.2")
	p := onNetworks()
	p.Undotted, p.Servers = true, addrs("127.0.0.2")
	b := newBench(t, p, port)
	for name, want := range map[string]string{"nobody.": "", "no.body.": "192.0.2.1", "db.": "172.18.0.2"} {
		if got := text(b.ask("udp", question(t, name, a, 0))); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestUpstream follows the host's resolv.conf and goes on when servers fail.
func TestUpstream(t *testing.T) {
	var mode sync.Map // address -> what a server does
	port, servers := serveAt(t, func(at string, tcp bool, q []byte) []byte {
		how, _ := mode.Load(at)
		switch how {
		case "silent":
			return nil
		case "refuse":
			return answerWith(t, q, dnsmessage.RCodeRefused)
		case "fail":
			return answerWith(t, q, dnsmessage.RCodeServerFailure)
		case "none":
			return answerWith(t, q, dnsmessage.RCodeNameError)
		case "lie":
			bad := answerWith(t, q, 0, "192.0.2.66")
			bad[1]++
			return bad
		}
		return answerWith(t, q, 0, "192.0.2."+at[len(at)-1:])
	}, "127.0.0.2", "127.0.0.3", "127.0.0.4")
	p := onNetworks()
	p.Host = "resolv.conf"
	b := newBench(t, p, port)
	b.write("resolv.conf", []byte("# one\nnameserver 127.0.0.2\nnameserver bad\nsearch lan\nnameserver 127.0.0.3\n"))
	for _, test := range []struct {
		first, second, want string
		asked               int32 // of the second, by UDP; TCP asks once
	}{
		{"", "", "192.0.2.2", 0},
		{"refuse", "", "192.0.2.3", 1},
		{"none", "", "NameError", 0},
		{"fail", "refuse", "Refused", 2},
		{"silent", "", "192.0.2.3", 1},
		{"", "silent", "192.0.2.2", 0},
		{"lie", "", "192.0.2.3", 1},
	} {
		for _, network := range []string{"udp", "tcp"} {
			mode.Store("127.0.0.2", test.first)
			mode.Store("127.0.0.3", test.second)
			before := servers["127.0.0.3"].asked.Load()
			b.r.upstream.prefer(netip.Addr{}, true)
			if got := text(b.ask(network, question(t, "example.com.", a, 1232))); got != test.want && test.first != "fail" || !strings.Contains("RefusedServerFailure"+test.want, got) {
				t.Errorf("%q, %q by %s: %q, want %q", test.first, test.second, network, got, test.want)
			}
			asked := servers["127.0.0.3"].asked.Load() - before
			if network == "udp" && asked != test.asked || network == "tcp" && asked != min(test.asked, 1) {
				t.Errorf("%q, %q by %s: the second server was asked %d times", test.first, test.second, network, asked)
			}
		}
	}
	// The host is in another network now.
	mode.Store("127.0.0.4", "")
	b.write("resolv.conf", []byte("nameserver 127.0.0.4\n"))
	if got := text(b.ask("udp", question(t, "example.com.", a, 0))); got != "192.0.2.4" {
		t.Errorf("after the host's resolv.conf has changed: %q", got)
	}
}

// TestPreferred asks the server first that has answered in place of another.
func TestPreferred(t *testing.T) {
	port, servers := serveAt(t, func(at string, _ bool, q []byte) []byte {
		if at == "127.0.0.2" {
			return nil
		}
		return answerWith(t, q, 0, "192.0.2.1")
	}, "127.0.0.2", "127.0.0.3")
	b := newBench(t, &Plan{Servers: addrs("127.0.0.2", "127.0.0.3")}, port)
	begin := time.Now()
	for range 20 {
		if got := text(b.ask("udp", question(t, "example.com.", a, 0))); got != "192.0.2.1" {
			t.Fatal(got)
		}
	}
	if took := time.Since(begin); took > 3*firstWait {
		t.Errorf("20 questions took %v beside a server that is down", took)
	}
	if n := servers["127.0.0.2"].asked.Load(); n > 2 {
		t.Errorf("the server that is down was asked %d times", n)
	}
}

// TestTransparent passes questions and answers on as they are, whatever they
// hold and however long they are.
func TestTransparent(t *testing.T) {
	port, _ := serveAt(t, func(_ string, tcp bool, q []byte) []byte {
		out := answerWith(t, q, 0)
		binary.BigEndian.PutUint16(out[6:], 0)
		size := 3000
		if tcp {
			size = 65535 // the longest that there is
		}
		return append(out, make([]byte, size-len(out))...)
	}, "127.0.0.2")
	b := newBench(t, &Plan{Servers: addrs("127.0.0.2")}, port)
	for network, want := range map[string]int{"udp": 3000, "tcp": 65535} {
		raw, err := b.exchange(network, question(t, "example.com.", dnsmessage.TypeTXT, 4096), 5*time.Second)
		if err != nil || len(raw) != want {
			t.Errorf("by %s: %d bytes, %v", network, len(raw), err)
		}
	}
}

// TestNobody fails at once where nobody can be asked, and once a server cannot
// be reached.
func TestNobody(t *testing.T) {
	for _, p := range []*Plan{{}, {Servers: addrs("127.0.0.11")}, {Servers: addrs("127.0.0.2")}} {
		b := newBench(t, p, 9)
		for _, network := range []string{"udp", "tcp"} {
			begin := time.Now()
			if got := text(b.ask(network, question(t, "example.com.", a, 0))); got != "ServerFailure" {
				t.Error(got)
			}
			if took := time.Since(begin); took > time.Second {
				t.Errorf("%v by %s took %v", p.Servers, network, took)
			}
		}
	}
}

// TestGarbage has no answer to what is no question, and an error to what
// cannot be answered.
func TestGarbage(t *testing.T) {
	b := newBench(t, onNetworks(), 0)
	good := question(t, "db.", a, 0)
	change := func(at int, values ...byte) []byte {
		m := bytes.Clone(good)
		copy(m[at:], values)
		return m
	}
	for name, test := range map[string]struct {
		msg  []byte
		want string
	}{
		"opcode":         {change(2, 0x29), "NotImplemented"},
		"no question":    {change(4, 0, 0), "FormatError"},
		"two questions":  {change(4, 0, 2), "FormatError"},
		"cut":            {good[:len(good)-1], "FormatError"},
		"cut name":       {good[:14], "FormatError"},
		"header only":    {good[:12], "FormatError"},
		"pointer":        {change(12, 0xc0, 12), "FormatError"},
		"label too long": {change(12, 64), "FormatError"},
	} {
		raw, err := b.exchange("udp", test.msg, 5*time.Second)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var p dnsmessage.Parser
		h, err := p.Start(raw)
		if got := strings.TrimPrefix(h.RCode.String(), "RCode"); err != nil || got != test.want {
			t.Errorf("%s: %q, %v, want %s", name, got, err, test.want)
		}
	}
	for name, msg := range map[string][]byte{"short": good[:11], "an answer": change(2, 0x81), "long": append(bytes.Clone(good), make([]byte, maxQuery)...)} {
		if raw, err := b.exchange("udp", msg, 50*time.Millisecond); err == nil {
			t.Errorf("%s: answered with %x", name, raw)
		}
		if raw, err := b.exchange("tcp", msg, 50*time.Millisecond); err == nil {
			t.Errorf("%s: answered with %x by TCP", name, raw)
		}
	}
}

// TestInside asks the servers of a plan from the container's network, in which
// the host's cannot be reached.
func TestInside(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	var udp, tcp *os.File
	var port uint16
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and the thread ends with it
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			request, _ := unix.NewIfreq("lo")
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			request.SetUint16(unix.IFF_UP)
			if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
				return err
			}
			u, err := net.ListenPacket("udp4", "127.0.0.1:0")
			if err != nil {
				return err
			}
			defer u.Close()
			l, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				return err
			}
			defer l.Close()
			if udp, err = u.(*net.UDPConn).File(); err == nil {
				tcp, err = l.(*net.TCPListener).File()
			}
			port, _ = serveAt(t, func(_ string, _ bool, q []byte) []byte { return answerWith(t, q, 0, "192.0.2.1") }, "127.0.0.2")
			return err
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r := serve(udp, tcp, filepath.Join(dir, "plan"), port)
	defer r.Close()
	msg := question(t, "example.com.", a, 0)
	for want, p := range map[string]*Plan{
		"192.0.2.1":     {Servers: addrs("127.0.0.2")},
		"ServerFailure": {Host: filepath.Join(dir, "resolv.conf")},
	} {
		if err := os.WriteFile(filepath.Join(dir, "resolv.conf"), []byte("nameserver 127.0.0.2\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, overTCP := range []bool{false, true} {
			q, _ := parse(msg)
			var m dnsmessage.Message
			if err := m.Unpack(r.upstream.ask(p, &q, overTCP)); err != nil {
				t.Fatal(err)
			}
			if got := text(&m); got != want {
				t.Errorf("%+v, by TCP %v: %q, want %q", p, overTCP, got, want)
			}
		}
	}
}

// TestFlood sends more questions than the resolver asks others at a time, and
// has it answer for names of the networks meanwhile, in a bounded space.
func TestFlood(t *testing.T) {
	port, _ := serveAt(t, func(string, bool, []byte) []byte { return nil }, "127.0.0.2")
	p := onNetworks()
	p.Servers = addrs("127.0.0.2")
	b := newBench(t, p, port)
	c, err := net.Dial("udp", b.udp)
	b.must(err)
	defer c.Close()
	flood, most := question(t, "example.com.", a, 0), 0
	for i := range 5000 {
		binary.BigEndian.PutUint16(flood, uint16(i))
		if _, err := c.Write(flood); err != nil {
			t.Fatal(err)
		}
		most = max(most, len(b.r.underWay))
		if i%500 == 499 {
			if got := text(b.ask("udp", question(t, "db.", a, 0))); got != "172.18.0.2" {
				t.Fatal(got)
			}
		}
	}
	if most < maxUnderWay/2 {
		t.Errorf("%d questions were under way at a time", most)
	}
	eventually(t, "a question beyond the limit is refused", func() bool {
		raw, err := b.exchange("udp", question(t, "example.org.", a, 0), 50*time.Millisecond)
		return err == nil && rcodeOf(raw) == rcodeFailure
	})
	// As many TCP clients that say nothing harm only each other.
	for range 2 * maxClients {
		c, err := net.Dial("tcp", b.tcp)
		b.must(err)
		defer c.Close()
	}
	if got := text(b.ask("udp", question(t, "db.", a, 0))); got != "172.18.0.2" {
		t.Error(got)
	}
}

// TestReplacedWhileAsked looks names up without a pause while files are
// replaced: no question fails.
func TestReplacedWhileAsked(t *testing.T) {
	b := newBench(t, onNetworks(), 0)
	stop := make(chan struct{})
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := text(b.ask("udp", question(t, "db.", aaaa, 0))); got != "fd00::2" {
					t.Errorf("%q", got)
					return
				}
			}
		})
	}
	for i := range 300 {
		list := []Entry{{addrs("fd00::2"), []string{"db"}}}
		for j := range rand.IntN(200) {
			list = append(list, Entry{addrs(fmt.Sprintf("172.18.%d.%d", i%256, j)), []string{strings.Repeat("x", 1+rand.IntN(60))}})
		}
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		b.write("names", NamesFile(list))
		b.plan(onNetworks())
	}
	close(stop)
	asking.Wait()
}

func TestNamesFile(t *testing.T) {
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf("name-%d", i))
	}
	text := NamesFile([]Entry{
		{addrs("172.18.0.2", "fd00::2%eth0", "::ffff:10.0.0.1"), []string{"db", "no blanks", "", "two..dots", strings.Repeat("x", 64), "ok.Name", "tab\t", "ümlaut", "."}},
		{nil, []string{"nowhere"}},
		{addrs("172.18.0.3"), []string{" "}},
		{addrs("172.18.0.4"), many},
	})
	lines := strings.Split(string(text), "\n")
	if want := "172.18.0.2,fd00::2,10.0.0.1 db ok.Name ümlaut"; lines[0] != want {
		t.Errorf("%q, want %q", lines[0], want)
	}
	for _, l := range lines {
		if len(l) >= lineSize {
			t.Errorf("a line of %d bytes", len(l))
		}
	}
	path := filepath.Join(t.TempDir(), "names")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range many {
		if list, _ := find(nil, path, name); !slices.Equal(list, addrs("172.18.0.4")) {
			t.Fatalf("%s: %v", name, list)
		}
	}
	if got := nameOf(path, "172.18.0.4"); got != "name-0" {
		t.Errorf("an address is turned into %q", got)
	}
	if _, known := find(nil, path, "nowhere"); known {
		t.Error("an entry without an address is there")
	}
}
