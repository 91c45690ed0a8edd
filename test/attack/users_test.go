package attack

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestUserNames: names and numbers that mean another user than they seem to
// (CVE-2024-40635: an id beyond 32 bits became root; CVE-2026-46680).
func TestUserNames(t *testing.T) {
	cli := engine(t)
	load(t, shared.engine, "users", func(dir string) {
		must(t, os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte("root:x:0:0::/:/bin/sh\n"+
			"1000:x:0:0:a name that is a number:/:/bin/sh\n"+
			"overflow:x:4294967296:4294967296::/:/bin/sh\n"+
			"negative:x:-1:-1::/:/bin/sh\n"+
			"empty:x:::/:/bin/sh\n"+
			"word:x:zero:zero::/:/bin/sh\n"+
			"good:x:1234:1234::/:/bin/sh\n"+
			":x:0:0::/:/bin/sh\n"), 0o644))
		must(t, os.WriteFile(filepath.Join(dir, "etc/group"), []byte("root:x:0:\n2000:x:0:\nbig:x:4294967296:good\nminus:x:-1:good\nstaff:x:50:good\n"), 0o644))
	})
	for _, user := range []string{"4294967296", "4294967295", "-1", "0:4294967296", "99999999999999999999", "0x0", "1e3", "overflow", "negative", "empty", "word", "nobody\x01", "good:big", "good:minus", " root", "root:root:root", "../root"} {
		r := cli.Run(t, "run", "--rm", "-u", user, "users", "id")
		if r.Code == 0 {
			t.Errorf("user %q was accepted: %s", user, r.Stdout)
		} else if r.Code != 125 && r.Code != 126 && r.Code != 127 {
			t.Errorf("user %q: exit code %d: %s", user, r.Code, r.Stderr)
		}
	}
	for user, want := range map[string]string{"1000": "uid=1000", "5": "uid=5", "good": "uid=1234", "good:2000": "uid=1234"} {
		out := cli.OK(t, "run", "--rm", "-u", user, "users", "id")
		if !strings.HasPrefix(out, want) {
			t.Errorf("user %q is %s, want %s", user, out, want)
		}
		if user == "good:2000" && strings.Contains(out, "gid=0") {
			t.Errorf("a group that is a number became root's: %s", out)
		}
	}
}

// TestUserFiles: a passwd or group file that is none (CVE-2024-9676,
// CVE-2026-47262): a FIFO that blocks whoever opens it, a file without end, a
// device, a link out of the image. The engine must answer at once, keep its
// memory, and never read a file of the host.
func TestUserFiles(t *testing.T) {
	cli := engine(t)
	secret := filepath.Join(t.TempDir(), "passwd")
	must(t, os.WriteFile(secret, []byte("spy:x:0:0::/:/bin/sh\n"), 0o644))
	up := strings.Repeat("../", 30)
	for name, make := range map[string]func(path string) error{
		"fifo":      func(path string) error { return unix.Mkfifo(path, 0o644) },
		"endless":   func(path string) error { return sparse(path, 64<<30) },
		"long-line": func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("a", 32<<20)), 0o644) },
		"directory": func(path string) error { return os.Mkdir(path, 0o755) },
		"link":      func(path string) error { return os.Symlink(secret, path) },
		"link-up":   func(path string) error { return os.Symlink(up+secret[1:], path) },
		"loop":      func(path string) error { return os.Symlink("passwd", path) },
		"proc":      func(path string) error { return os.Symlink("/proc/self/environ", path) },
	} {
		t.Run(name, func(t *testing.T) {
			// On a bind of /etc, since an image could not hold a file of 64 GiB.
			etc := filepath.Join(t.TempDir(), "etc")
			must(t, os.Mkdir(etc, 0o755))
			must(t, make(filepath.Join(etc, "passwd")))
			must(t, make(filepath.Join(etc, "group")))
			image := "users-" + name
			if name != "endless" {
				load(t, shared.engine, image, func(dir string) {
					must(t, os.RemoveAll(filepath.Join(dir, "etc")))
					must(t, os.Rename(etc, filepath.Join(dir, "etc")))
				})
			} else {
				load(t, shared.engine, image, func(dir string) {
					must(t, os.Remove(filepath.Join(dir, "etc/passwd")))
					must(t, sparse(filepath.Join(dir, "etc/passwd"), 200<<20)) // a sparse file becomes zeros in the archive
				})
			}
			begin := time.Now()
			for _, user := range []string{"spy", "root", "x"} {
				if r := cli.Run(t, "run", "--rm", "-u", user, image, "id"); r.Code == 0 && (user != "root" || strings.Contains(r.Stdout, "spy")) {
					t.Errorf("user %q of a hostile passwd file: %s", user, r.Stdout)
				}
			}
			if r := cli.Run(t, "run", "--rm", "-u", "1000:1000", image, "id", "-u"); r.Code == 0 && strings.TrimSpace(r.Stdout) != "1000" {
				t.Errorf("user 1000: %s", r.Stdout)
			}
			if took := time.Since(begin); took > 20*time.Second {
				t.Errorf("the engine took %s", took)
			}
			if kb := highWater(t, shared.engine.Pid()); kb > 400<<10 {
				t.Errorf("davitd has grown to %d MiB", kb>>10)
			}
		})
	}
}

func sparse(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(size)
}

// highWater is the most memory that a process ever held, in KiB.
func highWater(t testing.TB, pid int) int {
	t.Helper()
	return statusKB(t, pid, "VmHWM")
}
