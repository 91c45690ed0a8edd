package engine

import (
	"context"
	"os"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"

	"github.com/davit-engine/davit/errs"
)

// Remove deletes a container with everything that is its own. Conflict when it
// runs and o.Force is not set.
func (e *Engine) Remove(ctx context.Context, ref string, o RemoveOptions) error {
	if o.Link {
		return e.unlink(ctx, ref)
	}
	c, err := e.table.find(ref)
	if err != nil {
		return err
	}
	for {
		if r := c.current(); r != nil {
			if !o.Force {
				rec := c.snapshot()
				return errs.New(errs.Conflict, "cannot remove container %q: container is %s: stop the container before removing or force remove", rec.Name, rec.State.Status)
			}
			r.manual.Store(true)
			if err := e.keeper.kill(ctx, c, r); err != nil {
				return err
			}
		}
		if err := c.own(ctx); err != nil {
			if errs.Is(err, errs.NotFound) && o.Force {
				return nil // a container with --rm went by itself
			}
			return err
		}
		if c.current() == nil {
			break
		}
		c.disown() // it was started meanwhile
	}
	defer c.disown()
	if rec := c.snapshot(); rec.State.Status == container.StateRestarting && !o.Force {
		return errs.New(errs.Conflict, "cannot remove container %q: container is restarting: stop the container before removing or force remove", rec.Name)
	}
	return e.keeper.removeOwned(c, o.Volumes)
}

// removeEnded removes a container with --rm, for its owner. What is in the way
// of that is told to nobody else.
func (k *keeper) removeEnded(c *ctr) {
	if err := k.removeOwned(c, true); err != nil {
		k.log.Error("removing a container that has ended", "container", c.id, "error", err)
	}
}

// removeOwned removes a container that does not run, for its owner; volumes:
// with those that nobody has named. They go first: an engine killed in between
// leaves a container that can be removed again, not volumes that nobody knows.
func (k *keeper) removeOwned(c *ctr, volumes bool) error {
	c.mu.Lock()
	rec := *c.rec
	if c.gone {
		c.mu.Unlock()
		return nil
	}
	if err := rec.State.To(container.StateRemoving); err != nil {
		c.mu.Unlock()
		return err
	}
	c.rec = &rec
	cooling, pending := c.cooling, c.pending
	c.pending = nil
	c.mu.Unlock()
	closeAll(pending)
	c.cancelRetry()
	k.logging.shippers.finish(c.id)
	k.mounts.forget(&rec, volumes || rec.HostConfig.AutoRemove)

	purge, err := k.store.Remove(c.id, !rec.HostConfig.AutoRemove)
	if err != nil {
		dead := rec
		dead.State.Status, dead.State.Error = container.StateDead, err.Error()
		c.mu.Lock()
		c.rec = &dead
		c.mu.Unlock()
		return errs.New(errs.System, "container %s: %w", c.id, err)
	}
	k.table.drop(&rec)
	k.execs.dropOf(c)
	c.mu.Lock()
	c.gone = true
	c.mu.Unlock()
	k.publish(&rec, events.ActionDestroy, nil)
	c.answer(container.WaitConditionRemoved, container.WaitResponse{StatusCode: int64(rec.State.ExitCode)})

	// What nobody waits for: files, ids, and layers of an image that is gone.
	k.work.Add(1)
	go func() {
		defer k.work.Done()
		if cooling != nil {
			select {
			case <-cooling:
			case <-k.closed:
			}
		}
		k.giveIDs(&rec)
		if err := purge(); err != nil {
			k.log.Error("deleting a removed container's files", "container", c.id, "error", err)
		}
		k.mounts.unlimit(&rec)
		if err := os.RemoveAll(k.runDir(c.id)); err != nil {
			k.log.Error("deleting a removed container's files", "container", c.id, "error", err)
		}
		manifest := digest.Digest(rec.Image.ID)
		if rec.Image.Manifest != nil {
			manifest = rec.Image.Manifest.Digest
		}
		if err := k.cfg.Images.Unpin(context.Background(), c.id, manifest); err != nil {
			k.log.Error("letting go of an image", "container", c.id, "image", rec.Image.ID, "error", err)
		}
	}()
	return nil
}
