package resolver

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// FuzzQuery has any datagram end in no answer, or in one that others can read.
func FuzzQuery(f *testing.F) {
	f.Add(question(f, "db.", a, 1232))
	f.Add(question(f, "web.front.", aaaa, 0))
	f.Add(question(f, "2.0.18.172.in-addr.arpa.", ptr, 0))
	f.Add(question(f, "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", ptr, 512))
	f.Add(question(f, ".", a, 0)[:13])
	f.Add([]byte("\x00\x00\x29\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\xc0\x0c\x00\x01\x00\x01"))
	dir := f.TempDir()
	names := filepath.Join(dir, "names")
	if err := os.WriteFile(names, NamesFile([]Entry{
		{[]netip.Addr{netip.MustParseAddr("172.18.0.2"), netip.MustParseAddr("fd00::2")}, []string{"db", "a", "web"}},
		{[]netip.Addr{netip.MustParseAddr("172.18.0.3")}, []string{"web"}},
	}), 0o600); err != nil {
		f.Fatal(err)
	}
	p := &Plan{Networks: []Network{{"front", names}}, Links: []Link{{"store", "db"}}}
	f.Fuzz(func(t *testing.T, msg []byte) {
		q, rcode := parse(msg)
		if rcode < 0 {
			return
		}
		r := new(Resolver)
		for _, limit := range []int{q.size, maxSize} {
			out := r.own(p, &q, rcode, limit)
			if out == nil {
				out = q.fail(rcodeFailure)
				if q.answers(out, 0) && !bytes.Equal(out[:2], []byte{0, 0}) {
					t.Error("an answer with another ID is taken")
				}
				q.undotted()
			}
			if len(out) > limit && rcode == 0 {
				t.Errorf("%d bytes, the client takes %d", len(out), limit)
			}
			var parser dnsmessage.Parser
			h, err := parser.Start(out)
			if err != nil || !h.Response || !bytes.Equal(out[:2], msg[:2]) {
				t.Fatalf("%+v, %v", h, err)
			}
			if rcode == 0 {
				if err := new(dnsmessage.Message).Unpack(out); err != nil && q.name != "" {
					t.Fatalf("%v: %x for %x", err, out, msg)
				}
			}
		}
	})
}

// FuzzAnswer has nothing that a server may send be more than taken or left.
func FuzzAnswer(f *testing.F) {
	msg := question(f, "db.", a, 1232)
	q, _ := parse(msg)
	f.Add(q.addresses([]netip.Addr{netip.MustParseAddr("172.18.0.2")}, 512), uint16(4711))
	f.Add([]byte{}, uint16(0))
	f.Add(q.fail(rcodeRefused)[:12], uint16(4711))
	f.Fuzz(func(t *testing.T, msg []byte, id uint16) {
		if q.answers(msg, id) && len(msg) < headerSize {
			t.Error("taken, without a header")
		}
	})
}

// FuzzNames reads any names file, and any resolv.conf.
func FuzzNames(f *testing.F) {
	f.Add([]byte("172.18.0.2,fd00::2 db web\n172.18.0.3 web\n"), "web", "172.18.0.3")
	f.Add([]byte("nameserver 127.0.0.1\nnameserver\n"), "nameserver", "")
	f.Add(append(bytes.Repeat([]byte("x"), 2*lineSize), "\n,, ,\n \n"...), "", "")
	path := filepath.Join(f.TempDir(), "names")
	f.Fuzz(func(t *testing.T, text []byte, name, address string) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		find(nil, path, name)
		nameOf(path, address)
		reversed(name)
		if len(hostServers(path)) == 0 {
			t.Error("no server")
		}
	})
}
