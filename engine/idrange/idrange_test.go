package idrange

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// etc makes a directory with these files and returns a pool's configuration.
func etc(t *testing.T, content map[string]string) Config {
	t.Helper()
	dir := t.TempDir()
	for name, text := range content {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Config{Etc: dir, Lock: filepath.Join(dir, "lock")}
}

func take(t *testing.T, p *Pool) Range {
	t.Helper()
	r, err := p.Take()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func open(t *testing.T, c Config) *Pool {
	p := New(c)
	t.Cleanup(p.Close)
	return p
}

// TestGranted takes every range that subuid and subgid grant, whose pieces do
// not match, and no more.
func TestGranted(t *testing.T) {
	p := open(t, etc(t, map[string]string{
		"subuid": "alice:100000:65536\ncontainers:200000:131072\ncontainers:500000:65600\n",
		"subgid": "containers:1000000:65536\ncontainers:2000000:131072\nbob:1:1\n",
	}))
	want := []Range{{200000, 1000000}, {265536, 2000000}, {500000, 2065536}}
	for _, w := range want {
		if r := take(t, p); r != w {
			t.Errorf("took %v, want %v", r, w)
		}
	}
	_, err := p.Take()
	if !errs.Is(err, errs.Exhausted) || !strings.Contains(err.Error(), "3 exist") {
		t.Errorf("a fourth range: %v, want errs.Exhausted", err)
	}
	p.Give(want[1])
	if r := take(t, p); r != want[1] {
		t.Errorf("took %v, want the one that was given back", r)
	}
}

// TestOwn: davit's lines come before containers', and without either the
// engine's own area is used, without what others have.
func TestOwn(t *testing.T) {
	p := open(t, etc(t, map[string]string{"subuid": "containers:200000:65536\ndavit:300000:65536\n", "subgid": "containers:1:65536\ndavit:400000:65536\n"}))
	if r := take(t, p); r != (Range{300000, 400000}) {
		t.Errorf("took %v, want davit's", r)
	}
	p = open(t, etc(t, map[string]string{
		"passwd": "a:x:603979777:1::/:\nbroken line\n", // in the first range
		"group":  "b:x:604045312:\n",                   // the first id of the second
		"subuid": "c:604110848:10\n",                   // in the third
		"subgid": "davit:604176384:10\n",               // in the fourth; too few to be a range
	}))
	if r := take(t, p); r != (Range{firstOwn + 4*Size, firstOwn + 4*Size}) {
		t.Errorf("took %v, want the fifth of the engine's own", r)
	}
}

// TestLate gives a range that was given back only after all others.
func TestLate(t *testing.T) {
	c := etc(t, nil)
	c.Seed = 7
	p := open(t, c)
	first := take(t, p)
	p.Give(first)
	p.Give(first) // twice is once
	if second := take(t, p); second == first {
		t.Error("a range was handed out again at once")
	}
	if want := uint32(firstOwn + 7*Size); first.UID != want {
		t.Errorf("began at %d, want %d", first.UID, want)
	}
}

// TestEngines has two pools that share a lock file never share a range.
func TestEngines(t *testing.T) {
	c := etc(t, nil)
	a, b := open(t, c), open(t, c)
	seen := map[Range]bool{}
	for range 20 {
		for _, p := range []*Pool{a, b} {
			r := take(t, p)
			if seen[r] {
				t.Fatalf("%v was handed out twice", r)
			}
			seen[r] = true
		}
	}
	r := take(t, a)
	if err := b.Reserve(r); !errs.Is(err, errs.Conflict) {
		t.Errorf("reserving another engine's range: %v, want errs.Conflict", err)
	}
	a.Close()
	if err := b.Reserve(r); err != nil {
		t.Errorf("reserving a range whose engine has gone: %v", err)
	}
	if err := b.Reserve(r); !errs.Is(err, errs.Conflict) {
		t.Errorf("reserving a range twice: %v, want errs.Conflict", err)
	}
}

// TestUnaligned: ranges that lie across the bytes of the lock file lock both.
func TestUnaligned(t *testing.T) {
	c := etc(t, map[string]string{"subuid": "davit:100000:196608\n", "subgid": "davit:100000:196608\n"})
	a, b := open(t, c), open(t, c)
	first, second := take(t, a), take(t, a)
	a.Give(first)
	// The byte that both ranges lie on is still the second's.
	if err := b.Reserve(Range{first.UID + 1000, 0}); !errs.Is(err, errs.Conflict) {
		t.Errorf("reserving across another's: %v, want errs.Conflict", err)
	}
	a.Give(second)
	if err := b.Reserve(Range{first.UID + 1000, 0}); err != nil {
		t.Error(err)
	}
}

// TestChange: lines that are added while the engine runs count.
func TestChange(t *testing.T) {
	c := etc(t, map[string]string{"subuid": "davit:100000:65536\n", "subgid": "davit:100000:65536\n"})
	p := open(t, c)
	take(t, p)
	if _, err := p.Take(); !errs.Is(err, errs.Exhausted) {
		t.Fatalf("a second range of one: %v", err)
	}
	for _, f := range []string{"subuid", "subgid"} {
		if err := os.WriteFile(filepath.Join(c.Etc, f), []byte("davit:100000:131072\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if r := take(t, p); r.UID != 165536 {
		t.Errorf("took %v, want the new one", r)
	}
}

func TestMapsOf(t *testing.T) {
	c := etc(t, map[string]string{
		"subuid": "alice:100000:1000\nalice:300000:10\n1001:7:7\n", "subgid": "alice:200000:500\nstaff:9:9\n",
		"passwd": "alice:x:1000:1000::/:\nbob:x:1001:1001::/:\n",
	})
	one := func(host, size uint32) []specs.LinuxIDMapping {
		return []specs.LinuxIDMapping{{ContainerID: 0, HostID: host, Size: size}}
	}
	two := append(one(100000, 1000), specs.LinuxIDMapping{ContainerID: 1000, HostID: 300000, Size: 10})
	for _, k := range []struct {
		spec       string
		uids, gids []specs.LinuxIDMapping
		err        string
	}{
		{"alice", two, one(200000, 500), ""},
		{"alice:staff", two, one(200000, 500), ""},
		{"1000", two, one(200000, 500), ""},
		{"bob:staff", one(7, 7), one(9, 9), ""},
		{"bob", nil, nil, "subgid has no range for bob"},
		{"default", nil, nil, "subuid has no range for dockremap"},
		{"default:x", nil, nil, "default stands alone"},
		{"", nil, nil, "write USER"},
		{"a:", nil, nil, "write USER"},
	} {
		user, group, err := ParseUser(k.spec)
		var uids, gids []specs.LinuxIDMapping
		if err == nil {
			uids, gids, err = MapsOf(c.Etc, user, group)
		}
		if k.err != "" {
			if !errs.Is(err, errs.InvalidParameter) || !strings.Contains(err.Error(), k.err) {
				t.Errorf("%q: error %v, want %q", k.spec, err, k.err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(uids, k.uids) || !reflect.DeepEqual(gids, k.gids) {
			t.Errorf("%q: %v %v %v", k.spec, uids, gids, err)
		}
	}
}
