package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A service manager that waits for a container to be ready has given
// NOTIFY_SOCKET to whoever calls create and start (sd_notify(3)). It believes
// processes of the service alone, so the container gets a socket of ours, and
// its word is passed on:
//
//	container                    start, or run             service manager
//	  | READY=1 --------------------> |
//	  | (/run/notify/notify.sock)     | READY=1, MAINPID=n ----> |
//	  |                               | BARRIER=1, a pipe -----> |
//	  |                               | <------- closes the pipe |
//
// start returns then, or when the container has ended.

const (
	notifyVariable = "NOTIFY_SOCKET"
	notifyInside   = "/run/notify"
	notifyName     = "notify.sock"
	barrierSeconds = 30 // sd_notify_barrier(3) leaves it to the caller
)

// notifyDir is the container's directory that lies at notifyInside; it is
// there if create was called by somebody who waits.
func (c *container) notifyDir() string { return filepath.Join(c.dir, "notify") }

// offerNotify gives the container a place for the socket.
func (c *container) offerNotify(s *specs.Spec) error {
	if os.Getenv(notifyVariable) == "" {
		return nil
	}
	if err := os.Mkdir(c.notifyDir(), 0o755); err != nil {
		return errs.New(errs.System, "making the directory of the socket for readiness: %w", err)
	}
	s.Mounts = append(s.Mounts, c.notifyMount())
	s.Process.Env = append(slices.DeleteFunc(s.Process.Env, func(v string) bool { return strings.HasPrefix(v, notifyVariable+"=") }),
		notifyVariable+"="+notifyInside+"/"+notifyName)
	return nil
}

func (c *container) notifyMount() specs.Mount {
	return specs.Mount{Destination: notifyInside, Type: "bind", Source: c.notifyDir(), Options: []string{"bind", "ro", "nosuid", "nodev", "noexec"}}
}

// notify hears the container and tells the service manager.
type notify struct {
	socket  *os.File
	manager string
}

// listenNotify makes the container's socket; nil if nobody waits.
func (c *container) listenNotify() (_ *notify, err error) {
	manager := os.Getenv(notifyVariable)
	if manager == "" {
		return nil, nil
	}
	defer func() {
		if err != nil {
			err = errs.New(errs.System, "making the socket for readiness: %w", err)
		}
	}()
	dir, err := unix.Open(c.notifyDir(), unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil // nobody waited at create
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	path := fmt.Sprintf("/proc/self/fd/%d/%s", dir, notifyName) // the whole one may be too long for an address
	_ = unix.Unlink(path)
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err == nil {
		err = unix.Chmod(path, 0o777) // for the container's user
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &notify{os.NewFile(uintptr(fd), notifyName), manager}, nil
}

// forward waits until the container is ready or has ended, and tells the
// service manager which process to watch.
func (n *notify) forward(container *os.File, pid int) error {
	b := make([]byte, 4096)
	for {
		fds := []unix.PollFd{{Fd: int32(n.socket.Fd()), Events: unix.POLLIN}, {Fd: int32(container.Fd()), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return errs.New(errs.System, "waiting for readiness: %w", err)
		}
		switch {
		case fds[0].Revents != 0:
			size, err := unix.Read(int(n.socket.Fd()), b)
			if err != nil {
				return errs.New(errs.System, "waiting for readiness: %w", err)
			}
			if slices.Contains(strings.Split(string(b[:size]), "\n"), "READY=1") {
				return n.tell(pid)
			}
		case fds[1].Revents != 0:
			return nil
		}
	}
}

// tell returns when the service manager has read what it is told: it looks at
// who tells it, who must not have ended by then.
func (n *notify) tell(pid int) error {
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	var pipe [2]int
	if err == nil {
		defer unix.Close(s)
		err = unix.Connect(s, &unix.SockaddrUnix{Name: n.manager})
	}
	if err == nil {
		err = unix.Sendmsg(s, []byte("READY=1\nMAINPID="+strconv.Itoa(pid)+"\n"), nil, nil, unix.MSG_NOSIGNAL)
	}
	if err == nil {
		err = unix.Pipe2(pipe[:], unix.O_CLOEXEC)
	}
	if err == nil {
		err = unix.Sendmsg(s, []byte("BARRIER=1"), unix.UnixRights(pipe[1]), nil, unix.MSG_NOSIGNAL)
		unix.Close(pipe[1])
		if err == nil {
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(pipe[0])}}, barrierSeconds*1000) // one that knows no barrier is left alone
		}
		unix.Close(pipe[0])
	}
	if err != nil {
		return errs.New(errs.System, "telling %s of the container's readiness: %w", n.manager, err)
	}
	return nil
}
