// Package fake is an engine for tests: it speaks Docker's API over a unix
// socket as far as the client uses it, hijacked streams included, and runs Go
// functions in place of containers.
//
// It is linked by tests only. It knows nothing of the client. All state is
// guarded by one lock; a container's function runs in a goroutine of its own,
// which must have ended by the time the test does.
package fake

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Request is one that the engine got; Path is without the API version.
type Request struct {
	Method, Path, Version string
	Query                 url.Values
	Header                http.Header
	Body                  []byte
}

// Engine answers on a socket until its test ends.
type Engine struct {
	Socket string

	mux    *http.ServeMux // what every engine can
	scenes *http.ServeMux // what a test asked for

	mu         sync.Mutex
	requests   []Request             // guarded by mu
	containers map[string]*container // guarded by mu, by ID
	programs   map[string]Program    // guarded by mu, by image
}

// APIVersion is the newest that the engine speaks; requests of a newer one are
// refused, as Docker does.
const APIVersion = "1.51"

const newest = 51

// Start begins to answer on a socket in a temporary directory.
func Start(t testing.TB) *Engine {
	t.Helper()
	e := &Engine{
		Socket: filepath.Join(t.TempDir(), "e.sock"), mux: http.NewServeMux(), scenes: http.NewServeMux(),
		containers: map[string]*container{}, programs: map[string]Program{},
	}
	e.routes()
	listener, err := net.Listen("unix", e.Socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: e}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
	})
	return e
}

// Handle answers requests that match a pattern of http.ServeMux, without the
// API version, in place of what the engine would say.
func (e *Engine) Handle(pattern string, h http.HandlerFunc) { e.scenes.HandleFunc(pattern, h) }

// JSON answers a pattern with a status and a body.
func (e *Engine) JSON(pattern string, status int, body any) {
	e.Handle(pattern, func(w http.ResponseWriter, _ *http.Request) { Reply(w, status, body) })
}

// Reply writes a JSON answer; a text is the message of an error.
func Reply(w http.ResponseWriter, status int, body any) {
	if text, ok := body.(string); ok {
		body = map[string]string{"message": text}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// Requests returns those seen so far; pings and those of a version that the
// engine does not speak are left out.
func (e *Engine) Requests() []Request {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]Request(nil), e.requests...)
}

// Paths are the requests as "METHOD /path".
func (e *Engine) Paths() []string {
	var out []string
	for _, r := range e.Requests() {
		out = append(out, r.Method+" "+r.Path)
	}
	return out
}

// Last returns the newest request with that method and path.
func (e *Engine) Last(t testing.TB, method, path string) Request {
	t.Helper()
	all := e.Requests()
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Method == method && all[i].Path == path {
			return all[i]
		}
	}
	t.Fatalf("no request %s %s among %v", method, path, e.Paths())
	return Request{}
}

// ServeHTTP implements http.Handler.
func (e *Engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	version := ""
	if rest, ok := strings.CutPrefix(r.URL.Path, "/v1."); ok {
		number, path, _ := strings.Cut(rest, "/")
		version, r.URL.Path = "1."+number, "/"+path
	}
	w.Header().Set("Api-Version", APIVersion)
	w.Header().Set("Ostype", "linux")
	w.Header().Set("Server", "Davit/fake (linux)")
	if r.URL.Path == "/_ping" {
		_, _ = io.WriteString(w, "OK")
		return
	}
	if minor, _ := strconv.Atoi(strings.TrimPrefix(version, "1.")); minor > newest {
		Reply(w, http.StatusBadRequest, "client version "+version+" is too new. Maximum supported API version is "+APIVersion)
		return
	}
	request := Request{Method: r.Method, Path: r.URL.Path, Version: version, Query: r.URL.Query(), Header: r.Header.Clone()}
	if r.Header.Get("Upgrade") == "" {
		request.Body, _ = io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(request.Body))
	}
	e.mu.Lock()
	e.requests = append(e.requests, request)
	e.mu.Unlock()
	for _, mux := range []*http.ServeMux{e.scenes, e.mux} {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
	}
	Reply(w, http.StatusNotFound, fmt.Sprintf("page not found: %s %s", r.Method, r.URL.Path))
}
