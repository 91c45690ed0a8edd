package engine

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/engine/stats"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network/shape"
	"github.com/davit-engine/davit/runtime/cgroup"
	"github.com/davit-engine/davit/runtime/wire"
)

// StatsOptions says how often a container's use of resources is shown.
type StatsOptions struct {
	Stream  bool // once a second until the container is removed or ctx ends
	OneShot bool // without Stream: at once, with no sample before it to compare with
}

// statsInterval is the time from one sample to the next.
const statsInterval = time.Second

// Usage tells what containers use and which processes they have.
type Usage struct {
	*core
	sampler *sampler
}

// Usage returns the verbs that look at running containers.
func (e *Engine) Usage() *Usage { return &Usage{e.core, e.sampler} }

// Stats calls show with what a container uses; its error ends the call and is
// returned. Of a container that does not run all figures are zero.
func (u *Usage) Stats(ctx context.Context, ref string, o StatsOptions, show func(*stats.Sample) error) error {
	if o.Stream && o.OneShot {
		return errs.New(errs.InvalidParameter, "cannot have stream=true and one-shot=true")
	}
	c, err := u.table.find(ref)
	if err != nil {
		return err
	}
	if o.Stream {
		return u.sampler.follow(ctx, c, show)
	}
	p := &probe{core: u.core, c: c}
	defer p.close()
	first, err := p.sample(u.hostUsage())
	if err != nil {
		return err
	}
	if o.OneShot || p.run == nil {
		return show(first)
	}
	t := time.NewTimer(statsInterval)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	second, err := p.sample(u.hostUsage())
	if err != nil {
		return err
	}
	return show(second.After(first))
}

// sampler reads once a second what those containers use that somebody watches.
// One goroutine does it for all; while nobody watches there is none.
type sampler struct {
	*core
	mu      sync.Mutex
	watched map[*ctr]*watched // guarded by mu
	looping bool              // the goroutine lives; guarded by mu
}

// watched is a container that is watched. A watcher's channel holds one sample,
// the newest: a slow reader misses some. It is closed when the container is
// removed.
type watched struct {
	probe    *probe // used by the goroutine only
	watchers map[chan *stats.Sample]struct{}
}

// follow shows sample after sample, the first at once.
func (s *sampler) follow(ctx context.Context, c *ctr, show func(*stats.Sample) error) error {
	p := &probe{core: s.core, c: c}
	last, err := p.sample(s.hostUsage())
	p.close()
	if err != nil {
		return err
	}
	if err := show(last); err != nil {
		return err
	}
	samples := s.watch(c)
	defer s.unwatch(c, samples)
	for {
		select {
		case now, open := <-samples:
			if !open || ctx.Err() != nil {
				return nil
			}
			// The others' tick may come just after our first sample: a moment tells nothing.
			if now.Read.Sub(last.Read) < statsInterval/2 && now.Read.After(last.Read) {
				continue
			}
			if err := show(now.After(last)); err != nil {
				return err
			}
			last = now
		case <-ctx.Done():
			return nil
		case <-s.closed:
			return nil
		}
	}
}

func (s *sampler) watch(c *ctr) chan *stats.Sample {
	ch := make(chan *stats.Sample, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.looping {
		s.looping = true
		s.work.Go(s.loop)
	}
	w := s.watched[c]
	if w == nil {
		w = &watched{probe: &probe{core: s.core, c: c}, watchers: map[chan *stats.Sample]struct{}{}}
		s.watched[c] = w
	}
	w.watchers[ch] = struct{}{}
	return ch
}

// unwatch only notes that a watcher went: the goroutine, which may be reading
// with the probe, takes away what nobody watches.
func (s *sampler) unwatch(c *ctr, ch chan *stats.Sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.watched[c]; w != nil {
		delete(w.watchers, ch)
	}
}

// loop samples until nobody watches.
func (s *sampler) loop() {
	ticker := time.NewTicker(statsInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.closed:
			s.mu.Lock()
			defer s.mu.Unlock()
			for c := range s.watched {
				s.dropLocked(c)
			}
			s.looping = false
			return
		}
		work := s.wanted()
		if work == nil {
			return
		}
		host := s.hostUsage()
		for c, w := range work {
			s.deliver(c, w, host)
		}
	}
}

// wanted returns the containers that somebody watches, and forgets the others.
// If there are none, the goroutine has to end.
func (s *sampler) wanted() map[*ctr]*watched {
	s.mu.Lock()
	defer s.mu.Unlock()
	var work map[*ctr]*watched
	for c, w := range s.watched {
		if len(w.watchers) == 0 {
			s.dropLocked(c)
			continue
		}
		if work == nil {
			work = make(map[*ctr]*watched, len(s.watched))
		}
		work[c] = w
	}
	s.looping = work != nil
	return work
}

// dropLocked ends the watching of c.
func (s *sampler) dropLocked(c *ctr) {
	w := s.watched[c]
	delete(s.watched, c)
	w.probe.close()
	for ch := range w.watchers {
		close(ch)
	}
}

