package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/davit-engine/davit/errs"
	"github.com/moby/moby/api/types/container"
)

// Changes changes containers that exist.
type Changes interface {
	Update(ctx context.Context, ref string, wish container.UpdateConfig) (container.UpdateResponse, error)
}

type changeRoutes struct{ part Changes }

func (t *table) changes(part Changes) {
	if part == nil {
		return
	}
	h := changeRoutes{part}
	t.add("POST", "/containers/{id}/update", h.update)
}

func (h changeRoutes) update(c *call) error {
	var wish container.UpdateConfig
	if err := c.decode(&wish); err != nil {
		return err
	}
	if c.version.Before(40) {
		wish.PidsLimit = nil // older clients send 0 without meaning it
	}
	answer, err := h.part.Update(c.ctx, c.container(), wish)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, answer)
}

// decode reads a body that is one JSON value.
func (c *call) decode(to any) error {
	if err := requireJSON(c.r); err != nil {
		return err
	}
	dec := json.NewDecoder(c.r.Body)
	if err := dec.Decode(to); err != nil {
		if err == io.EOF {
			return errs.New(errs.InvalidParameter, "invalid JSON: got EOF while reading request body")
		}
		return errs.New(errs.InvalidParameter, "invalid JSON: %w", err)
	}
	if dec.More() {
		return errs.New(errs.InvalidParameter, "unexpected content after JSON")
	}
	return nil
}
