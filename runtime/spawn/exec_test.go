package spawn

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// sleeper starts a container to run things in.
func sleeper(t testing.TB, change ...func(*Request)) *Process {
	t.Helper()
	r := &Request{Spec: dockerSpec("sleep", "600"), Root: overlay(t, layer(t))}
	for _, f := range change {
		f(r)
	}
	p, err := Start(r)
	must(t, err)
	t.Cleanup(func() {
		_ = unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0) // the test may have ended it
		_, err := p.Wait()
		must(t, err)
		p.PidFD.Close()
	})
	return p
}

func execIn(p *Process, args ...string) *ExecRequest {
	return &ExecRequest{PidFD: p.PidFD, Pid: p.Pid, Process: dockerSpec(args...).Process}
}

// runExec is run for an exec.
func runExec(t testing.TB, r *ExecRequest) (result, error) {
	t.Helper()
	pr, pw, err := os.Pipe()
	must(t, err)
	defer pr.Close()
	r.Stdout, r.Stderr = pw, pw
	p, err := Exec(r)
	pw.Close()
	if err != nil {
		return result{}, err
	}
	defer p.PidFD.Close()
	must(t, pr.SetReadDeadline(time.Now().Add(20*time.Second)))
	var out bytes.Buffer
	if _, err := io.Copy(&out, pr); err != nil {
		unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0)
		t.Errorf("reading output: %v", err)
	}
	status, err := p.Wait()
	must(t, err)
	return result{out.String(), status}, nil
}

// mustExec runs a script in a container and returns its output.
func mustExec(t testing.TB, p *Process, script string, change ...func(*ExecRequest)) string {
	t.Helper()
	r := execIn(p, "sh", "-c", script)
	for _, f := range change {
		f(r)
	}
	res, err := runExec(t, r)
	must(t, err)
	if res.status != 0 {
		t.Fatalf("wait status %#x, output:\n%s", res.status, res.out)
	}
	return res.out
}

