package engine

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/wire"
)

// ctr is one container in memory.
type ctr struct {
	id      string
	created time.Time
	lent    atomic.Bool   // another container joins its network, or did
	verb    chan struct{} // capacity 1: full while a verb owns the container

	mu         sync.Mutex
	rec        *record.Container           // guarded by mu; changed only by the verb's owner
	run        *run                        // the process; nil when there is none; guarded by mu
	waiting    []waiter                    // guarded by mu
	pending    []*attachment               // clients that attached before the start; guarded by mu
	lastAttach uint64                      // number of the latest attachment; guarded by mu
	gone       bool                        // removed; guarded by mu
	cooling    <-chan struct{}             // the last run's ended: until it closes, its cgroup is in use; guarded by mu
	health     *container.Health           // nil without health checks; never changed in place; guarded by mu
	retry      *retry                      // the next run, while it waits for that; guarded by mu
	waited     time.Duration               // before the present run, by its restart policy; guarded by mu
	views      map[*rootView]chan struct{} // of its files while it ran, with what closes at their end; guarded by mu
	used       bool                        // its layers may differ from the image's: it was started once; guarded by mu

	disk sync.Mutex // held while the record is written; taken before mu
}

// run is one life of a container's process.
type run struct {
	shim   *wire.Client
	state  wire.State
	exited chan struct{} // closed when the exit is recorded
	ended  chan struct{} // closed when the shim is gone too: its cgroup is free
	doomed atomic.Bool   // it is being killed and must not be frozen any more
	manual atomic.Bool   // a user asked for its end
	again  atomic.Bool   // a user restarts the container: its end does not remove it
	checks *checks       // nil without health checks and while it is paused; guarded by the container's mu
}

func newCtr(rec *record.Container) *ctr {
	return &ctr{id: rec.ID, created: rec.Created, rec: rec, health: rec.State.Health, verb: make(chan struct{}, 1)}
}

// own takes the container for a verb. It fails when ctx ends first, or when
// the container was removed meanwhile.
func (c *ctr) own(ctx context.Context) error {
	select {
	case c.verb <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.mu.Lock()
	gone := c.gone
	c.mu.Unlock()
	if gone {
		c.disown()
		return noSuchContainer(c.id)
	}
	return nil
}

func (c *ctr) disown() { <-c.verb }

// snapshot returns a copy of the record that is safe to read without locks.
// What it points to is never changed in place.
func (c *ctr) snapshot() record.Container {
	c.mu.Lock()
	defer c.mu.Unlock()
	rec := *c.rec
	rec.State.Health = c.health
	return rec
}

// replace makes rec the container's record, for its owner. Nothing else may
// have replaced it since rec was copied.
func (c *ctr) replace(rec *record.Container) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rec = rec
}

// current returns the running process, or nil.
func (c *ctr) current() *run {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.run
}

// active reports whether it runs, or will again without being asked.
func (c *ctr) active() bool {
	rec := c.snapshot()
	return rec.State.Active()
}

func noSuchContainer(ref string) error {
	return errs.New(errs.NotFound, "No such container: %s", ref)
}
