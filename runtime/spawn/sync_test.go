package spawn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/runtime/program"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// fifo is a file for Request.Hold.
func fifo(t testing.TB) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "start")
	must(t, unix.Mkfifo(name, 0o600))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// poll looks again and again, until done or 10 seconds have passed.
func poll(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

func ended(pidfd *os.File) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}, 0)
	return err == nil && n == 1
}

func TestCreated(t *testing.T) {
	needRoot(t)
	dir := layer(t)
	src := t.TempDir()
	for name, root := range map[string]program.Root{"directory": {Dir: dir}, "overlay": overlay(t, dir)} {
		t.Run(name, func(t *testing.T) {
			r := &Request{Spec: dockerSpec("sh", "-c", "cat /v/hook /proc/sys/net/ipv4/ip_default_ttl; cat /proc/1/comm"), Root: root}
			r.Spec.Mounts = append(r.Spec.Mounts, specs.Mount{Destination: "/v", Type: "bind", Source: src, Options: []string{"rbind"}})
			r.Spec.Linux.Sysctl["net.ipv4.ip_default_ttl"] = "7"
			r.Created = func(pid int) error {
				if own, theirs := readlink(t, "/proc/self/ns/net"), readlink(t, fmt.Sprintf("/proc/%d/ns/net", pid)); own == theirs {
					t.Error("it has no network namespace yet")
				}
				if _, err := os.Stat(fmt.Sprintf("/proc/%d/root%s", pid, src)); err != nil {
					t.Errorf("the root is not the host's: %v", err)
				}
				table := read(t, fmt.Sprintf("/proc/%d/mountinfo", pid))
				if name == "directory" {
					mountLine(t, table, dir+"/v")
				}
				mountLine(t, table, map[string]string{"directory": dir + "/proc", "overlay": "/proc"}[name])
				return os.WriteFile(filepath.Join(src, "hook"), []byte("hook was here\n"), 0o644)
			}
			expect(t, mustRun(t, r), "hook was here\n7\ncat\n")
		})
	}
	t.Run("refused", func(t *testing.T) {
		pid := 0
		no := errors.New("no")
		r := &Request{Spec: dockerSpec("true"), Root: overlay(t, dir), Created: func(p int) error { pid = p; return no }}
		if _, err := Start(r); err != no {
			t.Errorf("got %v", err)
		}
		if err := unix.Kill(pid, 0); err != unix.ESRCH {
			t.Errorf("it is still there: %v", err)
		}
	})
	t.Run("killed", func(t *testing.T) {
		r := &Request{Spec: dockerSpec("true"), Root: overlay(t, dir), Created: func(p int) error { return unix.Kill(p, unix.SIGKILL) }}
		if _, err := Start(r); !errors.Is(err, unix.ESRCH) {
			t.Errorf("got %v", err)
		}
	})
}

