package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/davit-engine/davit/api"
	"github.com/moby/moby/api/types/events"
)

// Daemon is an engine that listens.
type Daemon struct {
	cfg     *Config
	log     *slog.Logger
	level   *slog.LevelVar
	timeout atomic.Int64 // of stopping, in seconds
	undo    []func()     // in the order of making, run from the end
	listen  listenerSet
	server  *http.Server
	api     *api.Server
	publish func(events.Message)
	begin   func()
	cancel  context.CancelFunc // ends every request
}

// parts is what an engine consists of, once it is wired together.
type parts struct {
	offered api.Parts
	publish func(events.Message)
	begin   func()                    // clients are served: containers that wait for it may start
	close   func(ctx context.Context) // containers keep running
}

// build makes an engine's parts.
type build func(ctx context.Context, c *Config, log *slog.Logger) (parts, error)

// newDaemon takes the data root, opens the listeners, and only then builds:
// clients may connect at once and wait.
func newDaemon(ctx context.Context, c *Config, log *slog.Logger, level *slog.LevelVar, make build) (_ *Daemon, err error) {
	d := &Daemon{cfg: c, log: log, level: level}
	d.timeout.Store(int64(c.ShutdownTimeout))
	defer func() {
		if err != nil {
			d.unwind()
		}
	}()
	if err := makeExecRoot(c.Paths.ExecRoot); err != nil {
		return nil, err
	}
	lock, err := lockRoot(c.Paths.DataRoot)
	if err != nil {
		return nil, err
	}
	d.undo = append(d.undo, func() { lock.Close() })
	remove, err := writePID(c.pidFile())
	if err != nil {
		return nil, err
	}
	d.undo = append(d.undo, remove)
	d.listen, err = opener{cfg: c.Listen, execRoot: c.Paths.ExecRoot, docker: dockerSocket, log: log}.open(ctx)
	if err != nil {
		return nil, err
	}
	d.undo = append(d.undo, d.listen.close)

	log.Info("listening at "+d.listen.String(), "version", c.Version, "data-root", c.Paths.DataRoot, "exec-root", c.Paths.ExecRoot, "pid", os.Getpid())
	for _, n := range c.notes {
		log.Info("option changes nothing", "option", n.Option, "reason", n.Reason)
	}
	setProxy(c.Proxy)

	p, err := make(ctx, c, log)
	if err != nil {
		return nil, err
	}
	d.undo = append(d.undo, func() {
		ctx, cancel := d.grace()
		defer cancel()
		p.close(ctx)
	})
	d.publish, d.begin = p.publish, p.begin
	d.api = api.New(p.offered, api.Config{
		Version: c.Version, MinVersion: minVersion(c), Builder: builder(c), Experimental: c.API.Experimental,
		CgroupUnified: cgroupUnified(), Log: log,
	})
	base, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	d.undo = append(d.undo, cancel)
	d.server = &http.Server{
		Handler:           d.api,
		ReadHeaderTimeout: 30 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return d, nil
}

// Run serves until ctx ends, then stops: requests get time to finish, streams
// end, containers keep running.
func (d *Daemon) Run(ctx context.Context) error {
	defer d.unwind()
	failed := make(chan error, len(d.listen))
	for _, l := range d.listen {
		go func() {
			if err := d.server.Serve(l.Listener); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serving at %s: %w", l.at, err)
			}
		}()
	}
	d.notify(daemon.SdNotifyReady)
	d.log.Info("ready")
	if d.begin != nil {
		d.begin()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		d.log.Error("stopping", "error", err)
	}
	d.notify(daemon.SdNotifyStopping)
	d.log.Info("stopping: containers keep running")
	d.stopServing()
	return err
}

// stopServing lets requests finish, then ends those that do not.
func (d *Daemon) stopServing() {
	d.api.EndStreams()
	ctx, cancel := d.grace()
	defer cancel()
	if err := d.server.Shutdown(ctx); err != nil {
		d.log.Warn("ending requests that take too long", "error", err)
	}
	d.cancel()
	// What Shutdown left is told by the cancelled context; its connection is closed
	// whatever it does.
	_ = d.server.Close()
}

// grace returns the context that ends with the time for stopping.
func (d *Daemon) grace() (context.Context, context.CancelFunc) {
	if s := d.timeout.Load(); s >= 0 {
		return context.WithTimeout(context.Background(), time.Duration(s)*time.Second)
	}
	return context.WithCancel(context.Background())
}

func (d *Daemon) unwind() {
	for len(d.undo) > 0 {
		last := d.undo[len(d.undo)-1]
		d.undo = d.undo[:len(d.undo)-1]
		last()
	}
}

// notify tells systemd, if it started us.
func (d *Daemon) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		d.log.Warn("telling systemd", "state", state, "error", err)
	}
}

// Stacks writes what every goroutine does to a file in the exec root.
func (d *Daemon) Stacks() {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	path := filepath.Join(d.cfg.Paths.ExecRoot, "goroutine-stacks-"+strings.ReplaceAll(time.Now().UTC().Format(time.RFC3339), ":", "")+".log")
	if err := os.WriteFile(path, buf, 0o600); err != nil {
		d.log.Error("writing goroutine stacks", "error", err)
		return
	}
	d.log.Info("goroutine stacks written", "path", path)
}
