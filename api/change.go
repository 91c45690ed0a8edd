package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/davit-engine/davit/dialect"
	"github.com/davit-engine/davit/errs"
	"github.com/moby/moby/api/types/container"
)

// Changes changes containers that exist.
type Changes interface {
	Update(ctx context.Context, ref string, wish container.UpdateConfig) (container.UpdateResponse, error)
	Change(ctx context.Context, ref string, wish *dialect.Change, dry bool) (dialect.Plan, error)
	Request(ctx context.Context, ref string) (dialect.Request, error)
}

type changeRoutes struct{ part Changes }

func (t *table) changes(part Changes) {
	if part == nil {
		return
	}
	h := changeRoutes{part}
	t.add("POST", "/containers/{id}/update", h.update)
	t.add("POST", "/containers/{id}/change", h.change)
	t.add("GET", "/containers/{id}/request", h.request)
}

func (h changeRoutes) update(c *call) error {
	var wish container.UpdateConfig
	if err := c.decode(&wish); err != nil {
		return err
	}
	if c.version.Before(40) {
		wish.PidsLimit = nil // older clients send 0 without meaning it
	}
	if c.version.Before(55) { // to which limits of single devices meant nothing here
		wish.BlkioWeightDevice = nil
		wish.BlkioDeviceReadBps, wish.BlkioDeviceWriteBps, wish.BlkioDeviceReadIOps, wish.BlkioDeviceWriteIOps = nil, nil, nil, nil
	}
	answer, err := h.part.Update(c.ctx, c.container(), wish)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, answer)
}

// change is Davit's own: what Docker's update cannot.
func (h changeRoutes) change(c *call) error {
	var wish dialect.Change
	if err := c.decodeStrictly(&wish); err != nil {
		return err
	}
	plan, err := h.part.Change(c.ctx, c.container(), &wish, c.truth("dry-run"))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, plan)
}

// request is Davit's own: what a container was asked for with.
func (h changeRoutes) request(c *call) error {
	answer, err := h.part.Request(c.ctx, c.container())
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, answer)
}

// decode reads a body that is one JSON value. Unknown fields are accepted, as
// Docker does.
func (c *call) decode(to any) error { return c.decodeWith(to, false) }

// decodeStrictly is decode for Davit's own requests, in which an unknown field
// is a mistake.
func (c *call) decodeStrictly(to any) error { return c.decodeWith(to, true) }

func (c *call) decodeWith(to any, strict bool) error {
	if err := requireJSON(c.r); err != nil {
		return err
	}
	dec := json.NewDecoder(c.r.Body)
	if strict {
		dec.DisallowUnknownFields()
	}
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
