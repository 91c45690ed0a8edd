package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/moby/moby/api/types/container"
)

// Sample is what a container uses at one time. Pressure and Rates are there if
// the engine is Davit.
type Sample struct {
	container.StatsResponse
	Pressure *Pressure       `json:"davit_pressure"`
	Rates    map[string]Rate `json:"davit_rates"` // by interface, of those that are held to one
}

// Rate is what an interface is held to.
type Rate struct{ Up, Down Direction }

// Direction is what a container sends or receives.
type Direction struct {
	Limit   uint64 // bits per second; 0: none
	Dropped uint32 // packets, because too many waited
}

// Pressure is how long processes waited for what.
type Pressure struct {
	Scope           string // "container" or "host"
	CPU, Memory, IO *Stall // nil where the kernel does not count
}

// Stall holds percentages of the last ten seconds.
type Stall struct{ Some, Full float64 }

// Stats calls show with samples of what a container uses: with one, or with
// one a second until the container is removed, which is no error.
func (c Containers) Stats(ctx context.Context, id string, stream bool, show func(*Sample) error) error {
	at, err := containerPath(id, "/stats")
	if err != nil {
		return err
	}
	query := url.Values{"stream": {"0"}}
	if stream {
		query.Set("stream", "1")
	}
	answer, err := c.api.stream(ctx, request{method: http.MethodGet, path: at, query: query})
	if err != nil {
		return err
	}
	defer answer.Close()
	decoder := json.NewDecoder(answer)
	for {
		s := new(Sample)
		if err := decoder.Decode(s); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := show(s); err != nil {
			return err
		}
	}
}

// Top lists a container's processes, in columns that the options of ps choose.
func (c Containers) Top(ctx context.Context, id, psArgs string) (container.TopResponse, error) {
	at, err := containerPath(id, "/top")
	if err != nil {
		return container.TopResponse{}, err
	}
	query := url.Values{}
	set(query, "ps_args", psArgs)
	list, _, err := fetch[container.TopResponse](ctx, c.api, request{method: http.MethodGet, path: at, query: query})
	return list, err
}
