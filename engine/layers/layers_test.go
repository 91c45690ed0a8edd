package layers

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// layer makes a directory with the given files: "dir/", "link -> target",
// "!whiteout", "opaque!/" or "file=content".
func layer(t *testing.T, entries ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, e := range entries {
		name, content, _ := strings.Cut(e, "=")
		link, target, isLink := strings.Cut(e, " -> ")
		p := filepath.Join(root, strings.Trim(name, "!"))
		var err error
		switch {
		case isLink:
			err = os.Symlink(target, filepath.Join(root, link))
		case strings.HasPrefix(name, "!"):
			err = unix.Mknod(p, unix.S_IFCHR, 0)
		case strings.HasSuffix(name, "!/"):
			p = filepath.Join(root, strings.TrimSuffix(name, "!/"))
			if err = os.MkdirAll(p, 0o755); err == nil {
				err = unix.Setxattr(p, "trusted.overlay.opaque", []byte("y"), 0)
			}
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(p, 0o755)
		case strings.HasSuffix(name, "|"):
			err = unix.Mkfifo(strings.TrimSuffix(p, "|"), 0o644)
		default:
			if err = os.MkdirAll(filepath.Dir(p), 0o755); err == nil {
				err = os.WriteFile(p, []byte(content), 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestReadFile(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: whiteouts are device nodes")
	}
	base := []string{"etc/passwd=base", "etc/group=base"}
	for _, c := range []struct {
		name   string
		layers [][]string // topmost first
		want   string
		err    error
	}{
		{"one layer", [][]string{base}, "base", nil},
		{"upper hides lower", [][]string{{"etc/passwd=upper"}, base}, "upper", nil},
		{"lower shows through a directory", [][]string{{"etc/other=x"}, base}, "base", nil},
		{"whiteout of the file", [][]string{{"etc/", "!etc/passwd"}, base}, "", fs.ErrNotExist},
		{"whiteout of the directory", [][]string{{"!etc"}, base}, "", fs.ErrNotExist},
		{"opaque directory", [][]string{{"etc!/"}, base}, "", fs.ErrNotExist},
		{"missing", [][]string{{"bin/"}}, "", fs.ErrNotExist},
		{"relative link", [][]string{{"etc/", "etc/passwd -> group"}, base}, "base", nil},
		{"absolute link stays inside", [][]string{{"etc/", "etc/passwd -> /../../lib/p", "lib/p=linked"}}, "linked", nil},
		{"link to a directory in another layer", [][]string{{"etc -> usr/etc"}, {"usr/etc/passwd=far"}}, "far", nil},
		{"dangling link", [][]string{{"etc/", "etc/passwd -> nowhere"}}, "", fs.ErrNotExist},
		{"loop", [][]string{{"etc -> etc"}}, "", unix.ELOOP},
		{"link to the root", [][]string{{"etc/", "etc/passwd -> /"}}, "", unix.EISDIR},
		{"directory", [][]string{{"etc/passwd/"}}, "", unix.EISDIR},
		{"file as directory", [][]string{{"etc=file"}, base}, "", unix.ENOTDIR},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stack []string
			for _, l := range c.layers {
				stack = append(stack, layer(t, l...))
			}
			got, err := ReadFile(stack, "/etc/passwd", 1<<20)
			if string(got) != c.want || !errors.Is(err, c.err) {
				t.Errorf("got %q, %v; want %q, %v", got, err, c.want, c.err)
			}
		})
	}
}

func TestReadFileRefusesHostileFiles(t *testing.T) {
	if _, err := ReadFile([]string{layer(t, "etc/", "etc/passwd|")}, "/etc/passwd", 100); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("FIFO: %v", err)
	}
	if _, err := ReadFile([]string{layer(t, "etc/passwd="+strings.Repeat("x", 101))}, "/etc/passwd", 100); err == nil || !strings.Contains(err.Error(), "101 bytes") {
		t.Errorf("huge: %v", err)
	}
}

func TestReadFileLeaksNothing(t *testing.T) {
	stack := []string{layer(t, "etc/", "etc/passwd -> group"), layer(t, "etc/group=x")}
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	count := func() int {
		e, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(e)
	}
	before := count()
	for range 50 {
		_, _ = ReadFile(stack, "/etc/passwd", 100)
		_, _ = ReadFile(stack, "/etc/none/x", 100)
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
