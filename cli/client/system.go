package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/system"
)

// Info describes the engine.
func (c *Client) Info(ctx context.Context) (system.Info, error) {
	info, raw, err := fetch[system.Info](ctx, c, request{method: http.MethodGet, path: "/info"})
	if err != nil && raw != nil {
		err = fmt.Errorf("Error reading remote info: %w", err)
	}
	return info, err
}

// ServerVersion says which engine it is.
func (c *Client) ServerVersion(ctx context.Context) (system.VersionResponse, error) {
	v, _, err := fetch[system.VersionResponse](ctx, c, request{method: http.MethodGet, path: "/version"})
	return v, err
}

// EventsOptions choose among events.
type EventsOptions struct {
	Since, Until string // a time, or a duration before now
	Filters      Filters
	Begun        func() // told when no event is missed any more; may be nil
}

// Events calls show with each event as it happens. It returns show's error,
// io.EOF at the end that Until names, or what else ended the stream.
func (c *Client) Events(ctx context.Context, o EventsOptions, show func(events.Message) error) error {
	query := url.Values{}
	now := time.Now()
	for name, text := range map[string]string{"since": o.Since, "until": o.Until} {
		stamp, err := timestamp(text, now)
		if err != nil {
			return err
		}
		set(query, name, stamp)
	}
	o.Filters.addTo(query)
	answer, err := c.stream(ctx, request{method: http.MethodGet, path: "/events", query: query, header: http.Header{
		"Accept": {"application/jsonl", "application/x-ndjson;q=0.9"},
	}})
	if err != nil {
		return err
	}
	defer answer.Close()
	if o.Begun != nil {
		o.Begun()
	}
	decoder := json.NewDecoder(answer)
	for {
		var m events.Message
		if err := decoder.Decode(&m); err != nil {
			return err
		}
		if err := show(m); err != nil {
			return err
		}
	}
}
