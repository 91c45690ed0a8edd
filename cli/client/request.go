package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/moby/moby/api/types/common"

	"github.com/davit-engine/davit/errs"
)

// request is one call of the API; path is without the version.
type request struct {
	method, path string
	query        url.Values
	header       http.Header
	body         []byte    // JSON, nil for none
	upload       io.Reader // in place of body: of unknown length, and sent once
}

// send makes a request and returns the answer, whose body the caller closes.
// An answer with the status of a failure becomes an error.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	if r.upload != nil {
		if err := c.negotiate(ctx); err != nil {
			return nil, err
		}
	}
	v, settled := c.current()
	answer, err := c.round(ctx, r, v.String())
	if err != nil {
		return nil, err
	}
	if !settled {
		c.settle(answer.Header)
		if older, _ := c.current(); older < v && answer.StatusCode == http.StatusBadRequest {
			_ = answer.Body.Close()
			if answer, err = c.round(ctx, r, older.String()); err != nil {
				return nil, err
			}
		}
	}
	if c.warn != nil {
		for _, text := range answer.Header["Davit-Warning"] {
			c.warn(text)
		}
	}
	if answer.StatusCode < http.StatusMultipleChoices || answer.StatusCode == http.StatusNotModified {
		return answer, nil
	}
	defer answer.Body.Close()
	return nil, failure(answer)
}

// round makes a request over HTTP; version may be "".
func (c *Client) round(ctx context.Context, r request, version string) (*http.Response, error) {
	h := c.make(r, version).WithContext(ctx)
	var transport http.RoundTripper = c.transport
	if c.local != nil && r.upload == nil {
		transport = c.local
	}
	answer, err := transport.RoundTrip(h)
	if err != nil {
		return nil, c.failed(h, err)
	}
	return answer, nil
}

func (c *Client) make(r request, version string) *http.Request {
	u := c.base
	if version != "" {
		version = "/v" + version
	}
	u.Path, u.RawQuery = path.Join("/", u.Path, version, r.path), r.query.Encode()
	h := &http.Request{
		Method: r.method, URL: &u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: maps.Clone(c.headers), Body: http.NoBody,
	}
	maps.Copy(h.Header, r.header)
	switch {
	case r.upload != nil:
		h.Body, h.ContentLength = io.NopCloser(r.upload), -1
	case r.body != nil:
		h.Header["Content-Type"] = []string{"application/json"}
		h.Body, h.ContentLength = io.NopCloser(bytes.NewReader(r.body)), int64(len(r.body))
	}
	return h
}

// do makes a request of which only the success counts.
func (c *Client) do(ctx context.Context, r request) error {
	answer, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

// stream makes a request and returns its answer as it comes.
func (c *Client) stream(ctx context.Context, r request) (io.ReadCloser, error) {
	answer, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	return answer.Body, nil
}

// fetch makes a request and decodes its answer; raw is the answer as it came.
func fetch[T any](ctx context.Context, c *Client, r request) (value T, raw []byte, err error) {
	answer, err := c.send(ctx, r)
	if err != nil {
		return value, nil, err
	}
	defer answer.Body.Close()
	if raw, err = io.ReadAll(answer.Body); err != nil {
		return value, nil, err
	}
	return value, raw, json.Unmarshal(raw, &value)
}

// maxFailure bounds what is read of an answer that reports a failure.
const maxFailure = 1 << 20

// failure is the error that an answer reports.
func failure(answer *http.Response) error {
	kind := kindOf(answer.StatusCode)
	if kind == errs.Unknown {
		return errs.New(kind, "unexpected redirect in response")
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxFailure))
	if err != nil {
		return errs.Wrap(kind, err)
	}
	text := strings.TrimSpace(string(body))
	switch {
	case len(body) == maxFailure:
		return errs.New(kind, "request returned %s with a message (> %d bytes) for API route and version %s, check if the server supports the requested API version",
			answer.Status, maxFailure, answer.Request.URL)
	case len(body) == 0:
		return errs.New(kind, "request returned %s for API route and version %s, check if the server supports the requested API version", answer.Status, answer.Request.URL)
	case answer.Header.Get("Content-Type") == "application/json":
		var said common.ErrorResponse
		if err := json.Unmarshal(body, &said); err != nil {
			return errs.New(kind, "error reading JSON: %w", err)
		}
		if text = strings.TrimSpace(said.Message); text == "" {
			text = fmt.Sprintf("API returned a %d (%s) but provided no error-message", answer.StatusCode, http.StatusText(answer.StatusCode))
		}
	}
	return errs.Wrap(kind, errors.New("Error response from daemon: "+text))
}

// kindOf is the other direction of the engine's table; a redirect, which no
// engine answers with, is of no kind.
func kindOf(status int) errs.Kind {
	switch status {
	case http.StatusUnauthorized:
		return errs.Unauthorized
	case http.StatusForbidden:
		return errs.Forbidden
	case http.StatusNotFound:
		return errs.NotFound
	case http.StatusConflict:
		return errs.Conflict
	case http.StatusNotImplemented:
		return errs.NotImplemented
	case http.StatusServiceUnavailable:
		return errs.Unavailable
	}
	switch {
	case status >= http.StatusInternalServerError:
		return errs.System
	case status >= http.StatusBadRequest:
		return errs.InvalidParameter
	}
	return errs.Unknown
}
