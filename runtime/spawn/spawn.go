// Package spawn starts a container's first process, and more processes in a
// running one: it compiles the spec into a program (package program), opens
// what the program needs, and forks a child that runs it.
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
// it gets a copy; so does one that waits for its caller, since a borrowing
// child holds the calling thread, and with it the garbage collector. A copy
// speaks with Start through a socket:
//
//	Start                                            child
//	  | -- clone3 -------------------------------------> |
//	  |                                                  | namespaces, mounts
//	  | <--------------------------------------- created | (with Request.Created)
//	  | Created(pid)                                     |
//	  | -- a byte -------------------------------------> |
//	  |                                                  | root, user, limits
//	  | <-------------------------- listener, its number | (with a notifying seccomp filter)
//	  | pidfd_getfd, Listener(fd)                        |
//	  | -- a byte -------------------------------------> |
//	  | <----------------------------------------- ready |
//	  | returns (with Hold)                              | reads a byte from Hold
//	  | <------------------------------ execve: the end of the socket
//
// At any point in place of it comes a failed step's number and errno, or the
// end of the socket: the child was killed. If Start's process dies the child
// ends at the next word, or at once by its parent-death signal; only one that
// is Detached and waits at Hold lives on.
//
// In both cases the child runs Go code that neither allocates nor grows its
// stack, as package syscall does.
//
// Exec makes two children where the container has a pid namespace of its own,
// which only a process born there is in: the first, borrowing if it joins no
// user namespace, joins all namespaces and gives up what it can; the second, a
// copy, is born inside, a child of this process too, and ends in execve.
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
	"encoding/binary"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/netdevice"
	"github.com/davit-engine/davit/runtime/pidfd"
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
	KeepKeyring  bool     // the process keeps the caller's session keyring
	NetNS        *os.File // network namespace to join; nil: as the spec says
	Trees        []Tree   // detached mounts that are the sources of bind mounts
	UserNS       *os.File // user namespace to live in, with its maps written; nil: as the spec says. An idmapped root takes linux.uidMappings and gidMappings too

	// The standard streams; nil: /dev/null. With a terminal they are not used.
	// A pipe or socket is made blocking, and given to the container's user.
	Stdin, Stdout, Stderr *os.File

	CgroupTasks []*os.File // cgroup v1: the tasks files that the process writes itself into
	CgroupDir   *os.File   // cgroup v2: the directory that the process is born in; nil: the caller's
	Resctrl     []*os.File // tasks files of the resctrl group that linux.intelRdt asks for; an exec's are among its CgroupTasks

	// Created is called when namespaces and mounts are there and the root is
	// not entered yet; the process waits meanwhile, and an error ends it. nil:
	// it does not wait.
	Created func(pid int) error

	// Hold is a FIFO that was opened for reading and writing: the process reads
	// a byte from it right before execve, and Start returns when it waits there.
	// That the command exists and may be executed is made sure of before; an
	// execve that fails later is told on the container's standard error, and
	// gives the exit code that Error.ExitCode would have held.
	Hold *os.File

	// Listener gets the seccomp notify descriptor of a filter that has one, which
	// is its own to close. The process waits meanwhile, and an error ends it.
	Listener func(pid int, fd *os.File) error

	PreserveFDs []*os.File // become descriptors 3, 4, ... of the process
	Detached    bool       // the process may outlive the caller: no parent-death signal, and only Process.Wait reaps it
}

// Tree is a detached mount, and the bind mount of the spec that it is the source
// of.
type Tree struct {
	Target string
	File   *os.File
}

// targets are the destinations of the mounts whose sources are given.
func (r *Request) targets() (list []string) {
	for _, t := range r.Trees {
		list = append(list, path.Clean("/"+t.Target))
	}
	return list
}

