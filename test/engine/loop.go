package enginetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Loop makes a file system of 400 MB in a file, by a program and its arguments,
// and returns the block device that the file is until the test ends. Without
// the program, or without loop devices, the test is skipped.
func Loop(t testing.TB, mkfs ...string) string {
	t.Helper()
	NeedRoot(t)
	program, err := exec.LookPath(mkfs[0])
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/" + mkfs[0]); err != nil {
			t.Skipf("needs %s", mkfs[0])
		}
	}
	image := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(image)
	if err == nil {
		err = f.Truncate(400 << 20)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, append(mkfs[1:], image)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(mkfs, " "), err, out)
	}
	device, err := attach(t, image)
	if err != nil {
		t.Skipf("needs a loop device: %v", err)
	}
	return device
}

// attach makes a file a block device until the test ends.
func attach(t testing.TB, image string) (string, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer control.Close()
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer file.Close()
	for range 10 { // somebody else may take the one that was free
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return "", err
		}
		device := fmt.Sprintf("/dev/loop%d", n)
		loop, err := os.OpenFile(device, os.O_RDWR, 0)
		if err != nil {
			return "", err
		}
		if err := unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_SET_FD, int(file.Fd())); err != nil {
			loop.Close()
			continue
		}
		t.Cleanup(func() {
			_ = unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_CLR_FD, 0)
			loop.Close()
		})
		return device, nil
	}
	return "", unix.EBUSY
}
