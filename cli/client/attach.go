package client

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/url"

	"github.com/davit-engine/davit/errs"
)

// AttachOptions choose the streams to attach.
type AttachOptions struct {
	Stdin, Stdout, Stderr bool
	DetachKeys            string // "" for the engine's
}

// Stream is a connection that has become that of a container's streams. What
// is read is multiplexed unless the container has a terminal.
type Stream struct {
	net.Conn
	r *bufio.Reader // holds what came with the answer's head
}

// Read implements io.Reader.
func (s *Stream) Read(p []byte) (int, error) { return s.r.Read(p) }

// CloseWrite tells the container that there is no more input.
func (s *Stream) CloseWrite() error { return CloseWrite(s.Conn) }

// CloseWrite ends one direction of a connection, where it has two.
func CloseWrite(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Attach turns a connection into that of a container's streams. The
// context ends the attempt, not the connection.
func (c Containers) Attach(ctx context.Context, id string, o AttachOptions) (*Stream, error) {
	at, err := containerPath(id, "/attach")
	if err != nil {
		return nil, err
	}
	query := url.Values{"stream": {"1"}}
	flag(query, "stdin", o.Stdin)
	flag(query, "stdout", o.Stdout)
	flag(query, "stderr", o.Stderr)
	set(query, "detachKeys", o.DetachKeys)
	return c.api.upgrade(ctx, request{method: http.MethodPost, path: at, query: query, header: http.Header{"Content-Type": {"text/plain"}}})
}

// upgrade makes a request that turns its connection into a stream. The context
// ends the attempt, not the connection.
func (c *Client) upgrade(ctx context.Context, r request) (*Stream, error) {
	if err := c.negotiate(ctx); err != nil {
		return nil, err
	}
	if r.header == nil {
		r.header = http.Header{}
	}
	r.header["Connection"], r.header["Upgrade"] = []string{"Upgrade"}, []string{"tcp"}
	h := c.make(r, c.APIVersion()).WithContext(ctx)
	conn, err := c.Dial(ctx)
	if err != nil {
		return nil, err
	}
	buffer := bufio.NewReader(conn)
	answer, err := exchange(conn, buffer, h)
	if err != nil {
		return nil, c.failed(h, err)
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		defer answer.Body.Close()
		if answer.StatusCode >= http.StatusMultipleChoices {
			return nil, failure(answer)
		}
		return nil, errs.New(errs.System, "unable to upgrade to tcp, received %d", answer.StatusCode)
	}
	if !answer.Body.(*body).stop() {
		return nil, ctx.Err()
	}
	return &Stream{conn, buffer}, nil
}
