package api

import (
	"context"
	"net/http"

	"github.com/davit-engine/davit/api/compat"
	"github.com/moby/moby/api/types/network"
)

// Networks lists, shows and removes networks. A ref is a name, an ID or the
// beginning of an ID.
type Networks interface {
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
	t.add("GET", "/networks/{id}", h.inspect)
	t.add("DELETE", "/networks/{id}", h.remove)
	t.add("POST", "/networks/prune", h.prune)
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

// inspect takes no notice of verbose and scope: they speak of swarms.
func (h networkRoutes) inspect(c *call) error {
	n, err := h.part.Inspect(c.ctx, c.vars[0])
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, compat.Network(c.version, n))
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
