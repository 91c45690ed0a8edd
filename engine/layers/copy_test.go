package layers

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func copied(t *testing.T, path string, stack ...string) (string, error) {
	t.Helper()
	to := t.TempDir()
	f, err := os.Open(to)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return to, Copy(t.Context(), stack, path, f)
}

// tree lists a directory: names with content, targets or kinds.
func tree(t *testing.T, root string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(root, p)
		switch {
		case err != nil:
			return err
		case name == ".":
		case d.IsDir():
			out = append(out, name+"/")
		case d.Type()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(p)
			out = append(out, name+" -> "+target)
		case d.Type().IsRegular():
			text, _ := os.ReadFile(p)
			out = append(out, name+"="+string(text))
		default:
			out = append(out, name+" "+d.Type().String())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCopyMerges(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: whiteouts are device nodes")
	}
	upper := layer(t, "data/", "data/new=1", "!data/gone", "data/both=upper", "data/fresh!/", "data/fresh/x=2", "data/file=was a directory", "data/dir/", "var -> data/")
	lower := layer(t, "data/", "data/gone=0", "data/both=lower", "data/fresh/", "data/fresh/old=0", "data/file/", "data/file/in=0", "data/dir/below=3", "data/link -> ../../../etc/passwd", "data/pipe|")
	want := []string{"both=upper", "dir/", "dir/below=3", "file=was a directory", "fresh/", "fresh/x=2", "link -> ../../../etc/passwd", "new=1", "pipe p---------"}
	for _, path := range []string{"/data", "/var/", "/data/../data/."} {
		to, err := copied(t, path, upper, lower)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if got := tree(t, to); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", path, got, want)
		}
	}
	for path, want := range map[string]error{"/none": fs.ErrNotExist, "/data/gone": fs.ErrNotExist, "/data/new": unix.ENOTDIR, "/data/link": fs.ErrNotExist} {
		if err := IsDir([]string{upper, lower}, path); !errors.Is(err, want) {
			t.Errorf("IsDir %s: %v, want %v", path, err, want)
		}
		if _, err := copied(t, path, upper, lower); !errors.Is(err, want) {
			t.Errorf("Copy %s: %v, want %v", path, err, want)
		}
	}
	if err := IsDir([]string{upper, lower}, "/var/dir"); err != nil {
		t.Error(err)
	}
}

func TestCopyKeepsWhatFilesHave(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: owners")
	}
	src := layer(t, "d/", "d/sub/", "d/f=text", "d/sub/dev")
	in := func(name string) string { return filepath.Join(src, "d", name) }
	when := time.Unix(1_000_000_000, 123_456_789)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.Remove(in("sub/dev")))
	check(unix.Mknod(in("sub/dev"), unix.S_IFCHR|0o640, int(unix.Mkdev(1, 3))))
	check(os.Link(in("f"), in("sub/same")))
	check(os.Symlink("f", in("link")))
	check(os.Lchown(in("f"), 1000, 1001))
	check(os.Lchown(in("link"), 1002, 1003))
	check(os.Lchown(in("sub"), 1004, 1005))
	check(unix.Setxattr(in("f"), "user.note", []byte("kept"), 0))
	check(unix.Setxattr(in("f"), "security.capability", []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	check(unix.Setxattr(in("sub"), "trusted.overlay.opaque", []byte("y"), 0))
	check(unix.Setxattr(in("sub"), "user.note", []byte("kept too"), 0))
	check(os.Chmod(in("sub"), 0o3770))
	check(unix.Chmod(in("f"), 0o6751))
	sparse, err := os.Create(in("sparse"))
	check(err)
	check(sparse.Truncate(64 << 20))
	_, err = sparse.WriteAt([]byte("end"), 64<<20-3)
	check(err)
	check(sparse.Close())
	for _, name := range []string{"f", "sub/dev", "sub", "."} {
		check(os.Chtimes(in(name), when, when))
	}
	check(os.Chmod(filepath.Join(src, "d"), 0o1711))

	to, err := copied(t, "/d", src)
	check(err)
	for _, name := range []string{".", "f", "sub", "sub/dev", "sub/same", "link", "sparse"} {
		var a, b unix.Stat_t
		check(unix.Lstat(in(name), &a))
		check(unix.Lstat(filepath.Join(to, name), &b))
		if a.Mode != b.Mode || a.Uid != b.Uid || a.Gid != b.Gid || a.Rdev != b.Rdev || a.Size != b.Size && a.Mode&unix.S_IFMT != unix.S_IFDIR || a.Mtim != b.Mtim {
			t.Errorf("%s: %+v became %+v", name, a, b)
		}
		if name == "sparse" && b.Blocks*512 > 1<<20 {
			t.Errorf("the holes became %d bytes", b.Blocks*512)
		}
	}
	var f, same unix.Stat_t
	check(unix.Lstat(filepath.Join(to, "f"), &f))
	check(unix.Lstat(filepath.Join(to, "sub/same"), &same))
	if f.Ino != same.Ino {
		t.Error("a hard link became a file of its own")
	}
	attr := func(name, attr string) string {
		buf := make([]byte, 64)
		n, err := unix.Lgetxattr(filepath.Join(to, name), attr, buf)
		if err != nil {
			return err.Error()
		}
		return string(buf[:n])
	}
	if attr("f", "user.note") != "kept" || attr("sub", "user.note") != "kept too" || len(attr("f", "security.capability")) != 20 {
		t.Errorf("attributes: %q, %q, %q", attr("f", "user.note"), attr("sub", "user.note"), attr("f", "security.capability"))
	}
	if attr("sub", "trusted.overlay.opaque") != unix.ENODATA.Error() {
		t.Error("an attribute of the overlay was copied")
	}
}

func TestCopyOfADeepTree(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	deep := strings.Repeat("d/", 150)
	src := layer(t, "top/"+deep, "top/"+deep+"f=x")
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	few := lim
	few.Cur = 100
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &lim) }()
	to, err := copied(t, "/top", src)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(to, deep, "f")); err != nil {
		t.Error(err)
	}
}

func TestCopyEndsWithItsContext(t *testing.T) {
	src := layer(t, "d/", "d/f=x")
	f, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Copy(ctx, []string{src}, "/d", f); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestCopyStaysInside: a link that somebody at work in the copy puts in the
// place of a directory does not lead out.
func TestCopyStaysInside(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: owners")
	}
	src := layer(t, "d/", "d/sub/", "d/sub/f=x")
	outside, to := t.TempDir(), t.TempDir()
	f, err := os.Open(to)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	top, _, err := resolve([]string{src}, "/d", false)
	if err != nil {
		t.Fatal(err)
	}
	defer top.close()
	c := copier{ctx: t.Context(), top: top, to: int(f.Fd()), links: map[inode]string{}, dirs: []string{"."}}
	if err := c.directory("."); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(to, "sub")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(to, "sub")); err != nil {
		t.Fatal(err)
	}
	if err := c.directory("sub"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("%v", err)
	}
	if got := tree(t, outside); len(got) > 0 {
		t.Errorf("outside: %v", got)
	}
}
