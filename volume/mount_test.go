package volume

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
	enginetest "github.com/davit-engine/davit/test/engine"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts")
	}
}

func isMounted(t *testing.T, path string) bool {
	t.Helper()
	there, err := mounted(path)
	if err != nil {
		t.Fatal(err)
	}
	return there
}

func TestMountOnFirstUse(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	s := open(t, root)
	path := create(t, s, Request{Name: "fast", Options: map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "size=64k,uid=1000,nosuid"}})
	t.Cleanup(func() { _ = unmountAll(path) })
	for _, user := range []string{"c1", "c2", "c1"} {
		if got, err := s.Mount("fast", user); err != nil || got != path {
			t.Fatalf("%s, %v", got, err)
		}
	}
	var st unix.Stat_t
	var fs unix.Statfs_t
	if err := unix.Stat(path, &st); err != nil || st.Uid != 1000 {
		t.Errorf("owner %d, %v", st.Uid, err)
	}
	if err := unix.Statfs(path, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC || fs.Blocks*uint64(fs.Bsize) != 64<<10 || fs.Flags&unix.ST_NOSUID == 0 {
		t.Errorf("%+v, %v", fs, err)
	}
	_ = s.Unmount("fast", "c1")
	if !isMounted(t, path) {
		t.Fatal("unmounted under somebody who uses it")
	}
	if _, err := s.Remove("fast", false); err == nil {
		// Nobody holds it here, so that goes; the mount went first.
		t.Error("a volume that is mounted was removed")
	}

	// An engine that takes over from a killed one.
	s = open(t, root)
	s.Adopt("fast", "c2")
	s.Settle()
	if !isMounted(t, path) {
		t.Fatal("unmounted under somebody who ran on")
	}
	if err := s.Unmount("fast", "c2"); err != nil || isMounted(t, path) {
		t.Errorf("the last one's unmount: %v", err)
	}
	if _, err := s.Mount("fast", "c3"); err != nil {
		t.Fatal(err)
	}
	s = open(t, root)
	s.Settle()
	if isMounted(t, path) {
		t.Error("nobody needs it, and it is mounted")
	}
}

// TestUnmountHarmsNoSource: what is mounted below a bound directory stays, and
// so does its content when the volume goes.
func TestUnmountHarmsNoSource(t *testing.T) {
	needRoot(t)
	source := t.TempDir()
	below := filepath.Join(source, "below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	// Shared, as systemd has the host's mounts.
	if err := unix.Mount(source, source, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(source, unix.MNT_DETACH) })
	if err := unix.Mount("", source, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", below, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(below, unix.MNT_DETACH) })
	if err := os.WriteFile(filepath.Join(below, "precious"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	s := open(t, root)
	path := create(t, s, Request{Name: "bound", Options: map[string]string{"type": "none", "device": source, "o": "rbind"}})
	t.Cleanup(func() { _ = unmountAll(path) })
	if _, err := s.Mount("bound", "c"); err != nil {
		t.Fatal(err)
	}
	if !exists(filepath.Join(path, "below", "precious")) {
		t.Error("what is mounted below did not come along")
	}
	if err := s.Unmount("bound", "c"); err != nil {
		t.Fatal(err)
	}
	if !isMounted(t, below) || !exists(filepath.Join(below, "precious")) {
		t.Fatal("unmounting the volume unmounted the host's")
	}
	if _, err := s.Mount("bound", "c"); err != nil {
		t.Fatal(err)
	}
	if err := s.Unmount("bound", "c"); err != nil {
		t.Fatal(err)
	}
	purge, err := s.Remove("bound", false)
	if err == nil {
		err = purge()
	}
	if err != nil || !exists(filepath.Join(below, "precious")) {
		t.Errorf("removing the volume: %v", err)
	}
}

// TestRemoveLeavesMounts: what the administrator mounted in a volume is not
// deleted with it.
func TestRemoveLeavesMounts(t *testing.T) {
	needRoot(t)
	s := open(t, t.TempDir())
	path := create(t, s, Request{Name: "data"})
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	if _, err := s.Remove("data", true); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), path+" is mounted in it") {
		t.Errorf("%v", err)
	}
}

func TestMountFails(t *testing.T) {
	needRoot(t)
	s := open(t, t.TempDir())
	for _, c := range []struct {
		options map[string]string
		text    string
	}{
		{map[string]string{"type": "none", "o": "bind", "device": "/no/such/dir"}, "failed to mount local volume: mount /no/such/dir:"},
		{map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "siez=1m"}, `option "siez": invalid argument`},
		{map[string]string{"type": "zanyfs", "device": "x"}, `the kernel has no file system "zanyfs"`},
	} {
		create(t, s, Request{Name: "bad", Options: c.options})
		if _, err := s.Mount("bad", "c"); err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%v: %v", c.options, err)
		}
		purge, err := s.Remove("bad", false)
		if err == nil {
			err = purge()
		}
		if err != nil {
			t.Error(err)
		}
	}
}

