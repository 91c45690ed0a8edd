package oci

import (
	"errors"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

func newKill() *command {
	var all bool
	c := &command{name: "kill", args: "<container-id> [signal]", about: "send a signal (default TERM) to a container's first process", min: 1, max: 2}
	c.flags.toggle(&all, "all a", "send it to every process of the container")
	c.run = func(i *invocation, args []string) (int, error) {
		name := "TERM"
		if len(args) > 1 {
			name = args[1]
		}
		sig, err := parseSignal(name)
		if err != nil {
			return 1, err
		}
		container, err := i.store.open(args[0])
		if err != nil {
			return 1, err
		}
		return 0, container.kill(sig, all)
	}
	return c
}

// kill signals the container's first process, or all of its processes, which
// may have outlived the first one where that is not alone in its pid namespace.
func (r *record) kill(sig unix.Signal, all bool) error {
	if g := r.group(); all && g != nil {
		if err := g.Signal(sig); !errs.Is(err, errs.NotFound) {
			return err
		}
		return nil // nobody is left
	}
	f, err := r.process()
	if err != nil {
		if all {
			return nil
		}
		return err
	}
	defer f.Close()
	switch err := unix.PidfdSendSignal(int(f.Fd()), sig, nil, 0); {
	case errors.Is(err, unix.ESRCH):
		return errs.New(errs.Conflict, "container not running: %s", r.ID)
	case err != nil:
		return errs.New(errs.System, "signalling the container: %w", err)
	case sig == unix.SIGKILL && r.frozen(): // on cgroup v1 it must run to die
		return r.group().Thaw()
	}
	return nil
}
