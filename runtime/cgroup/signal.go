package cgroup

import (
	"context"
	"errors"
	"time"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

// stillness is how long Signal waits for a group to stand still before it
// signals processes on the run.
const stillness = 200 * time.Millisecond

// Pids returns the processes in the group and in groups inside it, sorted, as
// this pid namespace numbers them. A group that is gone has none.
func (c *Cgroup) Pids() ([]int, error) {
	pids, err := c.pids()
	return pids, failed("listing the cgroup's processes", err)
}

// Signal sends a signal to every process in the group and in groups inside it.
// It does not wait for what they do about it; to kill and wait there is
// [Cgroup.Kill]. A group without processes is of kind errs.NotFound.
//
// The group is frozen meanwhile: nobody can fork away from the signal, and
// nobody's number can go to another process. One that was frozen before stays
// so, and its processes get the signal when they run; but SIGKILL thaws v1
// groups, where the frozen do not die (v2 lets them).
func (c *Cgroup) Signal(sig unix.Signal) error {
	if err := c.check(); err != nil {
		return err
	}
	if d, ok := c.unified(); ok && sig == unix.SIGKILL && len(c.dirs) == 1 {
		text, err := c.fs.read(d.path + "/cgroup.events")
		if gone(err) || err == nil && field(text, "populated") == 0 {
			return errEmpty()
		}
		return failed("killing the cgroup", c.fs.write(d.path+"/cgroup.kill", "1"))
	}
	before, err := c.Frozen()
	if err != nil {
		return err
	}
	if f, ok := c.freezer(); ok && !before {
		ctx, cancel := context.WithTimeout(context.Background(), stillness)
		defer cancel()
		if err := c.freeze(ctx, f); err != nil && !errs.Is(err, errs.Deadline) {
			_ = c.fs.write(f.file, f.resume)
			return err
		}
		defer func() { _ = c.fs.write(f.file, f.resume) }()
	}
	if d, ok := c.controller("freezer"); ok && sig == unix.SIGKILL {
		defer c.thaw(d.path)
	}
	pids, err := c.Pids()
	if err != nil {
		return err
	}
	if len(pids) == 0 {
		return errEmpty()
	}
	var refused []error
	for _, pid := range pids {
		// One that could not be stopped in time may have ended.
		if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH {
			refused = append(refused, err)
		}
	}
	if len(refused) > 0 {
		return errs.New(errs.System, "signalling the cgroup: %w", errors.Join(refused...))
	}
	return nil
}

func errEmpty() error { return errs.New(errs.NotFound, "the cgroup has no processes") }