func TestMountOfADevice(t *testing.T) {
	device := enginetest.Loop(t, "mkfs.ext4", "-q")
	s := open(t, t.TempDir())
	path := create(t, s, Request{Name: "disk", Options: map[string]string{"type": "ext4", "device": device, "o": "noatime,errors=remount-ro"}})
	t.Cleanup(func() { _ = unmountAll(path) })
	if _, err := s.Mount("disk", "c"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "kept"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Unmount("disk", "c"); err != nil || exists(filepath.Join(path, "kept")) {
		t.Errorf("unmounting: %v", err)
	}
	if n, err := s.Usage(t.Context(), "disk"); n != -1 || err != nil {
		t.Errorf("usage of what is not mounted: %d, %v", n, err)
	}
}

func TestSize(t *testing.T) {
	for kind, mkfs := range map[string][]string{"ext4": {"mkfs.ext4", "-q", "-O", "quota,project"}, "xfs": {"mkfs.xfs", "-q"}} {
		t.Run(kind, func(t *testing.T) { testSize(t, kind, enginetest.Loop(t, mkfs...)) })
	}
}

func testSize(t *testing.T, kind, device string) {
	at := t.TempDir()
	if err := unix.Mount(device, at, kind, 0, "prjquota"); err != nil {
		t.Skipf("needs project quotas: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	// What root may without a limit. Overlayfs writes as who has mounted it,
	// which the runtime sees to.
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	withoutResource(t)
	s := open(t, filepath.Join(at, "volumes"))
	path := create(t, s, Request{Name: "small", Options: map[string]string{"size": "1m"}})
	if err := os.WriteFile(filepath.Join(path, "fits"), make([]byte, 512<<10), 0o644); err != nil {
		t.Errorf("what fits: %v", err)
	}
	if err := os.WriteFile(filepath.Join(path, "much"), make([]byte, 1<<20), 0o644); err == nil {
		t.Error("1.5 MiB went into a volume of 1 MiB")
	}
	if err := s.Fill("small", "c", func(*os.File) error { t.Error("a volume with content was filled"); return nil }); err != nil {
		t.Error(err)
	}
	other := create(t, s, Request{Name: "other"})
	if err := os.WriteFile(filepath.Join(other, "much"), make([]byte, 2<<20), 0o644); err != nil {
		t.Errorf("another volume is limited too: %v", err)
	}
	purge, err := s.Remove("small", false)
	if err == nil {
		err = purge()
	}
	if err != nil {
		t.Error(err)
	}
}

func TestSizeNeedsQuotas(t *testing.T) {
	needRoot(t)
	at := t.TempDir()
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	s := open(t, filepath.Join(at, "volumes"))
	_, _, err := s.Create(Request{Name: "small", Options: map[string]string{"size": "1m"}})
	if !errs.Is(err, errs.NotImplemented) || !strings.Contains(err.Error(), "quota size requested but no quota support") || !strings.Contains(err.Error(), "prjquota") {
		t.Errorf("%v", err)
	}
	if left, _ := os.ReadDir(s.root); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// withoutResource takes CAP_SYS_RESOURCE, which goes past the limits of ext4,
// from this thread until the test ends.
func withoutResource(t *testing.T) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var now [2]unix.CapUserData
	if err := unix.Capget(&header, &now[0]); err != nil {
		t.Fatal(err)
	}
	less := now
	less[0].Effective &^= 1 << unix.CAP_SYS_RESOURCE
	if err := unix.Capset(&header, &less[0]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Capset(&header, &now[0]) })
}
