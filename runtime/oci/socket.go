package oci

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// sendFile sends an open file with a text along over the unix socket at path.
func sendFile(path string, text []byte, f *os.File) error {
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return errs.New(errs.System, "making a socket: %w", err)
	}
	defer unix.Close(s)
	// A path longer than an address is reached by way of its descriptor.
	address := path
	if len(path) > 100 {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return errs.New(errs.System, "opening socket %s: %w", path, err)
		}
		defer unix.Close(fd)
		address = fmt.Sprintf("/proc/self/fd/%d", fd)
	}
	if err := unix.Connect(s, &unix.SockaddrUnix{Name: address}); err != nil {
		return errs.New(errs.System, "connecting to socket %s: %w", path, err)
	}
	if err := unix.Sendmsg(s, text, unix.UnixRights(int(f.Fd())), nil, unix.MSG_NOSIGNAL); err != nil {
		return errs.New(errs.System, "sending to socket %s: %w", path, err)
	}
	return nil
}

// sendConsole gives a terminal's master away, blocking as its receiver expects
// it.
func sendConsole(path string, master *os.File) error {
	if err := unix.SetNonblock(int(master.Fd()), false); err != nil {
		return errs.New(errs.System, "preparing the terminal: %w", err)
	}
	return sendFile(path, []byte(master.Name()), master)
}

// listener hands a filter's notify descriptor to the agent that the spec
// names; nil if it names none.
func (r *record) listener(l *specs.LinuxSeccomp, status specs.ContainerState) func(pid int, fd *os.File) error {
	if l == nil || l.ListenerPath == "" {
		return nil
	}
	return func(pid int, fd *os.File) error {
		defer fd.Close()
		state := r.oci(status)
		if state.Pid == 0 { // this is the container's first process
			state.Pid = pid
		}
		// config-linux.md, "The Container Process State"
		text, err := json.Marshal(specs.ContainerProcessState{Version: specs.Version, Fds: []string{specs.SeccompFdName}, Pid: pid,
			Metadata: l.ListenerMetadata, State: *state})
		if err != nil {
			return errs.Wrap(errs.System, err)
		}
		return sendFile(l.ListenerPath, text, fd)
	}
}
