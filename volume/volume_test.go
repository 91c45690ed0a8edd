package volume

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/davit-engine/davit/errs"
)

func open(t *testing.T, root string) *Store {
	t.Helper()
	s, err := Open(root, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func create(t *testing.T, s *Store, r Request) string {
	t.Helper()
	v, _, err := s.Create(r)
	if err != nil {
		t.Fatal(err)
	}
	return v.Mountpoint
}

func names(s *Store) (out []string) {
	for _, f := range s.List(nil) {
		out = append(out, f.Name)
	}
	return out
}

func TestCreateIsIdempotent(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	v, fresh, err := s.Create(Request{Name: "data", Labels: map[string]string{"a": "1"}})
	if err != nil || !fresh || v.Driver != "local" || v.Scope != "local" || v.Labels["a"] != "1" || v.Options != nil || !strings.HasSuffix(v.Mountpoint, "/data/_data") {
		t.Fatalf("%+v, %v, %v", v, fresh, err)
	}
	again, fresh, err := s.Create(Request{Name: "data", Driver: "local", Labels: map[string]string{"b": "2"}})
	if err != nil || fresh || !reflect.DeepEqual(again, v) {
		t.Errorf("again: %+v, %v, %v", again, fresh, err)
	}
	if _, _, err := s.Create(Request{Name: "data", Options: map[string]string{"type": "tmpfs", "device": "tmpfs"}}); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "other options (none)") {
		t.Errorf("other options: %v", err)
	}
	if after, err := open(t, root).Get("data"); err != nil || !reflect.DeepEqual(after, v) {
		t.Errorf("after a restart: %+v, %v; before %+v", after, err, v)
	}
}

// TestUsersOfTheHostStayOut: else they could run what a container's root left
// setuid.
func TestUsersOfTheHostStayOut(t *testing.T) {
	root := filepath.Join(t.TempDir(), "volumes")
	if err := os.Mkdir(root, 0o777); err != nil {
		t.Fatal(err)
	}
	open(t, root)
	if info, err := os.Stat(root); err != nil || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestCreateRefuses(t *testing.T) {
	s := open(t, t.TempDir())
	for _, c := range []struct {
		r    Request
		kind errs.Kind
		text string
	}{
		{Request{Name: "a/b"}, errs.InvalidParameter, `create a/b: "a/b" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`},
		{Request{Name: ".."}, errs.InvalidParameter, "includes invalid characters"},
		{Request{Name: "x"}, errs.InvalidParameter, "volume name is too short, names should be at least two alphanumeric characters"},
		{Request{Name: strings.Repeat("x", 256)}, errs.InvalidParameter, "too long"},
		{Request{Name: "ok", Driver: "flocker"}, errs.NotFound, `create ok: error looking up volume plugin flocker: plugin "flocker" not found`},
		{Request{Name: "ok", Options: map[string]string{"what": "1"}}, errs.InvalidParameter, `invalid option: "what"`},
		{Request{Name: "ok", Options: map[string]string{"type": "tmpfs"}}, errs.InvalidParameter, `missing required option: "device"`},
		{Request{Name: "ok", Options: map[string]string{"o": "bind"}}, errs.InvalidParameter, `missing required option: "device"`},
		{Request{Name: "ok", Options: map[string]string{"size": "much"}}, errs.InvalidParameter, `invalid size: 'much'`},
		{Request{Name: "ok", Options: map[string]string{"size": "1m", "type": "tmpfs", "device": "tmpfs"}}, errs.InvalidParameter, "o=size="},
		{Request{Name: "ok", Options: map[string]string{"type": "none", "device": "/x"}}, errs.InvalidParameter, "is no file system"},
		{Request{Name: "ok", Options: map[string]string{"type": "none", "device": "/x", "o": "bind,size=1m"}}, errs.InvalidParameter, "not for a bind"},
		{Request{Name: "ok", Options: map[string]string{"type": "ext4", "device": "/x", "o": "loop"}}, errs.InvalidParameter, "losetup"},
		{Request{Name: "ok", Options: map[string]string{"type": "none", "device": "/x", "o": "bind,rshared"}}, errs.InvalidParameter, "bind-propagation=rshared"},
	} {
		if _, _, err := s.Create(c.r); !errs.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%+v: %v (%v)", c.r, err, errs.KindOf(err))
		}
	}
	if got := names(s); got != nil {
		t.Errorf("left: %v", got)
	}
}

func TestVolumesInUseStay(t *testing.T) {
	s := open(t, t.TempDir())
	path := create(t, s, Request{Name: "data", User: "c1"})
	if err := s.Hold("data", "c2"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove("data", true); !errs.Is(err, errs.Conflict) || err.Error() != "remove data: volume is in use - [c1, c2]" {
		t.Fatalf("%v", err)
	}
	s.Release("data", "c1")
	s.Release("data", "c2")
	purge, err := s.Remove("data", false)
	if err != nil {
		t.Fatal(err)
	}
	if exists(path) || len(names(s)) != 0 {
		t.Error("the volume is in sight after its removal")
	}
	if err := purge(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(s.root); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := s.Remove("data", false); !errs.Is(err, errs.NotFound) || err.Error() != "get data: no such volume" {
		t.Errorf("a missing one: %v", err)
	}
	if purge, err := s.Remove("data", true); err != nil || purge != nil {
		t.Errorf("a missing one by force: %v", err)
	}
	if err := s.Hold("data", "c"); !errs.Is(err, errs.NotFound) {
		t.Errorf("holding what is gone: %v", err)
	}
}

// TestCreateAndRemoveAtOnce: whoever got a volume has it until he lets go.
func TestCreateAndRemoveAtOnce(t *testing.T) {
	s := open(t, t.TempDir())
	var work sync.WaitGroup
	for i := range 4 {
		user := fmt.Sprint("user", i)
		work.Go(func() {
			for range 50 {
				v, _, err := s.Create(Request{Name: "data", User: user})
				if err != nil {
					t.Errorf("creating: %v", err)
					return
				}
				if !exists(v.Mountpoint) {
					t.Error("a volume that is held is not there")
				}
				s.Release("data", user)
				if purge, err := s.Remove("data", false); err == nil {
					err = purge()
					if err != nil {
						t.Error(err)
					}
				} else if !errs.Is(err, errs.Conflict) && !errs.Is(err, errs.NotFound) {
					t.Errorf("removing: %v", err)
				}
			}
		})
	}
	work.Wait()
	if left, _ := os.ReadDir(s.root); len(left) > len(names(s)) {
		t.Errorf("left: %v", left)
	}
}

// TestOpenSweeps: what a killed engine leaves behind is neither a volume nor
// for ever.
func TestOpenSweeps(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	create(t, s, Request{Name: "whole"})
	for _, d := range []string{".new-1/_data", ".removed-2/_data/deep", "whole/.fill/half", "foreign/_data", "bare/other"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, text := range map[string]string{"torn/volume.json": "{\"Na", "newer/volume.json": `{"Format":99,"Name":"newer"}`, "other/volume.json": `{"Format":1,"Name":"else"}`} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(path), "_data"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, root)
	s.Close()
	if got := strings.Join(names(s), " "); got != "foreign whole" {
		t.Errorf("volumes: %s", got)
	}
	for _, d := range []string{".new-1", ".removed-2", "whole/.fill"} {
		if exists(filepath.Join(root, d)) {
			t.Errorf("%s is left", d)
		}
	}
	for _, d := range []string{"torn", "newer", "other", "bare"} {
		if !exists(filepath.Join(root, d)) {
			t.Errorf("%s was deleted", d)
		}
		if _, _, err := s.Create(Request{Name: d}); !errs.Is(err, errs.Conflict) {
			t.Errorf("making a volume in the place of %s: %v", d, err)
		}
	}
}

func TestFill(t *testing.T) {
	s := open(t, t.TempDir())
	path := create(t, s, Request{Name: "data"})
	put := func(text string) func(*os.File) error {
		return func(dir *os.File) error {
			if err := dir.Chmod(0o750); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir.Name(), "f"), []byte(text), 0o644)
		}
	}
	failed := errors.New("half way")
	err := s.Fill("data", "c", func(dir *os.File) error { return errors.Join(put("half")(dir), failed) })
	if left, _ := os.ReadDir(filepath.Dir(path)); !errors.Is(err, failed) || len(left) != 2 {
		t.Errorf("a failed one: %v, left %v", err, left)
	}
	if left, _ := os.ReadDir(path); len(left) != 0 {
		t.Errorf("a failed one left %v", left)
	}
	for _, text := range []string{"first", "second"} {
		if err := s.Fill("data", "c", put(text)); err != nil {
			t.Fatal(err)
		}
	}
	text, _ := os.ReadFile(filepath.Join(path, "f"))
	info, _ := os.Stat(path)
	if string(text) != "first" || info.Mode().Perm() != 0o750 {
		t.Errorf("%q, %v", text, info.Mode())
	}
}

// TestFillOfOneInUse fills the directory that others see.
func TestFillOfOneInUse(t *testing.T) {
	s := open(t, t.TempDir())
	path := create(t, s, Request{Name: "data", User: "other"})
	if _, err := s.Mount("data", "other"); err != nil {
		t.Fatal(err)
	}
	seen, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer seen.Close()
	if err := s.Fill("data", "c", func(dir *os.File) error { return os.Mkdir(filepath.Join(dir.Name(), "d"), 0o755) }); err != nil {
		t.Fatal(err)
	}
	if got, _ := seen.Readdirnames(-1); len(got) != 1 {
		t.Errorf("who uses the volume sees %v", got)
	}
}

func TestUsage(t *testing.T) {
	s := open(t, t.TempDir())
	path := create(t, s, Request{Name: "data"})
	if err := os.WriteFile(filepath.Join(path, "f"), make([]byte, 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(path, "f"), filepath.Join(path, "g")); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Usage(t.Context(), "data"); n != 1000 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	create(t, s, Request{Name: "other"})
	if _, err := s.Usage(ended, "other"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestResolve(t *testing.T) {
	f, err := readMount(map[string]string{"type": "nfs", "device": ":/srv", "o": "addr=files.example,rw,nolock,soft"})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.resolve(func(host string) (*net.IPAddr, error) {
		if host != "files.example" {
			t.Errorf("asked for %q", host)
		}
		return &net.IPAddr{IP: net.IPv4(192, 0, 2, 7)}, nil
	}); err != nil {
		t.Fatal(err)
	}
	if want := [][2]string{{"addr", "192.0.2.7"}, {"nolock", noValue}, {"soft", noValue}}; !reflect.DeepEqual(f.data, want) {
		t.Errorf("got %q", f.data)
	}
	if err := f.resolve(func(string) (*net.IPAddr, error) { t.Error("an address was looked up"); return nil, nil }); err != nil {
		t.Error(err)
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	if got := describeOptions(map[string]string{"type": "cifs", "o": "username=u,password=p%s,addr=1.2.3.4"}); got != "o=username=u,password=********,addr=1.2.3.4 type=cifs" {
		t.Error(got)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"", "{}", `{"Format":1,"Name":"v","Labels":{"a":"b"}}`, `{"Name":["v"]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if r, err := decode("v1", text); err == nil && (r.Name != "v1" || r.Format > format) {
			t.Errorf("%+v", r)
		}
	})
}

func FuzzReadMount(f *testing.F) {
	f.Add("tmpfs", "tmpfs", "size=1m,uid=1000,ro")
	f.Add("none", "/x", "rbind,nosuid")
	f.Fuzz(func(t *testing.T, kind, device, o string) {
		m, err := readMount(map[string]string{"type": kind, "device": device, "o": o})
		if err == nil && m.bind && len(m.data) > 0 {
			t.Errorf("a bind with %q", m.data)
		}
	})
}
