package oci

import (
	"fmt"
	"os"
	"strconv"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// firstFD is the first descriptor behind the standard streams.
const firstFD = 3

// preserveFlag adds --preserve-fds. The descriptors are looked at while the
// options are read: later on, descriptors of our own may lie among them.
func preserveFlag(f *flags, n *int) {
	f.add("preserve-fds", "n", "how many descriptors besides the standard streams (and those of LISTEN_FDS) the program gets", func(v string) (err error) {
		if *n, err = strconv.Atoi(v); err != nil || *n < 0 {
			return fmt.Errorf("%q is no number of descriptors", v)
		}
		for fd := firstFD; fd < firstFD+*n+listenFDs(); fd++ {
			flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
			if err != nil || flags&unix.FD_CLOEXEC != 0 { // ours
				return fmt.Errorf("descriptor %d is not open", fd)
			}
		}
		return nil
	})
}

// keepInside marks every descriptor that was inherited, so that none gets
// into a hook or any other program that is not meant to have it.
func keepInside() error {
	if err := unix.CloseRange(firstFD, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return errs.New(errs.System, "marking descriptors: %w", err)
	}
	return nil
}

// listenFDs is the number of sockets that this process was started with by
// the protocol of sd_listen_fds(3).
func listenFDs() int {
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 0 || os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return 0
	}
	return n
}

// preserved opens the descriptors that the program is to have, and tells it of
// the sockets among them.
func preserved(n int, p *specs.Process) ([]*os.File, error) {
	sockets := listenFDs()
	if sockets > 0 {
		p.Env = append(p.Env, "LISTEN_FDS="+strconv.Itoa(sockets), "LISTEN_PID=1")
	}
	var all []*os.File
	for fd := firstFD; fd < firstFD+sockets+n; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			return nil, errs.New(errs.InvalidParameter, "descriptor %d is not open", fd)
		}
		all = append(all, os.NewFile(uintptr(fd), "descriptor "+strconv.Itoa(fd)))
	}
	return all, nil
}
