package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/engine/health"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/image"
	"github.com/davit-engine/davit/runtime/cgroup"
	"github.com/davit-engine/davit/runtime/wire"
)

// restorer learns everything again when the engine starts.
type restorer struct {
	*keeper
	rebooted bool // what the exec-root tells is from before the host's last start: no process of it lives
	mu       sync.Mutex
	moved    []*ctr // guarded by mu; containers whose range of ids somebody else has
}

// restore learns everything again after a start of the engine: from the
// records what was asked for, from the shims what runs. A container whose
// record cannot be read is left alone on disk and named in the log.
func (rs *restorer) restore(ctx context.Context) error {
	ids, err := rs.store.IDs()
	if err != nil {
		return err
	}
	running, err := rs.runDirs()
	if err != nil {
		return err
	}
	noteBoot, err := rs.detectBoot()
	if err != nil {
		return err
	}
	var work sync.WaitGroup
	slots := make(chan struct{}, 2*numCPU())
	for _, id := range ids {
		live := running[id]
		delete(running, id)
		slots <- struct{}{}
		work.Add(1)
		go func() {
			defer func() { <-slots; work.Done() }()
			rs.restoreOne(ctx, id, live)
		}()
	}
	work.Wait()
	for id := range running {
		rs.endOrphan(id)
	}
	if err := rs.naming.settle(); err != nil {
		rs.log.Error("bringing the names of running containers up to date", "error", err)
	}
	if err := noteBoot(); err != nil {
		return err
	}
	for _, c := range rs.moved {
		rs.moveRange(c)
	}
	rs.mounts.restored()
	for _, c := range rs.table.all() {
		rs.lend(c.snapshot().HostConfig)
		rs.reviver.hold(c)
	}
	if err := rs.cfg.Images.ReleaseUnpinned(ctx); err != nil {
		rs.log.Error("letting go of images that no container uses", "error", err)
	}
	return nil
}

// runDirs lists the containers that have a run directory.
func (rs *restorer) runDirs() (map[string]bool, error) {
	root := filepath.Join(rs.cfg.ExecRoot, "containers")
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("opening the run directory: %w", err)
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("opening the run directory: %w", err)
	}
	found := make(map[string]bool, len(entries))
	for _, d := range entries {
		found[d.Name()] = true
	}
	return found, nil
}

// restoreOne brings one container back. live says that it has a run directory.
func (rs *restorer) restoreOne(ctx context.Context, id string, live bool) {
	rec, err := rs.store.Load(id)
	if err != nil {
		rs.log.Error("a container's record cannot be read: it is left as it is", "container", id, "directory", rs.store.Dir(id), "error", err)
		if live {
			rs.endOrphan(id)
		}
		return
	}
	if _, err := rs.table.reserve(rec.Name, id); err != nil {
		rs.log.Error("two containers have one name: the second is renamed to its ID", "container", id, "name", rec.Name)
		rec.Name = id
	}
	c := rs.table.add(rec)
	c.used = !rec.State.StartedAt.IsZero()
	rs.pin(ctx, c)
	rs.mounts.restore(ctx, rec)
	rs.reserveRange(c)

	switch {
	case live:
		c.used = true
		if end := rs.adopt(ctx, c, rec); end != nil {
			rs.finish(c, *end)
		}
	case rec.State.Running():
		rs.finish(c, rs.endedWithHost(id))
	case rec.State.Status == container.StateRemoving:
		rs.removeEnded(c)
	case rec.HostConfig.AutoRemove && rec.State.Status == container.StateExited:
		rs.removeEnded(c)
	}
}

// pin holds the layers that a container stands on.
func (rs *restorer) pin(ctx context.Context, c *ctr) {
	img := image.Image{ID: digest.Digest(c.rec.Image.ID), Lower: c.rec.Image.Lower, Platform: c.rec.Image.Platform}
	if c.rec.Image.Manifest != nil {
		img.Manifest = *c.rec.Image.Manifest
	}
	if err := rs.cfg.Images.Pin(ctx, c.id, img); err != nil {
		rs.log.Error("a container's image is gone: it cannot be started again", "container", c.id, "image", c.rec.Image.Name, "error", err)
	}
}

