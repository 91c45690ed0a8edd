// Package registry serves images from a directory by the OCI distribution
// protocol: pull, push, delete, tags and catalogue.
//
// It wraps distribution's handlers over its filesystem driver, and knows nothing
// of the engine or its image store; the two meet over HTTP only. It stands in a
// binary of its own because distribution starts slowly and is large. A Server
// may be used by many goroutines.
package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the driver that Handler names
	"github.com/sirupsen/logrus"
	lslog "github.com/sirupsen/logrus/hooks/slog"
)

// Server is a registry over one directory.
type Server struct {
	app *handlers.App
	log *slog.Logger
}

// New returns a registry that keeps its images below root, which is made if it
// is missing. Manifests and blobs may be deleted.
func New(ctx context.Context, root string, log *slog.Logger) (s *Server, err error) {
	// distribution's constructor reports a bad configuration by panicking.
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("opening the registry in %s: %v", root, p)
		}
	}()
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, fmt.Errorf("making the registry's directory: %w", err)
	}
	config := &configuration.Configuration{
		Version: "0.1",
		Storage: configuration.Storage{
			"filesystem": configuration.Parameters{"rootdirectory": root},
			"delete":     configuration.Parameters{"enabled": true},
			"maintenance": configuration.Parameters{"uploadpurging": map[any]any{
				"enabled": true, "age": "168h", "interval": "24h", "dryrun": false,
			}},
		},
	}
	config.Catalog.MaxEntries = 1000
	config.HTTP.Secret = rand.Text() // signs upload states; uploads do not outlive the process
	return &Server{app: handlers.NewApp(ctx, config), log: log}, nil
}

// ServeHTTP answers the distribution protocol below /v2/.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if err, ok := p.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
			s.log.Error("serving a request failed", "method", r.Method, "path", r.URL.Path, "error", p)
		}
		// The answer may have begun: cut the connection rather than end it well.
		panic(http.ErrAbortHandler)
	}()
	s.app.ServeHTTP(w, r)
}

// Close ends the background work.
func (s *Server) Close() error { return s.app.Shutdown() }

// Serve answers on l until ctx ends; then it lets requests that are under way
// finish for up to grace.
func (s *Server) Serve(ctx context.Context, l net.Listener, grace time.Duration) error {
	server := &http.Server{Handler: s, ReadHeaderTimeout: 30 * time.Second, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn)}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(stop); err != nil {
		return errors.Join(fmt.Errorf("stopping: %w", err), server.Close())
	}
	return nil
}

// RouteLogs sends what distribution logs to log. It changes the process-wide
// logger that distribution writes to, so it is for main to call.
func RouteLogs(log *slog.Logger) {
	std := logrus.StandardLogger()
	std.SetOutput(io.Discard)
	std.SetLevel(logrus.WarnLevel)
	if log.Enabled(context.Background(), slog.LevelDebug) {
		std.SetLevel(logrus.DebugLevel)
	}
	std.AddHook(lslog.NewHook(log, nil))
}
