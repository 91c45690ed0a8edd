package engine

import (
	"context"
	"strings"

	"github.com/moby/moby/api/types/events"

	"github.com/davit-engine/davit/errs"
)

// Rename gives a container another name. Both names are its own until the
// record is written, so nobody else can take either in between. Conflict when
// the name is in use.
func (e *Engine) Rename(ctx context.Context, ref, name string) error {
	if ref == "" || name == "" {
		return errs.New(errs.InvalidParameter, "Neither old nor new names may be empty")
	}
	return e.table.owning(ctx, ref, func(_ context.Context, c *ctr) error { return e.keeper.rename(c, name) })
}

// rename is Rename for the owner of c.
func (k *keeper) rename(c *ctr, name string) error {
	rec := c.snapshot()
	old := rec.Name
	if strings.TrimPrefix(name, "/") == old {
		return errs.New(errs.InvalidParameter, "Renaming a container with the same name as its current name")
	}
	name, err := k.table.reserve("/"+strings.TrimPrefix(name, "/"), c.id)
	if err != nil {
		return errs.New(errs.KindOf(err), "Error when allocating new name: %w", err)
	}
	rec.Name = name
	if err := k.commit(c, &rec, true); err != nil {
		k.table.release(name, c.id)
		return err
	}
	k.table.release(old, c.id)
	k.joiner.renamed(c)
	k.publish(&rec, events.ActionRename, map[string]string{"oldName": "/" + old})
	return nil
}
