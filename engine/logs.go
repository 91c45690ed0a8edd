package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/url"
	"sort"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/logs"
	"github.com/davit-engine/davit/logs/driver"
	"github.com/davit-engine/davit/runtime/multiplex"
)

// Logs returns a container's log. What can be wrong with the request is found
// before the first byte.
func (e *Engine) Logs(_ context.Context, ref string, o LogsOptions) (LogStream, error) {
	c, err := e.table.find(ref)
	if err != nil {
		return LogStream{}, err
	}
	if !o.Stdout && !o.Stderr {
		return LogStream{}, errs.New(errs.InvalidParameter, "Bad parameters: you must choose at least one stream")
	}
	rec := c.snapshot()
	settings, err := logSettings(rec.HostConfig.LogConfig)
	if err != nil {
		return LogStream{}, err
	}
	if settings.Driver == driver.None || settings.Hidden {
		return LogStream{}, errs.New(errs.NotImplemented, "configured logging driver does not support reading")
	}
	if _, err := tail(o.Tail); err != nil {
		return LogStream{}, err
	}
	return LogStream{
		TTY: rec.Config.Tty,
		Copy: func(ctx context.Context, to io.Writer) error {
			var done <-chan struct{}
			switch r := c.current(); {
			case r != nil:
				done = r.exited
			case o.Follow:
				ended := make(chan struct{})
				close(ended)
				done = ended
			}
			return e.logging.copy(ctx, &rec, o, done, rec.Config.Tty, to)
		},
	}, nil
}

// tail reads the number of lines wanted; -1 is all of them.
func tail(text string) (int, error) {
	if text == "" || text == "all" {
		return -1, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, errs.New(errs.InvalidParameter, "invalid value for tail: %q", text)
	}
	if n < 0 {
		n = -1
	}
	return n, nil
}

// logTime is RFC 3339 with nine decimals, so that lines align.
const logTime = "2006-01-02T15:04:05.000000000Z07:00"

// copy writes log entries as plain lines, in frames unless raw.
func (l *logging) copy(ctx context.Context, rec *record.Container, o LogsOptions, done <-chan struct{}, raw bool, to io.Writer) error {
	n, err := tail(o.Tail)
	if err != nil {
		return err
	}
	w := &lineWriter{to: to, o: o, raw: raw}
	err = logs.Read(ctx, l.toRead(rec), logs.Options{
		Stdout: o.Stdout, Stderr: o.Stderr, Since: o.Since, Until: o.Until, Tail: n, Follow: o.Follow, Done: done,
		Watcher: &l.watcher, Idle: w.flush,
	}, w.add)
	if ferr := w.flush(); err == nil {
		err = ferr
	}
	return err
}

const (
	logBatch = 64 << 10 // what is written at once
	logFrame = 32 << 10 // the largest frame of several lines
)

// lineWriter writes log entries as clients get them, many at once.
type lineWriter struct {
	to  io.Writer
	o   LogsOptions
	raw bool // without frames

	buf    []byte
	frame  int     // where the head of the frame begins that more can be added to; only if stream is set
	stream string  // its stream; empty: there is none
	open   [2]bool // for stdout and stderr: the last line was not finished
}

// add appends an entry. Time and attributes stand at the beginning of lines:
// not where one goes on that was too long for one entry.
func (w *lineWriter) add(e *logs.Entry) error {
	w.begin(e.Stream, len(e.Line))
	open := &w.open[0]
	if e.Stream == "stderr" {
		open = &w.open[1]
	}
	if !*open {
		if w.o.Timestamps {
			w.buf = e.Time.UTC().AppendFormat(w.buf, logTime)
			w.buf = append(w.buf, ' ')
		}
		if w.o.Details {
			w.buf = append(w.buf, details(e.Attrs)...)
			w.buf = append(w.buf, ' ')
		}
	}
	w.buf = append(w.buf, e.Line...)
	w.end()
	*open = len(e.Line) > 0 && e.Line[len(e.Line)-1] != '\n'
	if len(w.buf) >= logBatch {
		return w.flush()
	}
	return nil
}

// begin makes the frame that the next line goes to.
func (w *lineWriter) begin(stream string, size int) {
	if w.raw || w.o.Merge && w.stream == stream && len(w.buf)-w.frame+size < logFrame {
		return
	}
	number := multiplex.Stdout
	if stream == "stderr" {
		number = multiplex.Stderr
	}
	w.stream, w.frame = stream, len(w.buf)
	head := multiplex.Header(number, 0)
	w.buf = append(w.buf, head[:]...)
}

// end tells the frame its size.
func (w *lineWriter) end() {
	if !w.raw {
		binary.BigEndian.PutUint32(w.buf[w.frame+4:], uint32(len(w.buf)-w.frame-multiplex.HeaderSize))
	}
}

func (w *lineWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.to.Write(w.buf)
	w.buf, w.stream = w.buf[:0], ""
	if err != nil {
		return fmt.Errorf("writing the log to the client: %w", err)
	}
	return nil
}

// details writes attributes as k=v, sorted and escaped as in a query.
func details(attrs map[string]string) string {
	pairs := make([]string, 0, len(attrs))
	for k, v := range attrs {
		pairs = append(pairs, url.QueryEscape(k)+"="+url.QueryEscape(v))
	}
	sort.Strings(pairs)
	return strings.Join(pairs, ",")
}
