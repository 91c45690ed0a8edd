// Package shim supervises one container: it starts its first process, keeps
// its standard streams, its log and the clients attached to it, and writes down
// how it ended. Each container has a shim process of its own, so all this
// outlives the engine.
//
//	engine --wire, fd 3--> shim ----------------> PID 1
//	engine --shim.sock---->  | <- stdout, stderr --'
//	                         +--> log file
//	client's own socket <----+--> state.json, exit.json, execs/ID.exit
//
// The life of a shim: wait for the one start request (warm); make the cgroup
// and the streams, spawn, write state.json, answer; serve any number of engine
// connections; when the process has ended, read its output to the end, close
// log and clients, write exit.json, tell the engines, remove the cgroup, exit.
// Meanwhile it runs more processes in the container when an engine asks for
// them (exec), each with streams and a client of its own; they end with the
// container at the latest. On sockets that it is given it also serves the
// container: it forwards published ports and answers questions for names.
// Another OCI runtime may make container and execs in its place (foreign).
// What an engine does or fails to do changes nothing of this.
//
// The package owns the container's run directory and cgroup while it runs. It
// does not know images, networks, names or records, and links neither net nor
// anything heavier: sockets are non-blocking descriptors under os.File, which
// the runtime's poller serves without a thread each.
//
// Concurrency: each output stream, attached client and engine connection has a
// goroutine; run is the only one that ends the container. Lock order:
// supervisor.serving, execs.mu, supervisor.mu, then output.mu, then
// buffer.mu, then client.mu; stdin.mu and services.mu are taken alone.
package shim

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/cgroup"
	"github.com/davit-engine/davit/runtime/spawn"
	"github.com/davit-engine/davit/runtime/wire"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// How long an ending container waits.
const (
	drainTime  = 2 * time.Second        // for the end of output that somebody else holds open
	flushTime  = 500 * time.Millisecond // for attached clients to take their output, before the exit is reported
	lingerTime = 10 * time.Minute       // for such a client to take a byte, after that
	trimDelay  = 300 * time.Millisecond // after the start, before memory is given back: many containers are shorter
)

// group is what the shim needs of a cgroup. *cgroup.Cgroup is one.
type group interface {
	Paths() map[string]string
	Tasks() ([]*os.File, error)
	Dir() (*os.File, error)
	OOMKills() (uint64, error)
	Signal(unix.Signal) error
	Kill() error
	Pids() ([]int, error)
	Remove() error
}

// process is what the shim needs of a started process.
type process struct {
	pid     int
	pidfd   *os.File
	console *os.File // nil without a terminal
	wait    func() (unix.WaitStatus, error)
}

// supervisor is one container's shim.
type supervisor struct {
	*session // of the container's first process

	spawn  func(*spawn.Request) (*process, error)
	create func(path string, res *specs.LinuxResources) (group, error)
	adopt  func(path string) (group, error)

	// Set by start and not changed after it.
	runDir   *os.File
	state    wire.State
	process  *process
	cgroup   group // nil if the spec names none
	hooks    *hooks
	foreign  *foreign // nil unless another runtime makes the container
	hostPIDs bool     // the container's other processes outlive the first one
	execs    *execs
	services services

	listener *os.File

	dumping sync.Mutex   // held while criu writes a checkpoint
	serving sync.RWMutex // read-locked while a request is answered

	mu      sync.Mutex
	engines map[*wire.Conn]struct{} // guarded by mu
	exit    *wire.Exit              // guarded by mu; set once the container has ended
}

// Run is the life of a shim whose engine is at the other end of conn, a unix
// stream socket. It returns the status to exit with.
func Run(conn *os.File) int {
	return newSupervisor().run(conn)
}

// newSupervisor finds out what it can before the start.
func newSupervisor() *supervisor {
	facts := spawn.DetectFacts()
	hierarchies, err := cgroup.Discover()
	s := &supervisor{
		spawn: func(r *spawn.Request) (*process, error) {
			r.Facts = &facts
			p, err := spawn.Start(r)
			if err != nil {
				return nil, err
			}
			return &process{pid: p.Pid, pidfd: p.PidFD, console: p.Console, wait: p.Wait}, nil
		},
		create: func(path string, res *specs.LinuxResources) (group, error) {
			if err != nil {
				return nil, err
			}
			return hierarchies.Create(path, res)
		},
		adopt: func(path string) (group, error) {
			if err != nil {
				return nil, err
			}
			return hierarchies.Create(path, nil, cgroup.Adopt())
		},
		session:  &session{in: newStdin()},
		services: services{open: openService},
		engines:  map[*wire.Conn]struct{}{},
	}
	s.session.detached = func(client uint64) { s.tell(wire.TypeDetached, wire.Detached{ID: client}) }
	s.execs = newExecs(s, &facts)
	return s
}

