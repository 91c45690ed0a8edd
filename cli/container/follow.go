package container

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/errs"
)

// How long an engine that is being replaced is waited for, and how often it is
// tried.
const (
	followPatience = 10 * time.Second
	followRetry    = 100 * time.Millisecond
)

// followLogs shows a log as it grows. Where the engine is replaced meanwhile, it
// asks the next one for what comes after the last line, which it knows by the
// times of lines: they are asked for in any case.
func followLogs(ctx context.Context, e *env.Env, api *client.Client, id string, tty bool, o client.LogsOptions) error {
	out, err := &place{w: e.Out, show: o.Timestamps}, &place{w: e.Err, show: o.Timestamps}
	o.Timestamps = true
	for {
		stream, failed := nextLogs(ctx, api, id, o)
		if failed != nil {
			return failed
		}
		if tty {
			_, failed = io.Copy(out, stream)
		} else {
			_, failed = stdcopy.StdCopy(out, err, stream)
		}
		_ = stream.Close()
		if !errors.Is(failed, io.ErrUnexpectedEOF) && !errors.Is(failed, syscall.ECONNRESET) {
			return failed
		}
		if since := earlier(out.resume(), err.resume()); since != "" {
			o.Since, o.Tail = strings.TrimSpace(since), "all"
		}
	}
}

// nextLogs asks for the log, of an engine that may not answer for a moment.
func nextLogs(ctx context.Context, api *client.Client, id string, o client.LogsOptions) (io.ReadCloser, error) {
	for end := time.Now().Add(followPatience); ; {
		stream, err := api.Containers.Logs(ctx, id, o)
		if !errs.Is(err, errs.Unavailable) || time.Now().After(end) {
			return stream, err
		}
		select {
		case <-time.After(followRetry):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// earlier returns the earlier one of two times as the log has them; "" is none.
func earlier(a, b string) string {
	if a == "" || b != "" && b < a {
		return b
	}
	return a
}

// stampForm is the form of a time at a line's beginning, with the space after it.
const stampForm = "2006-01-02T15:04:05.000000000Z "

// likeStamp reports whether b may be the beginning of a time.
func likeStamp(b []byte) bool {
	for i, c := range b {
		digit := c >= '0' && c <= '9'
		if want := stampForm[i]; digit != (want >= '0' && want <= '9') || !digit && c != want {
			return false
		}
	}
	return true
}

// place writes lines that begin with a time, and knows how far it has come, so
// that after a break it can leave out what it wrote before. Times are written
// with nine decimals and in UTC, so they compare as texts; several lines may
// have one.
type place struct {
	w    io.Writer
	show bool // write the times too

	stamp   []byte // of the line that is being read, as far as it has come
	in      bool   // the stamp is complete
	last    string // the time of the last line that was written
	lines   int    // so many whole lines of that time were written
	open    bool   // and the next one was begun
	partial int    // so many bytes of that

	again bool // lines up to that place come once more
	seen  int  // so many of them had that time
	skip  int  // bytes of the present line that are not written; -1: all
}

// resume is called before lines are written once more. It returns the time from
// which they are wanted; "" if none was written.
func (p *place) resume() string {
	p.stamp, p.in, p.again, p.seen, p.skip = nil, false, p.last != "", 0, 0
	return p.last
}

// Write implements io.Writer.
func (p *place) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if !p.in {
			take := min(len(b), len(stampForm)-len(p.stamp))
			p.stamp, b = append(p.stamp, b[:take]...), b[take:]
			var err error
			switch {
			case !likeStamp(p.stamp): // the engine says something itself
				b, p.skip = append(p.stamp, b...), 0
				p.stamp = nil
			case len(p.stamp) < len(stampForm):
				return n, nil
			default:
				err = p.begin(string(p.stamp))
				p.stamp = p.stamp[:0]
			}
			if err != nil {
				return 0, err
			}
			p.in = true
			continue
		}
		line := b
		end := bytes.IndexByte(b, '\n')
		if end >= 0 {
			line = b[:end+1]
		}
		b = b[len(line):]
		if err := p.body(line, end >= 0); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// begin is called with the time of a line.
func (p *place) begin(stamp string) error {
	p.skip = 0
	switch {
	case p.again && stamp < p.last:
		p.skip = -1
		return nil
	case p.again && stamp == p.last:
		if p.seen++; p.seen <= p.lines {
			p.skip = -1
			return nil
		}
		if p.again = false; p.open {
			p.skip = p.partial
			return nil
		}
	case stamp != p.last:
		p.last, p.lines = stamp, 0
	}
	p.again, p.open, p.partial = false, true, 0
	if !p.show {
		return nil
	}
	_, err := io.WriteString(p.w, stamp)
	return err
}

// body is called with a part of a line; whole says that it is the last one.
func (p *place) body(b []byte, whole bool) error {
	p.in = !whole
	if p.skip < 0 {
		return nil
	}
	cut := min(p.skip, len(b))
	p.skip -= cut
	if b = b[cut:]; whole {
		p.lines++
		p.open = false
	} else {
		p.partial += len(b)
	}
	_, err := p.w.Write(b)
	return err
}

// follows reports whether a log that is asked for like this may go on after a
// break: a bound in the past or a relative one would mean something else then.
func follows(o client.LogsOptions) bool { return o.Follow && strings.TrimSpace(o.Until) == "" }
