package namespace

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMount copies a mount that only another process can see.
func TestMount(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	c := exec.Command("sh", "-c", "mount -t tmpfs x "+dir+" && mkdir "+dir+"/sub && echo inside >"+dir+"/file && ln -s sub "+dir+"/link && touch "+dir+"/ready && exec sleep 1000")
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(filepath.Join("/proc", strconv.Itoa(c.Process.Pid), "root", dir, "ready")); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal("the other process did not mount")
		}
	}
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	f, err := Mount(c.Process.Pid, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := unix.Openat(int(f.Fd()), "file", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	text := make([]byte, 20)
	if n, err := unix.Read(fd, text); err != nil || string(text[:n]) != "inside\n" {
		t.Errorf("read %q, %v", text[:n], err)
	}
	for path, want := range map[string]string{dir + "/sub": "is not a mount", dir + "/link": "too many levels", dir + "/nothing": "no such file"} {
		if _, err := Mount(c.Process.Pid, path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	// The thread that was there has ended, or is about to.
	strayed := func() (list []string) {
		tasks, _ := filepath.Glob("/proc/self/task/*/ns/mnt")
		for _, task := range tasks {
			if ns, err := os.Readlink(task); err == nil && ns != own {
				list = append(list, task)
			}
		}
		return list
	}
	for deadline := time.Now().Add(10 * time.Second); len(strayed()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("threads in another mount namespace: %v", strayed())
		}
	}
}
