package shim

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/pidfd"
	"github.com/davit-engine/davit/runtime/program"
	"github.com/davit-engine/davit/runtime/spawn"
	"github.com/davit-engine/davit/runtime/wire"
	"golang.org/x/sys/unix"
)

// hangupTime is how long an exec that is to end with its client has from SIGHUP
// to SIGKILL.
const hangupTime = 2 * time.Second

// execs are the container's further processes. Each has a session of its own
// without a log, which one client at most takes part in.
//
//	exec request -> spawn -> running -> ended: output drained, ID.exit written,
//	                                    engines told, client let go
//
// An exec ends with the container at the latest, and is reported before it.
type execs struct {
	shim  *supervisor
	spawn func(*spawn.ExecRequest) (*process, error)

	buffer    buffer
	alive     sync.WaitGroup // execs that are not reported yet
	lingering sync.WaitGroup // execs whose client still takes its output

	mu      sync.Mutex
	closed  bool                  // guarded by mu; the container has ended
	running map[string]*execution // guarded by mu; by ID. Those being started are nil
	records []string              // guarded by mu; IDs with an exit record, oldest first
}

// execution is one further process that runs.
type execution struct {
	*session
	state   wire.ExecState
	process *process
	record  bool
	ended   chan struct{} // closed when the process has ended
}

func newExecs(shim *supervisor, facts *program.Facts) *execs {
	return &execs{shim: shim, running: map[string]*execution{}, spawn: func(r *spawn.ExecRequest) (*process, error) {
		r.Facts = facts
		p, err := spawn.Exec(r)
		if err != nil {
			return nil, err
		}
		return pollingProcess(p), nil
	}}
}

// pollingProcess is a process that is waited for in the poller, where Wait
// would keep a thread.
func pollingProcess(p *spawn.Process) *process {
	return &process{pid: p.Pid, pidfd: p.PidFD, console: p.Console, wait: func() (unix.WaitStatus, error) {
		_ = control(p.PidFD, func(fd int) error {
			own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			if err == nil {
				pidfd.Await(own)
			}
			return err
		})
		return p.Wait()
	}}
}

// start runs what the request says, and returns once it has executed.
func (e *execs) start(m *wire.Message) (st wire.ExecState, err error) {
	var r wire.Exec
	if err := decode(m, &r); err != nil {
		return st, err
	}
	if err := checkExec(&r, len(m.Files)); err != nil {
		return st, err
	}
	if err := e.reserve(r.ID); err != nil {
		return st, err
	}
	x := &execution{
		session: &session{in: newStdin(), out: newOutput(nil, &e.buffer), tty: r.Process.Terminal, once: true},
		state:   wire.ExecState{ID: r.ID}, record: r.Record, ended: make(chan struct{}),
	}
	x.detached = func(client uint64) {
		e.shim.tell(wire.TypeDetached, wire.Detached{ID: client, Exec: r.ID})
	}
	if r.DieWithClient {
		x.left = func() { e.hangUp(x) }
	}
	if r.Client != nil {
		sock := m.Files[0]
		m.Files = nil
		err = x.attach(r.Client, sock) // before the first byte of output
	}
	if err == nil {
		err = e.run(x, &r)
	}
	if err != nil {
		x.abandon()
		e.forget(r.ID)
		e.alive.Done()
		return st, err
	}
	e.lingering.Add(1)
	go e.await(x)
	return x.state, nil
}

func checkExec(r *wire.Exec, files int) error {
	clients := 0
	if r.Client != nil {
		clients = 1
	}
	switch {
	case r.ID == "" || strings.ContainsAny(r.ID, "/."):
		return errs.New(errs.InvalidParameter, "exec request with ID %q", r.ID)
	case r.Process == nil:
		return errs.New(errs.InvalidParameter, "exec request without a process")
	case files != clients:
		return errs.New(errs.InvalidParameter, "exec request with %d descriptors, %d expected", files, clients)
	}
	return nil
}

// reserve takes an ID until forget.
func (e *execs) reserve(id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errNotRunning
	}
	if _, taken := e.running[id]; taken {
		return errs.New(errs.Conflict, "exec %s runs already", id)
	}
	e.running[id] = nil
	e.alive.Add(1)
	return nil
}

func (e *execs) forget(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.running, id)
}

// run spawns the process. On error nothing of it is left but the session.
func (e *execs) run(x *execution, r *wire.Exec) error {
	s := e.shim
	request := &spawn.ExecRequest{
		Pid: s.process.pid, PidFD: s.process.pidfd, Process: r.Process, Seccomp: r.Seccomp, SeccompFlags: r.SeccompFlags,
		// Without a parent-death signal no thread is kept for it; with a pid
		// namespace it ends with the container anyway, which ends with us.
		Detached: !s.hostPIDs,
	}
	c := r.Client
	st, err := openStreams(r.Process.Terminal, c != nil && c.Stdin, c != nil && c.Stdout, c != nil && c.Stderr)
	if err != nil {
		return err
	}
	request.Stdin, request.Stdout, request.Stderr = st.child[0], st.child[1], st.child[2]
	defer func() { closeFiles(append(request.CgroupTasks, request.CgroupDir)) }()
	if s.cgroup != nil {
		if request.CgroupTasks, err = s.cgroup.Tasks(); err == nil {
			request.CgroupDir, err = s.cgroup.Dir()
		}
		if err != nil {
			st.close()
			return fmt.Errorf("opening cgroup: %w", err)
		}
	}
	if x.process, err = e.spawn(request); err != nil {
		st.close()
		return err
	}
	st.closeChild()
	if x.process.console != nil {
		x.process.console, err = pollable(x.process.console)
	}
	if err == nil {
		x.state.PidStart, err = startTime(x.process.pid)
	}
	if err != nil {
		st.close()
		x.process.end()
		return err
	}
	x.state.Pid, x.state.StartedAt = x.process.pid, time.Now().UTC()
	e.mu.Lock()
	e.running[r.ID] = x
	e.mu.Unlock()
	x.take(st, x.process.console)
	return nil
}

