package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/davit-engine/davit/errs"
)

// local makes each request on a connection of its own, in the goroutine of the
// caller. On a unix socket a connection costs less than the goroutines with
// which http.Transport keeps one for later.
type local struct {
	dial func(context.Context) (net.Conn, error)
}

// RoundTrip implements http.RoundTripper. The request is written before the
// answer is read, so its body has to be short of what an engine reads before it
// answers; uploads go another way.
func (l *local) RoundTrip(r *http.Request) (*http.Response, error) {
	conn, err := l.dial(r.Context())
	if err != nil {
		return nil, err
	}
	r.Close = true
	return exchange(conn, bufio.NewReader(conn), r)
}

// exchange writes a request to a connection and reads the head of its answer.
// The connection ends with the answer's body or with the request's context.
func exchange(conn net.Conn, r *bufio.Reader, request *http.Request) (*http.Response, error) {
	ctx := request.Context()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	err := request.Write(conn)
	var answer *http.Response
	if err == nil {
		answer, err = http.ReadResponse(r, request)
	}
	if err != nil {
		stop()
		_ = conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	answer.Body = &body{answer.Body, conn, stop}
	return answer, nil
}

// body is an answer's body that ends its connection.
type body struct {
	io.Reader
	conn net.Conn
	stop func() bool
}

// Close implements io.Closer. What was not read is not waited for.
func (b *body) Close() error {
	b.stop()
	return b.conn.Close()
}

// failed puts into words that a request could not be made. Programs around
// Docker look for these words.
func (c *Client) failed(r *http.Request, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	// As net/http's own client writes it.
	called := &url.Error{Op: r.Method[:1] + strings.ToLower(r.Method[1:]), URL: r.URL.String(), Err: err}
	var (
		name    *net.DNSError
		network net.Error
	)
	text := err.Error()
	switch secure := r.URL.Scheme == "https"; {
	case !secure && strings.Contains(text, "malformed HTTP response"):
		err = fmt.Errorf("%w.\n* Are you trying to connect to a TLS-enabled daemon without TLS?", called)
	case secure && (strings.Contains(text, "handshake failure") || strings.Contains(text, "bad certificate")):
		err = fmt.Errorf("the server probably has client authentication (--tlsverify) enabled; check your TLS client certification settings: %w", called)
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("permission denied while trying to connect to the docker API at %s", c.host)
	case errors.Is(err, fs.ErrNotExist), errors.As(err, &name),
		errors.As(err, &network) && (network.Timeout() || strings.Contains(text, "connection refused") || strings.Contains(text, "dial unix")):
		err = fmt.Errorf("Cannot connect to the Docker daemon at %s. Is the docker daemon running?", c.host)
	default:
		err = fmt.Errorf("error during connect: %w", called)
	}
	return errs.Wrap(errs.Unavailable, err)
}
