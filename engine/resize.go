package engine

import (
	"context"
	"strconv"

	"github.com/moby/moby/api/types/events"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/wire"
)

// Resize sets the size of a running container's terminal, in characters.
func (e *Engine) Resize(ctx context.Context, ref string, height, width uint32) error {
	c, err := e.table.find(ref)
	if err != nil {
		return err
	}
	r := c.current()
	if r == nil {
		return errs.New(errs.Conflict, "container %s is not running", c.id)
	}
	if height > 0xffff || width > 0xffff {
		return errs.New(errs.InvalidParameter, "a terminal of %d by %d characters is too large", width, height)
	}
	if err := r.shim.Resize(ctx, wire.Resize{Width: uint16(width), Height: uint16(height)}); err != nil {
		return err
	}
	rec := c.snapshot()
	e.publish(&rec, events.ActionResize, map[string]string{"height": strconv.FormatUint(uint64(height), 10), "width": strconv.FormatUint(uint64(width), 10)})
	return nil
}
