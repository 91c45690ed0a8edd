package spawn

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// scheduling is what the kernel says of a running process.
func scheduling(t *testing.T, pid int) string {
	t.Helper()
	a, err := unix.SchedGetAttr(pid, 0)
	must(t, err)
	class, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, 1, uintptr(pid), 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	return fmt.Sprintf("policy %d nice %d priority %d flags %#x runtime %d io %#x", a.Policy, a.Nice, a.Priority, a.Flags, a.Runtime, class)
}

var schedulingCases = []struct {
	name    string
	process func(*specs.Process)
	want    string
}{
	{"nice", func(p *specs.Process) { p.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Nice: 7} }, "policy 0 nice 7 priority 0 flags 0x0"},
	{"batch", func(p *specs.Process) { p.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: 3} }, "policy 3 nice 3 priority 0 flags 0x0"},
	{"idle", func(p *specs.Process) { p.Scheduler = &specs.Scheduler{Policy: specs.SchedIdle} }, "policy 5 nice 0 priority 0 flags 0x0"},
	{"real time, as another user", func(p *specs.Process) {
		p.Scheduler = &specs.Scheduler{Policy: specs.SchedRR, Priority: 5}
		p.User.UID = 1000
	}, "policy 2 nice 0 priority 5 flags 0x0"},
	{"reset on fork", func(p *specs.Process) {
		p.Scheduler = &specs.Scheduler{Policy: specs.SchedFIFO, Priority: 6, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}}
	}, "policy 1 nice 0 priority 6 flags 0x1"},
	{"deadline", func(p *specs.Process) {
		p.Scheduler = &specs.Scheduler{Policy: specs.SchedDeadline, Runtime: 1e6, Deadline: 1e7, Period: 1e7}
		p.User.UID = 1000
	}, "policy 6 nice 0 priority 0 flags 0x0 runtime 1000000"},
	{"idle disk", func(p *specs.Process) { p.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_IDLE} }, "io 0x6000"},
	{"best effort disk", func(p *specs.Process) {
		p.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 6}
		p.User.UID = 1000
	}, "io 0x4006"},
}

// refused skips if the machine does not let root have what was asked for.
func refused(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, unix.EPERM) {
		return
	}
	if DetectFacts().Caps&(1<<unix.CAP_SYS_NICE) == 0 {
		t.Skipf("this machine grants no CAP_SYS_NICE: %v", err)
	}
	for line := range strings.Lines(read(t, "/proc/self/cgroup")) {
		if _, at, ok := strings.Cut(strings.TrimSpace(line), ":cpu:"); ok {
			if b, _ := os.ReadFile(filepath.Join("/sys/fs/cgroup/cpu", at, "cpu.rt_runtime_us")); string(b) == "0\n" {
				t.Skipf("this test's own cgroup may run nothing in real time: %v", err)
			}
		}
	}
}

