package api

import (
	"context"
	"io"
	"net/http"

	"github.com/davit-engine/davit/dialect"
	"github.com/moby/moby/api/types/checkpoint"
)

// Checkpoints writes containers' processes to files. A dir is where a user
// keeps them; empty: with the container. They are made again by
// Lifecycle.Start.
type Checkpoints interface {
	Create(ctx context.Context, ref string, o checkpoint.CreateRequest) error
	List(ctx context.Context, ref, dir string) ([]checkpoint.Summary, error)
	Remove(ctx context.Context, ref, dir, name string) error
	Export(ctx context.Context, ref, dir, name string) (io.ReadCloser, error)                       // a checkpoint with its container
	Import(ctx context.Context, name string, archive io.Reader) (dialect.ImportedCheckpoint, error) // what Export has written; name "": as it was called
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
	t.add("GET", "/containers/{id}/checkpoints/{checkpoint}/export", h.export) // Davit's own, and the next
	t.add("POST", "/checkpoints/import", h.take).body = true
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

func (h checkpointRoutes) export(c *call) error {
	archive, err := h.part.Export(c.ctx, c.container(), c.r.Form.Get("dir"), c.vars[1])
	if err != nil {
		return err
	}
	defer archive.Close()
	return c.archive("application/x-tar", archive)
}

func (h checkpointRoutes) take(c *call) error {
	made, err := h.part.Import(c.ctx, c.r.Form.Get("name"), c.r.Body)
	if err != nil {
		return err
	}
	if made.Warnings == nil {
		made.Warnings = []string{}
	}
	return c.json(http.StatusCreated, made)
}