// end kills a process that was not made known, and reaps it.
func (p *process) end() {
	_ = unix.Kill(p.pid, unix.SIGKILL)
	_, _ = p.wait()
	p.pidfd.Close()
	if p.console != nil {
		p.console.Close()
	}
}

// await takes an exec apart when its process has ended.
func (e *execs) await(x *execution) {
	defer e.lingering.Done()
	status, _ := x.process.wait() // nobody else reaps it
	close(x.ended)
	exit := wire.ExecExit{ID: x.state.ID, ExitedAt: time.Now().UTC(), ExitCode: status.ExitStatus()}
	if status.Signaled() {
		exit.Signal = int(status.Signal())
		exit.ExitCode = 128 + exit.Signal
	}
	x.in.close()
	_ = x.out.drain(drainTime) // there is no log that could fail
	if x.record {
		e.write(&exit)
	}
	e.forget(exit.ID)
	// The client asks for the exit code when its stream ends, so that is told
	// first.
	e.shim.tell(wire.TypeExecExited, &exit)
	e.alive.Done()
	x.process.pidfd.Close()
	x.out.letGo()
	x.out.linger(lingerTime)
}

// write keeps the exit record, and no more of them than MaxExecExits. An engine
// that is there learns the end anyway.
func (e *execs) write(exit *wire.ExecExit) {
	if e.shim.writeFile(wire.ExecExitName(exit.ID), exit) != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.records = append(e.records, exit.ID)
	for len(e.records) > wire.MaxExecExits {
		_ = unix.Unlinkat(int(e.shim.runDir.Fd()), wire.ExecExitName(e.records[0]), 0)
		e.records = e.records[1:]
	}
}

// end waits until all execs are reported, which the end of the container has
// ended, and takes no more.
func (e *execs) end() {
	e.mu.Lock()
	e.closed = true
	for _, x := range e.running {
		if x != nil { // it lives on where it has no cgroup, and the pid namespace is another's
			_ = control(x.process.pidfd, func(fd int) error { return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) })
		}
	}
	e.mu.Unlock()
	e.alive.Wait()
}

func (e *execs) list() wire.Execs {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all wire.Execs
	for _, x := range e.running {
		if x != nil {
			all.List = append(all.List, x.state)
		}
	}
	return all
}

func (e *execs) find(id string) (*execution, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if x := e.running[id]; x != nil {
		return x, nil
	}
	return nil, errs.New(errs.Conflict, "exec %s is not running", id)
}

func (e *execs) resize(r wire.ExecResize) error {
	x, err := e.find(r.ID)
	if err != nil {
		return err
	}
	if x.process.console == nil {
		return errs.New(errs.Conflict, "exec %s has no terminal", r.ID)
	}
	return resize(x.process.console, r.Width, r.Height, errs.New(errs.Conflict, "exec %s is not running", r.ID))
}

func (e *execs) signal(r wire.ExecSignal) error {
	x, err := e.find(r.ID)
	if err != nil {
		return err
	}
	if r.All {
		return e.signalSession(x, unix.Signal(r.Signal))
	}
	err = control(x.process.pidfd, func(fd int) error {
		return unix.PidfdSendSignal(fd, unix.Signal(r.Signal), nil, 0)
	})
	if errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrClosed) {
		return errs.New(errs.Conflict, "exec %s is not running", r.ID)
	}
	if err != nil {
		return fmt.Errorf("sending signal %d: %w", r.Signal, err)
	}
	return nil
}

// hangUp ends an exec whose client is gone, with all that it has started in its
// session. Who forks meanwhile is found in the next round.
func (e *execs) hangUp(x *execution) {
	select {
	case <-x.ended:
		return
	default:
	}
	told := map[int]bool{}
	for end := time.Now().Add(hangupTime); time.Now().Before(end); time.Sleep(hangupTime / 40) {
		if left, err := e.signalOnce(x, unix.SIGHUP, told); left == 0 || err != nil {
			return
		}
	}
	_ = e.signalSession(x, unix.SIGKILL)
}

// signalSession signals what an exec has started too, as far as it has not left
// its session. Who forks meanwhile is looked for again, a few times.
func (e *execs) signalSession(x *execution, sig unix.Signal) error {
	told := map[int]bool{}
	for range 3 {
		before := len(told)
		if _, err := e.signalOnce(x, sig, told); err != nil || len(told) == before {
			return err
		}
	}
	return nil
}

// signalOnce signals the members of an exec's session that were not told yet,
// and counts all that live.
func (e *execs) signalOnce(x *execution, sig unix.Signal, told map[int]bool) (left int, err error) {
	var pids []int
	if e.shim.cgroup != nil {
		if pids, err = e.shim.cgroup.Pids(); err != nil {
			return 0, err
		}
	}
	if !slices.Contains(pids, x.state.Pid) {
		pids = append(pids, x.state.Pid)
	}
	for _, pid := range pids {
		send := sig
		if told[pid] {
			send = 0 // it only counts
		}
		if signalMember(pid, x.state.Pid, send) {
			told[pid] = true
			left++
		}
	}
	return left, nil
}

// signalMember signals process pid if it is in the session.
func signalMember(pid, session int, sig unix.Signal) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if sid, err := unix.Getsid(pid); err != nil || sid != session {
		return false
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0) == nil
}
