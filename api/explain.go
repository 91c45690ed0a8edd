package api

import (
	"context"
	"net/http"

	"github.com/davit-engine/davit/dialect"
)

// Explainer says what runs, or would run, and why. It is Davit's own.
type Explainer interface {
	Container(ctx context.Context, ref string) (dialect.Explanation, error)
	Image(ctx context.Context, ref string) (dialect.Explanation, error)
}

func (t *table) explainer(part Explainer) {
	if part == nil {
		return
	}
	answer := func(explain func(ctx context.Context, ref string) (dialect.Explanation, error), ref string, c *call) error {
		answer, err := explain(c.ctx, ref)
		if err != nil {
			return err
		}
		return c.json(http.StatusOK, answer)
	}
	t.add("GET", "/containers/{id}/explain", func(c *call) error { return answer(part.Container, c.container(), c) })
	t.add("GET", "/images/{name}/explain", func(c *call) error { return answer(part.Image, c.vars[0], c) })
}
