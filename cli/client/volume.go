package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/moby/moby/api/types/volume"

	"github.com/davit-engine/davit/errs"
)

// Volumes are those of the engine.
type Volumes struct{ api *Client }

// Create makes a volume, or finds the one that has the name already.
func (v Volumes) Create(ctx context.Context, r volume.CreateRequest) (volume.Volume, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return volume.Volume{}, err
	}
	made, _, err := fetch[volume.Volume](ctx, v.api, request{method: http.MethodPost, path: "/volumes/create", body: body})
	return made, err
}

// Inspect describes one volume; raw is the answer as it came.
func (v Volumes) Inspect(ctx context.Context, name string) (found volume.Volume, raw []byte, err error) {
	at, err := volumePath(name)
	if err != nil {
		return found, nil, err
	}
	return fetch[volume.Volume](ctx, v.api, request{method: http.MethodGet, path: at})
}

// List describes the volumes that match.
func (v Volumes) List(ctx context.Context, filters Filters) ([]volume.Volume, error) {
	query := url.Values{}
	filters.addTo(query)
	answer, _, err := fetch[volume.ListResponse](ctx, v.api, request{method: http.MethodGet, path: "/volumes", query: query})
	return answer.Volumes, err
}

// Remove deletes a volume; with force a missing one is no error.
func (v Volumes) Remove(ctx context.Context, name string, force bool) error {
	at, err := volumePath(name)
	if err != nil {
		return err
	}
	query := url.Values{}
	flag(query, "force", force)
	return v.api.do(ctx, request{method: http.MethodDelete, path: at, query: query})
}

func volumePath(name string) (string, error) {
	switch {
	case name == "":
		return "", errs.New(errs.InvalidParameter, "invalid volume name: value is empty")
	case strings.Contains(name, "/") || name == "." || name == "..": // would ask for something else
		return "", errs.New(errs.InvalidParameter, "get %s: no such volume", name)
	}
	return "/volumes/" + name, nil
}
