// Package spawn starts a container's first process: it compiles the spec into
// a program (package program), opens what the program needs, and forks a child
// that runs it.
//
//	Start                          child
//	  | compile, open, link
//	  | -- clone3 -----------------> |
//	  |    (this thread waits)       | the program's system calls
//	  |                              | ...
//	  | <------ execve, or a failed step's number and errno
//	  v
//
// The child borrows this process's memory (CLONE_VM with CLONE_VFORK) where
// nothing else in its pid namespace could get at it; a copy of the page tables
// would cost more than all mounts together. Where the pid namespace is shared
// it gets a copy, and reports through a pipe; so would a program that waits for
// its caller, since a borrowing child holds the calling thread. In both cases it runs Go code
// that neither allocates nor grows its stack, as package syscall does.
//
// Start leaves nothing behind when it fails: the child's mounts die with its
// mount namespace, and its descriptors with it.
//
// The package must not know what a cgroup controller, a log or an engine is.
// Start may be called by several goroutines at once. A Process has a thread of
// its own until it ends, since the parent-death signal goes with the thread
// that forked.
package spawn

import (
	"os"
	"runtime"
	"unsafe"

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
	Facts        *program.Facts // nil: DetectFacts
	Seccomp      []byte         // classic BPF, 8 bytes an instruction, host byte order; empty: no filter
	SeccompFlags uint32
	MakeCwd      bool     // make a working directory that is missing
	NetNS        *os.File // network namespace to join; nil: as the spec says

	// The standard streams; nil: /dev/null. With a terminal they are not used.
	// A pipe or socket is made blocking, and given to the container's user.
	Stdin, Stdout, Stderr *os.File

	CgroupTasks []*os.File // cgroup v1: the tasks files that the process writes itself into
	CgroupDir   *os.File   // cgroup v2: the directory that the process is born in; nil: the caller's
}

// Process is a started container.
type Process struct {
	Pid     int      // in the caller's pid namespace
	PidFD   *os.File // the caller closes it
	Console *os.File // the terminal's master when the spec asks for a terminal; the caller closes it

	reaped chan struct{} // closed when status and err are there
	status unix.WaitStatus
	err    error
}

// Error is a container that could not be started.
type Error struct {
	Kind     errs.Kind
	Step     int        // index of the failed step; -1 when it failed before the process existed
	Op       string     // what was being done, in words; may be empty
	Errno    unix.Errno // what the kernel said
	ExitCode int        // what Docker reports for it: 127 not found, 126 cannot be run, 128 for the rest
	Text     string     // the whole message, in the words that Docker's clients know
}

func (e *Error) Error() string { return e.Text }

// Unwrap gives the errno, with the error's kind for errs.KindOf.
func (e *Error) Unwrap() error { return errs.Wrap(e.Kind, e.Errno) }

func newError(step int, op string, e unix.Errno, f program.Failure) *Error {
	return &Error{Kind: f.Kind, Step: step, Op: op, Errno: e, ExitCode: f.ExitCode, Text: f.Text}
}

// failed is newError for what failed before the child existed.
func failed(context, doing string, err error) *Error {
	e, ok := err.(unix.Errno)
	if !ok {
		e = unix.EIO
	}
	return newError(-1, doing, e, program.Describe(context, doing, e))
}

// Start runs the container's process and returns once execve has succeeded.
// What the kernel refuses is an *Error; a spec that cannot be compiled gives
// the error of program.Compile.
func Start(r *Request) (*Process, error) {
	facts := r.Facts
	if facts == nil {
		f := DetectFacts()
		facts = &f
	}
	p, err := program.Compile(program.Input{Spec: r.Spec, Root: r.Root, Seccomp: r.Seccomp, SeccompFlags: r.SeccompFlags,
		Facts: *facts, NetNS: r.NetNS != nil, MakeCwd: r.MakeCwd, CgroupTasks: len(r.CgroupTasks)})
	if err != nil {
		return nil, err
	}
	var in inputs
	defer in.close()
	if err := in.open(p, r); err != nil {
		return nil, err
	}
	process := &Process{reaped: make(chan struct{})}
	f := &forking{program: p, machine: link(p, in.fds), pidNS: in.pidNS, shared: p.OwnPIDs()}
	f.args = cloneArgs{flags: p.Clone | unix.CLONE_PIDFD, exitSignal: uint64(unix.SIGCHLD), pidfd: uint64(uintptr(unsafe.Pointer(&f.pidfd)))}
	if r.CgroupDir != nil {
		fd, err := descriptor(r.CgroupDir)
		if err != nil {
			return nil, failed("joining the cgroup", "", err)
		}
		f.args.flags |= unix.CLONE_INTO_CGROUP
		f.args.cgroup = uint64(fd)
	}
	started := make(chan error)
	go process.supervise(f, started)
	err = <-started
	runtime.KeepAlive(r)
	if err != nil {
		return nil, err
	}
	process.PidFD = os.NewFile(uintptr(f.pidfd), "pidfd")
	if in.console >= 0 {
		if process.Console, err = receive(in.console); err != nil {
			unix.PidfdSendSignal(int(f.pidfd), unix.SIGKILL, nil, 0)
			process.PidFD.Close()
			<-process.reaped
			return nil, failed("receiving the terminal", "", err)
		}
	}
	return process, nil
}

