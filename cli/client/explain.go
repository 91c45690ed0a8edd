package client

import (
	"context"
	"net/http"

	"github.com/davit-engine/davit/dialect"
)

// Explain says what a container runs and why; raw is the answer as it came.
func (c Containers) Explain(ctx context.Context, id string) (_ dialect.Explanation, raw []byte, err error) {
	at, err := containerPath(id, "/explain")
	if err != nil {
		return dialect.Explanation{}, nil, err
	}
	x, raw, err := fetch[dialect.Explanation](ctx, c.api, request{method: http.MethodGet, path: at})
	return x, raw, foreign(err)
}

// Explain says what a run of an image would make; raw is the answer as it came.
func (i Images) Explain(ctx context.Context, name string) (_ dialect.Explanation, raw []byte, err error) {
	x, raw, err := fetch[dialect.Explanation](ctx, i.api, request{method: http.MethodGet, path: "/images/" + name + "/explain"})
	return x, raw, foreign(err)
}
