package engine

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"sort"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/logs"
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
	if rec.HostConfig.LogConfig.Type == "none" {
		return LogStream{}, errs.New(errs.NotImplemented, "configured logging driver does not support reading")
	}
	if _, err := tail(o.Tail); err != nil {
		return LogStream{}, err
	}
	return LogStream{
		TTY: rec.Config.Tty,
		Copy: func(ctx context.Context, stdout, stderr io.Writer) error {
			var done <-chan struct{}
			switch r := c.current(); {
			case r != nil:
				done = r.exited
			case o.Follow:
				ended := make(chan struct{})
				close(ended)
				done = ended
			}
			return e.copyLogs(ctx, &rec, o, done, stdout, stderr)
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

// copyLogs writes log entries as plain lines.
func (e *core) copyLogs(ctx context.Context, rec *record.Container, o LogsOptions, done <-chan struct{}, stdout, stderr io.Writer) error {
	n, err := tail(o.Tail)
	if err != nil {
		return err
	}
	var line []byte
	return logs.Read(ctx, e.logPath(rec), logs.Options{
		Stdout: o.Stdout, Stderr: o.Stderr, Since: o.Since, Until: o.Until, Tail: n, Follow: o.Follow, Done: done,
	}, func(entry logs.Entry) error {
		line = line[:0]
		if o.Timestamps {
			line = entry.Time.UTC().AppendFormat(line, logTime)
			line = append(line, ' ')
		}
		if o.Details {
			line = append(line, details(entry.Attrs)...)
			line = append(line, ' ')
		}
		line = append(line, entry.Line...)
		to := stdout
		if entry.Stream == "stderr" {
			to = stderr
		}
		if _, err := to.Write(line); err != nil {
			return fmt.Errorf("writing the log to the client: %w", err)
		}
		return nil
	})
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
