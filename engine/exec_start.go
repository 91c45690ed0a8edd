package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/davit-engine/davit/engine/spec"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/multiplex"
	"github.com/davit-engine/davit/runtime/wire"
)

// ExecStartOptions says how to start an exec.
type ExecStartOptions struct {
	Detach        bool
	Tty           bool     // the client wants one stream without framing
	ConsoleSize   *[2]uint // height and width; nil: as it was created
	DieWithClient bool     // end it when the client goes away without detaching

	// Hijack is AttachOptions.Hijack; it is not called with Detach.
	Hijack func(raw bool) (net.Conn, []byte, error)
}

// Start runs a prepared command, once. Its client's socket goes to the
// shim, as with Attach. Conflict when it was started before, or when the
// container does not run or is paused.
//
// What makes the command itself impossible - its user, its program - is an
// error only where there is no client: one that takes part gets the text in
// its stream and finds the exit code by Inspect, as with Docker, whose
// clients count on it.
func (e *Execs) Start(ctx context.Context, id string, o ExecStartOptions) error {
	x, err := e.execs.find(id)
	if err != nil {
		return err
	}
	terms := execTerms{size: o.ConsoleSize, dieWithClient: o.DieWithClient && !o.Detach, record: true}
	if terms.size == nil {
		terms.size = x.request.ConsoleSize
	}
	if !o.Detach {
		terms.client = func() (*attachment, error) { return hijack(o, x) }
	}
	err = e.start(ctx, x, x.c.current(), terms)
	var failed *execError
	if !o.Detach && errors.As(err, &failed) {
		return failed.client.report(failed.cause)
	}
	return err
}

// hijack makes an attachment of the client's connection.
func hijack(o ExecStartOptions, x *execution) (*attachment, error) {
	raw := o.Tty || x.request.Tty
	conn, input, err := o.Hijack(raw)
	if err != nil {
		return nil, fmt.Errorf("taking over the client's connection: %w", err)
	}
	a, err := newAttachment(conn)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	r := &x.request
	a.order = wire.Attach{Stdin: r.AttachStdin, Stdout: r.AttachStdout, Stderr: r.AttachStderr, Raw: raw, Input: input}
	if r.Tty {
		a.order.DetachKeys = x.keys
		if len(x.keys) == 0 {
			a.order.DetachKeys = defaultDetachKeys
		}
	}
	return a, nil
}

// execError is a command that could not be started, and the client who is to
// hear of it; nil if there is none.
type execError struct {
	cause  error
	client *attachment
}

func (e *execError) Error() string { return e.cause.Error() }
func (e *execError) Unwrap() error { return e.cause }

// report writes why there is no process where its output would have come, and
// lets the client go.
func (a *attachment) report(cause error) error {
	defer a.close()
	out, ok := a.socket.(io.Writer)
	if !ok {
		return cause
	}
	if !a.order.Raw {
		out = multiplex.Writer{W: out, Stream: multiplex.Stdout}
	}
	_, err := io.WriteString(out, cause.Error()+"\r\n")
	return err
}

// execTerms are the terms of a start.
type execTerms struct {
	size          *[2]uint // of the terminal
	dieWithClient bool
	record        bool // it is known to an engine that comes later

	// client gives the client, who is there before the first byte of output; nil:
	// there is none. It is called when nothing but the command can fail any more.
	client func() (*attachment, error)
}

