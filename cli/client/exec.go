package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/errs"
)

// Execs are further processes in containers that run.
type Execs struct{ api *Client }

// Create prepares a command in a container and returns the exec's ID.
func (e Execs) Create(ctx context.Context, name string, r container.ExecCreateRequest) (string, error) {
	at, err := containerPath(name, "/exec")
	if err != nil {
		return "", err
	}
	body, err := sparse(r)
	if err != nil {
		return "", err
	}
	answer, _, err := fetch[container.ExecCreateResponse](ctx, e.api, request{method: http.MethodPost, path: at, body: body})
	return answer.ID, err
}

// Start runs a prepared command that nobody takes part in.
func (e Execs) Start(ctx context.Context, id string) error {
	body, err := sparse(container.ExecStartRequest{Detach: true})
	if err != nil {
		return err
	}
	return e.do(ctx, id, "/start", nil, body)
}

// Attach runs a prepared command and turns a connection into that of its
// streams. With dieWithClient the command ends when the connection does.
func (e Execs) Attach(ctx context.Context, id string, tty, dieWithClient bool) (*Stream, error) {
	at, err := execPath(id, "/start")
	if err != nil {
		return nil, err
	}
	body, err := sparse(container.ExecStartRequest{Tty: tty})
	if err != nil {
		return nil, err
	}
	query := url.Values{}
	flag(query, "dieWithClient", dieWithClient)
	return e.api.upgrade(ctx, request{method: http.MethodPost, path: at, query: query, body: body})
}

// Inspect describes an exec.
func (e Execs) Inspect(ctx context.Context, id string) (container.ExecInspectResponse, error) {
	at, err := execPath(id, "/json")
	if err != nil {
		return container.ExecInspectResponse{}, err
	}
	answer, _, err := fetch[container.ExecInspectResponse](ctx, e.api, request{method: http.MethodGet, path: at})
	return answer, err
}

// Resize sets the size of an exec's terminal, in cells.
func (e Execs) Resize(ctx context.Context, id string, width, height int) error {
	return e.do(ctx, id, "/resize", url.Values{"h": {strconv.Itoa(height)}, "w": {strconv.Itoa(width)}}, nil)
}

// Kill sends a signal, SIGKILL for "".
func (e Execs) Kill(ctx context.Context, id, signal string) error {
	query := url.Values{}
	set(query, "signal", signal)
	return e.do(ctx, id, "/kill", query, nil)
}

func (e Execs) do(ctx context.Context, id, verb string, query url.Values, body []byte) error {
	at, err := execPath(id, verb)
	if err != nil {
		return err
	}
	return e.api.do(ctx, request{method: http.MethodPost, path: at, query: query, body: body})
}

func execPath(id, verb string) (string, error) {
	id = strings.TrimSpace(id)
	if id == "" {
		return "", errs.New(errs.InvalidParameter, "invalid exec ID: value is empty")
	}
	return "/exec/" + id + verb, nil
}
