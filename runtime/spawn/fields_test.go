package spawn

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

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
	if errors.Is(err, unix.EPERM) && DetectFacts().Caps&(1<<unix.CAP_SYS_NICE) == 0 {
		t.Skipf("this machine grants no CAP_SYS_NICE: %v", err)
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
		r.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0"}
	})
	expect(t, out, "0::/"+filepath.Base(dir)+"\n", ":\t0\n")
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