func TestExec(t *testing.T) {
	needRoot(t)
	p := sleeper(t, spec(func(s *specs.Spec) { s.Linux.Sysctl["kernel.shmmni"] = "77" }))
	process := func(f func(*specs.Process)) func(*ExecRequest) { return func(r *ExecRequest) { f(r.Process) } }
	var namespaces []string
	for _, n := range []string{"mnt", "pid", "net", "ipc", "uts", "cgroup", "user", "time"} {
		namespaces = append(namespaces, readlink(t, fmt.Sprintf("/proc/%d/ns/%s", p.Pid, n))+"\n")
	}
	for _, c := range []struct {
		name, script string
		change       func(*ExecRequest)
		want         []string
	}{
		{"namespaces", "for n in mnt pid net ipc uts cgroup user time; do readlink /proc/self/ns/$n; done; hostname; cat /proc/sys/kernel/shmmni", nil, append(namespaces, "davit-test\n77\n")},
		{"a session of its own, below nobody", "read pid comm state ppid pgrp sid rest </proc/$$/stat; echo $((pid==pgrp)) $((pid==sid)) parent $ppid; ps", nil, []string{"1 1 parent 0\n", "sleep 600"}},
		{"no descriptors", "ls /proc/self/fd; ls /proc/$$/fd", nil, []string{"0\n1\n2\n3\n0\n1\n2\n"}},
		{"default capabilities", "", process(func(p *specs.Process) { p.Args = []string{"cat", "/proc/self/status"} }),
			[]string{"CapInh:\t0000000000000000", "CapPrm:\t00000000a80425fb", "CapEff:\t00000000a80425fb", "CapBnd:\t00000000a80425fb", "CapAmb:\t0000000000000000", "NoNewPrivs:\t0", "Seccomp:\t0", "SigIgn:\t0000000000000000", "SigBlk:\t0000000000000000"}},
		{"user", "id; cat /proc/self/status; echo >/dev/stdout; touch /root/x 2>&1 || true", process(func(p *specs.Process) {
			p.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{5, 44}}
		}), []string{"uid=1000 gid=1001 groups=5,44", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t00000000a80425fb", "Permission denied"}},
		{"five sets", "cat /proc/self/status", process(func(p *specs.Process) {
			p.User = specs.User{UID: 1000, GID: 1000}
			one := []string{"CAP_NET_RAW"}
			p.Capabilities = &specs.LinuxCapabilities{Bounding: one, Effective: one, Permitted: one, Inheritable: one, Ambient: one}
		}), []string{"CapInh:\t0000000000002000", "CapPrm:\t0000000000002000", "CapEff:\t0000000000002000", "CapBnd:\t0000000000002000", "CapAmb:\t0000000000002000"}},
		{"no new privileges", "grep NoNew /proc/self/status", process(func(p *specs.Process) { p.NoNewPrivileges = true }), []string{"NoNewPrivs:\t1"}},
		{"umask", "umask", process(func(p *specs.Process) { m := uint32(0o077); p.User.Umask = &m }), []string{"0077\n"}},
		{"limits", "ulimit -n; ulimit -H -n", process(func(p *specs.Process) { p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 200}} }), []string{"100\n200\n"}},
		{"the last process allowed", "", process(func(p *specs.Process) {
			p.Args = []string{"cat", "/proc/self/limits"}
			p.User.UID, p.User.GID = 54321, 54321
			p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NPROC", Soft: 1, Hard: 1}}
		}), []string{"Max processes             1                    1 "}},
		{"oom_score_adj", "cat /proc/self/oom_score_adj", process(func(p *specs.Process) { n := 321; p.OOMScoreAdj = &n }), []string{"321\n"}},
		{"working directory", "pwd", process(func(p *specs.Process) { p.Cwd = "/etc" }), []string{"/etc\n"}},
		{"environment", "env", process(func(p *specs.Process) { p.Env = append(p.Env, "A=b c") }), []string{"A=b c\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := mustExec(t, p, c.script, func(r *ExecRequest) {
				if c.change != nil {
					c.change(r)
				}
			})
			expect(t, out, c.want...)
		})
	}
	r := execIn(p, "sh", "-c", "exit 7")
	if res, err := runExec(t, r); err != nil || res.status.ExitStatus() != 7 {
		t.Errorf("%v %#x", err, res.status)
	}
}

func TestExecFailures(t *testing.T) {
	needRoot(t)
	p := sleeper(t)
	for _, c := range []struct {
		change func(*specs.Process)
		text   string
		code   int
	}{
		{func(p *specs.Process) { p.Args = []string{"foo"} }, `exec: "foo": executable file not found in $PATH`, 127},
		{func(p *specs.Process) { p.Args = []string{"/etc"} }, `exec: "/etc": is a directory`, 126},
		{func(p *specs.Process) { p.Cwd = "/nowhere" }, `chdir to cwd ("/nowhere") set in config.json failed: no such file or directory`, 127},
		{func(p *specs.Process) { p.Cwd = "/proc/self/fd/0" }, `chdir to cwd ("/proc/self/fd/0") set in config.json failed: no such file`, 127},
		{func(p *specs.Process) { p.Cwd = "/proc/1/fd/0" }, `too many levels of symbolic links`, 128},
		{func(p *specs.Process) { p.Cwd = "/proc/1/cwd" }, `too many levels of symbolic links`, 128},
		{func(p *specs.Process) {
			p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1 << 40, Hard: 1 << 40}}
		}, `error setting rlimit RLIMIT_NOFILE`, 128},
	} {
		r := execIn(p, "true")
		c.change(r.Process)
		_, err := Exec(r)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Text, c.text) || e.ExitCode != c.code {
			t.Errorf("got %v, want %q, exit code %d", err, c.text, c.code)
		}
	}
	must(t, unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0))
	_, err := p.Wait()
	must(t, err)
	if _, err := Exec(execIn(p, "true")); errs.KindOf(err) != errs.Conflict {
		t.Errorf("in a container that has ended: %v", err)
	}
}

