package api

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/multiplex"
	"github.com/moby/moby/api/types/container"
)

// Streams connects clients with what containers read and write.
type Streams interface {
	// Wait sends one value and closes.
	Wait(ctx context.Context, ref string, cond container.WaitCondition) (<-chan container.WaitResponse, error)
	Attach(ctx context.Context, ref string, o engine.AttachOptions) error
	Logs(ctx context.Context, ref string, o engine.LogsOptions) (engine.LogStream, error)
	Resize(ctx context.Context, ref string, height, width uint32) error
}

// Media types of the streams; before 1.42 every one was called raw.
const (
	rawStream         = "application/vnd.docker.raw-stream"
	multiplexedStream = "application/vnd.docker.multiplexed-stream"
)

type streamRoutes struct {
	part Streams
	stop <-chan struct{}
}

func (t *table) streams(part Streams, stop <-chan struct{}) {
	if part == nil {
		return
	}
	h := streamRoutes{part, stop}
	t.add("POST", "/containers/{id}/wait", h.wait)
	t.add("POST", "/containers/{id}/attach", h.attach)
	t.add("GET", "/containers/{id}/attach/ws", h.attachWS)
	t.add("GET", "/containers/{id}/logs", h.logs)
	t.add("POST", "/containers/{id}/resize", h.resize)
}

// container returns the reference in the path. A name may be written with the
// slash that it has in answers.
func (c *call) container() string {
	if ref := strings.TrimPrefix(c.vars[0], "/"); ref != "" {
		return ref
	}
	return c.vars[0]
}

// streamType names the form of a container's output.
func (c *call) streamType(raw bool) string {
	if raw || c.version.Before(42) {
		return rawStream
	}
	return multiplexedStream
}

func (h streamRoutes) wait(c *call) error {
	cond := container.WaitConditionNotRunning
	early := !c.version.Before(30) // 1.30 brought conditions, and a head that is sent at once
	if text := c.r.Form.Get("condition"); text != "" && early {
		cond = container.WaitCondition(text)
		switch cond {
		case container.WaitConditionNotRunning, container.WaitConditionNextExit, container.WaitConditionRemoved:
		default:
			return errs.New(errs.InvalidParameter, "invalid condition: %q", text)
		}
	}
	ctx, cancel := untilClosed(c.ctx, h.stop)
	defer cancel()
	result, err := h.part.Wait(ctx, c.container(), cond)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/json")
	if early {
		c.w.WriteHeader(http.StatusOK)
		flush(c.w)
	}
	select {
	case resp, ok := <-result:
		switch {
		case !ok && early:
			return nil // an empty answer is an error to clients
		case !ok:
			return errs.New(errs.Cancelled, "waiting for container %s ended", c.container())
		case cond == container.WaitConditionRemoved && resp.Error != nil && c.version.Before(34):
			return nil // 1.34 brought Error; before, only an empty answer could tell
		}
		return writeJSON(once{c.w, early}, http.StatusOK, resp)
	case <-ctx.Done():
		if !early {
			return ctx.Err()
		}
		return nil
	}
}

// once is a ResponseWriter whose head may have been sent already.
type once struct {
	http.ResponseWriter
	sent bool
}

func (o once) WriteHeader(status int) {
	if !o.sent {
		o.ResponseWriter.WriteHeader(status)
	}
}

func (h streamRoutes) attach(c *call) error {
	hijacked := false
	err := h.part.Attach(c.ctx, c.container(), engine.AttachOptions{
		Logs: c.truth("logs"), Stream: c.truth("stream"),
		Stdin: c.truth("stdin"), Stdout: c.truth("stdout"), Stderr: c.truth("stderr"),
		DetachKeys: c.r.Form.Get("detachKeys"),
		Hijack: func(raw bool) (net.Conn, []byte, error) {
			hijacked = true
			return c.hijack(raw)
		},
	})
	if err != nil && hijacked { // there is nobody left to tell
		c.log.Debug("attaching ended in an error", "error", err)
		return nil
	}
	return err
}

// hijack takes the connection from the HTTP server and sends the head of the
// answer: a switch of protocols where the client asked for one.
func (c *call) hijack(raw bool) (net.Conn, []byte, error) {
	_, upgrade := c.r.Header["Upgrade"]
	head := "HTTP/1.1 200 OK\r\nContent-Type: " + rawStream + "\r\n\r\n"
	if upgrade {
		head = "HTTP/1.1 101 UPGRADED\r\nContent-Type: " + c.streamType(raw) + "\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
	}
	conn, buf, err := http.NewResponseController(c.w).Hijack()
	if err != nil {
		return nil, nil, errs.New(errs.InvalidParameter, "error attaching to container %s, hijack connection missing: %w", c.container(), err)
	}
	early := make([]byte, buf.Reader.Buffered())
	if _, err := io.ReadFull(buf, early); err != nil {
		conn.Close()
		return nil, nil, fmt.Errorf("reading what the client sent early: %w", err)
	}
	if _, err := io.WriteString(conn, head); err != nil {
		conn.Close()
		return nil, nil, fmt.Errorf("answering the client: %w", err)
	}
	return conn, early, nil
}

// logs sends a log. Frames of many lines are for who asks (merge=1 is ours) and
// for the docker command line, which only copies them: a line in each costs it
// ten times as long. Libraries may take a frame for a line.
func (h streamRoutes) logs(c *call) error {
	o := engine.LogsOptions{
		Follow: c.truth("follow"), Stdout: c.truth("stdout"), Stderr: c.truth("stderr"),
		Timestamps: c.truth("timestamps"), Details: c.truth("details"), Tail: c.r.Form.Get("tail"),
		Merge: c.truth("merge") || strings.HasPrefix(c.r.UserAgent(), "Docker-Client/"),
	}
	if !o.Stdout && !o.Stderr {
		return errs.New(errs.InvalidParameter, "Bad parameters: you must choose at least one stream")
	}
	var err error
	if o.Since, err = c.logTime("since"); err != nil {
		return err
	}
	if o.Until, err = c.logTime("until"); err != nil {
		return err
	}
	ctx, cancel := untilClosed(c.ctx, h.stop)
	defer cancel()
	stream, err := h.part.Logs(ctx, c.container(), o)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", c.streamType(stream.TTY))
	c.w.WriteHeader(http.StatusOK)
	flush(c.w)

	var out io.Writer = c.w
	if o.Follow {
		out = flusher{c.w} // somebody watches
	}
	if err := stream.Copy(ctx, out); err != nil && ctx.Err() == nil {
		if !stream.TTY {
			out = multiplex.Writer{W: out, Stream: multiplex.System}
		}
		fmt.Fprintf(out, "Error grabbing logs: %v\n", err)
	}
	select {
	case <-h.stop:
		if o.Follow {
			panic(http.ErrAbortHandler) // the log goes on, and its reader shall know
		}
	default:
	}
	return nil
}

// logTime reads a bound of the log; "0" is none.
func (c *call) logTime(name string) (t time.Time, err error) {
	if c.r.Form.Get(name) == "0" {
		return t, nil
	}
	return c.timeParameter(name)
}

func (h streamRoutes) resize(c *call) error {
	height, err := c.size("h", "height")
	if err != nil {
		return err
	}
	width, err := c.size("w", "width")
	if err != nil {
		return err
	}
	if err := h.part.Resize(c.ctx, c.container(), height, width); err != nil {
		return err
	}
	return c.empty(http.StatusOK)
}
