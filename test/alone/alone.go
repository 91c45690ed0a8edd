// Package alone runs tests where they cannot touch the host: each in a process
// of its own, in a new network namespace with a /run of its own.
//
//	func TestX(t *testing.T) {
//		if !alone.Run(t) {
//			return // it has run, and its result is this test's
//		}
//		...
//	}
//
// It knows nothing of what is tested. Root is needed; others skip.
package alone

import (
	"cmp"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const insideEnv = "DAVIT_TEST_ALONE"

// Run returns true in the process that is alone, and false, with the result of
// the test known, outside. Of a benchmark BENCHTIME says how long it is.
func Run(t testing.TB) bool {
	t.Helper()
	if os.Getenv(insideEnv) == t.Name() {
		if err := furnish(); err != nil {
			t.Fatal(err)
		}
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	args := []string{"-test.run=^" + t.Name() + "$", "-test.v", "-test.timeout=200s"}
	_, bench := t.(*testing.B)
	if bench {
		args = []string{"-test.run=^$", "-test.bench=^" + t.Name() + "$", "-test.benchtime=" + cmp.Or(os.Getenv("BENCHTIME"), "100x")}
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), insideEnv+"="+t.Name(), "TMPDIR="+t.TempDir()) // one that is killed cannot clean up
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("alone: %v\n%s", err, out)
	}
	if bench || testing.Verbose() {
		t.Logf("%s", out)
	}
	return false
}

// furnish gives the namespaces of the calling process what programs expect.
func furnish() error {
	lo, err := netlink.LinkByName("lo")
	return errors.Join(err,
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("tmpfs", "/run", "tmpfs", 0, ""),
		netlink.LinkSetUp(lo))
}
