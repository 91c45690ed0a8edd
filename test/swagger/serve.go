package swagger

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
)

// Middleware checks every answer of next and reports what is wrong, in the
// goroutine of the request, after the answer. What is hijacked is not checked.
func (c *Checker) Middleware(next http.Handler, report func(error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{ResponseWriter: w}
		method, path := r.Method, r.URL.Path
		next.ServeHTTP(rec, r)
		if rec.hijacked {
			return
		}
		rec.mu.Lock()
		defer rec.mu.Unlock()
		if rec.status == 0 {
			rec.status = http.StatusOK
		}
		for _, err := range c.Check(method, path, rec.status, w.Header(), rec.body.Bytes()) {
			report(err)
		}
	})
}

// Proxy hands requests to the engine that listens at a unix socket, connections
// that change their protocol included, and checks its answers as Middleware
// does.
func (c *Checker) Proxy(socket string, report func(error)) http.Handler {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "engine"})
	proxy.FlushInterval = -1
	proxy.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	return c.Middleware(proxy, report)
}

// recorder keeps a copy of an answer.
type recorder struct {
	http.ResponseWriter
	mu       sync.Mutex // guards the rest
	status   int
	body     bytes.Buffer
	hijacked bool
}

func (r *recorder) WriteHeader(status int) {
	r.mu.Lock()
	if r.status == 0 && status >= 200 {
		r.status = status
	}
	r.mu.Unlock()
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	if r.status == 0 {
		r.status = http.StatusOK
	}
	r.body.Write(b)
	r.mu.Unlock()
	return r.ResponseWriter.Write(b)
}

func (r *recorder) Flush() { _ = http.NewResponseController(r.ResponseWriter).Flush() }

// Unwrap lets http.ResponseController find the rest.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	r.hijacked = true
	return http.NewResponseController(r.ResponseWriter).Hijack()
}
