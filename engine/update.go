package engine

import (
	"context"
	"errors"
	"os"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/engine/change"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/cgroup"
)

// Update changes limits and restart policy of a container, of one that runs at
// once. Fields with their zero value change nothing. Either all of it holds
// afterwards or, with an error, nothing: Conflict for what contradicts the
// container's other settings or what it uses now.
func (e *Engine) Update(ctx context.Context, ref string, wish container.UpdateConfig) (container.UpdateResponse, error) {
	answer := container.UpdateResponse{Warnings: []string{}}
	if err := validateUpdate(&wish); err != nil {
		return answer, err
	}
	for _, field := range change.Ignored(&wish.Resources) {
		answer.Warnings = append(answer.Warnings, field+" cannot be changed by an update and was passed over")
	}
	return answer, e.owning(ctx, ref, func(_ context.Context, c *ctr) error {
		if err := e.keeper.update(c, &wish); err != nil {
			return errs.New(errs.KindOf(err), "Cannot update container %s: %w", c.id, err)
		}
		rec := c.snapshot()
		e.publish(&rec, events.ActionUpdate, nil)
		return nil
	})
}

// validateUpdate checks a wish by itself.
func validateUpdate(wish *container.UpdateConfig) error {
	alone := container.HostConfig{Resources: wish.Resources}
	if alone.Memory == 0 {
		alone.MemorySwap = 0 // the container may have a limit on memory
	}
	if err := validateLimits(nil, &alone); err != nil {
		return err
	}
	return errs.Wrap(errs.InvalidParameter, container.ValidateRestartPolicy(wish.RestartPolicy))
}

// update is Update for the owner of c.
func (k *keeper) update(c *ctr, wish *container.UpdateConfig) (err error) {
	rec, r := c.snapshot(), c.current()
	switch rec.State.Status {
	case container.StateRemoving, container.StateDead:
		return errs.New(errs.Conflict, `container is marked for removal and cannot be "update"`)
	}
	h := *rec.HostConfig
	if h.Resources, err = change.Limits(&rec.HostConfig.Resources, &wish.Resources); err != nil {
		return err
	}
	if wish.RestartPolicy.Name != "" {
		if h.AutoRemove && !wish.RestartPolicy.IsNone() {
			return errs.New(errs.Conflict, "Restart policy cannot be updated because AutoRemove is enabled for the container")
		}
		h.RestartPolicy = wish.RestartPolicy
	}
	var undo undo
	defer undo.unless(&err)
	if r != nil {
		restore, err := relimit(r, &h.Resources, &wish.Resources)
		if err != nil {
			return err
		}
		undo.add(func() {
			if err := restore(); err != nil {
				k.log.Error("putting a container's limits back", "container", c.id, "error", err)
			}
		})
	}
	before := c.snapshot()
	rec.HostConfig = &h
	c.replace(&rec)
	undo.add(func() { c.replace(&before) })
	return k.persist(c, true)
}

// relimit tells the kernel what changes for a process. The process may have
// ended by now, its end not recorded yet: then there is nothing to tell.
func relimit(r *run, now, wish *container.Resources) (undo func() error, err error) {
	undo, err = cgroup.Open(r.state.Cgroup).Change(change.Kernel(now, wish))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		for _, dir := range r.state.Cgroup {
			if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
				return func() error { return nil }, nil
			}
		}
	}
	return undo, err
}
