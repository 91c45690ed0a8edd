package engine

import (
	"context"
	"errors"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/davit-engine/davit/errs"
)

// Restart stops a container if it runs, and starts it. One with --rm is not
// removed in between.
func (e *Engine) Restart(ctx context.Context, ref string, o StopOptions) error {
	c, err := e.table.find(ref)
	if err != nil {
		return err
	}
	return e.launcher.restart(ctx, c, o)
}

// restart is Restart for anybody.
func (l *launcher) restart(ctx context.Context, c *ctr, o StopOptions) error {
	if r := c.current(); r != nil {
		r.again.Store(true)
		defer r.again.Store(false) // where it was not stopped after all
		if err := c.own(ctx); err != nil {
			return err
		}
		err := l.resume(c, true)
		c.disown()
		if err != nil {
			return err
		}
	}
	if err := l.stopToStart(ctx, c, o); err != nil {
		l.removeLeft(c)
		return err
	}
	// A client that goes away now must not leave it ended.
	if err := c.own(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	defer c.disown()
	l.reviver.settle(c)
	if err := l.start(context.WithoutCancel(ctx), c); err != nil && !errs.Is(err, errs.NotModified) {
		return errors.Join(err, l.resume(c, false))
	}
	rec := c.snapshot()
	l.publish(&rec, events.ActionRestart, nil)
	return nil
}

// resume notes that a container is ended to be started again, or that nothing
// comes of that, for its owner. An engine that begins in between starts it.
func (k *keeper) resume(c *ctr, will bool) error {
	rec := c.snapshot()
	if rec.State.Resume == will {
		return nil
	}
	rec.State.Resume = will
	c.replace(&rec)
	return k.persist(c, false)
}

// stopToStart is stop for a container of which resume has noted that it is started
// again. Where it cannot be stopped, that is taken back.
func (k *keeper) stopToStart(ctx context.Context, c *ctr, o StopOptions) error {
	err := k.stop(ctx, c, o)
	if err != nil && c.own(context.Background()) == nil {
		err = errors.Join(err, k.resume(c, false))
		c.disown()
	}
	return err
}

// removeLeft removes a container with --rm that was to be restarted and has
// ended, and that nobody starts now.
func (k *keeper) removeLeft(c *ctr) {
	if c.own(context.Background()) != nil {
		return
	}
	defer c.disown()
	if rec := c.snapshot(); rec.HostConfig.AutoRemove && rec.State.Status == container.StateExited {
		k.removeEnded(c)
	}
}
