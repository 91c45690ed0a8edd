package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/davit-engine/davit/api/compat"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/errs"
	"github.com/moby/moby/api/types/container"
)

// Execs runs more processes in containers that run. An id is an exec's ID or
// the beginning of one.
type Execs interface {
	Create(ctx context.Context, ref string, request container.ExecCreateRequest) (id string, err error)
	Start(ctx context.Context, id string, o engine.ExecStartOptions) error
	Inspect(ctx context.Context, id string) (container.ExecInspectResponse, error)
	Resize(ctx context.Context, id string, height, width uint32) error
	Kill(ctx context.Context, id, signal string) error
}

type execRoutes struct{ part Execs }

func (t *table) execs(part Execs) {
	if part == nil {
		return
	}
	h := execRoutes{part}
	t.add("POST", "/containers/{id}/exec", h.create)
	t.add("POST", "/exec/{id}/start", h.start)
	t.add("GET", "/exec/{id}/json", h.inspect)
	t.add("POST", "/exec/{id}/resize", h.resize)
	t.add("POST", "/exec/{id}/kill", h.kill) // Davit's own
}

func (h execRoutes) create(c *call) error {
	request := new(container.ExecCreateRequest)
	if err := c.decodeJSON(request); err != nil {
		return err
	}
	compat.ExecCreate(c.version, request)
	id, err := h.part.Create(c.ctx, c.container(), *request)
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, container.ExecCreateResponse{ID: id})
}

func (h execRoutes) start(c *call) error {
	request := new(container.ExecStartRequest)
	if err := c.decodeJSON(request); err != nil {
		return err
	}
	compat.ExecStart(c.version, request)
	hijacked := false
	err := h.part.Start(c.ctx, c.vars[0], engine.ExecStartOptions{
		Detach: request.Detach, Tty: request.Tty, ConsoleSize: request.ConsoleSize, DieWithClient: c.truth("dieWithClient"),
		Hijack: func(raw bool) (net.Conn, []byte, error) {
			hijacked = true
			return c.hijack(raw)
		},
	})
	switch {
	case hijacked && err != nil: // there is nobody left to tell
		c.log.Debug("starting an exec ended in an error", "error", err)
		return nil
	case hijacked:
		return nil
	case err != nil:
		return err
	}
	return c.empty(http.StatusOK)
}

func (h execRoutes) inspect(c *call) error {
	resp, err := h.part.Inspect(c.ctx, c.vars[0])
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, resp)
}

func (h execRoutes) resize(c *call) error {
	height, err := c.size("h", "height")
	if err != nil {
		return err
	}
	width, err := c.size("w", "width")
	if err != nil {
		return err
	}
	if err := h.part.Resize(c.ctx, c.vars[0], height, width); err != nil {
		return err
	}
	return c.empty(http.StatusOK)
}

func (h execRoutes) kill(c *call) error {
	if err := h.part.Kill(c.ctx, c.vars[0], c.r.Form.Get("signal")); err != nil {
		return err
	}
	return c.empty(http.StatusNoContent)
}

// maxJSON bounds a small request's body, in bytes.
const maxJSON = 4 << 20

// decodeJSON reads the request's body, one JSON value. An empty body is an
// error, as with Docker.
func (c *call) decodeJSON(v any) error {
	if err := requireJSON(c.r); err != nil {
		return err
	}
	d := json.NewDecoder(http.MaxBytesReader(c.w, c.r.Body, maxJSON))
	if err := d.Decode(v); err != nil {
		if errors.Is(err, io.EOF) {
			return errs.New(errs.InvalidParameter, "invalid JSON: got EOF while reading request body")
		}
		return errs.New(errs.InvalidParameter, "invalid JSON: %w", err)
	}
	if d.More() {
		return errs.New(errs.InvalidParameter, "unexpected content after JSON")
	}
	return nil
}
