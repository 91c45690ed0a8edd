package chaos

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	enginetest "github.com/davit-engine/davit/test/engine"
)

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestDiskFull pulls an image that does not fit: the error says so, nothing
// half is kept, and what fits still works.
func TestDiskFull(t *testing.T) {
	enginetest.NeedRoot(t)
	mkfs := enginetest.NeedProgram(t, "mkfs.ext4")
	dir, err := os.MkdirTemp("/tmp", "dvd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	disk, root := filepath.Join(dir, "disk"), filepath.Join(dir, "r")
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	run("truncate", "-s", "48M", disk)
	run(mkfs, "-q", "-F", disk)
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-o", "loop", disk, root).CombinedOutput(); err != nil {
		t.Skipf("no loop mount on this machine: %v %s", err, out)
	}
	t.Cleanup(func() { run("umount", root) })

	// The registry stands elsewhere: only the engine's disk is small.
	source := enginetest.Start(t, enginetest.Config{})
	big := enginetest.NewRootfs(t)
	big.File("zeros", 0o644, make([]byte, 64<<20)) // small in the registry, too big here
	source.Publish(t, "big:latest", big.Bytes(), `CMD ["/x"]`)
	source.Publish(t, "busybox:latest", enginetest.BusyboxTar(t), `CMD ["sh"]`)

	e := enginetest.Start(t, enginetest.Config{Root: root, NoRegistry: true, Args: []string{"--registry-mirror", "http://" + source.Registry}})
	cli := e.Davit()
	cli.OK(t, "pull", "busybox")
	before := free(t, root)
	cli.Fails(t, 1, "no space left on device", "pull", "big")
	if out := cli.OK(t, "images", "-q", "big"); out != "" {
		t.Errorf("half an image is listed: %q", out)
	}
	if out := cli.OK(t, "run", "--rm", "busybox", "echo", "still works"); out != "still works" {
		t.Errorf("run after the failed pull: %q", out)
	}
	if after := free(t, root); after+(4<<20) < before {
		t.Errorf("the failed pull holds %d KiB of the disk", (before-after)>>10)
	}
}