// start runs x in r, once. What is wrong with the command is an *execError.
func (e *execer) start(ctx context.Context, x *execution, r *run, t execTerms) error {
	c := x.c
	if r == nil {
		return errs.New(errs.Conflict, "container %s is not running", c.id)
	}
	// Before c is owned: to read files of a container may take as long as the
	// container likes.
	order, failed := e.order(x, r, t)
	if err := c.own(ctx); err != nil {
		return err
	}
	defer c.disown() // until then it is not paused, which would stop the exec half way
	switch now, err := executable(c, c.id); {
	case err != nil:
		return err
	case now != r:
		return errs.New(errs.Conflict, "container %s was started again meanwhile: try again", c.id)
	}
	if err := x.begin(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	var client *attachment
	if t.client != nil {
		var err error
		if client, err = t.client(); err != nil {
			e.cannotStart(x, err)
			return err
		}
	}
	e.publishExec(x, events.ActionExecStart, nil)
	if failed != nil {
		e.cannotStart(x, failed)
		return &execError{failed, client}
	}
	err := e.launch(ctx, r, x, order, client)
	if err != nil {
		err = execFailure(err)
		e.cannotStart(x, err)
		return &execError{err, client}
	}
	if client != nil {
		client.close()
	}
	return nil
}

// launch hands the order to the shim.
func (e *execer) launch(ctx context.Context, r *run, x *execution, order *wire.Exec, client *attachment) error {
	var sockets []syscall.Conn
	if client != nil {
		order.Client = &client.order
		sockets = append(sockets, client.socket)
	}
	if order.Record {
		if err := e.noteExec(x); err != nil {
			return err
		}
	}
	state, err := r.shim.Exec(ctx, order, sockets...)
	if err != nil {
		return err
	}
	x.runs(state.Pid)
	return nil
}

// order is everything that the shim must know.
func (e *execer) order(x *execution, r *run, t execTerms) (*wire.Exec, error) {
	rec, q := x.c.snapshot(), &x.request
	name := q.User
	if name == "" {
		name = rec.Config.User
	}
	who, err := userIn(r, name, rec.HostConfig.GroupAdd)
	if err != nil {
		return nil, err
	}
	h := rec.HostConfig
	sec, err := spec.ParseSecurity(h.SecurityOpt, e.cfg.Defaults.NoNewPrivileges)
	if err != nil {
		return nil, err
	}
	in := spec.Input{
		Container: &rec, User: who, Security: sec, Defaults: e.cfg.Defaults,
		Host: spec.Host{Capabilities: e.host.capabilities, Nofile: e.host.nofile, OOMScoreAdj: e.host.oomScoreAdj},
	}
	want := spec.Exec{Args: q.Cmd, Env: q.Env, WorkingDir: q.WorkingDir, Tty: q.Tty, Privileged: q.Privileged}
	if t.size != nil {
		want.ConsoleSize = *t.size
	}
	order := &wire.Exec{ID: x.id, DieWithClient: t.dieWithClient, Record: t.record}
	if order.Process, err = spec.ExecProcess(in, want); err != nil {
		return nil, err
	}
	if !h.Privileged && !q.Privileged {
		caps, err := spec.Capabilities(in)
		if err != nil {
			return nil, err
		}
		if order.Seccomp, order.SeccompFlags, err = e.filter.get(sec, caps); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// Exit codes of an exec that did not come to its program, as Docker's.
const (
	execNotStarted = 126
	execUnknown    = 128
)

// cannotStart notes with which code the exec has ended before it began.
func (e *execer) cannotStart(x *execution, cause error) {
	code := execNotStarted
	var refused *wire.Error
	if errors.As(cause, &refused) {
		if code = refused.ExitCode; code == 0 {
			code = execUnknown
		}
	}
	e.dropExecFiles(x)
	if x.end(code, time.Now().UTC()) && !x.hidden {
		e.execs.forgetLater(x)
	}
}

// execFailure gives a shim's refusal Docker's words.
func execFailure(err error) error {
	var refused *wire.Error
	switch {
	case !errors.As(err, &refused):
		return err
	case refused.Kind == errs.NotImplemented:
		return errs.New(errs.NotImplemented, "this container was started by an older davit-shim, which knows no exec: restart the container")
	case refused.ExitCode == 0:
		return err
	}
	// What is wrong with a command is the client's to put right.
	kind := errs.InvalidParameter
	if refused.Kind == errs.Conflict {
		kind = errs.Conflict
	}
	return errs.New(kind, "OCI runtime exec failed: exec failed: unable to start container process: %w", refused)
}
