package engine

import (
	"context"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/cgroup"
)

// freezePatience is how long the processes of a container may take to stand
// still. One that waits in the kernel, for a disk that does not answer, cannot.
const freezePatience = 10 * time.Second

// Pause stops all processes of a container where they stand. Conflict when it
// does not run or is paused already.
func (e *Engine) Pause(ctx context.Context, ref string) error {
	return e.table.owning(ctx, ref, e.keeper.pause)
}

// Unpause lets the processes of a paused container go on. Conflict when it is
// not paused.
func (e *Engine) Unpause(ctx context.Context, ref string) error {
	return e.table.owning(ctx, ref, e.keeper.unpause)
}

// pause is Pause for the owner of c.
func (k *keeper) pause(ctx context.Context, c *ctr) (err error) {
	rec, r := c.snapshot(), c.current()
	switch {
	case rec.State.Status == container.StatePaused:
		return errs.New(errs.Conflict, "Container %s is already paused", c.id)
	case rec.State.Status == container.StateRestarting:
		return errs.New(errs.Conflict, "Container %s is restarting, wait until the container is running", c.id)
	case r == nil:
		return errs.New(errs.Conflict, "Container %s is not running", c.id)
	}
	k.checker.rest(c, r) // a probe that stands still could not be ended
	defer func() {
		if err != nil {
			k.checker.begin(c, r, false)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, freezePatience)
	defer cancel()
	group := cgroup.Open(r.state.Cgroup)
	if err := group.Freeze(ctx); err != nil {
		if errs.Is(err, errs.NotFound) {
			return errs.New(errs.Conflict, "Container %s is not running", c.id)
		}
		return errs.New(errs.KindOf(err), "Cannot pause container %s: %w", c.id, err)
	}
	if r.doomed.Load() {
		// Who kills it thawed it before it was frozen.
		_ = group.Thaw()
		return errs.New(errs.Conflict, "Container %s is being killed", c.id)
	}
	return k.moved(c, container.StatePaused, events.ActionPause)
}

// unpause is Unpause for the owner of c.
func (k *keeper) unpause(_ context.Context, c *ctr) error {
	rec, r := c.snapshot(), c.current()
	if r == nil || rec.State.Status != container.StatePaused {
		return errs.New(errs.Conflict, "Container %s is not paused", c.id)
	}
	if err := cgroup.Open(r.state.Cgroup).Thaw(); err != nil {
		return errs.New(errs.KindOf(err), "Cannot unpause container %s: %w", c.id, err)
	}
	return k.unpaused(c, r)
}

// unpaused is what follows a thaw, for the owner of c.
func (k *keeper) unpaused(c *ctr, r *run) error {
	if err := k.moved(c, container.StateRunning, events.ActionUnPause); err != nil {
		return err
	}
	k.checker.begin(c, r, false)
	return nil
}

// moved records a step between running and paused, for the owner of c.
func (k *keeper) moved(c *ctr, to container.ContainerState, action events.Action) error {
	rec := c.snapshot()
	if err := rec.State.To(to); err != nil {
		return err
	}
	rec.State.Thaw = rec.State.Thaw && to == container.StatePaused
	c.replace(&rec)
	if err := k.persist(c, false); err != nil {
		k.log.Error("recording a container's state", "container", c.id, "state", to, "error", err)
	}
	k.publish(&rec, action, nil)
	return nil
}

// thaw lets the processes of a paused container go on so that a signal that
// asks for their end reaches them: one that stands still gets none on cgroup
// v1. It is for anybody, so the owner learns of it afterwards.
func (k *keeper) thaw(ctx context.Context, c *ctr, r *run) {
	if err := cgroup.Open(r.state.Cgroup).Thaw(); err != nil && !errs.Is(err, errs.NotFound) {
		k.log.Error("thawing a container that is to end", "container", c.id, "error", err)
	}
	if rec := c.snapshot(); rec.State.Status != container.StatePaused {
		return
	}
	if c.own(ctx) != nil {
		return
	}
	defer c.disown()
	if c.current() == r && c.snapshot().State.Status == container.StatePaused {
		_ = k.unpaused(c, r) // a legal step
	}
}
