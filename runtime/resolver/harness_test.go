package resolver

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// bench is a resolver with a plan and names in files, on sockets of the
// loopback interface.
type bench struct {
	t        testing.TB
	dir      string
	udp, tcp string // addresses
	r        *Resolver
}

func newBench(t testing.TB, p *Plan, port uint16) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir()}
	b.write("names", NamesFile([]Entry{
		{addrs("172.18.0.2", "fd00::2"), []string{"db", "4c01db0b339c", "Postgres", "cache", "a.b"}},
		{addrs("172.18.0.3"), []string{"web1", "web"}},
		{addrs("172.18.0.4"), []string{"web2", "web"}},
		{addrs("172.18.0.5"), []string{"web3", "web"}},
	}))
	b.write("other", NamesFile([]Entry{{addrs("172.19.0.9"), []string{"far", "db"}}}))
	b.plan(p)
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	b.must(err)
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	b.must(err)
	b.udp, b.tcp = udp.LocalAddr().String(), tcp.Addr().String()
	b.r = serve(file(b, udp.(*net.UDPConn)), file(b, tcp.(*net.TCPListener)), filepath.Join(b.dir, "plan"), port)
	t.Cleanup(func() { b.must(b.r.Close()) })
	return b
}

// file takes a socket out of package net.
func file(b *bench, s interface {
	File() (*os.File, error)
	io.Closer
}) *os.File {
	b.t.Helper()
	f, err := s.File()
	b.must(err)
	b.must(s.Close())
	return f
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// write puts a file in place as the engine does.
func (b *bench) write(name string, text []byte) {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	b.must(os.WriteFile(path+".new", text, 0o600))
	b.must(os.Rename(path+".new", path))
}

// plan writes a plan; names of files in it are of the bench's directory.
func (b *bench) plan(p *Plan) {
	b.t.Helper()
	full := *p
	full.Networks = nil
	for _, n := range p.Networks {
		full.Networks = append(full.Networks, Network{n.Name, filepath.Join(b.dir, n.Names)})
	}
	if p.Host != "" {
		full.Host = filepath.Join(b.dir, p.Host)
	}
	text, err := full.Text()
	b.must(err)
	b.write("plan", text)
}

// onNetworks is a plan for both networks of the bench.
func onNetworks() *Plan { return &Plan{Networks: []Network{{"front", "names"}, {"Back", "other"}}} }

func addrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// question packs a question; size is that of EDNS, 0 without.
func question(t testing.TB, name string, kind dnsmessage.Type, size int) []byte {
	t.Helper()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 4711, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
	}
	if size > 0 {
		var h dnsmessage.ResourceHeader
		if err := h.SetEDNS0(size, dnsmessage.RCodeSuccess, false); err != nil {
			t.Fatal(err)
		}
		m.Additionals = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{}}}
	}
	out, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ask sends a question by UDP or TCP and returns the answer.
func (b *bench) ask(network string, msg []byte) *dnsmessage.Message {
	b.t.Helper()
	raw, err := b.exchange(network, msg, 8*time.Second)
	b.must(err)
	m := new(dnsmessage.Message)
	if err := m.Unpack(raw); err != nil {
		b.t.Fatalf("%v in %x", err, raw)
	}
	if m.ID != binary.BigEndian.Uint16(msg) || !m.Response {
		b.t.Fatalf("not an answer: %+v", m.Header)
	}
	return m
}

func (b *bench) exchange(network string, msg []byte, patience time.Duration) ([]byte, error) {
	to := b.udp
	if network == "tcp" {
		to = b.tcp
		msg = append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
	}
	c, err := net.Dial(network, to)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(msg); err != nil {
		return nil, err
	}
	buf := make([]byte, 1<<16)
	if network == "udp" {
		n, err := c.Read(buf)
		return buf[:n], err
	}
	if _, err := io.ReadFull(c, buf[:2]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(buf))
	_, err = io.ReadFull(c, buf[:n])
	return buf[:n], err
}

// text is an answer in short: its error, or its records in their order.
func text(m *dnsmessage.Message) string {
	var out []string
	for _, a := range m.Answers {
		switch r := a.Body.(type) {
		case *dnsmessage.AResource:
			out = append(out, netip.AddrFrom4(r.A).String())
		case *dnsmessage.AAAAResource:
			out = append(out, netip.AddrFrom16(r.AAAA).String())
		case *dnsmessage.PTRResource:
			out = append(out, r.PTR.String())
		case *dnsmessage.TXTResource:
			out = append(out, fmt.Sprintf("%d", len(r.TXT)))
		}
	}
	s := strings.Join(out, " ")
	if m.RCode != dnsmessage.RCodeSuccess {
		s += strings.TrimPrefix(m.RCode.String(), "RCode")
	}
	if m.Truncated {
		s += " truncated"
	}
	return s
}

// server is a name server that answers by do, which gets the question and
// returns what is to be sent; nil: nothing.
type server struct {
	asked atomic.Int32
}

// serveAt runs a server at each of addresses, all on one port.
func serveAt(t testing.TB, do func(at string, tcp bool, q []byte) []byte, addresses ...string) (port uint16, servers map[string]*server) {
	t.Helper()
	servers = map[string]*server{}
	for _, a := range addresses {
		s := &server{}
		servers[a] = s
		udp, err := net.ListenPacket("udp", net.JoinHostPort(a, fmt.Sprint(port)))
		if err != nil {
			t.Fatal(err)
		}
		port = udp.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		tcp, err := net.Listen("tcp", net.JoinHostPort(a, fmt.Sprint(port)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { udp.Close(); tcp.Close() })
		go func() {
			buf := make([]byte, 1<<16)
			for {
				n, from, err := udp.ReadFrom(buf)
				if err != nil {
					return
				}
				s.asked.Add(1)
				q := append([]byte(nil), buf[:n]...)
				go func() {
					if out := do(a, false, q); out != nil {
						udp.WriteTo(out, from)
					}
				}()
			}
		}()
		go func() {
			for {
				c, err := tcp.Accept()
				if err != nil {
					return
				}
				s.asked.Add(1)
				go func() {
					defer c.Close()
					var head [2]byte
					if _, err := io.ReadFull(c, head[:]); err != nil {
						return
					}
					q := make([]byte, binary.BigEndian.Uint16(head[:]))
					if _, err := io.ReadFull(c, q); err != nil {
						return
					}
					if out := do(a, true, q); out != nil {
						c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
					}
				}()
			}
		}()
	}
	return port, servers
}

// answerWith answers a question with an address, or an error if rcode is not 0.
func answerWith(t testing.TB, q []byte, rcode dnsmessage.RCode, list ...string) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(q); err != nil {
		t.Error(err)
		return nil
	}
	m.Response, m.RCode, m.Additionals = true, rcode, nil
	for _, a := range list {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 60},
			Body:   &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()},
		})
	}
	out, err := m.Pack()
	if err != nil {
		t.Error(err)
	}
	return out
}

// eventually polls until ok, for at most ten seconds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("did not happen in 10 s: %s", what)
		}
	}
}