// TestExecNamespaces runs something in containers that share namespaces with us.
func TestExecNamespaces(t *testing.T) {
	needRoot(t)
	without := func(drop ...specs.LinuxNamespaceType) func(*Request) {
		return spec(func(s *specs.Spec) {
			var list []specs.LinuxNamespace
			for _, n := range s.Linux.Namespaces {
				keep := true
				for _, d := range drop {
					keep = keep && n.Type != d
				}
				if keep {
					list = append(list, n)
				}
			}
			s.Linux.Namespaces, s.Linux.Sysctl, s.Hostname = list, nil, ""
		})
	}
	for name, change := range map[string]func(*Request){
		"host pid":     without(specs.PIDNamespace),
		"host network": without(specs.NetworkNamespace, specs.UTSNamespace),
		"mount alone": func(r *Request) {
			without(specs.PIDNamespace, specs.NetworkNamespace, specs.UTSNamespace, specs.IPCNamespace, specs.CgroupNamespace)(r)
			r.Spec.Mounts = append(r.Spec.Mounts[:5:5], r.Spec.Mounts[6])
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := sleeper(t, change)
			var want []string
			for _, n := range []string{"mnt", "pid", "net", "ipc", "uts", "cgroup"} {
				want = append(want, readlink(t, fmt.Sprintf("/proc/%d/ns/%s", p.Pid, n))+"\n")
			}
			out := mustExec(t, p, "for n in mnt pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done; grep -E 'NSsid|NSpid' /proc/self/status")
			expect(t, out, strings.Join(want, ""))
		})
	}
}

func TestExecTerminal(t *testing.T) {
	needRoot(t)
	c := sleeper(t)
	for _, uid := range []uint32{0, 1000} {
		r := execIn(c, "sh", "-c", "stty size; tty; stat -c '%u %g %a' $(tty); cat </dev/tty")
		r.Process.Terminal, r.Process.User.UID = true, uid
		r.Process.ConsoleSize = &specs.Box{Height: 33, Width: 77}
		p, err := Exec(r)
		must(t, err)
		_, err = p.Console.Write([]byte("typed\n\x04"))
		must(t, err)
		var out strings.Builder
		for in := bufio.NewScanner(p.Console); in.Scan(); {
			out.WriteString(in.Text() + "\n")
		}
		if s, err := p.Wait(); err != nil || s != 0 {
			t.Errorf("%v %#x", err, s)
		}
		p.Console.Close()
		p.PidFD.Close()
		expect(t, out.String(), "33 77\n", "/dev/pts/0\n", fmt.Sprintf("%d 5 620\n", uid), "typed\n")
	}
}