func (s *supervisor) run(sock *os.File) int {
	conn, err := wire.NewConn(sock)
	if err != nil {
		return 1
	}
	request, err := warm(conn)
	if err != nil {
		return 0 // the engine does not want this shim, or has died
	}
	err = s.start(request)
	if err != nil {
		reply(conn, request.Seq, wire.TypeError, wireError(err))
		return 1
	}
	s.engines[conn] = struct{}{}
	reply(conn, request.Seq, wire.TypeStarted, s.state)
	go s.serve(conn)
	go s.accept()
	trim := time.AfterFunc(trimDelay, release)
	status, err := s.process.wait()
	trim.Stop()
	s.end(status, err)
	return 0
}

// warm answers hellos until the start request comes.
func warm(conn *wire.Conn) (*wire.Message, error) {
	for {
		m, err := conn.Receive()
		if err != nil {
			return nil, err
		}
		switch m.Type {
		case wire.TypeStart:
			return m, nil
		case wire.TypeHello:
			reply(conn, m.Seq, wire.TypeHello, wire.Hello{Version: wire.Version})
		default:
			reply(conn, m.Seq, wire.TypeError, wireError(errs.New(errs.Conflict, "shim has no container yet")))
		}
		m.Close()
	}
}

// reply answers a request. An engine that cannot be written to is noticed by
// the reading side.
func reply(conn *wire.Conn, seq uint64, t wire.Type, payload any) {
	if conn.Send(seq, t, payload) != nil {
		conn.Close()
	}
}

func wireError(err error) *wire.Error {
	var foreign *wire.Error
	if errors.As(err, &foreign) {
		return &wire.Error{Kind: foreign.Kind, Message: err.Error(), ExitCode: foreign.ExitCode}
	}
	e := &wire.Error{Kind: errs.KindOf(err), Message: err.Error()}
	var start *spawn.Error
	if errors.As(err, &start) {
		e.ExitCode = start.ExitCode
	}
	return e
}

// end takes the container apart after its first process has ended.
func (s *supervisor) end(status unix.WaitStatus, err error) {
	exit := &wire.Exit{ID: s.state.ID, ExitedAt: time.Now().UTC(), ExitCode: status.ExitStatus()}
	if status.Signaled() {
		exit.Signal = int(status.Signal())
		exit.ExitCode = 128 + exit.Signal
	}
	failed := []error{err}
	if s.cgroup != nil {
		kills, err := s.cgroup.OOMKills()
		exit.OOMKilled = kills > 0
		failed = append(failed, err)
		if s.hostPIDs {
			failed = append(failed, s.cgroup.Kill())
		}
	}
	s.execs.end()
	s.services.close() // whoever hears of the end may use the ports
	s.in.close()
	failed = append(failed, s.out.finish(drainTime, flushTime))
	failed = append(failed, s.hooks.stopped())
	exit.Error = text(errors.Join(failed...))
	if err := s.writeFile(wire.ExitName, exit); err != nil {
		exit.Error = text(errors.Join(append(failed, err)...))
	}
	s.report(exit)
	s.removeGroup()
	s.out.linger(lingerTime)
	s.execs.lingering.Wait()
}

// report tells every engine, and stops listening for more of them.
func (s *supervisor) report(exit *wire.Exit) {
	_ = unix.Unlinkat(int(s.runDir.Fd()), wire.SocketName, 0)
	s.listener.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exit = exit
	for conn := range s.engines {
		reply(conn, 0, wire.TypeExited, exit)
	}
}

// removeGroup removes the cgroup, lets go of the run directory and then closes the
// connections, which tells the engines that nothing of the container is left.
func (s *supervisor) removeGroup() {
	if s.cgroup != nil {
		if err := s.cgroup.Remove(); err != nil {
			_ = s.cgroup.Kill() // somebody moved in from outside
			_ = s.cgroup.Remove()
		}
	}
	_ = unix.Flock(int(s.runDir.Fd()), unix.LOCK_UN)
	s.serving.Lock() // who asked to kill the container gets an answer
	defer s.serving.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.engines {
		conn.Close()
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// pollable gives f's descriptor to the runtime's poller: a new file over a
// duplicate, with f closed. A descriptor that has no poll function works too.
func pollable(f *os.File) (*os.File, error) {
	defer f.Close()
	var fd int
	err := control(f, func(old int) (err error) {
		fd, err = unix.FcntlInt(uintptr(old), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("duplicating descriptor: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("making descriptor non-blocking: %w", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// control calls do with f's descriptor, which stays open meanwhile and keeps
// its flags (Fd would make it blocking).
func control(f syscall.Conn, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = do(int(fd)) }); err != nil {
		return err
	}
	return inner
}
