package api

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"net/http"

	"github.com/davit-engine/davit/errs"
	"github.com/moby/moby/api/types/common"
	"github.com/moby/moby/api/types/jsonstream"
)

// statusOf is the table from kinds of error to HTTP status codes. A full disk
// is a fault of the host to clients, and so are an end by the client or by
// time: they have no better code in Docker's API.
func statusOf(err error) int {
	if errors.Is(err, errSlowBody) {
		return http.StatusRequestTimeout
	}
	switch errs.KindOf(err) {
	case errs.InvalidParameter:
		return http.StatusBadRequest
	case errs.NotFound:
		return http.StatusNotFound
	case errs.Conflict:
		return http.StatusConflict
	case errs.NotModified:
		return http.StatusNotModified
	case errs.Unauthorized:
		return http.StatusUnauthorized
	case errs.Forbidden:
		return http.StatusForbidden
	case errs.NotImplemented:
		return http.StatusNotImplemented
	case errs.Unavailable:
		return http.StatusServiceUnavailable
	case errs.Unknown, errs.Exhausted, errs.Cancelled, errs.Deadline, errs.System:
		return http.StatusInternalServerError
	}
	return http.StatusInternalServerError
}

// answer is a ResponseWriter that knows whether it was begun.
type answer struct {
	http.ResponseWriter
	status   int // 0: not begun
	hijacked bool
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(b)
}

// Hijack hands over the connection.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err == nil {
		a.hijacked = true
	}
	return conn, buf, err
}

// Unwrap lets http.ResponseController find the rest.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// fail answers with an error, unless the answer was begun already.
func (a *answer) fail(status int, message string) {
	if a.status != 0 || a.hijacked {
		return
	}
	if status == http.StatusNotModified { // has no body
		a.WriteHeader(status)
		return
	}
	// The client is gone when this cannot be written.
	_ = writeJSON(a, status, common.ErrorResponse{Message: message})
}

// writeJSON answers with a JSON value.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func (c *call) json(status int, v any) error { return writeJSON(c.w, status, v) }

func (c *call) empty(status int) error {
	c.w.WriteHeader(status)
	return nil
}

// flush sends what was written so far, beginning the answer if need be.
func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

// flusher is a writer whose every write goes to the client at once.
type flusher struct{ w http.ResponseWriter }

func (f flusher) Write(b []byte) (int, error) {
	n, err := f.w.Write(b)
	if err == nil {
		err = http.NewResponseController(f.w).Flush()
	}
	return n, err
}

// progress is a stream of JSON messages that begins with the first of them, so
// that what fails before has a status code, and what fails later is a message.
type progress struct {
	c     *call
	begun bool
}

func (p *progress) send(v any) {
	if !p.begun {
		p.begun = true
		p.c.w.Header().Set("Content-Type", "application/json")
		p.c.w.WriteHeader(http.StatusOK)
	}
	enc := json.NewEncoder(flusher{p.c.w})
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // a client that is gone cancels the call's context
}

func (p *progress) message(m jsonstream.Message) { p.send(m) }

// failure is the last message of a stream that broke. Clients before 1.4 read
// error, all others errorDetail; Docker sends both.
type failure struct {
	Detail jsonstream.Error `json:"errorDetail"`
	Error  string           `json:"error"`
}

// end turns the outcome into the end of the stream.
func (p *progress) end(err error) error {
	switch {
	case err == nil && !p.begun:
		p.c.w.Header().Set("Content-Type", "application/json")
		p.c.w.WriteHeader(http.StatusOK)
	case err != nil && !p.begun:
		return err
	case err != nil:
		p.c.log.Debug("stream ends in an error", "error", err)
		p.send(failure{Detail: jsonstream.Error{Message: err.Error()}, Error: err.Error()})
	}
	return nil
}