// TestExecHostileTerminal puts other things where a terminal is opened.
func TestExecHostileTerminal(t *testing.T) {
	needRoot(t)
	all := dockerSpec().Process.Capabilities
	all.Bounding = append(all.Bounding, "CAP_SYS_ADMIN")
	all.Effective, all.Permitted = all.Bounding, all.Bounding
	fs := func(m specs.Mount) func(*Request) {
		return spec(func(s *specs.Spec) { s.Mounts = append(s.Mounts, m) })
	}
	link := t.TempDir()
	must(t, os.Symlink("/etc", filepath.Join(link, "pts")))
	for name, change := range map[string]func(*Request){
		"pts is a tmpfs":     fs(specs.Mount{Destination: "/dev/pts", Type: "tmpfs", Source: "tmpfs"}),
		"pts is a link":      fs(specs.Mount{Destination: "/dev", Type: "bind", Source: link}),
		"ptmx is covered":    fs(specs.Mount{Destination: "/dev/pts/ptmx", Type: "bind", Source: "/dev/null"}),
		"ptmx is the host's": fs(specs.Mount{Destination: "/dev/pts/ptmx", Type: "bind", Source: "/dev/ptmx"}),
	} {
		t.Run(name, func(t *testing.T) {
			p := sleeper(t, func(r *Request) {
				r.Spec.Linux.MaskedPaths = nil
				change(r)
			})
			r := execIn(p, "true")
			r.Process.Terminal = true
			if q, err := Exec(r); err == nil {
				q.Console.Close()
				q.PidFD.Close()
				_, _ = q.Wait()
				t.Error("it got a terminal")
			} else if !strings.HasPrefix(err.Error(), "opening the terminal: ") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestExecCgroup(t *testing.T) {
	needRoot(t)
	base := "/sys/fs/cgroup"
	v2 := DetectFacts().CgroupV2
	if !v2 {
		base += "/unified"
	}
	name := fmt.Sprintf("davit-exec-test-%d", os.Getpid())
	dir := filepath.Join(base, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("cannot make a cgroup of v2: %v", err)
	}
	defer func() { must(t, os.Remove(dir)) }()
	f, err := os.Open(dir)
	must(t, err)
	defer f.Close()
	var joined []*os.File
	in := func(r *ExecRequest) { r.CgroupDir = f }
	if !v2 {
		tasks := filepath.Join("/sys/fs/cgroup/pids", name)
		must(t, os.Mkdir(tasks, 0o755))
		defer func() { must(t, os.Remove(tasks)) }()
		procs, err := os.OpenFile(filepath.Join(tasks, "cgroup.procs"), os.O_WRONLY, 0)
		must(t, err)
		defer procs.Close()
		joined = []*os.File{procs}
		in = func(r *ExecRequest) { r.CgroupDir, r.CgroupTasks = f, joined }
	}
	p, err := Start(&Request{Spec: dockerSpec("sleep", "600"), Root: overlay(t, layer(t)), CgroupDir: f, CgroupTasks: joined})
	must(t, err)
	defer func() {
		must(t, unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0))
		_, err := p.Wait()
		must(t, err)
		p.PidFD.Close()
	}()
	// Seen from inside all of them are the root; an exec that had not joined
	// them would be elsewhere.
	out := mustExec(t, p, "cat /proc/self/cgroup", in)
	expect(t, out, "0::/\n")
	if !v2 {
		expect(t, out, "pids:/\n")
	}
	if out = mustExec(t, p, "cat /proc/self/cgroup"); strings.Contains(out, "0::/\n") {
		t.Errorf("without a word of cgroups it is in the container's: %s", out)
	}
}

// TestPreserved passes descriptors on, whatever their numbers are here.
func TestPreserved(t *testing.T) {
	needRoot(t)
	var files []*os.File
	for i := range 6 {
		f, err := os.Create(filepath.Join(t.TempDir(), "f"))
		must(t, err)
		defer f.Close()
		_, err = fmt.Fprintf(f, "file %d\n", i)
		must(t, err)
		_, err = f.Seek(0, io.SeekStart)
		must(t, err)
		files = append(files, f)
	}
	files[0], files[5] = files[5], files[0]
	rewind := func() {
		for _, f := range files {
			_, err := f.Seek(0, io.SeekStart)
			must(t, err)
		}
	}
	script := "for i in 3 4 5 6 7 8; do cat <&$i; done; ls /proc/$$/fd; echo bad"
	want := "file 5\nfile 1\nfile 2\nfile 3\nfile 4\nfile 0\n0\n1\n2\n3\n4\n5\n6\n7\n8\nbad\n"
	if out := shell(t, script, func(r *Request) { r.PreserveFDs = files }); out != want {
		t.Errorf("start: got %s", out)
	}
	rewind()
	p := sleeper(t)
	if out := mustExec(t, p, script, func(r *ExecRequest) { r.PreserveFDs = files }); out != want {
		t.Errorf("exec: got %s", out)
	}
	r := execIn(p, "nothing")
	r.PreserveFDs = files
	if _, err := Exec(r); err == nil || !strings.Contains(err.Error(), "not found in $PATH") {
		t.Errorf("a late failure is not told: %v", err)
	}
}

// TestExecSession ends a session with all that it has started.
func TestExecSession(t *testing.T) {
	needRoot(t)
	c := sleeper(t)
	pr, pw, err := os.Pipe()
	must(t, err)
	defer pr.Close()
	r := execIn(c, "sh", "-c", "sleep 500 & sleep 500 & echo ready; sleep 500")
	r.Stdout = pw
	p, err := Exec(r)
	pw.Close()
	must(t, err)
	defer p.PidFD.Close()
	must(t, pr.SetReadDeadline(time.Now().Add(20*time.Second)))
	_, err = io.ReadFull(pr, make([]byte, 6))
	must(t, err)
	must(t, unix.Kill(-p.Pid, unix.SIGKILL))
	if n, err := pr.Read(make([]byte, 1)); err != io.EOF { // all who held the pipe are gone
		t.Errorf("%d, %v", n, err)
	}
	if s, err := p.Wait(); err != nil || s.Signal() != unix.SIGKILL {
		t.Errorf("%v %#x", err, s)
	}
}

// TestExecHostRoot runs with the root of the container's first process, which is the
// host's until that enters its own: as hooks between the two do.
func TestExecHostRoot(t *testing.T) {
	needRoot(t)
	marker := filepath.Join(t.TempDir(), "host")
	must(t, os.WriteFile(marker, nil, 0o644))
	must(t, os.Chmod(filepath.Dir(filepath.Dir(marker)), 0o755)) // for who is no root of the host
	for name, change := range map[string]func(*Request){"plain": func(*Request) {}, "users": inUsers} {
		t.Run(name, func(t *testing.T) {
			before, namespaces := "", ""
			p := sleeper(t, change, func(r *Request) {
				r.Created = func(pid int) error {
					fd, err := unix.PidfdOpen(pid, 0)
					if err != nil {
						return err
					}
					first := &Process{Pid: pid, PidFD: os.NewFile(uintptr(fd), "pidfd")}
					defer first.PidFD.Close()
					before = mustExec(t, first, "pwd; ls -d "+marker+"; readlink /proc/self/ns/mnt; grep -c ' /proc ' /proc/self/mountinfo", func(r *ExecRequest) {
						r.HostRoot = true
						r.Process.Args[0] = "/bin/sh"
					})
					namespaces = readlink(t, fmt.Sprintf("/proc/%d/ns/mnt", pid))
					return nil
				}
			})
			expect(t, before, "/\n"+marker+"\n"+namespaces+"\n")
			after := mustExec(t, p, "cd /; pwd; ls /; ls -d "+marker+" 2>&1 || true", func(r *ExecRequest) { r.HostRoot = true })
			expect(t, after, "/\nbin\n", "No such file")
		})
	}
}

// TestExecUsers joins a user namespace, which owns the others or not.
func TestExecUsers(t *testing.T) {
	needRoot(t)
	for name, change := range map[string]func(*Request){
		"all of its own": inUsers,
		"with the host's network": func(r *Request) {
			inUsers(r)
			var list []specs.LinuxNamespace
			for _, n := range r.Spec.Linux.Namespaces {
				if n.Type == specs.NetworkNamespace {
					n.Path = "/proc/self/ns/net"
				}
				list = append(list, n)
			}
			r.Spec.Linux.Namespaces, r.Spec.Linux.Sysctl = list, nil
			r.Spec.Mounts = append(r.Spec.Mounts[:3:3], r.Spec.Mounts[5:]...) // who does not own the network has no sysfs
		},
		"with time": func(r *Request) {
			inUsers(r)
			r.Spec.Linux.Namespaces = append(r.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
			r.Spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1e8}}
		},
		"time alone": func(r *Request) {
			r.Spec.Linux.Namespaces = append(r.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
			r.Spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1e8}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := sleeper(t, change)
			var want []string
			for _, n := range []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"} {
				want = append(want, readlink(t, fmt.Sprintf("/proc/%d/ns/%s", p.Pid, n)))
			}
			const script = "for n in user mnt pid net ipc uts cgroup time; do readlink /proc/self/ns/$n; done; id; touch /dev/shm/$(id -u); stat -c '%u %g' /dev/shm/$(id -u); grep CapEff /proc/self/status; echo >/dev/stdout"
			expect(t, mustExec(t, p, script), strings.Join(want, "\n")+"\nuid=0 gid=0\n0 0\nCapEff:\t00000000a80425fb\n")
			out := mustExec(t, p, script, func(r *ExecRequest) {
				r.Process.User = specs.User{UID: 7, GID: 8, AdditionalGids: []uint32{9}}
				r.Seccomp = refusing(unix.SYS_UNAME)
			})
			expect(t, out, strings.Join(want, "\n")+"\nuid=7 gid=8 groups=9\n7 8\nCapEff:\t0000000000000000\n")
			r := execIn(p, "sh", "-c", "tty; stat -c '%u %g' $(tty)")
			r.Process.Terminal, r.Process.User.UID = true, 7
			q, err := Exec(r)
			must(t, err)
			defer q.PidFD.Close()
			defer q.Console.Close()
			in := bufio.NewReader(q.Console)
			for _, want := range []string{"/dev/pts/0\r\n", "7 5\r\n"} {
				if line, err := in.ReadString('\n'); err != nil || line != want {
					t.Errorf("%q, %v", line, err)
				}
			}
			_, err = q.Wait()
			must(t, err)
		})
	}
}

