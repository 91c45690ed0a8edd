package engine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReadBelow has a hostile container: what it puts in place of a file is not
// opened, and no link leads out of its root.
func TestReadBelow(t *testing.T) {
	host := t.TempDir()
	dir := filepath.Join(host, "root")
	for _, err := range []error{
		os.Mkdir(dir, 0o755),
		os.WriteFile(filepath.Join(host, "secret"), []byte("secret"), 0o600),
		os.WriteFile(filepath.Join(dir, "plain"), []byte("plain"), 0o600),
		os.WriteFile(filepath.Join(dir, "large"), make([]byte, 101), 0o600),
		os.Symlink("/plain", filepath.Join(dir, "absolute")),
		os.Symlink("../secret", filepath.Join(dir, "up")),
		os.Symlink(filepath.Join(host, "secret"), filepath.Join(dir, "out")),
		os.Symlink("/proc/self/root"+host+"/secret", filepath.Join(dir, "magic")),
		os.Symlink("loop", filepath.Join(dir, "loop")),
		unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600),
		os.Mkdir(filepath.Join(dir, "directory"), 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(root)
	for _, c := range []struct{ path, want, refusal string }{
		{"/plain", "plain", ""},
		{"/absolute", "plain", ""},
		{"/../plain", "plain", ""},
		{"/up", "", "no such file"},
		{"/out", "", "no such file"},
		{"/magic", "", "no such file"},
		{"/loop", "", "too many levels"},
		{"/missing", "", "no such file"},
		{"/fifo", "", "not a regular file"},
		{"/directory", "", "not a regular file"},
		{"/large", "", "101 bytes long"},
	} {
		got, err := readBelow(root, c.path, 100)
		switch {
		case c.refusal == "" && (err != nil || string(got) != c.want):
			t.Errorf("%s: %q, %v", c.path, got, err)
		case c.refusal != "" && (err == nil || !strings.Contains(err.Error(), c.refusal)):
			t.Errorf("%s: %q, %v, want %q", c.path, got, err, c.refusal)
		}
		if c.refusal == "no such file" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v is not fs.ErrNotExist", c.path, err)
		}
	}
}
