package engine

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/engine/restart"
)

// atOnce is how many containers are started side by side when the engine
// begins.
const atOnce = 8

// reviver starts containers again as their restart policies ask. A container
// that waits for its next run has the status restarting and a timer, and no
// goroutine.
type reviver struct {
	*launcher

	mu   sync.Mutex
	open bool   // clients are served; guarded by mu
	held []*ctr // restarting; their turn comes when open is set; guarded by mu
}

// retry is the next run of a container that waits for it.
type retry struct{ timer *time.Timer }

// ended decides what comes after a run of c, whose record is rec, for its
// owner: it sets the status and, where there is another run, the number of
// restarts.
func (v *reviver) ended(c *ctr, rec *record.Container, manual bool, lasted time.Duration) (again bool, wait time.Duration) {
	c.mu.Lock()
	waited := c.waited
	c.mu.Unlock()
	again, wait = restart.Again(rec.HostConfig.RestartPolicy, restart.Run{
		ExitCode: rec.State.ExitCode, Lasted: lasted, Manual: manual, Restarts: rec.State.RestartCount, Waited: waited,
	})
	next := container.StateExited
	if again {
		next = container.StateRestarting
		rec.State.RestartCount++
	}
	if err := rec.State.To(next); err != nil {
		v.log.Error("a container ended that did not run", "container", c.id, "error", err)
		rec.State.Status = next
	}
	return again, wait
}

// after starts c, which is restarting, when it has waited. For its owner.
func (v *reviver) after(c *ctr, wait time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.open {
		v.held = append(v.held, c)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &retry{}
	r.timer = time.AfterFunc(wait, func() { v.fire(c, r) })
	c.retry, c.waited = r, wait
}

// fire is called when a retry is due.
func (v *reviver) fire(c *ctr, r *retry) {
	if v.closing() {
		return
	}
	v.work.Add(1)
	defer v.work.Done()
	v.revive(c, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.retry == r
	})
}

// revive starts c if it is restarting and due says so, with what it depends on
// before it.
func (v *reviver) revive(c *ctr, due func() bool) {
	var before error
	if v.usher.ordered(c) {
		ctx, cancel := until(v.closed)
		before = v.usher.order(ctx, c)
		cancel()
	}
	if c.own(context.Background()) != nil {
		return
	}
	defer c.disown()
	if v.closing() || !due() || c.snapshot().State.Status != container.StateRestarting {
		return
	}
	c.mu.Lock()
	c.retry = nil
	c.mu.Unlock()
	v.again(c, before)
}

// again starts c, which is restarting, unless something is wrong already. For
// its owner. A start that fails is like a run that fails: the policy decides.
func (v *reviver) again(c *ctr, err error) {
	if err != nil {
		err = v.startFailed(c, err)
	} else {
		err = v.start(context.Background(), c)
	}
	if err == nil {
		return
	}
	v.log.Warn("restarting a container", "container", c.id, "error", err)
	rec := c.snapshot()
	rec.State.FinishedAt = time.Now().UTC()
	another, wait := v.ended(c, &rec, false, 0)
	c.replace(&rec)
	if err := v.persist(c, false); err != nil {
		v.log.Error("recording a failed restart", "container", c.id, "error", err)
	}
	if another {
		v.after(c, wait)
		return
	}
	c.answer(container.WaitConditionNextExit, container.WaitResponse{StatusCode: int64(rec.State.ExitCode)})
}

// giveUp ends the waiting of a container that is restarting, by a user's wish,
// for its owner. It reports whether it was.
func (v *reviver) giveUp(c *ctr) bool {
	rec := c.snapshot()
	if rec.State.Status != container.StateRestarting {
		return false
	}
	c.cancelRetry()
	rec.State.Status, rec.State.ManuallyStopped = container.StateExited, true
	c.replace(&rec)
	if err := v.persist(c, false); err != nil {
		v.log.Error("recording that a container is restarted no more", "container", c.id, "error", err)
	}
	c.answer(container.WaitConditionNextExit, container.WaitResponse{StatusCode: int64(rec.State.ExitCode)})
	return true
}

// settle makes of a container that is restarting one that has ended, for its
// owner, who starts it himself.
func (v *reviver) settle(c *ctr) {
	rec := c.snapshot()
	if rec.State.Status != container.StateRestarting {
		return
	}
	c.cancelRetry()
	rec.State.Status = container.StateExited
	c.replace(&rec)
}

// cancelRetry stops the clock of a container that is restarting, for its owner.
func (c *ctr) cancelRetry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retry != nil {
		c.retry.timer.Stop()
		c.retry = nil
	}
	c.waited = 0
}

// hold notes a container that does not run and that its policy wants to run
// when the engine begins. For the restorer.
func (v *reviver) hold(c *ctr) {
	rec := c.snapshot()
	s := &rec.State
	switch {
	case s.Status == container.StateRestarting: // the engine ended while it waited
	case s.Status == container.StateExited && s.Resume: // the engine ended between an end and a start
		s.Status, s.Resume = container.StateRestarting, false
		c.replace(&rec)
	case s.Status == container.StateExited && !s.StartedAt.IsZero() && restart.AtBoot(rec.HostConfig.RestartPolicy, s.ManuallyStopped):
		s.Status, s.RestartCount = container.StateRestarting, 0
		c.replace(&rec)
	default:
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !slices.Contains(v.held, c) {
		v.held = append(v.held, c)
	}
}

// begin starts what was held, and what becomes due from now on.
func (v *reviver) begin() {
	v.mu.Lock()
	v.open = true
	list := v.held
	v.held = nil
	v.mu.Unlock()
	slots := make(chan struct{}, atOnce)
	now := func() bool { return true }
	for _, c := range list {
		if v.usher.ordered(c) { // it may wait for one that waits for a slot
			v.work.Go(func() { v.revive(c, now) })
			continue
		}
		slots <- struct{}{}
		v.work.Go(func() {
			defer func() { <-slots }()
			v.revive(c, now)
		})
	}
}

// Begin starts the containers that restart policies want to run. It is called
// when clients are served, and returns at once.
func (e *Engine) Begin() { e.work.Go(e.keeper.reviver.begin) }