// Process is a started container.
type Process struct {
	Pid     int      // in the caller's pid namespace
	PidFD   *os.File // the caller closes it
	Console *os.File // the terminal's master when the spec asks for a terminal; the caller closes it

	Warnings []string // what the spec asks for and the process does not have, for a log

	detached bool
	once     sync.Once     // of the reaping of a detached process
	reaped   chan struct{} // closed when status and err are there
	status   unix.WaitStatus
	err      error
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
		f := program.Describe(context, doing, unix.EIO)
		f.Kind, f.Text = errs.KindOf(err), strings.TrimSuffix(f.Text, unix.EIO.Error())+err.Error()
		return newError(-1, doing, unix.EIO, f)
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
	if len(r.Resctrl) > 0 { // one joins as with cgroup v1
		as := *r
		as.CgroupTasks = append(slices.Clip(r.CgroupTasks), r.Resctrl...)
		r = &as
	}
	p, err := program.Compile(program.Input{Spec: r.Spec, Root: r.Root, Seccomp: r.Seccomp, SeccompFlags: r.SeccompFlags,
		Facts: *facts, NetNS: r.NetNS != nil, UserNS: r.UserNS != nil, Trees: r.targets(), MakeCwd: r.MakeCwd, KeepKeyring: r.KeepKeyring, CgroupTasks: len(r.CgroupTasks), PreserveFDs: len(r.PreserveFDs),
		Resctrl: len(r.Resctrl) > 0, Created: r.Created != nil, Hold: r.Hold != nil, Listener: r.Listener != nil, Detached: r.Detached})
	if err != nil {
		return nil, err
	}
	var in inputs
	defer in.close()
	if err := in.open(p, r); err != nil {
		return nil, err
	}
	return launch(&forking{program: p, detached: r.Detached, borrow: p.Borrow}, &in, r)
}

// launch forks, and returns when the child has nothing more to say.
func launch(f *forking, in *inputs, r *Request) (*Process, error) {
	process, err := begin(f, in, r)
	if err != nil {
		return nil, err
	}
	process.PidFD = os.NewFile(uintptr(f.pidfd), "pidfd")
	if err = f.result(process.Pid, r); err == nil && in.console >= 0 {
		if process.Console, err = receive(in.console); err != nil {
			err = failed("receiving the terminal", "", err)
		}
	}
	if err != nil {
		_ = unix.PidfdSendSignal(int(f.pidfd), unix.SIGKILL, nil, 0) // most have ended already
		process.PidFD.Close()
		_, _ = process.Wait()
		return nil, err
	}
	return process, nil
}

// begin forks. The child's pidfd is in f.
func begin(f *forking, in *inputs, r *Request) (*Process, error) {
	process := &Process{Warnings: f.program.Warnings, detached: f.detached, reaped: make(chan struct{})}
	f.machine, f.fds, f.pidNS, f.sync, f.report = link(f.program, in.fds), in.fds, in.pidNS, in.sync, in.report
	f.args = cloneArgs{flags: f.program.Clone | unix.CLONE_PIDFD, exitSignal: uint64(unix.SIGCHLD), pidfd: uint64(uintptr(unsafe.Pointer(&f.pidfd)))}
	if r.CgroupDir != nil {
		fd, err := descriptor(r.CgroupDir)
		if err != nil {
			return nil, failed("joining the cgroup", "", err)
		}
		f.args.flags |= unix.CLONE_INTO_CGROUP
		f.args.cgroup = uint64(fd)
	}
	forked := make(chan error)
	go process.supervise(f, forked)
	err := <-forked
	runtime.KeepAlive(r)
	if err != nil {
		return nil, err
	}
	in.forked()
	return process, nil
}

// Wait returns how the process ended. A detached process that nobody waits for
// stays a zombie as long as the caller runs, and then falls to whoever adopts
// the caller's children: an end right after the start must not be lost on it.
func (p *Process) Wait() (unix.WaitStatus, error) {
	if p.detached {
		p.once.Do(p.reap)
	}
	<-p.reaped
	return p.status, p.err
}

