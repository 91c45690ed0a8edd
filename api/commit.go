package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/go-digest"

	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/errs"
)

// Committer makes images of containers.
type Committer interface {
	Commit(ctx context.Context, ref string, o engine.CommitOptions) (digest.Digest, error)
}

type commitRoutes struct{ part Committer }

func (t *table) commit(part Committer) {
	if part == nil {
		return
	}
	r := t.add("POST", "/commit", commitRoutes{part}.commit)
	r.body, r.small = true, true
}

// maxCommitConfig bounds the configuration that a commit may bring along.
const maxCommitConfig = 8 << 20

func (h commitRoutes) commit(c *call) error {
	ref, err := taggedReference(c.r.Form.Get("repo"), c.r.Form.Get("tag"))
	if err != nil {
		return err
	}
	o := engine.CommitOptions{
		Ref: ref, Author: c.r.Form.Get("author"), Comment: c.r.Form.Get("comment"), Changes: c.r.Form["changes"],
		Pause: c.r.Form.Get("pause") == "" || c.truth("pause"),
	}
	// No configuration, and null, mean the container's own.
	switch err := json.NewDecoder(io.LimitReader(c.r.Body, maxCommitConfig)).Decode(&o.Config); {
	case errors.Is(err, io.EOF):
	case err != nil:
		return errs.New(errs.InvalidParameter, "invalid JSON: %w", err)
	}
	id, err := h.part.Commit(c.ctx, c.r.Form.Get("container"), o)
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, container.CommitResponse{ID: id.String()})
}
