package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/errs"
)

// Containers are those of the engine.
type Containers struct{ api *Client }

// CreateOptions describe a container to be made.
type CreateOptions struct {
	container.CreateRequest
	Name     string
	Platform *ocispec.Platform // nil: whatever the engine prefers
}

// Create makes a container.
func (c Containers) Create(ctx context.Context, o CreateOptions) (container.CreateResponse, error) {
	body, err := sparse(o.CreateRequest)
	if err != nil {
		return container.CreateResponse{}, err
	}
	query := url.Values{}
	set(query, "name", o.Name)
	if o.Platform != nil {
		query.Set("platform", formatPlatform(o.Platform))
	}
	answer, _, err := fetch[container.CreateResponse](ctx, c.api, request{method: http.MethodPost, path: "/containers/create", query: query, body: body})
	return answer, err
}

// StartOptions say where a container is to start from.
type StartOptions struct{ Checkpoint, CheckpointDir string }

// Start starts a container; it returns when its command runs.
func (c Containers) Start(ctx context.Context, id string, o StartOptions) error {
	query := url.Values{}
	set(query, "checkpoint", o.Checkpoint)
	set(query, "checkpoint-dir", o.CheckpointDir)
	return c.do(ctx, http.MethodPost, id, "/start", query)
}

// StopOptions say how a container is to end.
type StopOptions struct {
	Signal  string // "" for the container's own
	Timeout *int   // seconds before it is killed, -1 for never, nil for the container's own
}

func (o StopOptions) query() url.Values {
	query := url.Values{}
	set(query, "signal", o.Signal)
	if o.Timeout != nil {
		query.Set("t", strconv.Itoa(*o.Timeout))
	}
	return query
}

// Stop ends a container and waits for its end.
func (c Containers) Stop(ctx context.Context, id string, o StopOptions) error {
	return c.do(ctx, http.MethodPost, id, "/stop", o.query())
}

// Restart stops a container and starts it again.
func (c Containers) Restart(ctx context.Context, id string, o StopOptions) error {
	return c.do(ctx, http.MethodPost, id, "/restart", o.query())
}

// Kill sends a signal, SIGKILL for "".
func (c Containers) Kill(ctx context.Context, id, signal string) error {
	query := url.Values{}
	set(query, "signal", signal)
	return c.do(ctx, http.MethodPost, id, "/kill", query)
}

// Pause stops a container's processes where they stand.
func (c Containers) Pause(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodPost, id, "/pause", nil)
}

// Unpause lets a paused container's processes go on.
func (c Containers) Unpause(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodPost, id, "/unpause", nil)
}

// Rename gives a container another name.
func (c Containers) Rename(ctx context.Context, id, name string) error {
	return c.do(ctx, http.MethodPost, id, "/rename", url.Values{"name": {name}})
}

// Resize sets the size of a container's terminal, in cells.
func (c Containers) Resize(ctx context.Context, id string, width, height int) error {
	return c.do(ctx, http.MethodPost, id, "/resize", url.Values{"h": {strconv.Itoa(height)}, "w": {strconv.Itoa(width)}})
}

// RemoveOptions say what goes with a container.
type RemoveOptions struct{ Volumes, Links, Force bool }

// Remove removes a container.
func (c Containers) Remove(ctx context.Context, id string, o RemoveOptions) error {
	query := url.Values{}
	flag(query, "v", o.Volumes)
	flag(query, "link", o.Links)
	flag(query, "force", o.Force)
	return c.do(ctx, http.MethodDelete, id, "", query)
}

// Inspect describes a container; raw is the answer as it came.
func (c Containers) Inspect(ctx context.Context, id string, size bool) (_ container.InspectResponse, raw []byte, err error) {
	at, err := containerPath(id, "/json")
	if err != nil {
		return container.InspectResponse{}, nil, err
	}
	query := url.Values{}
	flag(query, "size", size)
	return fetch[container.InspectResponse](ctx, c.api, request{method: http.MethodGet, path: at, query: query})
}

// ListOptions choose among containers.
type ListOptions struct {
	All, Size bool
	Brief     bool // Davit may leave out networks, mounts, labels and manifests
	Limit     int  // 0 and less for no limit
	Filters   Filters
}

// List lists containers, the newest first.
func (c Containers) List(ctx context.Context, o ListOptions) ([]container.Summary, error) {
	query := url.Values{}
	flag(query, "all", o.All)
	flag(query, "size", o.Size)
	flag(query, "brief", o.Brief)
	if o.Limit > 0 {
		query.Set("limit", strconv.Itoa(o.Limit))
	}
	o.Filters.addTo(query)
	list, _, err := fetch[[]container.Summary](ctx, c.api, request{method: http.MethodGet, path: "/containers/json", query: query})
	return list, err
}

// LogsOptions choose among what a container wrote.
type LogsOptions struct {
	Since, Until                string // a time, or a duration before now
	Follow, Timestamps, Details bool
	Tail                        string // a number of lines, "" or "all" for all
}

// Logs returns what a container wrote; it is multiplexed unless the
// container has a terminal.
func (c Containers) Logs(ctx context.Context, id string, o LogsOptions) (io.ReadCloser, error) {
	at, err := containerPath(id, "/logs")
	if err != nil {
		return nil, err
	}
	query := url.Values{"stdout": {"1"}, "stderr": {"1"}, "merge": {"1"}} // who copies frames wants few
	now := time.Now()
	for name, text := range map[string]string{"since": o.Since, "until": o.Until} {
		stamp, err := timestamp(text, now)
		if err != nil {
			return nil, errs.New(errs.InvalidParameter, "invalid value for %q: %w", name, err)
		}
		set(query, name, stamp)
	}
	flag(query, "timestamps", o.Timestamps)
	flag(query, "details", o.Details)
	flag(query, "follow", o.Follow)
	if o.Tail != "all" {
		set(query, "tail", o.Tail)
	}
	return c.api.stream(ctx, request{method: http.MethodGet, path: at, query: query})
}

func (c Containers) do(ctx context.Context, method, id, verb string, query url.Values) error {
	at, err := containerPath(id, verb)
	if err != nil {
		return err
	}
	return c.api.do(ctx, request{method: method, path: at, query: query})
}

func containerPath(id, verb string) (string, error) {
	id = strings.TrimSpace(id)
	if id == "" {
		return "", errs.New(errs.InvalidParameter, "invalid container name or ID: value is empty")
	}
	return "/containers/" + id + verb, nil
}

// formatPlatform is a platform as os/arch/variant.
func formatPlatform(p *ocispec.Platform) string { return path.Join(p.OS, p.Architecture, p.Variant) }