// Adopt is for a child of this process that somebody else has made; with an
// error it is killed. The terminal's master, if there is one, is the Process's
// then.
func Adopt(pid int, console *os.File) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = reap(pid)
		return nil, failed("opening a pidfd", "", err)
	}
	return &Process{Pid: pid, PidFD: os.NewFile(uintptr(fd), "pidfd"), Console: console, detached: true, reaped: make(chan struct{})}, nil
}

// forking is one fork on its way.
type forking struct {
	program  *program.Program
	machine  *machine
	args     cloneArgs
	fds      []int // of the program's needs
	pidfd    int32
	pidNS    int // pid namespace for the child; -1: as args say
	detached bool
	borrow   bool      // the child borrows this process's memory
	sync     int       // our end of the child's socket, or -1
	report   int       // the child's end, or -1
	early    []message // of the second child, heard before the first one's
}

// supervise forks, tells forked, and reaps.
func (p *Process) supervise(f *forking, forked chan<- error) {
	runtime.LockOSThread()
	if f.pidNS < 0 {
		defer runtime.UnlockOSThread()
	} // else the thread, whose children are born elsewhere, ends with this goroutine
	pid, err := f.fork()
	if err != nil {
		forked <- err
		return
	}
	p.Pid = pid
	end := -1
	if !p.detached {
		end, _ = unix.FcntlInt(uintptr(f.pidfd), unix.F_DUPFD_CLOEXEC, 3) // without it wait4 does the waiting
	}
	forked <- nil
	if !p.detached {
		pidfd.Await(end)
		p.reap()
	}
}

func (p *Process) reap() {
	p.status, p.err = reap(p.Pid)
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

// fork makes the child. One that borrows memory has given it back when fork
// returns.
func (f *forking) fork() (int, error) {
	if f.pidNS >= 0 {
		if err := unix.Setns(f.pidNS, unix.CLONE_NEWPID); err != nil {
			return 0, failed("joining the pid namespace", "setns", err)
		}
	}
	if f.borrow {
		f.args.flags |= unix.CLONE_VM | unix.CLONE_VFORK
	}
	switch f.machine.report = int32(f.report); {
	case f.report >= 0:
		f.machine.foreign = &foreigners(f.fds)[0]
	case f.program.Twice:
		f.machine.second = newBorrowers()
	}
	pid, errno := fork(&f.args, f.machine)
	if errno != 0 {
		return 0, failed("creating the container's process", "clone3", errno)
	}
	if f.program.Twice {
		return f.second(pid)
	}
	return pid, nil
}

// second takes the process that OpClone has made in place of the one that made
// it, which has nothing more to do. It is our child too, so nobody else can
// have its number.
func (f *forking) second(first int) (int, error) {
	_, err := reap(first)
	unix.Close(int(f.pidfd))
	if err != nil {
		return 0, err
	}
	if b := f.machine.second; b != nil {
		pid := int(b.pid)
		switch {
		case pid == 0:
			return 0, f.outcome()
		case b.done == 0: // the first was killed; what it has left behind must not have our memory
			_ = unix.Kill(pid, unix.SIGKILL)
			_, _ = reap(pid)
			return 0, f.killed(int(f.machine.step))
		}
		return f.adopt(pid)
	}
	for {
		m, err := hear(f.sync, unix.MSG_DONTWAIT)
		switch {
		case err == unix.EAGAIN && len(f.early) > 0: // there is no second
			return 0, f.failure(f.early[0])
		case err == unix.EAGAIN:
			return 0, f.killed(-1)
		case err != nil:
			return 0, failed("hearing from the container's process", "", err)
		case m.what != program.TellBorn:
			f.early = append(f.early, m)
			continue
		}
		return f.adopt(int(m.value))
	}
}

// adopt opens the second child's pidfd.
func (f *forking) adopt(pid int) (int, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = reap(pid)
		return 0, failed("opening a pidfd", "", err)
	}
	f.pidfd = int32(fd)
	return pid, nil
}

