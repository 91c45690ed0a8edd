package engine

import (
	"context"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/sys/signal"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/wire"
)

const (
	defaultStopSignal  = unix.SIGTERM
	defaultStopTimeout = 10 // seconds
	killPatience       = 10 * time.Second
)

// Stop asks a container to end, and ends it when it does not in time.
// NotModified when it does not run.
func (e *Engine) Stop(ctx context.Context, ref string, o StopOptions) error {
	c, err := e.table.find(ref)
	if err != nil {
		return err
	}
	if c.current() == nil {
		return errs.New(errs.NotModified, "container %s is not running", c.id)
	}
	return e.keeper.stop(ctx, c, o)
}

func (k *keeper) stop(ctx context.Context, c *ctr, o StopOptions) error {
	rec, r := c.snapshot(), c.current()
	if r == nil {
		return nil
	}
	sig, timeout, err := stopTerms(rec.Config, o)
	if err != nil {
		return err
	}
	if err := k.signal(ctx, c, r, sig); err == nil && timeout != 0 {
		var late <-chan time.Time
		if timeout > 0 {
			t := time.NewTimer(time.Duration(timeout) * time.Second)
			defer t.Stop()
			late = t.C
		}
		select {
		case <-r.exited:
		case <-late:
			k.log.Info("a container did not end in time: it is killed", "container", c.id, "signal", sig.String(), "seconds", timeout)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := k.kill(ctx, c, r); err != nil {
		return err
	}
	k.publish(&rec, events.ActionStop, nil)
	return nil
}

// stopTerms settles signal and time-out of a stop.
func stopTerms(c *container.Config, o StopOptions) (sig unix.Signal, timeout int, err error) {
	name := c.StopSignal
	if o.Signal != "" {
		name = o.Signal
	}
	sig = defaultStopSignal
	if name != "" {
		if sig, err = signal.ParseSignal(name); err != nil {
			return 0, 0, errs.Wrap(errs.InvalidParameter, err)
		}
	}
	timeout = defaultStopTimeout
	if c.StopTimeout != nil {
		timeout = *c.StopTimeout
	}
	if o.Timeout != nil {
		timeout = *o.Timeout
	}
	return sig, timeout, nil
}

// Kill sends a signal to a container's first process. Conflict when it does
// not run. After SIGKILL it returns when the container has ended.
func (e *Engine) Kill(ctx context.Context, ref, name string) error {
	sig := unix.SIGKILL
	if name != "" {
		var err error
		if sig, err = signal.ParseSignal(name); err != nil {
			return errs.Wrap(errs.InvalidParameter, err)
		}
	}
	c, err := e.table.find(ref)
	if err != nil {
		return err
	}
	r := c.current()
	if r == nil {
		return errs.New(errs.Conflict, "cannot kill container: %s: container %s is not running", ref, c.id)
	}
	if sig == unix.SIGKILL {
		return e.keeper.kill(ctx, c, r)
	}
	if err := e.keeper.signal(ctx, c, r, sig); err != nil {
		return errs.New(errs.KindOf(err), "cannot kill container: %s: %w", ref, err)
	}
	return nil
}

// signal sends a signal and tells subscribers.
func (k *keeper) signal(ctx context.Context, c *ctr, r *run, sig unix.Signal) error {
	if err := r.shim.Signal(ctx, wire.Signal{Signal: int(sig)}); err != nil {
		return err
	}
	rec := c.snapshot()
	k.publish(&rec, events.ActionKill, map[string]string{"signal": strconv.Itoa(int(sig))})
	return nil
}

// kill ends the run for good and returns when that is recorded. It is no
// error when it has ended already.
func (k *keeper) kill(ctx context.Context, c *ctr, r *run) error {
	select {
	case <-r.exited:
		return nil
	default:
	}
	// An error means that the process or the shim is gone: the exit comes.
	_ = k.signal(ctx, c, r, unix.SIGKILL)
	t := time.NewTimer(killPatience)
	defer t.Stop()
	select {
	case <-r.exited:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return errs.New(errs.System, "tried to kill container, but did not receive an exit event: process %d of container %s does not end, it may hang in the kernel", r.state.Pid, c.id)
	}
}