func TestHold(t *testing.T) {
	needRoot(t)
	dir := layer(t)
	must(t, os.WriteFile(filepath.Join(dir, "bin/garbage"), []byte("\x00\x01garbage"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "bin/script"), []byte("#!/no/such/interpreter\n"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "bin/secret"), []byte("#!/bin/sh\necho ran\n"), 0o700))
	for _, c := range []struct {
		args []string
		uid  uint32
		nnp  bool
		out  string
		code int
	}{
		{[]string{"echo", "hello"}, 0, false, "hello\n", 0},
		{[]string{"/bin/echo", "hello"}, 1000, true, "hello\n", 0},
		{[]string{"./bin/secret"}, 0, false, "ran\n", 0},
		{[]string{"garbage"}, 0, false, "exec garbage: it cannot be executed", 126},
		{[]string{"/bin/script"}, 0, true, "exec /bin/script: no such file or directory\n", 127},
		{[]string{"ls", "/proc/self/fd"}, 0, true, "0\n1\n2\n3\n", 0},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			pr, pw, err := os.Pipe()
			must(t, err)
			defer pr.Close()
			hold := fifo(t)
			r := &Request{Spec: dockerSpec(c.args...), Root: overlay(t, dir), Hold: hold, Stdout: pw, Stderr: pw}
			r.Spec.Process.User.UID, r.Spec.Process.NoNewPrivileges = c.uid, c.nnp
			r.Seccomp = []byte{6, 0, 0, 0, 0, 0, 0xff, 0x7f} // allow everything
			p, err := Start(r)
			pw.Close()
			must(t, err)
			defer p.PidFD.Close()
			fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Pid))
			must(t, err)
			if len(fds) != 5 {
				t.Errorf("it holds %v while it waits", fds)
			}
			if root := readlink(t, fmt.Sprintf("/proc/%d/root", p.Pid)); root != "/" {
				t.Errorf("its root is %q", root)
			}
			_, err = hold.Write([]byte{0})
			must(t, err)
			out, err := io.ReadAll(pr)
			must(t, err)
			if s, err := p.Wait(); err != nil || s.ExitStatus() != c.code {
				t.Errorf("%v, status %#x", err, s)
			}
			if !strings.HasPrefix(string(out), c.out) {
				t.Errorf("got %q, want %q", out, c.out)
			}
		})
	}
	t.Run("not for this user", func(t *testing.T) {
		r := &Request{Spec: dockerSpec("/bin/secret"), Root: overlay(t, dir), Hold: fifo(t)}
		r.Spec.Process.User.UID, r.Spec.Process.Capabilities = 1000, nil
		var e *Error
		if _, err := Start(r); !errors.As(err, &e) || e.ExitCode != 126 || e.Text != `exec: "/bin/secret": permission denied` {
			t.Errorf("got %v", err)
		}
	})
	t.Run("terminal", func(t *testing.T) {
		r := &Request{Spec: dockerSpec("tty"), Root: overlay(t, dir), Hold: fifo(t)}
		r.Spec.Process.Terminal = true
		p, err := Start(r)
		must(t, err)
		defer p.PidFD.Close()
		defer p.Console.Close()
		_, err = r.Hold.Write([]byte{0})
		must(t, err)
		var out bytes.Buffer
		_, _ = io.Copy(&out, p.Console) // ends with EIO
		expect(t, out.String(), "/dev/pts/0")
		_, err = p.Wait()
		must(t, err)
	})
}

func TestPreserveFDs(t *testing.T) {
	needRoot(t)
	dir := layer(t)
	for _, hold := range []bool{false, true} {
		for _, terminal := range []bool{false, true} {
			r := &Request{Spec: dockerSpec("sh", "-c", "cat <&3; cat <&5 >/out; ls /proc/$$/fd >>/out"), Root: overlay(t, dir)}
			for i := range 3 {
				name := filepath.Join(t.TempDir(), "file")
				must(t, os.WriteFile(name, fmt.Appendf(nil, "file %d\n", i), 0o600))
				f, err := os.Open(name)
				must(t, err)
				defer f.Close()
				r.PreserveFDs = append(r.PreserveFDs, f)
			}
			if r.Spec.Process.Terminal = terminal; hold {
				r.Hold = fifo(t)
			}
			p, err := Start(r)
			must(t, err)
			if hold {
				_, err = r.Hold.Write([]byte{0})
				must(t, err)
			}
			if terminal {
				_, _ = io.Copy(io.Discard, p.Console)
				p.Console.Close()
			}
			if s, err := p.Wait(); err != nil || s != 0 {
				t.Errorf("%v, status %#x", err, s)
			}
			p.PidFD.Close()
			if got, want := read(t, filepath.Join(r.Root.Overlay.Upper, "out")), "file 2\n0\n1\n2\n3\n4\n5\n"; !strings.HasPrefix(got, want) {
				t.Errorf("hold %v, terminal %v: got %q, want %q", hold, terminal, got, want)
			}
		}
	}
}

// TestHeldSocket starts a container while another, made by the same process,
// waits: it must not keep the first one's socket open.
func TestHeldSocket(t *testing.T) {
	needRoot(t)
	dir := layer(t)
	r := &Request{Spec: dockerSpec("true"), Root: overlay(t, dir)}
	var other *Process
	r.Created = func(int) (err error) {
		other, err = Start(&Request{Spec: dockerSpec("true"), Root: overlay(t, dir), Hold: fifo(t)})
		return err
	}
	p, err := Start(r)
	must(t, err)
	for _, p := range []*Process{p, other} {
		_ = unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0)
		_, err = p.Wait()
		must(t, err)
		p.PidFD.Close()
	}
}

