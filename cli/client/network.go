package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/errs"
)

// Networks are those of the engine. A ref is a name, an ID, or the beginning
// of an ID.
type Networks struct{ api *Client }

// Create makes a network.
func (n Networks) Create(ctx context.Context, r network.CreateRequest) (network.CreateResponse, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return network.CreateResponse{}, err
	}
	made, _, err := fetch[network.CreateResponse](ctx, n.api, request{method: http.MethodPost, path: "/networks/create", body: body})
	return made, err
}

// Inspect describes one network; raw is the answer as it came. verbose asks
// for the services of a swarm too.
func (n Networks) Inspect(ctx context.Context, ref string, verbose bool) (found network.Inspect, raw []byte, err error) {
	at, err := networkPath(ref)
	if err != nil {
		return found, nil, err
	}
	query := url.Values{}
	if verbose {
		query.Set("verbose", "true")
	}
	return fetch[network.Inspect](ctx, n.api, request{method: http.MethodGet, path: at, query: query})
}

// List describes the networks that match.
func (n Networks) List(ctx context.Context, filters Filters) ([]network.Summary, error) {
	query := url.Values{}
	filters.addTo(query)
	list, _, err := fetch[[]network.Summary](ctx, n.api, request{method: http.MethodGet, path: "/networks", query: query})
	return list, err
}

// Remove deletes a network.
func (n Networks) Remove(ctx context.Context, ref string) error {
	at, err := networkPath(ref)
	if err != nil {
		return err
	}
	return n.api.do(ctx, request{method: http.MethodDelete, path: at})
}

// Connect joins a container, running or not, to a network.
func (n Networks) Connect(ctx context.Context, ref, container string, settings *network.EndpointSettings) error {
	return n.post(ctx, ref, "/connect", network.ConnectRequest{Container: container, EndpointConfig: settings})
}

// Disconnect takes a container off a network; with force also one that is not
// there any more.
func (n Networks) Disconnect(ctx context.Context, ref, container string, force bool) error {
	return n.post(ctx, ref, "/disconnect", network.DisconnectRequest{Container: container, Force: force})
}

func (n Networks) post(ctx context.Context, ref, verb string, what any) error {
	at, err := networkPath(ref)
	if err != nil {
		return err
	}
	body, err := json.Marshal(what)
	if err != nil {
		return err
	}
	return n.api.do(ctx, request{method: http.MethodPost, path: at + verb, body: body})
}

func networkPath(ref string) (string, error) {
	ref = strings.TrimSpace(ref)
	switch {
	case ref == "":
		return "", errs.New(errs.InvalidParameter, "invalid network name or ID: value is empty")
	case path.Clean("/"+ref) != "/"+ref: // would ask for something else
		return "", errs.New(errs.NotFound, "network %s not found", ref)
	}
	return "/networks/" + ref, nil
}
