package tree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts")
	}
}

// read looks at a file below a mount.
func read(t *testing.T, tree *os.File, name string) string {
	t.Helper()
	fd, err := unix.Openat(int(tree.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	buf := make([]byte, 100)
	n, _ := f.Read(buf)
	return string(buf[:n])
}

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, link := strings.CutPrefix(text, "-> "); link {
			err = os.Symlink(target, p)
		} else {
			err = os.WriteFile(p, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestBelow(t *testing.T) {
	needRoot(t)
	root := folder(t, map[string]string{"a/b/f": "inside", "link": "-> a/b", "out": "-> ../..", "root": "-> /", "up": "-> a/../a"})
	for subpath, want := range map[string]string{"a/b": "f", "link": "f", "a": "b/f", "up": "b/f"} {
		tree, err := Below(root, subpath)
		if err != nil {
			t.Errorf("%s: %v", subpath, err)
			continue
		}
		if got := read(t, tree, want); got != "inside" {
			t.Errorf("%s: %q", subpath, got)
		}
		tree.Close()
	}
	if tree, err := Below(root, "a/b/f"); err != nil {
		t.Errorf("a file: %v", err)
	} else {
		tree.Close()
	}
	for _, subpath := range []string{"out", "root", "out/etc", "none", "a/b/f/x", ".."} {
		if tree, err := Below(root, subpath); !errs.Is(err, errs.InvalidParameter) || !strings.Contains(err.Error(), "cannot access path") {
			t.Errorf("%s: %v, %v", subpath, tree, err)
		}
	}
}

// TestBelowWhileItIsFlipped: whatever is swapped meanwhile, what is mounted
// lies inside.
func TestBelowWhileItIsFlipped(t *testing.T) {
	needRoot(t)
	root, outside := folder(t, map[string]string{"dir/f": "inside"}), folder(t, map[string]string{"f": "outside"})
	if err := os.Symlink(outside, filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(root, "dir"), unix.AT_FDCWD, filepath.Join(root, "link"), unix.RENAME_EXCHANGE)
		}
	}()
	good, refused := 0, 0
	for range 3000 {
		tree, err := Below(root, "dir")
		if err != nil {
			refused++
			continue
		}
		if got := read(t, tree, "f"); got != "inside" {
			t.Errorf("got %q", got)
		}
		tree.Close()
		good++
	}
	stop.Store(true)
	<-done
	if good == 0 || refused == 0 {
		t.Logf("the race was not met: %d good, %d refused", good, refused)
	}
}

func TestLayers(t *testing.T) {
	needRoot(t)
	upper := folder(t, map[string]string{"etc/f": "upper", "data/x": "1", "out": "-> ../../etc", "in": "-> data"})
	lower := folder(t, map[string]string{"etc/f": "lower", "etc/g": "below"})
	before := mounts(t)
	for _, c := range []struct {
		lower         []string
		subpath, name string
		want          string
	}{
		{[]string{upper, lower}, "", "etc/f", "upper"},
		{[]string{upper, lower}, "", "etc/g", "below"},
		{[]string{lower}, "", "etc/f", "lower"},
		{nil, "", "etc/f", unix.ENOENT.Error()},
		{[]string{upper, lower}, "etc", "g", "below"},
		{[]string{upper, lower}, "in", "x", "1"},
	} {
		tree, err := Layers(c.lower, c.subpath, nil)
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		if got := read(t, tree, c.name); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
		if fd, err := unix.Openat(int(tree.Fd()), "new", unix.O_CREAT|unix.O_WRONLY, 0o600); !errors.Is(err, unix.EROFS) {
			t.Errorf("writing: %d, %v", fd, err)
		}
		tree.Close()
	}
	for _, subpath := range []string{"out", "none", "../x"} {
		if tree, err := Layers([]string{upper, lower}, subpath, nil); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%s: %v, %v", subpath, tree, err)
		}
	}
	if _, err := Layers([]string{filepath.Join(upper, "missing")}, "", nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing layer: %v", err)
	}
	if after := mounts(t); after != before {
		t.Errorf("mounts of the host: %s\nbefore: %s", after, before)
	}
}

// TestManyLayers are more than the names of directories would leave room for.
func TestManyLayers(t *testing.T) {
	needRoot(t)
	var lower []string
	for i := range 120 {
		lower = append(lower, folder(t, map[string]string{fmt.Sprint(i): "x"}))
	}
	tree, err := Layers(lower, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if read(t, tree, "0") != "x" || read(t, tree, "119") != "x" {
		t.Error("a layer is missing")
	}
}

func mounts(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, line := range strings.Split(string(text), "\n") {
		if strings.Contains(line, "lowerdir=0:1") {
			n++
		}
	}
	return fmt.Sprint(n)
}
