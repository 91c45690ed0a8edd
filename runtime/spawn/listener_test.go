package spawn

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/davit-engine/davit/runtime/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// struct seccomp_notif, seccomp_notif_resp and their ioctls, as linux/seccomp.h
// has them.
type notification struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type answer struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

const (
	notifyReceive = 0xc0502100
	notifySend    = 0xc0182101
)

// refuseAll answers every call with errno, until nobody is left who makes one.
func refuseAll(f *os.File, errno unix.Errno) {
	defer f.Close()
	for {
		poll := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, 10_000); err == unix.EINTR {
			continue
		} else if err != nil || poll[0].Revents&unix.POLLIN == 0 {
			return
		}
		var n notification
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), notifyReceive, uintptr(unsafe.Pointer(&n))); e != 0 {
			return
		}
		a := answer{id: n.id, errno: -int32(errno)}
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, f.Fd(), notifySend, uintptr(unsafe.Pointer(&a))) // it may have been killed
	}
}

func TestListener(t *testing.T) {
	needRoot(t)
	dir := layer(t)
	filter, flags, err := seccomp.Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActNotify}}})
	must(t, err)
	taken := 0
	take := func(_ int, f *os.File) error {
		taken++
		go refuseAll(f, unix.ENOSPC)
		return nil
	}
	const script, want = "mkdir /x 2>&1; ls /proc/$$/fd; true", "mkdir: can't create directory '/x': No space left on device\n0\n1\n2\n"
	for _, nnp := range []bool{false, true} {
		for _, users := range []bool{false, true} {
			for _, hold := range []bool{false, true} {
				t.Run(fmt.Sprintf("no new privileges %v, users %v, hold %v", nnp, users, hold), func(t *testing.T) {
					pr, pw, err := os.Pipe()
					must(t, err)
					defer pr.Close()
					r := &Request{Spec: dockerSpec("sh", "-c", script), Root: overlay(t, dir), Seccomp: filter, SeccompFlags: flags, Listener: take, Stdout: pw}
					if r.Spec.Process.NoNewPrivileges = nnp; users {
						inUsers(r)
					}
					if hold {
						r.Hold = fifo(t)
					}
					p, err := Start(r)
					pw.Close()
					must(t, err)
					if hold {
						_, err = r.Hold.Write([]byte{0})
						must(t, err)
					}
					out, err := io.ReadAll(pr)
					must(t, err)
					if string(out) != want {
						t.Errorf("got %q, want %q", out, want)
					}
					_, err = p.Wait()
					must(t, err)
					p.PidFD.Close()
				})
			}
		}
	}
	t.Run("exec", func(t *testing.T) {
		p, err := Start(&Request{Spec: dockerSpec("sleep", "60"), Root: overlay(t, dir)})
		must(t, err)
		pr, pw, err := os.Pipe()
		must(t, err)
		defer pr.Close()
		e, err := Exec(&ExecRequest{PidFD: p.PidFD, Pid: p.Pid, Process: dockerSpec("sh", "-c", script).Process, Seccomp: filter, SeccompFlags: flags, Listener: take, Stdout: pw})
		pw.Close()
		must(t, err)
		out, err := io.ReadAll(pr)
		must(t, err)
		if string(out) != want {
			t.Errorf("got %q, want %q", out, want)
		}
		must(t, unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0))
		for _, p := range []*Process{e, p} {
			_, err = p.Wait()
			must(t, err)
			p.PidFD.Close()
		}
	})
	if taken != 9 {
		t.Errorf("%d listeners were taken", taken)
	}
	no := errors.New("no")
	r := &Request{Spec: dockerSpec("true"), Root: overlay(t, dir), Seccomp: filter, SeccompFlags: flags, Listener: func(_ int, f *os.File) error { f.Close(); return no }}
	if _, err := Start(r); err != no {
		t.Errorf("got %v", err)
	}
	r.Listener = nil
	if _, err := Start(r); err == nil || !strings.Contains(err.Error(), "nobody takes its notifications") {
		t.Errorf("got %v", err)
	}
}

func TestPersonality(t *testing.T) {
	needRoot(t)
	var u unix.Utsname
	must(t, unix.Uname(&u))
	for domain, want := range map[specs.LinuxPersonalityDomain]string{specs.PerLinux: "00000000\n", specs.PerLinux32: "00000008\n"} {
		out := shell(t, "cat /proc/self/personality", func(r *Request) { r.Spec.Linux.Personality = &specs.LinuxPersonality{Domain: domain} })
		if out != want {
			t.Errorf("%s: %q", domain, out)
		}
	}
}

func TestMemoryPolicy(t *testing.T) {
	needRoot(t)
	if _, err := os.Stat("/proc/self/numa_maps"); err != nil {
		t.Skip("this kernel knows no NUMA nodes")
	}
	out := shell(t, "head -n 1 /proc/self/numa_maps", func(r *Request) {
		r.Spec.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "0", Flags: []specs.MemoryPolicyFlagType{specs.MpolFStaticNodes}}
	})
	expect(t, out, " bind=static:0 ")
}
