package engine

import (
	"context"

	"github.com/moby/moby/api/types/events"

	"github.com/davit-engine/davit/errs"
)

// Restart stops a container if it runs, and starts it.
func (e *Engine) Restart(ctx context.Context, ref string, o StopOptions) error {
	c, err := e.table.find(ref)
	if err != nil {
		return err
	}
	if rec := c.snapshot(); rec.HostConfig.AutoRemove && c.current() != nil {
		return errs.New(errs.Conflict, "container %s is removed when it ends (--rm), so it cannot be restarted", c.id)
	}
	if err := e.keeper.stop(ctx, c, o); err != nil {
		return err
	}
	if err := c.own(ctx); err != nil {
		return err
	}
	defer c.disown()
	if err := e.launcher.start(context.WithoutCancel(ctx), c); err != nil && !errs.Is(err, errs.NotModified) {
		return err
	}
	rec := c.snapshot()
	e.publish(&rec, events.ActionRestart, nil)
	return nil
}
