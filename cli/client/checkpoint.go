package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"

	"github.com/moby/moby/api/types/checkpoint"

	"github.com/davit-engine/davit/dialect"
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
	at, query, err := checkpointPath(name, dir, id)
	if err != nil {
		return err
	}
	return p.api.do(ctx, request{method: http.MethodDelete, path: at, query: query})
}

// Export returns a checkpoint with its container as a tar archive.
func (p Checkpoints) Export(ctx context.Context, name, dir, id string) (io.ReadCloser, error) {
	at, query, err := checkpointPath(name, dir, id)
	if err != nil {
		return nil, err
	}
	return p.api.stream(ctx, request{method: http.MethodGet, path: at + "/export", query: query})
}

// Import makes a container, with its checkpoint, of an archive that Export gave.
// It is called name, or as it was called if that is "".
func (p Checkpoints) Import(ctx context.Context, name string, archive io.Reader) (made dialect.ImportedCheckpoint, err error) {
	query := url.Values{}
	set(query, "name", name)
	answer, err := p.api.stream(ctx, request{method: http.MethodPost, path: "/checkpoints/import", query: query, upload: archive})
	if err != nil {
		return made, err
	}
	defer answer.Close()
	return made, json.NewDecoder(answer).Decode(&made)
}

func checkpointPath(name, dir, id string) (string, url.Values, error) {
	if id == "" {
		return "", nil, errs.New(errs.InvalidParameter, "invalid checkpoint name: value is empty")
	}
	at, err := containerPath(name, "/checkpoints/"+id)
	query := url.Values{}
	set(query, "dir", dir)
	return at, query, err
}
