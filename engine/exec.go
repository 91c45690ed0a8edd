package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/sys/signal"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/wire"
)

// execer runs more processes in containers that run.
type execer struct {
	*core
	filter *filterCache
}

// Execs are the verbs for more processes in containers that run.
type Execs struct{ *execer }

// Execs returns them.
func (e *Engine) Execs() *Execs { return &Execs{e.execer} }

// Create prepares a command in a container that runs. It stays prepared
// until it is started, or the container is removed. Conflict when the
// container does not run or is paused.
func (e *Execs) Create(_ context.Context, ref string, request container.ExecCreateRequest) (string, error) {
	if len(request.Cmd) == 0 {
		return "", errs.New(errs.InvalidParameter, "no exec command specified")
	}
	c, err := e.table.find(ref)
	if err != nil {
		return "", err
	}
	if _, err := executable(c, ref); err != nil {
		return "", err
	}
	x, err := e.create(c, request, false)
	if err != nil {
		return "", err
	}
	return x.id, nil
}

// executable returns the run in which an exec may start.
func executable(c *ctr, ref string) (*run, error) {
	rec, r := c.snapshot(), c.current()
	switch {
	case rec.State.Status == container.StateRestarting:
		return nil, errs.New(errs.Conflict, "Container %s is restarting, wait until the container is running", c.id)
	case r == nil:
		return nil, errs.New(errs.Conflict, "container %s is not running", c.id)
	case rec.State.Status == container.StatePaused:
		return nil, errs.New(errs.Conflict, "Container %s is paused, unpause the container before exec", ref)
	}
	return r, nil
}

func (e *execer) create(c *ctr, request container.ExecCreateRequest, hidden bool) (*execution, error) {
	var raw [32]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return nil, fmt.Errorf("making an exec's ID: %w", err)
	}
	x, err := newExecution(hex.EncodeToString(raw[:]), c, request)
	if err != nil {
		return nil, err
	}
	x.hidden = hidden
	e.execs.add(x)
	e.publishExec(x, events.ActionExecCreate, nil)
	return x, nil
}

// publishExec tells subscribers what happened to an exec. The first two actions
// are followed by its command.
func (e *core) publishExec(x *execution, action events.Action, extra map[string]string) {
	if action == events.ActionExecCreate || action == events.ActionExecStart {
		// With a space after a word that stands alone, as Docker has it.
		action += events.Action(": " + x.request.Cmd[0] + " " + strings.Join(x.request.Cmd[1:], " "))
	}
	attrs := map[string]string{"execID": x.id}
	for k, v := range extra {
		attrs[k] = v
	}
	rec := x.c.snapshot()
	e.publish(&rec, action, attrs)
}

// Inspect tells about an exec. One that has just ended is shown as ended as
// soon as its client's stream has.
func (e *Execs) Inspect(ctx context.Context, id string) (container.ExecInspectResponse, error) {
	x, err := e.execs.find(id)
	if err != nil {
		return container.ExecInspectResponse{}, err
	}
	e.catchUp(ctx, x)
	return x.inspect(), nil
}

// catchUp waits for a start that is under way, and for the end of an exec of
// which the shim says that it does not run any more: the event is on its way.
func (e *execer) catchUp(ctx context.Context, x *execution) {
	ctx, cancel := context.WithTimeout(ctx, killPatience)
	defer cancel()
	if x.is(execStarting) { // its client may have seen the end before the shim's answer was read here
		await(ctx, x.settled)
	}
	if !x.is(execRunning) {
		return
	}
	if r := x.c.current(); r != nil {
		list, err := r.shim.Execs(ctx)
		running := slices.ContainsFunc(list, func(s wire.ExecState) bool { return s.ID == x.id })
		if running || err != nil && !errs.Is(err, errs.Unavailable) { // a shim that is gone takes it along
			return
		}
	}
	await(ctx, x.over)
}

// await waits for done, or for ctx's end.
func await(ctx context.Context, done <-chan struct{}) {
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// execIDs lists those of a container's execs that have not ended, for inspect; nil
// if it has none.
func (e *core) execIDs(c *ctr) (ids []string) {
	for _, x := range e.execs.of(c) {
		if !x.is(execEnded) {
			ids = append(ids, x.id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Resize sets the size of an exec's terminal, in characters. One that is
// just being started is waited for.
func (e *Execs) Resize(ctx context.Context, id string, height, width uint32) error {
	x, r, err := e.started(ctx, id)
	if err != nil {
		return err
	}
	if height > 0xffff || width > 0xffff {
		return errs.New(errs.InvalidParameter, "a terminal of %d by %d characters is too large", width, height)
	}
	return r.shim.ExecResize(ctx, wire.ExecResize{ID: x.id, Height: uint16(height), Width: uint16(width)})
}

// Kill sends a signal to an exec's process; SIGKILL, which is the default,
// to all processes of its session. Conflict when it does not run.
func (e *Execs) Kill(ctx context.Context, id, name string) error {
	sig := unix.SIGKILL
	if name != "" {
		var err error
		if sig, err = signal.ParseSignal(name); err != nil {
			return errs.Wrap(errs.InvalidParameter, err)
		}
	}
	x, r, err := e.started(ctx, id)
	if err != nil {
		return err
	}
	return r.shim.ExecSignal(ctx, wire.ExecSignal{ID: x.id, Signal: int(sig), All: sig == unix.SIGKILL})
}

// started returns an exec that runs, after its start if that is under way, and
// the run that it is in.
func (e *execer) started(ctx context.Context, id string) (*execution, *run, error) {
	x, err := e.execs.find(id)
	if err != nil {
		return nil, nil, err
	}
	if x.is(execStarting) { // its client may have seen the end before the shim's answer was read here
		await(ctx, x.settled)
	}
	r := x.c.current()
	if r == nil || !x.is(execRunning) {
		return nil, nil, errs.New(errs.Conflict, "exec %s is not running", x.id)
	}
	return x, r, nil
}
