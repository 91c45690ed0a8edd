package daemon

import (
	"context"
	"io"
	"log/slog"
	"strings"

	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
)

// newLog returns the engine's log and its level, which a reload may change.
func newLog(w io.Writer, c Log) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(c.level())
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o)), level
	}
	return slog.New(slog.NewTextHandler(w, o)), level
}

func (c Log) level() slog.Level {
	if c.Debug {
		return slog.LevelDebug
	}
	return levels[strings.ToLower(c.Level)]
}

// adoptLibraryLog sends what containerd's libraries log to l. They have one
// log per program, which is why this is done once, when the engine is made.
func adoptLibraryLog(l *slog.Logger) {
	log.L.Logger.SetOutput(io.Discard)
	log.L.Logger.ReplaceHooks(logrus.LevelHooks{})
	log.L.Logger.AddHook(libraryHook{l})
}

type libraryHook struct{ log *slog.Logger }

// Levels asks for what is worth reading: the libraries' own "info" is an
// engine's debug.
func (libraryHook) Levels() []log.Level {
	return []log.Level{log.PanicLevel, log.FatalLevel, log.ErrorLevel, log.WarnLevel, log.InfoLevel, log.DebugLevel}
}

func (h libraryHook) Fire(e *log.Entry) error {
	level := slog.LevelDebug
	switch e.Level {
	case log.PanicLevel, log.FatalLevel, log.ErrorLevel:
		level = slog.LevelError
	case log.WarnLevel:
		if !strings.HasPrefix(e.Message, "failed check for fsverity support") { // said at every start on most file systems
			level = slog.LevelWarn
		}
	}
	attrs := make([]slog.Attr, 0, len(e.Data))
	for k, v := range e.Data {
		attrs = append(attrs, slog.Any(k, v))
	}
	h.log.LogAttrs(context.Background(), level, e.Message, attrs...)
	return nil
}
