// Package spawn starts a container's first process.
package spawn

import (
	"os"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/program"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Request says what to start. The files stay the caller's, who may close them
// when Start has returned.
type Request struct {
	Spec         *specs.Spec
	Root         program.Root
	Seccomp      []byte // classic BPF, 8 bytes an instruction, host byte order; empty: no filter
	SeccompFlags uint32
	NetNS        *os.File // network namespace to join; nil: as the spec says

	Stdin, Stdout, Stderr *os.File   // nil: /dev/null; unused with a terminal
	CgroupProcs           []*os.File // cgroup v1: the cgroup.procs files that the process writes itself into
	CgroupDir             *os.File   // cgroup v2: the directory that the process is born in; nil: the caller's
}

// Process is a started container.
type Process struct {
	Pid     int      // in the caller's pid namespace
	PidFD   *os.File // the caller closes it
	Console *os.File // the terminal's master when the spec asks for a terminal; the caller closes it
}

// Error is a container that could not be started.
type Error struct {
	Kind     errs.Kind
	Step     int        // index of the failed step; -1 when it failed before the process existed
	Op       string     // what was being done, in words
	Errno    unix.Errno // what the kernel said; 0 if it was not a system call that failed
	ExitCode int        // 127 not found, 126 cannot be run, 128 for the rest, as Docker reports it
	Text     string     // the whole message
}

func (e *Error) Error() string { return e.Text }

// Start runs the container's process and returns once execve has succeeded.
func Start(r *Request) (*Process, error) {
	return nil, errs.New(errs.NotImplemented, "starting containers")
}

// Wait returns how the process ended. It may be called once.
func (p *Process) Wait() (unix.WaitStatus, error) {
	return 0, errs.New(errs.NotImplemented, "waiting for containers")
}
