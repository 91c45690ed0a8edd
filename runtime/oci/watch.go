package oci

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"time"
	"unsafe"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/spawn"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// lastOutput is how long the output of a terminal is waited for when others
// than the process that has ended still hold it.
const lastOutput = 200 * time.Millisecond

// settleDelay is when memory is given back: many processes are shorter.
const settleDelay = 300 * time.Millisecond

// watch looks after a process in the foreground: what comes for this process,
// signals and what is typed, is passed on to that one.
type watch struct{ signals chan os.Signal }

// newWatch keeps signals back, so that none is lost on a process that is
// still to be made. They are those that terminals, people and supervisors
// send: each costs the Go runtime two changes of thread to ask for, which is
// why the other fifty are left to the command kill.
func newWatch() *watch {
	w := &watch{signals: make(chan os.Signal, 128)}
	signal.Notify(w.signals, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGABRT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGTERM,
		unix.SIGCHLD, unix.SIGCONT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGWINCH, unix.SIGPWR)
	return w
}

// wait passes on until the process ends, and returns the exit status that it
// comes to.
func (w *watch) wait(p *spawn.Process, in, out *os.File) (int, error) {
	defer signal.Stop(w.signals)
	timer := time.AfterFunc(settleDelay, settle)
	defer timer.Stop()
	var screen *screen
	if p.Console != nil {
		var err error
		if screen, err = openScreen(p.Console, in, out); err != nil {
			return 1, err
		}
		defer screen.close()
	}
	done := make(chan struct{})
	go w.forward(p, screen, done)
	status, err := p.Wait()
	close(done)
	if err != nil {
		return 1, err
	}
	if status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}

// forward passes signals on. SIGCHLD brings orphans that fell to us.
func (w *watch) forward(p *spawn.Process, s *screen, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case sig := <-w.signals:
			switch sig {
			case unix.SIGCHLD:
				reapOrphans(p.Pid)
			case unix.SIGWINCH:
				if s != nil {
					s.resize()
				}
			default:
				if n, ok := sig.(unix.Signal); ok {
					_ = unix.PidfdSendSignal(int(p.PidFD.Fd()), n, nil, 0) // ESRCH: it has just ended
				}
			}
		}
	}
}

// reapOrphans reaps all children that have ended but pid, whose status
// somebody waits for.
func reapOrphans(pid int) {
	for {
		var info unix.Siginfo
		if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil {
			return
		}
		child := childOf(&info)
		if child == 0 || child == pid {
			return
		}
		if _, err := unix.Wait4(child, nil, unix.WNOHANG, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// childOf returns the process that waitid(2) tells of; 0: of none. x/sys has
// no field for it: si_pid follows three ints, at the alignment of a pointer.
func childOf(info *unix.Siginfo) int {
	const offset = (3*4 + unsafe.Sizeof(uintptr(0)) - 1) &^ (unsafe.Sizeof(uintptr(0)) - 1)
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), offset)))
}

// screen joins our terminal, if we have one, with that of a process.
type screen struct {
	master  *os.File
	in      *os.File
	before  *unix.Termios // of in, to be put back; nil: in is no terminal
	written chan struct{} // closed when all output is out
}

func openScreen(master, in, out *os.File) (*screen, error) {
	s := &screen{master: master, in: in, written: make(chan struct{})}
	fd := int(in.Fd())
	if before, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
		raw := *before
		// As cfmakeraw(3).
		raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
		raw.Oflag &^= unix.OPOST
		raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
		raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
		if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
			return nil, errs.New(errs.System, "making the terminal raw: %w", err)
		}
		s.before = before
		s.resize()
	}
	go func() { _, _ = io.Copy(master, in) }() // ends with the process, at the latest with ours
	go func() {
		_, _ = io.Copy(out, master)
		close(s.written)
	}()
	return s, nil
}

// resize gives the process's terminal the size of ours.
func (s *screen) resize() {
	if s.before == nil {
		return
	}
	size, err := unix.IoctlGetWinsize(int(s.in.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return
	}
	raw, err := s.master.SyscallConn()
	if err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, size) })
	}
}

// sizeTerminal gives a terminal in the foreground the size of ours, if nobody
// says another: the program may ask before it could be told.
func sizeTerminal(p *specs.Process, detach bool) {
	if detach || p.ConsoleSize != nil {
		return
	}
	if size, err := unix.IoctlGetWinsize(int(os.Stdin.Fd()), unix.TIOCGWINSZ); err == nil {
		p.ConsoleSize = &specs.Box{Height: uint(size.Row), Width: uint(size.Col)}
	}
}

// close waits for the rest of the output and puts our terminal back.
func (s *screen) close() {
	select {
	case <-s.written:
	case <-time.After(lastOutput):
		_ = s.master.SetReadDeadline(time.Now())
		<-s.written
	}
	if s.before != nil {
		_ = unix.IoctlSetTermios(int(s.in.Fd()), unix.TCSETS, s.before)
	}
}