// TestExecMany runs 500 at once.
func TestExecMany(t *testing.T) {
	needRoot(t)
	p := sleeper(t)
	mustExec(t, p, "true")
	before := holding(t)
	var wg sync.WaitGroup
	start := time.Now()
	for i := range 500 {
		wg.Go(func() {
			r := execIn(p, "sh", "-c", "exit "+fmt.Sprint(i%100))
			if i%10 == 0 {
				r.Process.Terminal = true
			}
			q, err := Exec(r)
			if err != nil {
				t.Error(err)
				return
			}
			if s, err := q.Wait(); err != nil || s.ExitStatus() != i%100 && !s.Signaled() {
				t.Errorf("%v %#x", err, s)
			}
			if q.Console != nil {
				q.Console.Close()
			}
			q.PidFD.Close()
		})
	}
	wg.Wait()
	t.Logf("500 at once took %v", time.Since(start))
	deadline := time.Now().Add(60 * time.Second)
	for holding(t) != before {
		if time.Now().After(deadline) {
			t.Fatalf("before %+v, after %+v", before, holding(t))
		}
		time.Sleep(time.Millisecond) // between two looks, not instead of one
	}
	if out := mustExec(t, p, "echo /proc/[0-9]*"); len(strings.Fields(out)) != 2 { // the container's own, and the one that looks
		t.Errorf("left in the container: %s", out)
	}
}

// TestExecSeccomp loads a filter with and without no_new_privs.
func TestExecSeccomp(t *testing.T) {
	needRoot(t)
	p := sleeper(t)
	for _, nnp := range []bool{false, true} {
		for _, uid := range []uint32{0, 1000} {
			out := mustExec(t, p, "grep -E 'Seccomp:|NoNew|CapEff' /proc/self/status; hostname 2>&1 || true", func(r *ExecRequest) {
				r.Process.NoNewPrivileges, r.Process.User.UID = nnp, uid
				r.Seccomp = refusing(unix.SYS_UNAME)
			})
			expect(t, out, "Seccomp:\t2", map[bool]string{true: "NoNewPrivs:\t1", false: "NoNewPrivs:\t0"}[nnp],
				map[uint32]string{0: "CapEff:\t00000000a80425fb", 1000: "CapEff:\t0000000000000000"}[uid])
			if strings.Contains(out, "davit-test") {
				t.Errorf("the filter does not hold:\n%s", out)
			}
		}
	}
}