func TestScheduling(t *testing.T) {
	needRoot(t)
	dir := layer(t)
	for _, c := range schedulingCases {
		t.Run(c.name, func(t *testing.T) {
			r := &Request{Spec: dockerSpec("sleep", "600"), Root: overlay(t, dir)}
			c.process(r.Spec.Process)
			p, err := Start(r)
			refused(t, err)
			must(t, err)
			got := scheduling(t, p.Pid)
			must(t, unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0))
			_, err = p.Wait()
			must(t, err)
			p.PidFD.Close()
			if !strings.Contains(got, c.want) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestExecScheduling(t *testing.T) {
	needRoot(t)
	in := sleeper(t)
	for _, c := range schedulingCases {
		t.Run(c.name, func(t *testing.T) {
			r := execIn(in, "sleep", "600")
			c.process(r.Process)
			p, err := Exec(r)
			refused(t, err)
			must(t, err)
			got := scheduling(t, p.Pid)
			must(t, unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0))
			_, err = p.Wait()
			must(t, err)
			p.PidFD.Close()
			if !strings.Contains(got, c.want) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	if out := mustExec(t, in, "echo fine"); out != "fine\n" { // nothing of that stays with us
		t.Error(out)
	}
}

func TestExecAffinity(t *testing.T) {
	needRoot(t)
	if runtime.NumCPU() < 2 {
		t.Skip("it takes two CPUs")
	}
	p := sleeper(t)
	for _, c := range []struct{ initial, final, want string }{{"0", "1", "1"}, {"", "0", "0"}, {"1", "", "1"}, {"0", "0-1", "0-1"}} {
		out := mustExec(t, p, "grep Cpus_allowed_list /proc/self/status", func(r *ExecRequest) {
			r.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: c.initial, Final: c.final}
		})
		expect(t, out, ":\t"+c.want+"\n")
	}
	r := execIn(p, "true")
	r.Process.ExecCPUAffinity = &specs.CPUAffinity{Final: "9000"}
	if _, err := Exec(r); err == nil || !strings.Contains(err.Error(), "binding the process to CPUs 9000: sched_setaffinity: invalid argument") {
		t.Errorf("got %v", err)
	}
}

// TestExecAffinityCgroup joins a cgroup only after the first binding.
func TestExecAffinityCgroup(t *testing.T) {
	needRoot(t)
	base := "/sys/fs/cgroup"
	if !DetectFacts().CgroupV2 {
		base += "/unified"
	}
	dir := filepath.Join(base, fmt.Sprintf("davit-affinity-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("cannot make a cgroup of v2: %v", err)
	}
	defer func() { must(t, os.Remove(dir)) }()
	f, err := os.Open(dir)
	must(t, err)
	defer f.Close()
	p := sleeper(t, spec(func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[:5] }))
	out := mustExec(t, p, "cat /proc/self/cgroup; grep Cpus_allowed_list /proc/self/status", func(r *ExecRequest) {
		r.CgroupDir = f
		r.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0", Final: "0"} // without Final, kernels differ in what the move leaves
	})
	expect(t, out, "0::/"+filepath.Base(dir)+"\n", ":\t0") // Linux before 6.2 forgets the binding when a process moves, and goes on with the cgroup's
}

func TestAppArmor(t *testing.T) {
	needRoot(t)
	if !DetectFacts().AppArmor {
		t.Skip("this kernel has no AppArmor")
	}
	p := sleeper(t, process(func(p *specs.Process) { p.ApparmorProfile = "unconfined" }))
	expect(t, mustExec(t, p, "cat /proc/self/attr/apparmor/current", func(r *ExecRequest) { r.Process.ApparmorProfile = "unconfined" }), "unconfined")
	r := execIn(p, "true")
	r.Process.ApparmorProfile = "davit-no-such-profile"
	if _, err := Exec(r); err == nil || !strings.Contains(err.Error(), "davit-no-such-profile") {
		t.Errorf("got %v", err)
	}
}

func TestWarnings(t *testing.T) {
	needRoot(t)
	p := sleeper(t, process(func(p *specs.Process) {
		p.Capabilities.Bounding = append([]string{"CAP_OF_TOMORROW"}, p.Capabilities.Bounding...)
	}))
	if got := fmt.Sprint(p.Warnings); got != "[ignoring unknown or unavailable capabilities: CAP_OF_TOMORROW]" {
		t.Error(got)
	}
}

// TestMountOptions looks at mounts as the container sees them.
func TestMountOptions(t *testing.T) {
	needRoot(t)
	src := t.TempDir()
	must(t, unix.Mount("tmpfs", src, "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { must(t, unix.Unmount(src, unix.MNT_DETACH)) })
	must(t, os.Mkdir(filepath.Join(src, "sub"), 0o755))
	must(t, unix.Mount("tmpfs", filepath.Join(src, "sub"), "tmpfs", unix.MS_NOSUID|unix.MS_NOATIME, "size=64k"))
	must(t, unix.Mount("", src, "", unix.MS_SHARED|unix.MS_REC, ""))
	must(t, os.WriteFile(filepath.Join(src, "file"), []byte("content\n"), 0o644))
	must(t, os.Symlink("file", filepath.Join(src, "link")))
	dir := layer(t)
	image(t, dir)
	bind := func(options ...string) []specs.Mount {
		return []specs.Mount{{Type: "bind", Source: src, Destination: "/v", Options: append([]string{"rbind"}, options...)}}
	}
	again := func(m []specs.Mount, typ string, options ...string) []specs.Mount {
		return append(m, specs.Mount{Type: typ, Destination: m[0].Destination, Options: append([]string{"remount"}, options...)})
	}
	tmpfs := func(options ...string) []specs.Mount {
		return []specs.Mount{{Type: "tmpfs", Source: "tmpfs", Destination: "/v", Options: options}}
	}
	const show = "grep -E ' /v(/sub)? ' /proc/self/mountinfo; "
	for _, c := range []struct {
		name   string
		mounts []specs.Mount
		script string
		want   []string
	}{
		{"all attributes", bind("ro", "nosuid", "nodev", "noexec", "nodiratime", "strictatime"), "", []string{" /v ro,nosuid,nodev,noexec,nodiratime ", " /v/sub rw,nosuid,noatime "}},
		{"all attributes below", bind("rro", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnodiratime"), "", []string{" /v ro,nosuid,nodev,noexec,noatime,nodiratime ", " /v/sub ro,nosuid,nodev,noexec,noatime,nodiratime "}},
		{"cleared below", bind("rsuid", "rrelatime"), "", []string{" /v/sub rw,relatime "}},
		{"strict below", bind("rstrictatime"), "", []string{" /v rw ", " /v/sub rw,nosuid "}},
		{"the last one counts", bind("ro", "rw", "noexec", "exec", "rro", "rrw"), "touch /v/sub/x && echo ok", []string{" /v rw,", " /v/sub rw,", "ok\n"}},
		{"no links", bind("nosymfollow"), "cat /v/file; cat /v/link 2>&1 || true", []string{",nosymfollow ", "content\n", "Too many levels of symbolic links"}},
		{"no links below", bind("rnosymfollow"), "", []string{" /v/sub rw,nosuid,noatime,nosymfollow "}},
		{"shared", bind("rshared"), "", []string{" /v rw,relatime shared:", " /v/sub rw,nosuid,noatime shared:"}},
		{"unbindable", bind("unbindable"), "", []string{" /v rw,relatime unbindable ", " /v/sub rw,nosuid,noatime master:"}},
		{"unbindable below", bind("runbindable"), "", []string{" /v rw,relatime unbindable ", " /v/sub rw,nosuid,noatime unbindable "}},
		{"private", bind("private"), "", []string{" /v rw,relatime - ", " /v/sub rw,nosuid,noatime master:"}},
		{"private below", bind("rprivate"), "", []string{" /v rw,relatime - ", " /v/sub rw,nosuid,noatime - "}},
		{"slave", bind("slave"), "", []string{" /v rw,relatime master:", " /v/sub rw,nosuid,noatime master:"}},
		{"nothing said", bind(), "", []string{" /v rw,relatime master:", " /v/sub rw,nosuid,noatime master:"}},
		{"a mount changed", again(bind(), "bind", "ro", "noexec"), "touch /v/x 2>&1 || true; touch /v/sub/x && echo sub", []string{" /v ro,noexec,", "Read-only", "sub\n"}},
		{"a mount changed back", again(bind("rro"), "bind", "rrw"), "touch /v/sub/x && echo sub", []string{" /v rw,", "sub\n"}},
		{"a filesystem changed", again(tmpfs("size=64k"), "tmpfs", "size=128k", "nosuid"), "", []string{" /v rw,nosuid,relatime ", "size=128k"}},
		{"a filesystem made read-only", again(tmpfs("size=64k"), "", "ro"), "touch /v/x 2>&1 || true", []string{" /v ro,", " ro,size=64k", "Read-only"}},
		{"tmpfs on nothing", tmpfs("size=64k"), "stat -c %a /v", []string{"1777\n"}},
		{"tmpfs on a directory", []specs.Mount{{Type: "tmpfs", Source: "tmpfs", Destination: "/closed", Options: []string{"ro"}}}, "stat -c %a /closed; touch /closed/x 2>&1 || true", []string{"750\n", "Read-only"}},
		{"tmpfs with a mode", []specs.Mount{{Type: "tmpfs", Source: "tmpfs", Destination: "/closed", Options: []string{"mode=711"}}}, "stat -c %a /closed", []string{"711\n"}},
		{"filled", []specs.Mount{{Type: "tmpfs", Source: "tmpfs", Destination: "/full", Options: []string{"tmpcopyup", "ro"}}},
			"cd /full; stat -c '%a %u %g %Y' . d d/deep/f suid; cat d/deep/f; wc -c <big; readlink link; ls -l fifo null; ls many | wc -l; ls -d many/399/x; touch new 2>&1 || true",
			[]string{"705 0 0 ", "\n750 7 8 ", "\n640 9 10 1000000000\n", "\n4755 0 0", "deep content\n300000\n/nowhere\n", "prw-r--r--", "1,   3", "\n400\nmany/399/x\n", "Read-only"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &Request{Spec: dockerSpec("sh", "-c", show+c.script), Root: overlay(t, dir)}
			r.Spec.Mounts = append(r.Spec.Mounts, c.mounts...)
			expect(t, mustRun(t, r), c.want...)
		})
	}
	for _, c := range []struct {
		mounts []specs.Mount
		want   string
	}{
		{[]specs.Mount{{Destination: "/nothing", Options: []string{"remount", "ro"}}}, "opening the mount point: no such file"},
		{[]specs.Mount{{Destination: "/full", Options: []string{"remount", "ro"}}}, "opening the filesystem: invalid argument"},
		{[]specs.Mount{{Type: "tmpfs", Source: "tmpfs", Destination: "/full", Options: []string{"tmpcopyup", "size=64k"}}}, "copying what is below: no space left on device"},
	} {
		r := &Request{Spec: dockerSpec("true"), Root: overlay(t, dir)}
		r.Spec.Mounts = append(r.Spec.Mounts, c.mounts...)
		if _, err := Start(r); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// image fills a root filesystem with things to copy.
func image(t *testing.T, dir string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.Mkdir(at("closed"), 0o750))
	must(t, os.MkdirAll(at("full/d/deep"), 0o755))
	must(t, os.Chmod(at("full"), 0o705))
	must(t, os.WriteFile(at("full/d/deep/f"), []byte("deep content\n"), 0o640))
	must(t, os.Chown(at("full/d/deep/f"), 9, 10))
	must(t, os.Chtimes(at("full/d/deep/f"), time.Unix(1e9, 0), time.Unix(1e9, 0)))
	must(t, os.Chmod(at("full/d"), 0o750))
	must(t, os.Chown(at("full/d"), 7, 8))
	must(t, os.WriteFile(at("full/big"), make([]byte, 300000), 0o644))
	must(t, os.WriteFile(at("full/suid"), nil, 0o755))
	must(t, os.Chmod(at("full/suid"), 0o755|os.ModeSetuid))
	must(t, os.Symlink("/nowhere", at("full/link")))
	must(t, unix.Mkfifo(at("full/fifo"), 0o644))
	must(t, unix.Mknod(at("full/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	for i := range 400 { // more than one look at the directory
		must(t, os.MkdirAll(at(fmt.Sprintf("full/many/%d/x", i)), 0o755))
	}
}

func TestRootPropagation(t *testing.T) {
	needRoot(t)
	dir := layer(t)
	for mode, want := range map[string]string{"": " / / rw,relatime - overlay", "private": " / / rw,relatime - overlay", "rprivate": " / / rw,relatime - overlay",
		"slave": " / / rw,relatime - overlay", "rslave": " / / rw,relatime - overlay", "unbindable": " / / rw,relatime unbindable - overlay",
		"runbindable": " / / rw,relatime unbindable - overlay", "shared": " / / rw,relatime shared:", "rshared": " / / rw,relatime shared:"} {
		r := &Request{Spec: dockerSpec("cat", "/proc/self/mountinfo"), Root: overlay(t, dir)}
		r.Spec.Linux.RootfsPropagation = mode
		out := mustRun(t, r)
		expect(t, out, want)
		all := strings.Count(out, "\n")
		for what, only := range map[string]bool{"unbindable": mode != "runbindable", "shared:": mode != "rshared"} {
			n := strings.Count(out, " "+what)
			if strings.HasSuffix(mode, strings.TrimSuffix(what, ":")) {
				if only && n != 1 || !only && n != all {
					t.Errorf("%q: %d of %d mounts are %s", mode, n, all, what)
				}
			} else if n != 0 {
				t.Errorf("%q: %d mounts are %s", mode, n, what)
			}
		}
	}
	// Within a shared root a mount is seen through a copy of the root, else not.
	for mode, want := range map[string]string{"shared": "seen\n", "private": "not seen\n", "slave": "not seen\n"} {
		r := &Request{Spec: dockerSpec("sh", "-c", "mkdir /a /b /a/x; mount --bind / /b && mount -t tmpfs tmpfs /a/x && touch /a/x/f; ls /b/a/x/f 2>/dev/null && echo seen || echo not seen"), Root: overlay(t, dir)}
		r.Spec.Linux.RootfsPropagation = mode
		grant(r, "CAP_SYS_ADMIN")
		expect(t, mustRun(t, r), want)
	}
	r := &Request{Spec: dockerSpec("sh", "-c", "mkdir /b; mount --bind / /b 2>&1 || true"), Root: overlay(t, dir)}
	r.Spec.Linux.RootfsPropagation = "unbindable"
	grant(r, "CAP_SYS_ADMIN")
	expect(t, mustRun(t, r), "Invalid argument")
}

// grant adds a capability to what the container has.
func grant(r *Request, name string) {
	c := *r.Spec.Process.Capabilities
	c.Bounding = append([]string{name}, c.Bounding...)
	c.Effective, c.Permitted = c.Bounding, c.Bounding
	r.Spec.Process.Capabilities = &c
}

// TestNetDevices gives a container a device of this machine's.
func TestNetDevices(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("ip is not installed (Debian: iproute2)")
	}
	name := fmt.Sprintf("dvt%d", os.Getpid())
	if out, err := exec.Command("ip", "link", "add", name, "type", "veth", "peer", "name", name+"p").CombinedOutput(); err != nil {
		t.Skipf("cannot make a device: %s", out)
	}
	defer exec.Command("ip", "link", "del", name+"p").Run() // it may have gone with the container
	if out, err := exec.Command("ip", "addr", "add", "10.99.9.9/24", "dev", name).CombinedOutput(); err != nil {
		t.Fatalf("%s", out)
	}
	dir := layer(t)
	called := false
	r := &Request{Spec: dockerSpec("sh", "-c", "ip addr show eth7; cat /proc/sys/net/ipv4/conf/eth7/forwarding"), Root: overlay(t, dir)}
	r.Spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{name: {Name: "eth7"}}
	r.Spec.Linux.Sysctl["net.ipv4.conf.eth7.forwarding"] = "1"
	r.Created = func(int) error { called = true; return nil }
	expect(t, mustRun(t, r), "eth7", "10.99.9.9/24", ",UP", "\n1\n")
	if !called {
		t.Error("Created was not called")
	}
	r = &Request{Spec: dockerSpec("true"), Root: overlay(t, dir)}
	r.Spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{"dvt-nothing": {}}
	if _, err := Start(r); err == nil || !strings.Contains(err.Error(), "linux.netDevices: dvt-nothing: no such device") {
		t.Errorf("got %v", err)
	}
}

// TestResctrl writes the process into what looks like a group.
func TestResctrl(t *testing.T) {
	needRoot(t)
	f, err := os.Create(filepath.Join(t.TempDir(), "tasks"))
	must(t, err)
	defer f.Close()
	shell(t, "true", func(r *Request) {
		r.Spec.Linux.IntelRdt = &specs.LinuxIntelRdt{}
		r.Resctrl = []*os.File{f}
	})
	if got := read(t, f.Name()); got != "0" {
		t.Errorf("got %q", got)
	}
}
