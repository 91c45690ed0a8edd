package api

import (
	"context"
	"net/http"

	"github.com/davit-engine/davit/api/compat"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/engine/stats"
	"github.com/moby/moby/api/types/container"
)

// Usage tells what containers use and which processes they have.
type Usage interface {
	// Stats calls show with each sample; show's error ends it.
	Stats(ctx context.Context, ref string, o engine.StatsOptions, show func(*stats.Sample) error) error
	Top(ctx context.Context, ref, psArgs string) (container.TopResponse, error)
}

type usageRoutes struct {
	part   Usage
	server *Server
}

func (t *table) usage(part Usage, s *Server) {
	if part == nil {
		return
	}
	h := usageRoutes{part, s}
	t.add("GET", "/containers/{id}/stats", h.stats)
	t.add("GET", "/containers/{id}/top", h.top)
}

func (h usageRoutes) stats(c *call) error {
	o := engine.StatsOptions{Stream: !c.r.Form.Has("stream") || c.truth("stream")}
	if !c.version.Before(41) {
		o.OneShot = c.truth("one-shot")
	}
	ctx, cancel := h.server.streaming(c)
	defer cancel()
	p := &progress{c: c}
	return p.end(h.part.Stats(ctx, c.container(), o, func(s *stats.Sample) error {
		seen := *s
		seen.StatsResponse = compat.Stats(c.version, s.StatsResponse)
		p.send(&seen)
		return nil // a client that is gone ends ctx
	}))
}

func (h usageRoutes) top(c *call) error {
	list, err := h.part.Top(c.ctx, c.container(), c.r.Form.Get("ps_args"))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, list)
}
