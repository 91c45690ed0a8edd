package pidfd

import (
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAwait(t *testing.T) {
	fd := -1
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{PidFD: &fd}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { Await(fd); close(ended) }()
	select {
	case <-ended:
		t.Error("it returned before the process ended")
	case <-time.After(50 * time.Millisecond):
	}
	own, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(own)
	if ended, err := Ended(own, 20*time.Millisecond); ended || err != nil {
		t.Errorf("while it runs: ended %v, %v", ended, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if ended, err := Ended(own, 10*time.Second); !ended || err != nil {
		t.Errorf("after its end: ended %v, %v", ended, err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("it did not return after the process ended")
	}
	_ = cmd.Wait()
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("the descriptor is still open: %v", err)
	}
}
