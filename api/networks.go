package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/davit-engine/davit/api/compat"
	"github.com/davit-engine/davit/errs"
	"github.com/moby/moby/api/types/network"
)

// Networks makes, lists, shows and removes networks, and takes containers on
// and off them. A ref is a name, an ID or the beginning of an ID.
type Networks interface {
	Create(ctx context.Context, r network.CreateRequest) (network.CreateResponse, error)
	Connect(ctx context.Context, ref, container string, settings *network.EndpointSettings) error
	Disconnect(ctx context.Context, ref, container string, force bool) error
	List(ctx context.Context, filters map[string]map[string]bool) ([]network.Inspect, error)
	Inspect(ctx context.Context, ref string) (network.Inspect, error)
	Remove(ctx context.Context, ref string) error
	Prune(ctx context.Context, filters map[string]map[string]bool) (network.PruneReport, error)
}

type networkRoutes struct{ part Networks }

func (t *table) networks(part Networks) {
	if part == nil {
		return
	}
	h := networkRoutes{part}
	t.add("GET", "/networks", h.list)
	t.add("GET", "/networks/", h.list)
	t.add("GET", "/networks/{id}", h.inspect)
	t.add("POST", "/networks/create", h.create)
	t.add("POST", "/networks/{id}/connect", h.connect)
	t.add("POST", "/networks/{id}/disconnect", h.disconnect)
	t.add("POST", "/networks/prune", h.prune)
	t.add("DELETE", "/networks/{id}", h.remove)
}

func (h networkRoutes) list(c *call) error {
	filters, err := c.filters()
	if err != nil {
		return err
	}
	list, err := h.part.List(c.ctx, filters)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, compat.Networks(c.version, list))
}

// inspect shows no more where verbose is set: it speaks of a swarm's services.
func (h networkRoutes) inspect(c *call) error {
	if text := c.r.Form.Get("verbose"); text != "" {
		if _, err := strconv.ParseBool(text); err != nil {
			return errs.New(errs.InvalidParameter, "invalid value for verbose: %s: %w", text, err)
		}
	}
	n, err := h.part.Inspect(c.ctx, c.vars[0])
	if err != nil {
		return err
	}
	if scope := c.r.Form.Get("scope"); scope != "" && scope != n.Scope {
		return errs.New(errs.NotFound, "network %s not found", c.vars[0])
	}
	return c.json(http.StatusOK, compat.Network(c.version, n))
}

func (h networkRoutes) create(c *call) error {
	var r network.CreateRequest
	if err := c.decodeJSON(&r); err != nil {
		return err
	}
	made, err := h.part.Create(c.ctx, compat.CreateNetwork(c.version, r))
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, made)
}

func (h networkRoutes) connect(c *call) error {
	var r network.ConnectRequest
	if err := c.decodeJSON(&r); err != nil {
		return err
	}
	if err := h.part.Connect(c.ctx, c.vars[0], r.Container, r.EndpointConfig); err != nil {
		return err
	}
	return c.empty(http.StatusOK)
}

func (h networkRoutes) disconnect(c *call) error {
	var r network.DisconnectRequest
	if err := c.decodeJSON(&r); err != nil {
		return err
	}
	if err := h.part.Disconnect(c.ctx, c.vars[0], r.Container, r.Force); err != nil {
		return err
	}
	return c.empty(http.StatusOK)
}

func (h networkRoutes) remove(c *call) error {
	if err := h.part.Remove(c.ctx, c.vars[0]); err != nil {
		return err
	}
	return c.empty(http.StatusNoContent)
}

func (h networkRoutes) prune(c *call) error {
	filters, err := c.filters()
	if err != nil {
		return err
	}
	report, err := h.part.Prune(c.ctx, filters)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, report)
}