// deliver gives a new sample of c to its watchers.
func (s *sampler) deliver(c *ctr, w *watched, host stats.Host) {
	sample, err := w.probe.sample(host)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case errs.Is(err, errs.NotFound):
		s.dropLocked(c)
		return
	case err != nil:
		s.log.Warn("reading what a container uses", "container", c.id, "error", err)
		return
	}
	for ch := range w.watchers {
		select {
		case <-ch: // what was not fetched is old now
		default:
		}
		ch <- sample
	}
}

// hostUsage reads what samples take from the host.
func (e *core) hostUsage() stats.Host {
	h := stats.Host{CgroupV2: e.host.cgroupV2, Memory: e.host.memory}
	if text, err := os.ReadFile("/proc/stat"); err == nil {
		h.CPU = stats.ParseCPU(string(text))
	}
	return h
}

// probe reads what one container uses. It belongs to one goroutine.
type probe struct {
	*core
	c     *ctr
	run   *run // what the rest is of; nil: the container did not run
	group *cgroup.Cgroup
	proc  int // descriptor of the first process's /proc/PID; -1: the container has no network of its own
}

// sample returns zeros for a container that does not run, and NotFound for one
// that was removed.
func (p *probe) sample(host stats.Host) (*stats.Sample, error) {
	p.c.mu.Lock()
	rec, r, gone := p.c.rec, p.c.run, p.c.gone
	p.c.mu.Unlock()
	if gone {
		return nil, noSuchContainer(p.c.id)
	}
	if r != p.run {
		p.close()
		if r != nil {
			p.open(r, rec)
		}
	}
	if p.run == nil {
		return stats.None(rec.ID, rec.Name), nil
	}
	group, err := p.group.Stats()
	if errs.Is(err, errs.NotFound) {
		return stats.None(rec.ID, rec.Name), nil // it is about to end
	}
	if err != nil {
		return nil, err
	}
	if group.CPU.Pressure == nil && group.Memory.Pressure == nil {
		host.Pressure = hostPressure()
	}
	counted := stats.Counted{At: time.Now(), Group: group}
	if p.proc >= 0 {
		// A process that has ended has no network: then there is nothing to tell.
		if text, err := readAt(p.proc, "net/dev"); err == nil {
			counted.Networks = stats.ParseNetworks(text)
		}
	}
	counted.Rates = p.rates(rec)
	return stats.New(rec.ID, rec.Name, counted, host), nil
}

// rates tells what holds the container's interfaces, nil if nothing does.
func (p *probe) rates(rec *record.Container) map[string]stats.Rate {
	var out map[string]stats.Rate
	for _, e := range rec.Endpoints {
		n, err := p.cfg.Network.Find(e.Network)
		if err != nil {
			continue
		}
		for _, m := range rec.Memberships() {
			if want, err := shape.Of(n.Options, m.Settings.DriverOpts); m.Network != n.Name || err != nil || want == (shape.Rate{}) {
				continue
			}
			// An interface that is gone has no rate: then there is nothing to tell.
			if is, err := p.cfg.Network.Rates.Read(e); err == nil {
				out = mergeMaps(out, map[string]stats.Rate{e.Interface: {Up: direction(is.Rate.Up, is.Up), Down: direction(is.Rate.Down, is.Down)}})
			}
		}
	}
	return out
}

func direction(limit uint64, q shape.Queue) stats.Direction {
	return stats.Direction{Limit: limit, Waiting: q.Waiting, Held: q.Held, Dropped: q.Dropped}
}

func (p *probe) open(r *run, rec *record.Container) {
	p.run, p.group, p.proc = r, cgroup.Open(r.state.Cgroup), -1
	if rec.HostConfig.NetworkMode.IsHost() {
		return
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/%d", r.state.Pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	// The number may have passed to another process before it was opened, but
	// not after.
	if start, err := wire.StartTime(r.state.Pid); err != nil || start != r.state.PidStart {
		_ = unix.Close(fd)
		return
	}
	p.proc = fd
}

func (p *probe) close() {
	if p.run != nil && p.proc >= 0 {
		_ = unix.Close(p.proc)
	}
	p.run, p.group, p.proc = nil, nil, -1
}

// hostPressure is shown where the kernel does not count it by container.
func hostPressure() *stats.Pressure {
	cpu, memory, io := cgroup.HostPressure()
	return stats.HostPressure(cpu, memory, io)
}

// readAt reads a file below an open directory of /proc.
func readAt(dir int, path string) (string, error) {
	fd, err := unix.Openat(dir, path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("opening %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	text, err := io.ReadAll(f)
	return string(text), err
}

// errNotRunning is Docker's answer to who wants to look into a container that
// does not run.
func errNotRunning(id string) error {
	return errs.New(errs.Conflict, "container %s is not running", id)
}

// runningOf returns a container's process and its record, or why there is none.
func (c *ctr) runningOf() (*run, *record.Container, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.rec.State.Status == container.StateRestarting:
		return nil, nil, errs.New(errs.Conflict, "container %s is restarting, wait until the container is running", c.id)
	case c.run == nil:
		return nil, nil, errNotRunning(c.id)
	}
	return c.run, c.rec, nil
}
