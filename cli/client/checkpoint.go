package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/moby/moby/api/types/checkpoint"

	"github.com/davit-engine/davit/errs"
)

// Checkpoints are those of containers. A dir is where they are kept on the
// engine's host, "" for with the container.
type Checkpoints struct{ api *Client }

// Create writes a container's processes to a checkpoint.
func (p Checkpoints) Create(ctx context.Context, name string, r checkpoint.CreateRequest) error {
	at, err := containerPath(name, "/checkpoints")
	if err != nil {
		return err
	}
	body, err := sparse(r)
	if err != nil {
		return err
	}
	return p.api.do(ctx, request{method: http.MethodPost, path: at, body: body})
}

// List lists a container's checkpoints.
func (p Checkpoints) List(ctx context.Context, name, dir string) ([]checkpoint.Summary, error) {
	at, err := containerPath(name, "/checkpoints")
	if err != nil {
		return nil, err
	}
	query := url.Values{}
	set(query, "dir", dir)
	list, _, err := fetch[[]checkpoint.Summary](ctx, p.api, request{method: http.MethodGet, path: at, query: query})
	return list, err
}

// Remove deletes a checkpoint.
func (p Checkpoints) Remove(ctx context.Context, name, dir, id string) error {
	if id == "" {
		return errs.New(errs.InvalidParameter, "invalid checkpoint name: value is empty")
	}
	at, err := containerPath(name, "/checkpoints/"+id)
	if err != nil {
		return err
	}
	query := url.Values{}
	set(query, "dir", dir)
	return p.api.do(ctx, request{method: http.MethodDelete, path: at, query: query})
}