// TestDeathWhileHeld kills a helper whose container waits to be started.
func TestDeathWhileHeld(t *testing.T) {
	needRoot(t)
	if name := os.Getenv("DAVIT_SPAWN_HELPER"); name != "" {
		hold, err := os.OpenFile(filepath.Join(filepath.Dir(name), "start"), os.O_RDWR, 0)
		must(t, err)
		p, err := Start(&Request{Spec: dockerSpec("sleep", "60"), Root: program.Root{Dir: os.Getenv("DAVIT_SPAWN_ROOT")}, Hold: hold, Detached: os.Getenv("DAVIT_SPAWN_DETACHED") != ""})
		must(t, err)
		must(t, os.WriteFile(name+".tmp", fmt.Append(nil, p.Pid), 0o600))
		must(t, os.Rename(name+".tmp", name))
		_, err = p.Wait()
		must(t, err)
		return
	}
	for _, detached := range []bool{false, true} {
		hold := fifo(t)
		name := filepath.Join(filepath.Dir(hold.Name()), "pid")
		env := append(os.Environ(), "DAVIT_SPAWN_HELPER="+name, "DAVIT_SPAWN_ROOT="+layer(t))
		if detached {
			env = append(env, "DAVIT_SPAWN_DETACHED=1")
		}
		helper, err := os.StartProcess("/proc/self/exe", []string{"spawn.test", "-test.run=^TestDeathWhileHeld$"}, &os.ProcAttr{Env: env, Files: []*os.File{nil, os.Stdout, os.Stderr}})
		must(t, err)
		pid := 0
		poll(t, "the helper starts", func() bool {
			b, err := os.ReadFile(name)
			if err == nil {
				_, err = fmt.Sscan(string(b), &pid)
			}
			return err == nil
		})
		fd, err := unix.PidfdOpen(pid, 0)
		must(t, err)
		pidfd := os.NewFile(uintptr(fd), "pidfd")
		must(t, helper.Kill())
		_, err = helper.Wait()
		must(t, err)
		if !detached {
			poll(t, "the container ends with its caller", func() bool { return ended(pidfd) })
		} else {
			_, err = hold.Write([]byte{0})
			must(t, err)
			poll(t, "the container is started", func() bool {
				b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
				return err == nil && string(b) == "sleep\n"
			})
			must(t, unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0))
		}
		pidfd.Close()
	}
}

func TestJoinMountNamespace(t *testing.T) {
	needRoot(t)
	dir := layer(t)
	first, err := Start(&Request{Spec: dockerSpec("sleep", "60"), Root: overlay(t, dir)})
	must(t, err)
	defer func() {
		must(t, unix.PidfdSendSignal(int(first.PidFD.Fd()), unix.SIGKILL, nil, 0))
		_, err := first.Wait()
		must(t, err)
		first.PidFD.Close()
	}()
	root := layer(t)
	shared(t, root)
	must(t, os.MkdirAll(filepath.Join(first.root(), root), 0o755)) // where the other has it
	must(t, os.WriteFile(filepath.Join(root, "mine"), []byte("mine\n"), 0o644))
	r := &Request{Spec: dockerSpec("sh", "-c", "cat /mine; ls /proc/1/comm; readlink /proc/self/ns/mnt"), Root: program.Root{Dir: root}}
	r.Spec.Linux.Namespaces[0].Path = fmt.Sprintf("/proc/%d/ns/mnt", first.Pid)
	expect(t, mustRun(t, r), "mine\n/proc/1/comm\n"+readlink(t, r.Spec.Linux.Namespaces[0].Path)+"\n")
	mountLine(t, read(t, fmt.Sprintf("/proc/%d/mountinfo", first.Pid)), root+"/proc")
	r.Root = overlay(t, dir)
	if _, err := Start(r); err == nil || !strings.Contains(err.Error(), "a mount namespace of its own") {
		t.Errorf("got %v", err)
	}
}

// TestNoMountNamespace: the container shares its caller's, as the spec asks for;
// what it mounts is left there.
func TestNoMountNamespace(t *testing.T) {
	needRoot(t)
	root := layer(t)
	t.Cleanup(func() {
		for unix.Unmount(root, unix.MNT_DETACH) == nil { // the root, and what masks lie under
		}
	})
	r := &Request{Spec: dockerSpec("sh", "-c", "readlink /proc/self/ns/mnt; ls /"), Root: program.Root{Dir: root}}
	r.Spec.Linux.Namespaces = r.Spec.Linux.Namespaces[1:]
	out := mustRun(t, r)
	expect(t, out, readlink(t, "/proc/self/ns/mnt")+"\n", "tmp\n")
	if strings.Contains(out, "home\n") {
		t.Errorf("it stands in the host's root:\n%s", out)
	}
	mountLine(t, read(t, "/proc/self/mountinfo"), root+"/proc")
}

func (p *Process) root() string { return fmt.Sprintf("/proc/%d/root", p.Pid) }
