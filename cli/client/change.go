package client

import (
	"context"
	"net/http"

	"github.com/moby/moby/api/types/container"
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
