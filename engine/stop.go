package engine

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
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
	if !c.active() {
		return errs.New(errs.NotModified, "container %s is not running", c.id)
	}
	return e.keeper.stop(ctx, c, o)
}

// stop is Stop for anybody. It is no error when the container does not run.
func (k *keeper) stop(ctx context.Context, c *ctr, o StopOptions) error {
	rec, r := c.snapshot(), c.current()
	sig, timeout, err := stopTerms(rec.Config, o)
	if err != nil {
		return err
	}
	if r == nil {
		return k.stopWaiting(ctx, c)
	}
	if err := k.mark(ctx, c, r); err != nil {
		return err
	}
	answer := answerOf(r.state.Pid, sig)
	if err := k.signal(ctx, c, r, sig, true); err == nil && timeout != 0 {
		var late <-chan time.Time
		if timeout > 0 {
			t := time.NewTimer(time.Duration(timeout) * time.Second)
			defer t.Stop()
			late = t.C
		}
		select {
		case <-r.exited:
		case <-late:
			why := lateness(rec.Name, sig, timeout, answer)
			k.log.Warn(why, "container", c.id)
			if o.Warn != nil {
				o.Warn(why)
			}
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

// stopWaiting is stop for a container without a process: if it waits for its
// next run there will be none.
func (k *keeper) stopWaiting(ctx context.Context, c *ctr) error {
	if err := c.own(ctx); err != nil {
		return err
	}
	waited := k.reviver.giveUp(c)
	c.disown()
	if waited {
		rec := c.snapshot()
		k.publish(&rec, events.ActionStop, nil)
	} else if c.current() != nil { // its wait was over just then
		return k.stop(ctx, c, StopOptions{})
	}
	return nil
}

// mark notes that a user asks for the end of a run, after which no restart
// policy starts another. Where there is such a policy it is written down first:
// the engine may be killed before the container ends.
func (k *keeper) mark(ctx context.Context, c *ctr, r *run) error {
	r.manual.Store(true)
	if c.snapshot().HostConfig.RestartPolicy.IsNone() {
		return nil
	}
	if err := c.own(ctx); err != nil {
		return err
	}
	defer c.disown()
	if c.current() != r {
		k.reviver.giveUp(c) // it has ended by itself, and would run again
		return nil
	}
	rec := c.snapshot()
	rec.State.ManuallyStopped = true
	c.replace(&rec)
	if err := k.persist(c, false); err != nil {
		k.log.Error("recording that a container is stopped", "container", c.id, "error", err)
	}
	return nil
}

// answer is what a process does with a signal.
type answer uint8

const (
	answerUnknown answer = iota // it could not be seen
	answerHandles               // it has a handler, or takes the signal from a descriptor
	answerDefault               // what the kernel does by default: nothing, for the first process of a pid namespace
	answerIgnores
)

// answerOf reads what a process will do with a signal. It may have ended.
func answerOf(pid int, sig unix.Signal) answer {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return answerUnknown
	}
	return readAnswer(string(status), sig)
}

// readAnswer reads the masks of proc_pid_status(5). A signal that is blocked
// and not ignored is one that the process takes in its own way.
func readAnswer(status string, sig unix.Signal) answer {
	in := map[string]bool{}
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "SigBlk", "SigIgn", "SigCgt":
			mask, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			if err != nil {
				return answerUnknown
			}
			in[name] = mask>>(sig-1)&1 == 1
		}
	}
	switch {
	case len(in) < 3:
		return answerUnknown
	case in["SigIgn"]:
		return answerIgnores
	case in["SigCgt"], in["SigBlk"]:
		return answerHandles
	}
	return answerDefault
}

// lateness says why a container had to be killed, and what to do about it.
func lateness(name string, sig unix.Signal, seconds int, a answer) string {
	signal := unix.SignalName(sig)
	if signal == "" {
		signal = "signal " + strconv.Itoa(int(sig))
	}
	text := fmt.Sprintf("container %s did not end within %d s of %s and was killed", name, seconds, signal)
	switch a {
	case answerHandles:
		return text + fmt.Sprintf(": its first process handles %s but was not done in time; --stop-timeout (or stop -t) gives it longer", signal)
	case answerDefault:
		return text + fmt.Sprintf(": its first process does not handle %s, which therefore does nothing to the process with number 1; run it with --init, or name a signal that it handles with --stop-signal", signal)
	case answerIgnores:
		return text + fmt.Sprintf(": its first process ignores %s; name a signal that it handles with --stop-signal, or run it with --init", signal)
	}
	return text
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
		if c.active() {
			return e.keeper.stopWaiting(ctx, c)
		}
		return errs.New(errs.Conflict, "cannot kill container: %s: container %s is not running", ref, c.id)
	}
	ends := asksForEnd(c.snapshot().Config, sig)
	if ends {
		if err := e.keeper.mark(ctx, c, r); err != nil {
			return err
		}
	}
	if sig == unix.SIGKILL {
		return e.keeper.kill(ctx, c, r)
	}
	if err := e.keeper.signal(ctx, c, r, sig, ends); err != nil {
		return errs.New(errs.KindOf(err), "cannot kill container: %s: %w", ref, err)
	}
	return nil
}

// signal sends a signal and tells subscribers. ends says that it asks for the
// container's end; then a paused one goes on.
func (k *keeper) signal(ctx context.Context, c *ctr, r *run, sig unix.Signal, ends bool) error {
	rec := c.snapshot()
	if sig == unix.SIGKILL {
		r.doomed.Store(true)
	}
	if err := r.shim.Signal(ctx, wire.Signal{Signal: int(sig)}); err != nil {
		return err
	}
	if ends && (sig == unix.SIGKILL || rec.State.Status == container.StatePaused) {
		k.thaw(ctx, c, r)
	}
	k.publish(&rec, events.ActionKill, map[string]string{"signal": strconv.Itoa(int(sig))})
	return nil
}

// asksForEnd tells the signals by which a container is told to end from those
// that tell its program something else, such as to read its configuration
// again.
func asksForEnd(c *container.Config, sig unix.Signal) bool {
	switch sig {
	case unix.SIGKILL, unix.SIGTERM, unix.SIGINT, unix.SIGQUIT:
		return true
	}
	own, err := signal.ParseSignal(c.StopSignal)
	return err == nil && own == sig
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
	_ = k.signal(ctx, c, r, unix.SIGKILL, true)
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
