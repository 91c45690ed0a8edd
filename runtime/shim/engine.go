package shim

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/wire"
	"golang.org/x/sys/unix"
)

// listen makes shim.sock in the run directory, for its owner only.
func listen(runDir *os.File) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("making shim's socket: %w", err)
	}
	l := os.NewFile(uintptr(fd), wire.SocketName)
	// On Linux the file that bind makes has the socket's own mode, and a path
	// through /proc is not limited to 108 bytes.
	err = unix.Fchmod(fd, 0o600)
	if err == nil {
		_ = unix.Unlinkat(int(runDir.Fd()), wire.SocketName, 0)
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", runDir.Fd(), wire.SocketName)})
	}
	if err == nil {
		err = unix.Listen(fd, 16)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("making shim's socket: %w", err)
	}
	return l, nil
}

// accept serves engines that come later, until the listener is closed.
func (s *supervisor) accept() {
	raw, err := s.listener.SyscallConn()
	for err == nil {
		var fd int
		var aerr error
		err = raw.Read(func(l uintptr) bool {
			fd, _, aerr = unix.Accept4(int(l), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return aerr != unix.EAGAIN && aerr != unix.EINTR
		})
		switch {
		case err != nil:
			return
		case aerr == unix.ECONNABORTED:
		case aerr != nil:
			time.Sleep(100 * time.Millisecond) // out of descriptors or memory
		default:
			s.welcome(os.NewFile(uintptr(fd), "engine"))
		}
	}
}

// welcome serves a new engine. One that comes when all is over learns that.
func (s *supervisor) welcome(sock *os.File) {
	conn, err := wire.NewConn(sock)
	if err != nil {
		sock.Close()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.engines[conn] = struct{}{}
	if s.exit != nil {
		reply(conn, 0, wire.TypeExited, s.exit)
	}
	go s.serve(conn)
}

// serve answers an engine's requests until it goes.
func (s *supervisor) serve(conn *wire.Conn) {
	for {
		m, err := conn.Receive()
		if err != nil {
			break
		}
		if m.Type == wire.TypeExec || m.Type == wire.TypeDump {
			go s.answer(conn, m) // which takes its time
			continue
		}
		s.answer(conn, m)
	}
	conn.Close()
	s.mu.Lock()
	delete(s.engines, conn)
	s.mu.Unlock()
}

// answer does what a request asks for.
func (s *supervisor) answer(conn *wire.Conn, m *wire.Message) {
	s.serving.RLock()
	defer s.serving.RUnlock()
	t, payload := s.handle(m)
	m.Close()
	reply(conn, m.Seq, t, payload)
}

// tell sends an event to every engine.
func (s *supervisor) tell(t wire.Type, payload any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.engines {
		reply(conn, 0, t, payload)
	}
}

func (s *supervisor) handle(m *wire.Message) (wire.Type, any) {
	var err error
	switch m.Type {
	case wire.TypeHello:
		return wire.TypeHello, wire.Hello{Version: wire.Version}
	case wire.TypeState:
		return wire.TypeStarted, s.state
	case wire.TypeAttach:
		err = s.handleAttach(m)
	case wire.TypeSignal:
		var r wire.Signal
		if err = decode(m, &r); err == nil {
			err = s.signal(r)
		}
	case wire.TypeResize:
		var r wire.Resize
		if err = decode(m, &r); err == nil {
			err = s.resize(r)
		}
	case wire.TypeExec:
		var st wire.ExecState
		if st, err = s.execs.start(m); err == nil {
			return wire.TypeExecStarted, st
		}
	case wire.TypeDump:
		var r wire.Dump
		if err = decode(m, &r); err == nil {
			err = s.dump(&r)
		}
	case wire.TypeServe:
		var now wire.Served
		if now, err = s.serveMore(m); err == nil {
			return wire.TypeServed, now
		}
	case wire.TypeExecList:
		return wire.TypeExecs, s.execs.list()
	case wire.TypeExecSignal:
		var r wire.ExecSignal
		if err = decode(m, &r); err == nil {
			err = s.execs.signal(r)
		}
	case wire.TypeExecResize:
		var r wire.ExecResize
		if err = decode(m, &r); err == nil {
			err = s.execs.resize(r)
		}
	case wire.TypeStart:
		err = errs.New(errs.Conflict, "shim has a container already")
	default:
		err = errs.New(errs.NotImplemented, "shim does not know message %q", m.Type)
	}
	if err != nil {
		return wire.TypeError, wireError(err)
	}
	return wire.TypeOK, nil
}

func decode(m *wire.Message, v any) error { return errs.Wrap(errs.InvalidParameter, m.Decode(v)) }

func (s *supervisor) handleAttach(m *wire.Message) error {
	var a wire.Attach
	if err := decode(m, &a); err != nil {
		return err
	}
	if len(m.Files) != 1 {
		return errs.New(errs.InvalidParameter, "attach request with %d descriptors, 1 expected", len(m.Files))
	}
	sock := m.Files[0]
	m.Files = nil
	return s.attach(&a, sock)
}

var errNotRunning = errs.New(errs.Conflict, "container is not running")

func (s *supervisor) signal(r wire.Signal) error {
	if r.All {
		return s.signalAll(unix.Signal(r.Signal))
	}
	err := control(s.process.pidfd, func(fd int) error {
		return unix.PidfdSendSignal(fd, unix.Signal(r.Signal), nil, 0)
	})
	if errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrClosed) {
		return errNotRunning
	}
	if err != nil {
		return fmt.Errorf("sending signal %d: %w", r.Signal, err)
	}
	return nil
}

// signalAll signals each process of the cgroup.
func (s *supervisor) signalAll(sig unix.Signal) error {
	if s.cgroup == nil {
		return errs.New(errs.Conflict, "container has no cgroup")
	}
	if sig == unix.SIGKILL {
		return s.cgroup.Kill()
	}
	return s.cgroup.Signal(sig)
}

func (s *supervisor) resize(r wire.Resize) error {
	if s.process.console == nil {
		return errs.New(errs.Conflict, "container has no terminal")
	}
	return resize(s.process.console, r.Width, r.Height, errNotRunning)
}

// resize sets the size of a terminal; over is the error of one that is closed.
func resize(console *os.File, width, height uint16, over error) error {
	err := control(console, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width})
	})
	if errors.Is(err, os.ErrClosed) {
		return over
	}
	if err != nil {
		return fmt.Errorf("resizing terminal: %w", err)
	}
	return nil
}
