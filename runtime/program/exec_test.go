package program

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func execInput(f func(*ExecInput)) ExecInput {
	in := ExecInput{Process: base().Process, Facts: input(nil).Facts,
		Join: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP}
	if f != nil {
		f(&in)
	}
	return in
}

func TestExecGoldens(t *testing.T) {
	for name, f := range map[string]func(*ExecInput){
		"exec": nil,
		"exec-terminal": func(in *ExecInput) {
			in.Process.Terminal, in.Process.User.UID = true, 1000
			in.Seccomp = make([]byte, 16)
		},
		"exec-user-namespace": func(in *ExecInput) { in.Join |= unix.CLONE_NEWUSER },
		"exec-rootless": func(in *ExecInput) {
			in.Join |= unix.CLONE_NEWUSER
			in.Facts.Caps = 0
		},
		"exec-host-pid-time-detached": func(in *ExecInput) {
			in.Join = in.Join&^unix.CLONE_NEWPID | unix.CLONE_NEWTIME
			in.Detached, in.PreserveFDs, in.CgroupTasks = true, 2, 1
		},
		"exec-labels-scheduling": func(in *ExecInput) {
			in.Facts.AppArmor, in.Facts.SELinux = true, true
			p := in.Process
			p.ApparmorProfile, p.SelinuxLabel = "docker-default", "system_u:system_r:container_t:s0:c1,c2"
			p.Scheduler = &specs.Scheduler{Policy: specs.SchedRR, Priority: 3, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}}
			p.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 1}
			p.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0-1", Final: "65"}
			in.CgroupTasks = 1
		},
		"exec-host-root": func(in *ExecInput) {
			adj := 7
			in.HostRoot, in.Process.OOMScoreAdj = true, &adj
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := CompileExec(execInput(f))
			golden(t, name, p, err)
		})
	}
}

func TestExecRefused(t *testing.T) {
	for _, c := range []struct {
		change func(*ExecInput)
		text   string
	}{
		{func(in *ExecInput) { in.Process = nil }, "process is missing"},
		{func(in *ExecInput) { in.Process.Args = nil }, "process.args"},
		{func(in *ExecInput) { in.Process.Cwd = "x" }, "process.cwd"},
		{func(in *ExecInput) { in.Join = 1 }, "not a set of namespaces"},
		{func(in *ExecInput) { in.Process.ExecCPUAffinity = &specs.CPUAffinity{Final: "x"} }, "process.execCPUAffinity"},
		{func(in *ExecInput) { in.PreserveFDs = -1 }, "preserved descriptors"},
	} {
		if _, err := CompileExec(execInput(c.change)); errs.KindOf(err) != errs.InvalidParameter || !strings.Contains(err.Error(), c.text) {
			t.Errorf("want %q, got %v", c.text, err)
		}
	}
}

// FuzzCompileExec feeds any JSON: an error or a sound program, never a panic.
func FuzzCompileExec(f *testing.F) {
	b, err := json.Marshal(base().Process)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, uint32(0), true, uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, join uint32, detached bool, fds uint8) {
		in := execInput(nil)
		in.Process, in.Join, in.Detached, in.PreserveFDs = &specs.Process{}, int(join)&joinable, detached, int(fds)
		if json.Unmarshal(b, in.Process) != nil {
			return
		}
		if p, err := CompileExec(in); err == nil {
			checkProgram(t, p)
			_ = p.String()
		}
	})
}
