package cgroup

import (
	"context"
	"os"
	"slices"
	"time"

	"github.com/davit-engine/davit/errs"
)

// freezer is how a group is stopped: one file of one directory.
type freezer struct {
	dir          string
	v2           bool
	file         string
	stop, resume string // what to write
}

// freezer returns the group's: v1's where it is mounted, else that of v2.
func (c *Cgroup) freezer() (freezer, bool) {
	if d, ok := c.controller("freezer"); ok {
		return freezer{dir: d.path, file: d.path + "/freezer.state", stop: "FROZEN", resume: "THAWED"}, true
	}
	if d, ok := c.unified(); ok {
		return freezer{dir: d.path, v2: true, file: d.path + "/cgroup.freeze", stop: "1", resume: "0"}, true
	}
	return freezer{}, false
}

func errNoFreezer() error {
	return errs.New(errs.NotImplemented, "freezing needs the cgroup v1 controller freezer or cgroup v2, and this host has neither")
}

// Freeze stops every process in the group and in groups inside it, and returns
// when all of them stand still. If ctx ends before, they run again and the
// error is of kind errs.Deadline or errs.Cancelled.
func (c *Cgroup) Freeze(ctx context.Context) error {
	f, ok := c.freezer()
	if !ok {
		return errNoFreezer()
	}
	err := c.freeze(ctx, f)
	if err != nil {
		_ = c.fs.write(f.file, f.resume)
	}
	return err
}

func (c *Cgroup) freeze(ctx context.Context, f freezer) error {
	if pids, err := c.pids(); err == nil && slices.Contains(pids, os.Getpid()) {
		return errs.New(errs.Conflict, "freezing the cgroup: this process is in it, and could never thaw it")
	}
	pause := 50 * time.Microsecond
	for try := 1; ; try++ {
		// v2 wants to be told once. v1 looks again at processes born since only
		// when it is told again.
		if try == 1 || !f.v2 {
			if err := c.fs.write(f.file, f.stop); err != nil {
				return failed("freezing the cgroup", err)
			}
		}
		frozen, err := c.frozen(f)
		if err != nil {
			return failed("freezing the cgroup", err)
		}
		if frozen {
			return nil
		}
		// Processes that wait for others that stand still already (a parent for
		// its vfork, a thread for one that dumps core) never come to stop by
		// themselves on v1: let all run for a moment now and then.
		if !f.v2 && try%25 == 0 {
			if err := c.fs.write(f.file, f.resume); err != nil {
				return failed("freezing the cgroup", err)
			}
			pause = 10 * time.Millisecond
		}
		select {
		case <-ctx.Done():
			return errs.New(errs.KindOf(ctx.Err()), "freezing the cgroup: its processes do not stop: %w", ctx.Err())
		case <-time.After(pause):
		}
		pause = min(2*pause, 2*time.Millisecond)
	}
}

// Thaw lets the processes run again. Groups inside that were frozen by
// themselves stay so.
func (c *Cgroup) Thaw() error {
	f, ok := c.freezer()
	if !ok {
		return errNoFreezer()
	}
	return failed("thawing the cgroup", c.fs.write(f.file, f.resume))
}

// Frozen reports whether the group was frozen and all of its processes stand
// still. It is false where there is no freezer.
func (c *Cgroup) Frozen() (bool, error) {
	f, ok := c.freezer()
	if !ok {
		return false, nil
	}
	if f.v2 { // a group above may be frozen, which is another matter
		own, err := c.fs.read(f.file)
		if err != nil || own != f.stop {
			return false, failed("reading the freezer", err)
		}
	}
	frozen, err := c.frozen(f)
	return frozen, failed("reading the freezer", err)
}

// frozen reports whether all stand still now.
func (c *Cgroup) frozen(f freezer) (bool, error) {
	if f.v2 {
		text, err := c.fs.read(f.dir + "/cgroup.events")
		return field(text, "frozen") == 1, err
	}
	state, err := c.fs.read(f.file)
	return state == f.stop, err
}

// failed classifies an error of the kernel's: a group that is gone, or a fault.
func failed(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case gone(err):
		return errs.New(errs.NotFound, "%s: it is gone: %w", what, err)
	}
	return errs.New(errs.System, "%s: %w", what, err)
}

// Freezer returns the directory by which the group is frozen; empty if it
// cannot be.
func (c *Cgroup) Freezer() string {
	f, _ := c.freezer()
	return f.dir
}