// outcome is how the program of a child went that has borrowed our memory.
func (f *forking) outcome() error {
	m := message{f.machine.step, f.machine.errno}
	if m.value == 0 && int(m.what) < f.program.Last {
		return f.killed(int(m.what))
	}
	return f.failure(m)
}

// result learns how the child's program goes, and does what Start has to do
// meanwhile.
func (f *forking) result(pid int, r *Request) error {
	if f.report < 0 {
		return f.outcome()
	}
	for ready := false; ; {
		m, err := f.next()
		switch {
		case err == io.EOF && ready:
			return nil
		case err == io.EOF:
			return f.killed(-1)
		case err != nil:
			return failed("hearing from the container's process", "", err)
		case m.what >= 0:
			return f.failure(m)
		case m.what == program.TellCreated:
			if err := r.created(pid); err != nil {
				return err
			}
			f.acknowledge()
		case m.what == program.TellListener:
			if err := f.listener(pid, int(m.value), r); err != nil {
				return err
			}
			f.acknowledge()
		case m.what == program.TellReady && r.Hold != nil:
			return nil
		case m.what == program.TellReady:
			ready = true
		}
	}
}

// acknowledge lets the child go on. Whether it still listens is heard next.
func (f *forking) acknowledge() { _ = unix.Sendto(f.sync, []byte{1}, unix.MSG_NOSIGNAL, nil) }

// listener takes the child's seccomp notify descriptor and hands it over.
func (f *forking) listener(pid, number int, r *Request) error {
	fd, err := unix.PidfdGetfd(int(f.pidfd), number, 0)
	if err != nil {
		return failed("taking the seccomp listener", "", err)
	}
	return r.Listener(pid, os.NewFile(uintptr(fd), "seccomp notify"))
}

// created is what there is to do while the process waits with its namespaces
// and mounts.
func (r *Request) created(pid int) error {
	if l := r.Spec.Linux; l != nil && len(l.NetDevices) > 0 {
		ns, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/net")
		if err != nil {
			return errs.New(errs.System, "linux.netDevices: %w", err)
		}
		defer ns.Close()
		if err := netdevice.Move(l.NetDevices, ns); err != nil {
			return err
		}
	}
	if r.Created == nil {
		return nil
	}
	return r.Created(pid)
}

// message is what a child tells: see program.TellCreated.
type message struct{ what, value int32 }

// next is the child's next message.
func (f *forking) next() (message, error) {
	if len(f.early) > 0 {
		m := f.early[0]
		f.early = f.early[1:]
		return m, nil
	}
	return hear(f.sync, 0)
}

// hear receives a message.
func hear(fd, flags int) (message, error) {
	var b [8]byte
	for {
		switch n, _, err := unix.Recvfrom(fd, b[:], flags); {
		case err == unix.EINTR:
		case err == unix.ECONNRESET: // it ended before it read all that we said; what it said comes next
		case err != nil:
			return message{}, err
		case n == 0:
			return message{}, io.EOF
		case n == len(b):
			return message{int32(binary.NativeEndian.Uint32(b[:])), int32(binary.NativeEndian.Uint32(b[4:]))}, nil
		default:
			return message{}, unix.EBADMSG
		}
	}
}

// failure is the error that a step gave; none if that is 0.
func (f *forking) failure(m message) error {
	step, e := int(m.what), unix.Errno(m.value)
	if e == 0 {
		return nil
	}
	return newError(step, f.program.Steps[step].Doing, e, f.program.Explain(step, e))
}

// killed is the error of a child that has ended without a word, at a step if
// it is known.
func (f *forking) killed(step int) error {
	doing := ""
	if step >= 0 {
		doing = f.program.Steps[step].Doing
	}
	return newError(step, doing, unix.ESRCH, program.Describe("the container's process was killed before it could start", doing, unix.ESRCH))
}
