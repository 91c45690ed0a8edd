package engine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/logs"
	"github.com/davit-engine/davit/logs/driver"
	"github.com/davit-engine/davit/runtime/wire"
	"github.com/moby/moby/api/types/container"
)

// logging knows where containers' logs are, what is in them, and who else gets
// them.
type logging struct {
	store    *record.Store
	hostname string
	watcher  logs.Watcher // tells all readers what is new
	shippers *shippers
}

func newLogging(c *core) *logging {
	return &logging{
		store: c.store, hostname: c.cfg.About.Name,
		shippers: &shippers{log: c.cfg.Log, work: &c.work, all: map[string]*shipper{}},
	}
}

// logSettings reads a container's log configuration.
func logSettings(c container.LogConfig) (driver.Settings, error) {
	s, err := driver.Parse(c.Type, c.Config)
	if err != nil {
		return s, errs.Wrap(errs.InvalidParameter, err)
	}
	return s, nil
}

// order says how the container's supervisor keeps its log.
func (l *logging) order(rec *record.Container) (wire.Log, error) {
	s, err := logSettings(rec.HostConfig.LogConfig)
	if err != nil {
		return wire.Log{}, err
	}
	order := s.File
	if order.Driver == driver.None {
		return order, nil
	}
	order.Path = l.path(rec)
	if order.Attrs, err = l.info(rec).Attributes(&s); err != nil {
		return order, errs.Wrap(errs.InvalidParameter, err)
	}
	if !rec.State.StartedAt.IsZero() {
		return order, l.take(rec)
	}
	return order, nil
}

// daemonName is what {{.DaemonName}} says in tags: rules of log collectors match
// Docker's.
const daemonName = "docker"

// info is what log drivers may tell of a container.
func (l *logging) info(rec *record.Container) *driver.Info {
	return &driver.Info{
		ID: rec.ID, Name: rec.Name, ImageID: rec.Image.ID, ImageName: rec.Image.Name, Command: append([]string{rec.Path}, rec.Args...),
		Created: rec.Created, Env: rec.Config.Env, Labels: rec.Config.Labels, Daemon: daemonName, Hostname: l.hostname,
	}
}

// Names of log files below a container's directory. What is named -json.log
// has that format, for programs that look for such files.
const (
	jsonLog  = "-json.log"
	localLog = "-local.log"
)

// path is where the container's output is kept; empty: nowhere.
func (l *logging) path(rec *record.Container) string {
	name := localLog
	switch rec.HostConfig.LogConfig.Type {
	case driver.None:
		return ""
	case driver.JSONFile, "":
		name = jsonLog
	}
	return filepath.Join(l.store.Dir(rec.ID), rec.ID+name)
}

// shownLogPath is what inspect tells: Docker names json-file's only.
func shownLogPath(path string) string {
	if strings.HasSuffix(path, jsonLog) {
		return path
	}
	return ""
}

// take gives the log of a container whose driver has changed the name that
// it has with the new one, so that it stays readable.
func (l *logging) take(rec *record.Container) error {
	to := l.path(rec)
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return logs.Rename(otherLog(to), to)
}

// otherLog is the path that a log has with a driver of the other format.
func otherLog(path string) string {
	if stem, ok := strings.CutSuffix(path, jsonLog); ok {
		return stem + localLog
	}
	return strings.TrimSuffix(path, localLog) + jsonLog
}

// toRead is path, or where the log still is when the driver has changed
// since the container ran.
func (l *logging) toRead(rec *record.Container) string {
	path := l.path(rec)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if other := otherLog(path); logs.Exists(other) {
			return other
		}
	}
	return path
}