// reserveRange keeps the ids of a container that has ids of its own.
func (rs *restorer) reserveRange(c *ctr) {
	ids := c.rec.UserNS.Own()
	if ids == nil {
		return
	}
	if err := rs.spaces.ids.Reserve(*ids); err != nil {
		rs.log.Error("keeping a container's range of ids", "container", c.id, "error", err)
		rs.mu.Lock()
		rs.moved = append(rs.moved, c)
		rs.mu.Unlock()
	}
}

// moveRange gives a container other ids when its own are in use by somebody
// else, which harms nothing: its files do not bear them. One that runs goes on
// with them, until it is removed.
func (rs *restorer) moveRange(c *ctr) {
	if c.current() != nil {
		return
	}
	ids, err := rs.spaces.ids.Take()
	if err != nil {
		rs.log.Error("giving a container another range of ids", "container", c.id, "error", err)
		return
	}
	rec := c.snapshot()
	rec.UserNS = rangeUserNS(ids)
	c.replace(&rec)
	if err := rs.persist(c, true); err != nil {
		rs.log.Error("recording a container's range of ids", "container", c.id, "error", err)
	}
}

// adopt connects to the shim of a container that was running, or was about to.
// Without one it tells how the container ended; else it returns nil.
func (rs *restorer) adopt(ctx context.Context, c *ctr, rec *record.Container) *wire.Exit {
	if rs.rebooted {
		x := rs.endedWithHost(c.id)
		return &x
	}
	client, state, err := rs.reach(ctx, c.id)
	if err != nil {
		x := rs.lost(c.id, rs.lastState(c.id))
		return &x
	}
	rs.mounts.adopt(rec)
	now := *rec
	now.Endpoints = rs.nets.last(c.id)
	if err := rs.naming.enter(now.Endpoints...); err != nil {
		rs.log.Error("keeping a running container's names", "container", c.id, "error", err)
	}
	for _, p := range now.Endpoints {
		if err := rs.cfg.Network.Reserve(p); err != nil {
			rs.log.Error("keeping a running container's address", "container", c.id, "address", p.Address4.String(), "error", err)
		}
	}
	if now.State.Running() {
		now.State.Status = container.StateExited // as begun expects it; no client can see it yet
	}
	c.verb <- struct{}{}
	defer c.disown()
	execs := rs.recallExecs(c)
	rs.begun(c, &now, client, state, false)
	if _, checked := health.Of(now.Config); checked || len(execs) > 0 {
		if running, err := client.Execs(ctx); err == nil {
			rs.settleExecs(execs, running, time.Now())
			rs.endProbes(ctx, client, execs, running)
		} // else the container ends, and they with it
	}
	if frozen, err := cgroup.Open(state.Cgroup).Frozen(); err != nil {
		rs.log.Error("asking whether a container is paused", "container", c.id, "error", err)
	} else if frozen && rec.State.Thaw {
		if err := cgroup.Open(state.Cgroup).Thaw(); err != nil {
			rs.log.Error("resuming a container after a commit", "container", c.id, "error", err)
		}
	} else if frozen {
		rs.checker.rest(c, c.current())
		paused := c.snapshot()
		if err := paused.State.To(container.StatePaused); err == nil {
			c.replace(&paused)
		}
	}
	return nil
}

// endProbes ends the health checks that an earlier engine had under way: the
// execs of which it has noted nothing.
func (rs *restorer) endProbes(ctx context.Context, client *wire.Client, known []*execution, running []wire.ExecState) {
	for _, s := range running {
		if !slices.ContainsFunc(known, func(x *execution) bool { return x.id == s.ID }) {
			_ = client.ExecSignal(ctx, wire.ExecSignal{ID: s.ID, Signal: int(unix.SIGKILL), All: true}) // an error: it has ended
		}
	}
}

