package oci

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// execPatience is how long a process may take from start's word to its own
// program.
const execPatience = 10 * time.Second

func newStart() *command {
	return &command{name: "start", args: "<container-id>", about: "run the program of a container that was created", min: 1, max: 1,
		run: func(i *invocation, args []string) (int, error) {
			c, err := i.store.openLocked(args[0])
			if err != nil {
				return 1, err
			}
			defer c.release()
			switch s := c.status(); s {
			case specs.StateCreated:
			case specs.StateRunning, statePaused:
				return 1, errs.New(errs.Conflict, "cannot start an already running container: %s is %s", c.ID, s)
			default:
				return 1, errs.New(errs.Conflict, "cannot start a container that has stopped: %s is %s", c.ID, s)
			}
			b, err := c.config()
			if err != nil {
				return 1, err
			}
			if len(startContainer.of(b.spec.Hooks)) > 0 { // they run inside
				if err := sealed(); err != nil {
					return 1, err
				}
			}
			n, err := c.listenNotify()
			if err != nil {
				return 1, err
			}
			if err := c.start(i, b); err != nil || n == nil {
				return 0, err
			}
			c.release() // others may have to do with the container while we wait
			pidfd, err := c.process()
			if err != nil {
				return 0, nil // it has ended already
			}
			return 0, n.forward(pidfd, c.Pid)
		}}
}

// start lets the process of a created container go, with the hooks before and
// after. When one fails, the container is destroyed (runtime.md, "Lifecycle").
func (c *container) start(i *invocation, b *bundle) error {
	err := c.runHooksInside(b, &startContainer, specs.StateCreated)
	if err == nil {
		err = c.letGo()
	}
	if err == nil {
		err = c.runHooks(b.spec.Hooks, &poststart, specs.StateRunning)
	}
	if err == nil {
		return nil
	}
	if destroyErr := c.end(i, b.spec.Hooks); destroyErr != nil {
		i.log.warn("destroying container %s: %v", c.ID, destroyErr)
	}
	return err
}

// letGo wakes the process that waits at the FIFO, if it does, and returns when
// it has become the user's program.
func (c *container) letGo() error {
	path := filepath.Join(c.dir, holdName)
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil // run did not make it wait
	}
	if err == nil {
		defer unix.Close(fd)
		_, err = unix.Write(fd, []byte{0})
	}
	if errors.Is(err, unix.ENXIO) || errors.Is(err, unix.EPIPE) {
		return errs.New(errs.Conflict, "cannot start a container that has stopped: %s", c.ID)
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		return errs.New(errs.System, "waking the container's process: %w", err)
	}
	// Its end of the FIFO closes with execve: then nobody reads, which shows as an error.
	for end := time.Now().Add(execPatience); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd)}}, int(time.Until(end).Milliseconds())+1)
		switch {
		case errors.Is(err, unix.EINTR) && time.Now().Before(end):
		case err != nil || n == 0:
			return errs.New(errs.Deadline, "the container's process does not get to its program")
		default:
			return nil
		}
	}
}
