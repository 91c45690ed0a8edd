package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/davit-engine/davit/engine/health"
	"github.com/davit-engine/davit/engine/record"
)

// restPatience is how long a probe that was told to end may take.
const restPatience = 2 * time.Second

// prober runs a command in a container; see execer.probe.
type prober interface {
	probe(ctx context.Context, c *ctr, r *run, cmd []string, limit int) (exitCode int, output []byte, err error)
}

// checker looks after the health of containers that run. A check that is not
// due costs a timer; only one that is under way has a goroutine.
type checker struct {
	*launcher
	prober prober
}

// checks are the health checks of one run, or of a part of it between two
// pauses. The container's mu guards them.
type checks struct {
	health.Check
	timer  *time.Timer        // the next probe
	cancel context.CancelFunc // ends the probe under way; nil without one
	idle   chan struct{}      // closed when that has ended
	over   bool               // results count no more
}

// begin has the container's health checked from now on, as its record says, for
// its owner. fresh says that it was started just now, not taken over or
// unpaused; then it begins as starting.
func (k *checker) begin(c *ctr, r *run, fresh bool) {
	c.endChecks(r)
	rec := c.snapshot()
	check, ok := health.Of(rec.Config)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !ok {
		c.health = nil
		return
	}
	if fresh || c.health == nil {
		c.health = health.Begin(c.health)
	}
	r.checks = &checks{Check: check}
	wait := r.checks.Wait(c.health, time.Since(r.state.StartedAt))
	if !fresh {
		wait = rand.N(wait) // an engine that starts takes many over at once
	}
	k.armLocked(c, r, r.checks, wait)
}

// endChecks ends the checks of a run. idle is closed when no probe is under way any
// more; nil if none is.
func (c *ctr) endChecks(r *run) (idle <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := r.checks
	r.checks = nil
	if s == nil {
		return nil
	}
	s.over = true
	s.timer.Stop()
	if s.cancel == nil {
		return nil
	}
	s.cancel()
	return s.idle
}

// rest ends the checks of a run that goes on, and returns when no probe is
// under way any more.
func (k *checker) rest(c *ctr, r *run) {
	idle := c.endChecks(r)
	if idle == nil {
		return
	}
	select {
	case <-idle:
	case <-time.After(restPatience):
		k.log.Warn("a health check does not end", "container", c.id)
	}
}

// restAll is rest for every container.
func (k *checker) restAll() {
	var under []<-chan struct{}
	for _, c := range k.table.all() {
		if r := c.current(); r != nil {
			if idle := c.endChecks(r); idle != nil {
				under = append(under, idle)
			}
		}
	}
	late := time.After(restPatience)
	for _, idle := range under {
		select {
		case <-idle:
		case <-late:
			k.log.Warn("health checks do not end")
			return
		}
	}
}

// armLocked sets the time of the next probe.
func (k *checker) armLocked(c *ctr, r *run, s *checks, wait time.Duration) {
	s.timer = time.AfterFunc(wait, func() { k.check(c, r, s) })
}

// check probes a container once.
func (k *checker) check(c *ctr, r *run, s *checks) {
	if k.closing() {
		return
	}
	k.work.Add(1)
	defer k.work.Done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	idle := make(chan struct{})
	c.mu.Lock()
	over := s.over
	s.cancel, s.idle = cancel, idle
	c.mu.Unlock()
	if over {
		close(idle)
		return
	}
	result := k.probe(ctx, c, r, s)
	close(idle)

	c.mu.Lock()
	s.cancel = nil
	if s.over || k.closing() {
		c.mu.Unlock()
		return
	}
	before := c.health
	c.health = s.Next(before, result, result.Start.Sub(r.state.StartedAt))
	after := c.health
	k.armLocked(c, r, s, s.Wait(after, time.Since(r.state.StartedAt)))
	c.mu.Unlock()
	if before.Status == after.Status {
		return
	}
	if err := k.persist(c, false); err != nil {
		k.log.Error("recording a container's health", "container", c.id, "error", err)
	}
	rec := c.snapshot()
	k.publish(&rec, events.Action(string(events.ActionHealthStatus)+": "+string(after.Status)), nil)
	if after.Status == container.Unhealthy {
		k.failed(c, r, &rec)
	}
}

// probe runs the check's command and words what came of it.
func (k *checker) probe(ctx context.Context, c *ctr, r *run, s *checks) *container.HealthcheckResult {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	result := &container.HealthcheckResult{Start: time.Now()}
	code, output, err := k.prober.probe(ctx, c, r, s.Command, health.OutputLimit+1)
	result.End, result.ExitCode, result.Output = time.Now(), code, health.Output(output)
	switch {
	case err == nil:
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		result.ExitCode, result.Output = -1, s.LateOutput(output)
	default:
		result.ExitCode, result.Output = -1, err.Error()
	}
	return result
}

// failed does what is to be done about a container that became unhealthy. Only
// "stop" keeps its restart policy from starting it again.
func (k *checker) failed(c *ctr, r *run, rec *record.Container) {
	action, err := health.ParseAction(rec.HostConfig.Annotations[annotationOnFailure])
	if err != nil || action == health.Nothing {
		return
	}
	k.log.Warn("a container is unhealthy", "container", c.id, "name", rec.Name, "action", action)
	ctx := context.Background()
	switch action {
	case health.Kill:
		err = k.kill(ctx, c, r)
	case health.Stop:
		err = k.stop(ctx, c, StopOptions{})
	case health.Restart:
		err = k.restart(ctx, c, StopOptions{})
	}
	if err != nil {
		k.log.Error("acting on an unhealthy container", "container", c.id, "action", action, "error", err)
	}
}
