package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// What a container's process is born from cannot be written to by root.
func TestSeal(t *testing.T) {
	h := newHost(t)
	h.ok("create", "c1")
	var v view
	if err := json.Unmarshal([]byte(h.ok("state", "c1")), &v); err != nil {
		t.Fatal(err)
	}
	exe := fmt.Sprintf("/proc/%d/exe", v.Pid)
	if err := unix.Access(exe, unix.W_OK); err != unix.EROFS { // while it runs, open says that it is busy
		t.Errorf("access to write: %v, want %v", err, unix.EROFS)
	}
}

// Who may not mount runs a copy that cannot change; who could not write to the
// program anyway runs it as it is.
func TestSealUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("becomes another user: needs root")
	}
	program, dir := copyProgram(t)
	for _, owner := range []int{0, nobody} {
		if err := os.Chown(program, owner, owner); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(program, "--root", dir, "exec", "c1", "true")
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != execFailed || !strings.Contains(string(out), "does not exist") {
			t.Errorf("program of user %d: %s, %v", owner, out, err)
		}
	}
}

// nobody is a user without rights.
const nobody = 65534

// copyProgram makes a copy of the test program that others may run, in a
// directory of its own.
func copyProgram(t *testing.T) (program, dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "") // t.TempDir is root's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, Name)
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(program, os.O_WRONLY|os.O_CREATE, 0o755)
	if err == nil {
		_, err = io.Copy(to, from)
		err = errors.Join(err, to.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return program, dir
}
