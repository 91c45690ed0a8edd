package image

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
)

const (
	// pullLease begins the ID of a pull's lease; keepLease that of an image which
	// was removed while containers are pinned to it.
	pullLease = "pull-"
	keepLease = "keep-"
	// resumable is how long an interrupted pull's data is kept.
	resumable = 24 * time.Hour
)

// lease makes a lease, or takes over the one with this ID, and returns a context
// in which everything written is held by it. release ends it.
func (st *stores) lease(ctx context.Context, id string) (_ context.Context, release func(), err error) {
	l, err := st.leases.Create(ctx, leases.WithID(id))
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return nil, nil, fmt.Errorf("making a lease: %w", err)
	}
	l.ID = id
	return leases.WithLease(ctx, id), func() {
		if err := st.leases.Delete(context.WithoutCancel(ctx), l); err != nil && !errdefs.IsNotFound(err) {
			st.logger.WithError(err).Warn("releasing a lease failed")
		}
	}, nil
}

// collector removes content and layers that nothing refers to any more, in the
// background and some time after it was asked, so that no caller waits and
// several removals cost one collection.
type collector struct {
	st    *stores
	log   *slog.Logger
	delay time.Duration // from a request to the collection
	keep  time.Duration // how long an interrupted pull can be resumed

	mu     sync.Mutex
	active map[string]int // leases of pulls under way; guarded by mu
	timer  *time.Timer    // of the collection to come; guarded by mu
	due    time.Time      // when timer fires; guarded by mu
	closed bool           // guarded by mu
	swept  bool           // what a killed process left was looked for; guarded by mu
	busy   sync.WaitGroup
}

func newCollector(st *stores, log *slog.Logger) *collector {
	return &collector{st: st, log: log, delay: 100 * time.Millisecond, keep: resumable, active: map[string]int{}}
}

// begin and end say that the pull with this lease is under way: its lease does
// not grow old.
func (c *collector) begin(lease string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active[lease]++
}

func (c *collector) end(lease string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active[lease]--; c.active[lease] == 0 {
		delete(c.active, lease)
	}
}

// soon asks for a collection in a while.
func (c *collector) soon() { c.after(c.delay) }

// after asks for a collection at the latest in d. One that was asked for
// earlier and comes later is brought forward.
func (c *collector) after(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	due := time.Now().Add(d)
	switch {
	case c.closed:
		return
	case c.timer == nil:
		c.busy.Add(1)
	case !due.Before(c.due) || !c.timer.Stop():
		return // it comes early enough, or is on its way
	}
	c.due = due
	c.timer = time.AfterFunc(d, func() {
		defer c.busy.Done()
		c.mu.Lock()
		c.timer = nil
		c.mu.Unlock()
		c.now(c.st.context(context.Background()))
	})
}

// now collects and returns when it is done. A failure is logged: the next
// collection tries again.
func (c *collector) now(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	if err := c.expire(ctx); err != nil {
		c.log.Warn("looking for interrupted pulls", "error", err)
	}
	if err := c.sweep(ctx); err != nil {
		c.log.Warn("looking for what a killed process left", "error", err)
	}
	start := time.Now()
	if _, err := c.st.db.GarbageCollect(ctx); err != nil {
		c.log.Warn("collecting unused image data", "error", err)
		return
	}
	c.log.Debug("unused image data collected", "took", time.Since(start))
}

// sweep makes the first collection look at the directories too, and not only at
// what the database knows: a process killed between the two leaves downloads and
// layers that are in no record. The database looks there when something was
// removed, so something is.
func (c *collector) sweep(ctx context.Context) error {
	c.mu.Lock()
	swept := c.swept
	c.swept = true
	c.mu.Unlock()
	if swept {
		return nil
	}
	name := temporaryRef("sweep")
	if _, err := c.st.snaps.Prepare(ctx, name, ""); err != nil {
		return err
	}
	if err := c.st.snaps.Remove(ctx, name); err != nil {
		return err
	}
	desc, err := c.st.writeJSON(ctx, "text/plain", name, nil)
	if err != nil {
		return err
	}
	return c.st.content.Delete(ctx, desc.Digest)
}

// removeTorn removes downloads of which not even the name was written. It must
// run before any begins.
func removeTorn(root string) error {
	ingests := filepath.Join(root, "content", "ingest")
	entries, err := os.ReadDir(ingests)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("looking for torn downloads: %w", err)
	}
	for _, e := range entries {
		dir := filepath.Join(ingests, e.Name())
		if fi, err := os.Stat(filepath.Join(dir, "ref")); err == nil && fi.Size() > 0 {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("removing a torn download: %w", err)
		}
	}
	return nil
}

// expire lets go of pulls that were interrupted too long ago, and of what a
// killed process left besides.
func (c *collector) expire(ctx context.Context) error {
	all, err := c.st.leases.List(ctx)
	if err != nil {
		return err
	}
	for _, l := range all {
		c.mu.Lock()
		active := c.active[l.ID] > 0
		c.mu.Unlock()
		if active || strings.HasPrefix(l.ID, keepLease) || time.Since(l.CreatedAt) < c.keep {
			continue
		}
		if err := c.st.leases.Delete(ctx, l); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// close forbids further collections and waits for the one that runs.
func (c *collector) close() {
	c.mu.Lock()
	c.closed = true
	if c.timer != nil && c.timer.Stop() {
		c.timer = nil
		c.busy.Done()
	}
	c.mu.Unlock()
	c.busy.Wait()
}

// temporaryRef names content that is written before its digest is known.
func temporaryRef(what string) string { return what + "-" + rand.Text() }
