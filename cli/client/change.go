package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/dialect"
	"github.com/davit-engine/davit/errs"
)

// Update changes limits and restart policy of a container; zero fields change
// nothing.
func (c Containers) Update(ctx context.Context, id string, wish container.UpdateConfig) (container.UpdateResponse, error) {
	at, err := containerPath(id, "/update")
	if err != nil {
		return container.UpdateResponse{}, err
	}
	body, err := sparse(wish)
	if err != nil {
		return container.UpdateResponse{}, err
	}
	answer, _, err := fetch[container.UpdateResponse](ctx, c.api, request{method: http.MethodPost, path: at, body: body})
	return answer, err
}

// Change changes settings of a container in Davit's own way; with dry it only
// says what would be done.
func (c Containers) Change(ctx context.Context, id string, wish dialect.Change, dry bool) (dialect.Plan, error) {
	at, err := containerPath(id, "/change")
	if err != nil {
		return dialect.Plan{}, err
	}
	body, err := json.Marshal(wish)
	if err != nil {
		return dialect.Plan{}, err
	}
	query := url.Values{}
	flag(query, "dry-run", dry)
	plan, _, err := fetch[dialect.Plan](ctx, c.api, request{method: http.MethodPost, path: at, query: query, body: body})
	return plan, foreign(err)
}

// Request tells what to ask for to get such a container again.
func (c Containers) Request(ctx context.Context, id string) (dialect.Request, error) {
	at, err := containerPath(id, "/request")
	if err != nil {
		return dialect.Request{}, err
	}
	answer, _, err := fetch[dialect.Request](ctx, c.api, request{method: http.MethodGet, path: at})
	return answer, foreign(err)
}

// foreign tells an engine that does not know a path of Davit's own from one
// that does not know a container.
func foreign(err error) error {
	if errs.Is(err, errs.NotFound) && strings.HasSuffix(err.Error(), "page not found") {
		return errs.New(errs.NotImplemented, "the engine is not Davit, or an older one, and cannot do this: %w", err)
	}
	return err
}