// Wait returns how the process ended.
func (p *Process) Wait() (unix.WaitStatus, error) {
	<-p.reaped
	return p.status, p.err
}

// forking is one fork on its way.
type forking struct {
	program *program.Program
	machine *machine
	args    cloneArgs
	pidfd   int32
	pidNS   int  // pid namespace for the child; -1: as args say
	shared  bool // the child borrows this process's memory
}

// supervise forks, tells started, and reaps.
func (p *Process) supervise(f *forking, started chan<- error) {
	runtime.LockOSThread()
	if f.pidNS < 0 {
		defer runtime.UnlockOSThread()
	} // else the thread, whose children are born elsewhere, ends with this goroutine
	pid, err := f.fork()
	if pid > 0 && err != nil {
		reap(pid)
		unix.Close(int(f.pidfd))
	}
	if err != nil {
		started <- err
		return
	}
	p.Pid = pid
	started <- nil
	p.status, p.err = reap(pid)
	close(p.reaped)
}

func reap(pid int) (unix.WaitStatus, error) {
	for {
		var s unix.WaitStatus
		switch _, err := unix.Wait4(pid, &s, 0, nil); err {
		case nil:
			return s, nil
		case unix.EINTR:
		default:
			return 0, errs.New(errs.System, "waiting for process %d: %w", pid, err)
		}
	}
}

// fork makes the child and learns how its program went. A pid with an error is
// a child to be reaped.
func (f *forking) fork() (int, error) {
	if f.pidNS >= 0 {
		if err := unix.Setns(f.pidNS, unix.CLONE_NEWPID); err != nil {
			return 0, failed("joining the pid namespace", "setns", err)
		}
	}
	m := f.machine
	var pipe [2]int
	if f.shared {
		f.args.flags |= unix.CLONE_VM | unix.CLONE_VFORK
	} else {
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			return 0, failed("creating a pipe", "", err)
		}
		defer unix.Close(pipe[0])
		m.report = int32(pipe[1])
	}
	pid, errno := fork(&f.args, m)
	if !f.shared {
		unix.Close(pipe[1])
	}
	if errno != 0 {
		return 0, failed("creating the container's process", "clone3", errno)
	}
	step, e := m.step, m.errno
	if !f.shared {
		var result struct{ step, errno int32 }
		n, err := readFull(pipe[0], unsafe.Slice((*byte)(unsafe.Pointer(&result)), 8))
		switch {
		case err != nil:
			return pid, failed("reading the result", "", err)
		case n == 8:
			step, e = result.step, result.errno
		default:
			return pid, nil
		}
	}
	if e != 0 {
		return pid, newError(int(step), f.program.Steps[step].Doing, unix.Errno(e), f.program.Explain(int(step), unix.Errno(e)))
	}
	if int(step) < f.program.Last {
		context := "the container's process was killed before it could start"
		return pid, newError(int(step), f.program.Steps[step].Doing, unix.ESRCH, program.Describe(context, f.program.Steps[step].Doing, unix.ESRCH))
	}
	return pid, nil
}

// readFull reads until b is full or the file ends.
func readFull(fd int, b []byte) (int, error) {
	n := 0
	for n < len(b) {
		k, err := unix.Read(fd, b[n:])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return n, err
		case k == 0:
			return n, nil
		default:
			n += k
		}
	}
	return n, nil
}
