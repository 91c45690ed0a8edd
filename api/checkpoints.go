package api

import (
	"context"
	"net/http"

	"github.com/moby/moby/api/types/checkpoint"
)

// Checkpoints writes containers' processes to files. A dir is where a user
// keeps them; empty: with the container. They are made again by
// Lifecycle.Start.
type Checkpoints interface {
	Create(ctx context.Context, ref string, o checkpoint.CreateRequest) error
	List(ctx context.Context, ref, dir string) ([]checkpoint.Summary, error)
	Remove(ctx context.Context, ref, dir, name string) error
}

type checkpointRoutes struct{ part Checkpoints }

// checkpoints adds routes that Docker has with --experimental only, and
// describes nowhere.
func (t *table) checkpoints(part Checkpoints) {
	if part == nil {
		return
	}
	h := checkpointRoutes{part}
	t.add("POST", "/containers/{id}/checkpoints", h.create)
	t.add("GET", "/containers/{id}/checkpoints", h.list)
	t.add("DELETE", "/containers/{id}/checkpoints/{checkpoint}", h.remove)
}

func (h checkpointRoutes) create(c *call) error {
	var o checkpoint.CreateRequest
	if err := c.decodeJSON(&o); err != nil {
		return err
	}
	if err := h.part.Create(c.ctx, c.container(), o); err != nil {
		return err
	}
	return c.empty(http.StatusCreated)
}

func (h checkpointRoutes) list(c *call) error {
	list, err := h.part.List(c.ctx, c.container(), c.r.Form.Get("dir"))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, list)
}

func (h checkpointRoutes) remove(c *call) error {
	if err := h.part.Remove(c.ctx, c.container(), c.r.Form.Get("dir"), c.vars[1]); err != nil {
		return err
	}
	return c.empty(http.StatusNoContent)
}
