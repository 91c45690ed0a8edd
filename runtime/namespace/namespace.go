// Package namespace makes user namespaces, and network namespaces that belong
// to them, that exist before any process of a container does.
//
// It owns the writing of maps, and the short life of the process that has to be
// in a namespace meanwhile: a program of many threads cannot enter a user
// namespace itself. That process runs no Go. For a new user namespace it borrows
// the caller's memory, so that a large program has no page tables to copy;
// nobody else can be in that namespace yet. In a namespace that others live in
// it has a copy, of which they can see nothing: it is in a pid namespace that
// they are not in.
//
// The package knows nothing of containers, and keeps no state.
package namespace

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// User makes a user namespace with these maps, which are as in the OCI runtime
// spec. It lives as long as the file, or a process in it. Who may not write such
// maps needs newuidmap and newgidmap, but for a map of one id to their own.
func User(uids, gids []specs.LinuxIDMapping) (user *os.File, err error) {
	err = inChild(unix.CLONE_VM|unix.CLONE_NEWUSER, -1, func(pid int) error {
		if err := writeMaps(pid, uids, gids); err != nil {
			return err
		}
		user, err = open(pid, "user")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making a user namespace: %w", err)
	}
	return user, nil
}

// New is User with a network namespace that belongs to the user namespace.
func New(uids, gids []specs.LinuxIDMapping) (user, net *os.File, err error) {
	err = inChild(unix.CLONE_VM|unix.CLONE_NEWUSER|unix.CLONE_NEWNET, -1, func(pid int) error {
		if err := writeMaps(pid, uids, gids); err != nil {
			return err
		}
		if user, err = open(pid, "user"); err != nil {
			return err
		}
		if net, err = open(pid, "net"); err != nil {
			user.Close()
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("making a user namespace: %w", err)
	}
	return user, net, nil
}

// Net makes a network namespace that belongs to a user namespace.
func Net(user *os.File) (net *os.File, err error) {
	err = inChild(0, int(user.Fd()), func(pid int) error {
		net, err = open(pid, "net")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making a network namespace in a user namespace: %w", err)
	}
	return net, nil
}

// child makes a process with the flags of clone(2). It goes into the user
// namespace userFD, unless that is below 0, and makes a network namespace;
// writes a byte to readyFD; and waits to be killed. If a step fails it exits
// with the step's errno. It never returns, and uses no stack.
func child(flags uintptr, userFD, readyFD int) (pid int, errno uintptr)

// inChild calls f while the process exists.
func inChild(flags uintptr, userFD int, f func(pid int) error) error {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("making a pipe: %w", err)
	}
	defer unix.Close(p[0])

	// The kernel kills the child when this thread ends, and a signal that
	// reached the child would run this program's handler.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, before unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before); err != nil {
		unix.Close(p[1])
		return fmt.Errorf("blocking signals: %w", err)
	}
	pid, errno := child(flags|uintptr(unix.SIGCHLD), userFD, p[1])
	unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil) // what was valid before is valid again
	unix.Close(p[1])
	if errno != 0 {
		return fmt.Errorf("clone: %w", unix.Errno(errno))
	}
	var ready [1]byte
	n, err := ignoringEINTR(func() (int, error) { return unix.Read(p[0], ready[:]) })
	if n == 1 {
		err = f(pid)
	}
	_ = unix.Kill(pid, unix.SIGKILL) // it is our child: ESRCH cannot be
	var status unix.WaitStatus
	_, werr := ignoringEINTR(func() (int, error) { return unix.Wait4(pid, &status, 0, nil) })
	switch {
	case err != nil:
		return err
	case werr != nil:
		return fmt.Errorf("waiting for the process: %w", werr)
	case n == 0 && status.Exited():
		return unix.Errno(status.ExitStatus())
	case n == 0:
		return fmt.Errorf("the process was ended by %s", status.Signal())
	}
	return nil
}

func ignoringEINTR(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}

func open(pid int, name string) (*os.File, error) {
	path := "/proc/" + strconv.Itoa(pid) + "/ns/" + name
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the new %s namespace: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name+"ns"), nil
}