// reach connects to the shim of container id. One that was just being given
// its container when the engine died is waited for, briefly.
func (rs *restorer) reach(ctx context.Context, id string) (*wire.Client, wire.State, error) {
	dir, started := rs.runDir(id), time.Now()
	for {
		client, err := wire.Dial(ctx, dir)
		if err == nil {
			var state wire.State
			if _, err = client.Hello(ctx); err == nil {
				state, err = client.State(ctx)
			}
			if err == nil {
				return client, state, nil
			}
			_ = client.Close()
		}
		held := wire.Held(dir)
		if !held && rs.lastState(id).Pid != 0 {
			return nil, wire.State{}, err
		}
		// A shim that is older than this lock never holds it.
		if waited := time.Since(started); waited > killPatience || !held && waited > time.Second {
			return nil, wire.State{}, err
		}
		if _, e := os.Stat(filepath.Join(dir, "exit.json")); e == nil {
			return nil, wire.State{}, err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// lastState reads what the shim wrote when its container started.
func (e *core) lastState(id string) wire.State {
	var s wire.State
	if err := readJSON(filepath.Join(e.runDir(id), "state.json"), &s); err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.log.Error("reading a shim's state", "container", id, "error", err)
	}
	return s
}

// finish records the end of a container that ended while no engine looked.
func (rs *restorer) finish(c *ctr, x wire.Exit) {
	state := rs.lastState(c.id)
	r := newRun(nil, state)
	c.mu.Lock()
	rec := *c.rec
	ran := rec.State.Running() || state.Pid != 0
	if ran {
		if state.StartedAt.After(rec.State.StartedAt) {
			rec.State.StartedAt = state.StartedAt.UTC()
		}
		rec.State.Status = container.StateRunning // also where the engine died before it recorded the start
		c.rec, c.run = &rec, r
	}
	c.mu.Unlock()
	if ran {
		rs.settleExecs(rs.recallExecs(c), nil, x.ExitedAt)
		rs.ended(c, r, x)
	} else {
		c.mu.Lock()
		c.cooling = r.ended
		c.mu.Unlock()
	}
	rs.work.Go(func() {
		if err := rs.clear(c.id, state); err != nil {
			rs.log.Error("clearing up after a container", "container", c.id, "error", err)
		}
		close(r.ended)
	})
}

// endOrphan ends a container that has a shim but no record: its creation was
// not durable, or its record was lost.
func (rs *restorer) endOrphan(id string) {
	state := rs.lastState(id)
	if rs.rebooted {
		state = wire.State{}
	}
	rs.log.Warn("a container runs that nobody knows: it is ended", "container", id, "pid", state.Pid)
	if err := kill(state.Pid, state.PidStart); err != nil {
		rs.log.Error("ending an unknown container", "container", id, "error", err)
	}
	if err := rs.clear(id, state); err != nil {
		rs.log.Error("clearing up after an unknown container", "container", id, "error", err)
	}
}

// bootFile holds, in the exec-root, the boot id of the host when the engine ran
// last. The exec-root should be on a tmpfs, so that a boot clears it; where it
// is not, pids in it would name other processes by now.
const bootFile = "boot-id"

// detectBoot finds out whether the host was started since an engine used the
// exec-root. note is to be called when nothing from before is left there.
func (rs *restorer) detectBoot() (note func() error, err error) {
	now, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("asking the kernel which start of the host this is: %w", err)
	}
	path := filepath.Join(rs.cfg.ExecRoot, bootFile)
	then, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading which start of the host the exec-root is of: %w", err)
	}
	if bytes.Equal(now, then) {
		return func() error { return nil }, nil
	}
	rs.rebooted = err == nil
	return func() error {
		if err := record.WriteFile(path, now, 0o600, false); err != nil {
			return fmt.Errorf("noting which start of the host the exec-root is of: %w", err)
		}
		return nil
	}, nil
}

// endedWithHost is how a container ended that ran when the host went down:
// nobody saw it, unless it had ended before.
func (rs *restorer) endedWithHost(id string) wire.Exit {
	var x wire.Exit
	if readJSON(filepath.Join(rs.runDir(id), wire.ExitName), &x) == nil {
		return x
	}
	return wire.Exit{ID: id, ExitCode: 255, ExitedAt: time.Now()}
}
