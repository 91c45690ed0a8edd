package oci

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The agent of a notifying filter gets its descriptor, at create and at exec,
// and decides what a call comes to.
func TestListener(t *testing.T) {
	h := newHost(t)
	path, accept := receiver(t)
	h.spec.Linux.Seccomp = &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow, ListenerPath: path, ListenerMetadata: "who knows",
		Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActNotify}},
	}
	h.write()
	check := func(status specs.ContainerState) (*os.File, int) {
		t.Helper()
		fd, text := accept()
		var s specs.ContainerProcessState
		if err := json.Unmarshal([]byte(text), &s); err != nil || s.Metadata != "who knows" || s.State.ID != "c1" || s.State.Status != status ||
			s.State.Pid == 0 || s.Pid == 0 || len(s.Fds) != 1 || s.Fds[0] != specs.SeccompFdName {
			t.Errorf("%s: %+v, %v", text, s, err)
		}
		return fd, s.Pid
	}
	h.ok("create", "c1")
	first, pid := check(specs.StateCreating)
	defer first.Close()
	h.ok("start", "c1")
	if got := h.ok("ps", "-f", "json", "c1"); strings.TrimSpace(got) != mustJSON(t, []int{pid}) {
		t.Errorf("processes %s, the agent was told of %d", got, pid)
	}
	done := make(chan result, 1)
	cmd := h.cmd("exec", "c1", "busybox", "mkdir", "/dir")
	go func() { done <- h.finish(cmd) }()
	second, other := check(specs.StateRunning)
	defer second.Close()
	if other == pid {
		t.Errorf("the agent was told of %d twice", pid)
	}
	deny(t, second, unix.EDOM)
	if r := <-done; r.status == 0 || !strings.Contains(r.stderr, "argument out of") {
		t.Errorf("%+v", r)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// deny answers one call with an errno (seccomp_unotify(2)).
func deny(t *testing.T, listener *os.File, errno unix.Errno) {
	t.Helper()
	fd := listener.Fd()
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds())); n != 1 {
		t.Fatalf("no call comes: %v", err)
	}
	call := struct {
		id         uint64
		pid, flags uint32
		data       [64]byte
	}{}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&call))); e != 0 {
		t.Fatal(e)
	}
	answer := struct {
		id           uint64
		value        int64
		error, flags int32
	}{id: call.id, error: -int32(errno)}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&answer))); e != 0 {
		t.Fatal(e)
	}
}
