package oci

import (
	"os"
	"runtime/debug"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

func newRun() *command {
	var o creation
	var keep, noSubreaper bool
	c := &command{name: "run", args: "<container-id>", about: "make a container from a bundle and run its program", min: 1, max: 1, forks: true}
	o.flags(&c.flags)
	c.flags.toggle(&o.detach, "detach d", "return once the program runs")
	c.flags.toggle(&keep, "keep", "do not delete the container when it has ended")
	c.flags.toggle(&noSubreaper, "no-subreaper", "leave orphans of the container to others")
	c.run = func(i *invocation, args []string) (int, error) {
		return i.foreground(o.detach, noSubreaper, keep, func() (*session, error) { return i.run(args[0], &o) })
	}
	return c
}

// run makes a container and starts its program.
func (i *invocation) run(id string, o *creation) (*session, error) {
	s, err := i.create(id, o)
	if err != nil {
		return nil, err
	}
	if err := s.start(i, s.bundle); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// foreground makes a container run and, unless it is detached, looks after it
// until its end, and deletes it.
func (i *invocation) foreground(detach, noSubreaper, keep bool, begin func() (*session, error)) (int, error) {
	var w *watch
	if !detach {
		w = newWatch()
		if !noSubreaper {
			if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
				return 1, errs.New(errs.System, "becoming a subreaper: %w", err)
			}
		}
	}
	s, err := begin()
	if err != nil {
		return 1, err
	}
	defer s.close()
	s.release() // others may have to do with the container while we wait
	switch {
	case detach && s.notify == nil:
		return 0, nil
	case detach:
		return 0, s.notify.forward(s.process.PidFD, s.process.Pid)
	case s.notify != nil:
		go func() { // this process is the one to be watched
			if err := s.notify.forward(s.process.PidFD, os.Getpid()); err != nil {
				i.log.warn("%v", err)
			}
		}()
	}
	status, err := w.wait(s.process, os.Stdin, os.Stdout)
	if err != nil {
		return 1, err
	}
	if keep {
		return status, nil
	}
	if err := s.acquire(); err != nil {
		if errs.Is(err, errs.NotFound) { // somebody else was faster
			return status, nil
		}
		return status, err
	}
	return status, s.end(i, s.bundle.spec.Hooks)
}

// settle makes a process that stays small, once what it started runs.
func settle() {
	debug.SetGCPercent(25)
	debug.FreeOSMemory()
}
