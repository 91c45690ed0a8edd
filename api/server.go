package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/davit-engine/davit/api/compat"
	"github.com/davit-engine/davit/errs"
)

// Config says how a Server presents itself.
type Config struct {
	Version       string         // Davit's version, for the Server header
	MinVersion    compat.Version // oldest API version served; zero: compat.Min
	Builder       string         // which builder clients should use: "1", "2"; empty: no header
	Experimental  bool           // the Docker-Experimental header
	CgroupUnified bool           // the host has cgroup v2 alone; a default before 1.41 depends on it
	BodyTime      time.Duration  // that a client may take to send a body that is not streamed; 0: a minute
	Log           *slog.Logger   // nil: slog.Default()
}

// Parts are what a Server offers to its clients. A part that is nil is
// answered as not implemented.
type Parts struct {
	Lifecycle Lifecycle
	Freezer   Freezer
	Streams   Streams
	Catalog   Catalog
	Changes   Changes
	Explainer Explainer
	System    System
	Transfer  Transfer
	Images    Images
	Volumes   Volumes
	Registry  Registry
	Files     Files
	Committer Committer
	Networks  Networks
	Usage     Usage
	Space     Space
	Archives  Archives
	Execs     Execs

	Checkpoints Checkpoints
}

// Server is an http.Handler for Docker's API.
type Server struct {
	cfg    Config
	span   compat.Range
	routes []route
	stop   chan struct{}
	once   sync.Once
}

// New returns a Server for the parts.
func New(p Parts, c Config) *Server {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	s := &Server{cfg: c, span: compat.Range{Min: c.MinVersion, Max: compat.Max}, stop: make(chan struct{})}
	if s.span.Min.IsZero() {
		s.span.Min = compat.Min
	}
	var t table
	t.system(p.System, s)
	t.auth(p.Registry)
	t.lifecycle(p.Lifecycle, c.CgroupUnified)
	t.freezer(p.Freezer)
	t.catalog(p.Catalog)
	t.changes(p.Changes)
	t.explainer(p.Explainer)
	t.streams(p.Streams, s.stop)
	t.usage(p.Usage, s)
	t.space(p.Space)
	t.execs(p.Execs)
	t.checkpoints(p.Checkpoints)
	t.transfer(p.Transfer)
	t.images(p.Images)
	t.archives(p.Archives)
	t.files(p.Files)
	t.commit(p.Committer)
	t.volumes(p.Volumes)
	t.networks(p.Networks)
	t.absent()
	t.unbuilt()
	s.routes = t.sorted()
	return s
}

// EndStreams ends what would never end by itself: followed logs, events and
// waits. Other requests go on. It may be called more than once.
func (s *Server) EndStreams() { s.once.Do(func() { close(s.stop) }) }

// call is one request on its way through a handler.
type call struct {
	w       http.ResponseWriter
	r       *http.Request
	ctx     context.Context
	version compat.Version
	vars    []string // what the route's places were filled with
	log     *slog.Logger
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	out := &answer{ResponseWriter: w}
	log := s.cfg.Log.With("method", r.Method, "path", r.URL.Path)
	defer func() {
		p := recover()
		switch {
		case p == http.ErrAbortHandler:
			panic(p)
		case p != nil:
			log.Error("handler panicked", "panic", p, "stack", string(debug.Stack()))
			out.fail(http.StatusInternalServerError, "internal error: see the engine's log")
		}
		log.Debug("request", "status", out.status, "took", time.Since(started))
	}()
	if err := s.serve(out, r, log); err != nil {
		status := statusOf(err)
		if status >= http.StatusInternalServerError && r.Context().Err() == nil {
			log.Error("request failed", "status", status, "error", err)
		}
		out.fail(status, err.Error())
	}
}

func (s *Server) serve(w *answer, r *http.Request, log *slog.Logger) error {
	path, text, version := r.URL.Path, s.span.Max.String(), s.span.Max
	if prefix, rest, ok := cutVersion(path); ok {
		v, err := compat.Parse(prefix)
		if err != nil {
			return err
		}
		path, text, version = rest, prefix, v
	}
	rt, vars := match(s.routes, r.Method, path)
	if rt == nil {
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusOK)
			return nil
		}
		return errs.New(errs.NotFound, "page not found")
	}
	h := w.Header()
	h.Set("Server", fmt.Sprintf("Davit/%s (linux)", s.cfg.Version))
	h.Set("Api-Version", s.span.Max.String())
	h.Set("Docker-Experimental", strconv.FormatBool(s.cfg.Experimental))
	h.Set("Ostype", "linux")
	if err := s.span.Check(version, text); err != nil {
		return err
	}
	if rt.handle == nil {
		return errs.New(errs.NotImplemented, "%s %s is not implemented by this engine", r.Method, rt.pattern)
	}
	if !rt.body || rt.small {
		if err := s.bound(w, r); err != nil {
			return err
		}
	}
	if err := parseForm(r, rt.body); err != nil {
		return err
	}
	return rt.handle(&call{w: w, r: r, ctx: r.Context(), version: version, vars: vars, log: log})
}

// cutVersion takes a leading /v1.44 off the path.
func cutVersion(path string) (version, rest string, ok bool) {
	tail, ok := strings.CutPrefix(path, "/v")
	if !ok {
		return "", path, false
	}
	version, rest, ok = strings.Cut(tail, "/")
	if !ok || version == "" || strings.Trim(version, "0123456789.") != "" {
		return "", path, false
	}
	return version, "/" + rest, true
}

// streaming returns a context for an answer that may never end by itself: it
// ends with the client or with EndStreams.
func (s *Server) streaming(c *call) (context.Context, context.CancelFunc) {
	return untilClosed(c.ctx, s.stop)
}

func untilClosed(parent context.Context, stop <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	go func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
