package oci

import (
	"errors"
	"os"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/pidfd"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// endPatience is how long a killed process may take to end.
const endPatience = 10 * time.Second

func newDelete() *command {
	var force bool
	c := &command{name: "delete", args: "<container-id>", about: "forget a container that has stopped, or was never started", min: 1, max: 1}
	c.flags.toggle(&force, "force f", "kill it if it runs; one that does not exist is no error")
	c.run = func(i *invocation, args []string) (int, error) { return 0, i.delete(args[0], force) }
	return c
}

func (i *invocation) delete(id string, force bool) error {
	c, err := i.store.openLocked(id)
	if err != nil {
		if force && errs.Is(err, errs.NotFound) {
			return nil
		}
		return err
	}
	defer c.release()
	// Nobody else holds the lock: a container that is creating will never be created.
	if s := c.status(); !force && (s == specs.StateRunning || s == statePaused) {
		return errs.New(errs.Conflict, "cannot delete container %s that is not stopped: %s", id, s)
	}
	var hooks *specs.Hooks
	if b, err := c.config(); err == nil {
		hooks = b.spec.Hooks
	} else if !c.Creating {
		i.log.warn("deleting container %s without its hooks: %v", id, err)
	}
	return c.end(i, hooks)
}

// end kills what is left of a container, and destroys it.
func (c *container) end(i *invocation, hooks *specs.Hooks) error {
	f, err := c.process()
	if err == nil {
		defer f.Close()
		err = c.endProcess(f)
		if err != nil {
			return err
		}
	}
	return c.destroy(i, hooks)
}

// endProcess kills the first process and waits for its end.
func (r *record) endProcess(process *os.File) error {
	fd := int(process.Fd())
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return errs.New(errs.System, "killing the container: %w", err)
	}
	if r.frozen() {
		if err := r.group().Thaw(); err != nil { // the dead must run to die
			return err
		}
	}
	if ended, err := pidfd.Ended(fd, endPatience); err != nil || !ended {
		return errs.New(errs.Deadline, "process %d of container %s does not end: it waits for a device or a network file system", r.Pid, r.ID)
	}
	return nil
}

// destroy undoes what create made, and then runs the poststop hooks, whose
// failures mean nothing. The first process has ended.
func (c *container) destroy(i *invocation, hooks *specs.Hooks) error {
	if g, ok := keptGroup(c); ok {
		if err := g.Kill(); err != nil { // what shares the pid namespace of others is still there
			return err
		}
		if err := g.Remove(); err != nil {
			return err
		}
		pruneParent(c.Cgroup)
	}
	if err := endResctrl(&c.record); err != nil {
		return err
	}
	if err := c.remove(); err != nil {
		return err
	}
	for n, h := range poststop.of(hooks) {
		one := &specs.Hooks{Poststop: []specs.Hook{h}}
		if err := c.runHooks(one, &poststop, specs.StateStopped); err != nil {
			i.log.warn("container %s: hook %d of those after its end: %v", c.ID, n, err)
		}
	}
	return nil
}
