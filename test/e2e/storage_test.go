package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// TestStorageOption is about a data root on the host's own file system.
func TestStorageOption(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		cli.Fails(t, 1, "invalid --storage-opt dm.basesize=1G: the only storage option is size", "create", "--storage-opt", "dm.basesize=1G", "busybox")
		cli.Fails(t, 1, "invalid --storage-opt size=much", "create", "--storage-opt", "size=much", "busybox")
		cli.OK(t, "run", "--rm", "--storage-opt", "size=0", "busybox", "true")
		r := cli.Run(t, "run", "--rm", "--storage-opt", "size=2m", "busybox", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=3")
		switch {
		case strings.Contains(r.Stderr, "--storage-opt is supported only for overlay over xfs with 'pquota' mount option, or ext4 with 'prjquota'"):
			t.Skip("needs a data root with project quotas")
		case r.Code != 1 || !strings.Contains(r.Stderr, "No space left") && !strings.Contains(r.Stderr, "quota exceeded"):
			t.Errorf("%+v", r)
		}
	})
}

// TestStorageQuota is about a data root where quotas hold.
func TestStorageQuota(t *testing.T) {
	for kind, mkfs := range map[string][]string{"ext4": {"mkfs.ext4", "-q", "-O", "quota,project"}, "xfs": {"mkfs.xfs", "-q"}} {
		t.Run(kind, func(t *testing.T) {
			device, at := enginetest.Loop(t, mkfs...), t.TempDir()
			if err := unix.Mount(device, at, kind, 0, "prjquota"); err != nil {
				t.Skipf("needs project quotas: %v", err)
			}
			t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
			e := enginetest.Start(t, enginetest.Config{Args: []string{"--data-root", filepath.Join(at, "data"), "--bridge", "none"}})
			e.Busybox(t)
			big := filepath.Join(t.TempDir(), "big")
			must(t, os.WriteFile(big, bytes.Repeat([]byte("x"), 3<<20), 0o644))
			for _, cli := range e.CLIs(t) {
				write := func(where string, args ...string) enginetest.Result {
					t.Helper()
					return cli.Run(t, append(append([]string{"run", "--rm", "--network", "none"}, args...), "busybox", "dd", "if=/dev/zero", "of="+where, "bs=1M", "count=3")...)
				}
				if r := write("/big", "--storage-opt", "size=2m"); r.Code != 1 || !strings.Contains(r.Stderr, "No space left") && !strings.Contains(r.Stderr, "quota exceeded") {
					t.Errorf("3 MiB into 2: %+v", r)
				}
				if r := write("/big", "--storage-opt", "size=2m", "--userns", "auto"); r.Code != 1 {
					t.Errorf("3 MiB into 2, in a user namespace: %+v", r)
				}
				if r := write("/big", "--storage-opt", "size=8m"); r.Code != 0 {
					t.Errorf("3 MiB into 8: %+v", r)
				}
				if r := write("/v/big", "--mount", "type=volume,dst=/v,volume-opt=size=2m"); r.Code != 1 {
					t.Errorf("3 MiB into a volume of 2: %+v", r)
				}
				n := "limited-" + cli.Name
				cli.OK(t, "create", "--name", n, "--network", "none", "--storage-opt", "size=2m", "--mount", "type=volume,dst=/v,volume-opt=size=2m", "busybox")
				for _, where := range []string{":/", ":/v"} {
					if r := cli.Run(t, "cp", big, n+where); r.Code != 1 {
						t.Errorf("3 MiB copied to %s, which has 2: %+v", where, r)
					}
				}
				cli.OK(t, "rm", "-v", n)
			}
		})
	}
}
