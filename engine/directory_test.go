package engine

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/davit-engine/davit/network"
)

// TestDirectory writes names once all that run are known, and only what has
// changed.
func TestDirectory(t *testing.T) {
	root := t.TempDir()
	place := func(net, id, address string, names ...string) network.Endpoint {
		return network.Endpoint{Network: net, ID: id, Address4: netip.MustParsePrefix(address + "/24"), Names: names}
	}
	a, b := place("front", "1", "172.18.0.2", "db", "store"), place("front", "2", "172.18.0.3", "cache")
	c := place("bridge", "3", "172.17.0.2")
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(root, "networks", name))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return string(text)
	}
	check := func(want string) {
		t.Helper()
		if got := read("front"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	first := newDirectory(root)
	must(first.settle())
	must(first.enter(a, c))
	check("172.18.0.2 db store\n")
	must(first.enter(b))
	check("172.18.0.3 cache\n172.18.0.2 db store\n")
	if read("bridge") != "" {
		t.Error("there are names on a network without")
	}
	b.Names = []string{"renamed"}
	must(first.enter(b))
	both := "172.18.0.2 db store\n172.18.0.3 renamed\n"
	check(both)

	must(os.WriteFile(filepath.Join(root, "networks", "gone"), []byte("172.19.0.2 old\n"), 0o600))
	before, err := os.Stat(filepath.Join(root, "networks", "front"))
	must(err)
	second := newDirectory(root)
	must(second.enter(a))
	check(both) // the other is not known yet, and not lost
	must(second.enter(b))
	must(second.settle())
	after, err := os.Stat(filepath.Join(root, "networks", "front"))
	must(err)
	if !os.SameFile(before, after) {
		t.Error("what is right was written again")
	}
	if read("gone") != "" {
		t.Error("the names of a network that nobody is on stay")
	}
	must(second.leave(a, b))
	if _, err := os.Stat(filepath.Join(root, "networks", "front")); !os.IsNotExist(err) {
		t.Errorf("after the last has gone: %v", err)
	}
	must(second.leave(a))
}

// BenchmarkDirectory is what one container more costs on a network of a
// thousand.
func BenchmarkDirectory(b *testing.B) {
	d := newDirectory(b.TempDir())
	if err := d.settle(); err != nil {
		b.Fatal(err)
	}
	one := func(i int) network.Endpoint {
		a := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 18, byte(i >> 8), byte(i)}), 16)
		return network.Endpoint{Network: "front", ID: strconv.Itoa(i), Address4: a, Names: []string{"service-" + strconv.Itoa(i), "alias", "0123456789ab"}}
	}
	for i := range 1000 {
		if err := d.enter(one(i)); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if err := errors.Join(d.enter(one(1000)), d.leave(one(1000))); err != nil {
			b.Fatal(err)
		}
	}
}
