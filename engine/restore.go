package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/image"
	"github.com/davit-engine/davit/runtime/wire"
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/go-digest"
)

// restore learns everything again after a start of the engine: from the
// records what was asked for, from the shims what runs. A container whose
// record cannot be read is left alone on disk and named in the log.
func (e *Engine) restore(ctx context.Context) error {
	ids, err := e.store.IDs()
	if err != nil {
		return err
	}
	running, err := e.runDirs()
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
			e.restoreOne(ctx, id, live)
		}()
	}
	work.Wait()
	for id := range running {
		e.endOrphan(id)
	}
	if err := e.cfg.Images.ReleaseUnpinned(ctx); err != nil {
		e.log.Error("letting go of images that no container uses", "error", err)
	}
	return nil
}

// runDirs lists the containers that have a run directory.
func (e *Engine) runDirs() (map[string]bool, error) {
	root := filepath.Join(e.cfg.ExecRoot, "containers")
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
func (e *Engine) restoreOne(ctx context.Context, id string, live bool) {
	rec, err := e.store.Load(id)
	if err != nil {
		e.log.Error("a container's record cannot be read: it is left as it is", "container", id, "directory", e.store.Dir(id), "error", err)
		if live {
			e.endOrphan(id)
		}
		return
	}
	c := newCtr(rec)
	c.used = !rec.State.StartedAt.IsZero()
	e.mu.Lock()
	if _, taken := e.names[rec.Name]; taken {
		e.log.Error("two containers have one name: the second is renamed to its ID", "container", id, "name", rec.Name)
		rec.Name = id
	}
	e.byID[id], e.names[rec.Name] = c, id
	e.mu.Unlock()
	e.pin(ctx, c)

	wasRunning := rec.State.Running()
	if live {
		c.used = true
		switch x, ok := e.adopt(ctx, c, rec); {
		case ok:
			return
		default:
			e.finish(c, *x)
			return
		}
	}
	switch {
	case wasRunning:
		// The host went down under it: nobody saw how it ended.
		e.finish(c, wire.Exit{ID: id, ExitCode: 255, ExitedAt: time.Now()})
	case rec.State.Status == container.StateRemoving:
		e.removeOwned(c)
	case rec.HostConfig.AutoRemove && rec.State.Status == container.StateExited:
		e.removeOwned(c)
	}
}

// pin holds the layers that a container stands on.
func (e *Engine) pin(ctx context.Context, c *ctr) {
	img := image.Image{ID: digest.Digest(c.rec.Image.ID), Lower: c.rec.Image.Lower, Platform: c.rec.Image.Platform}
	if c.rec.Image.Manifest != nil {
		img.Manifest = *c.rec.Image.Manifest
	}
	if err := e.cfg.Images.Pin(ctx, c.id, img); err != nil {
		e.log.Error("a container's image is gone: it cannot be started again", "container", c.id, "image", c.rec.Image.Name, "error", err)
	}
}

// adopt connects to the shim of a container that was running, or was about to.
// Without one it tells how the container ended.
func (e *Engine) adopt(ctx context.Context, c *ctr, rec *record.Container) (*wire.Exit, bool) {
	client, state, err := e.reach(ctx, c.id)
	if err != nil {
		x := e.lost(c.id, e.lastState(c.id))
		return &x, false
	}
	now := *rec
	now.Endpoint = e.lastEndpoint(c.id)
	if p, ok := endpointOf(&now); ok {
		if err := e.cfg.Network.Reserve(p); err != nil {
			e.log.Error("keeping a running container's address", "container", c.id, "address", p.Address.String(), "error", err)
		}
	}
	if now.State.Running() {
		now.State.Status = container.StateExited // as begun expects it; no client can see it yet
	}
	c.verb <- struct{}{}
	defer c.disown()
	e.begun(c, &now, client, state)
	return nil, true
}

// reach connects to the shim of container id. One that was just being given
// its container when the engine died is waited for, briefly.
func (e *Engine) reach(ctx context.Context, id string) (*wire.Client, wire.State, error) {
	deadline := time.Now().Add(time.Second)
	for {
		client, err := wire.Dial(ctx, e.runDir(id))
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
		if e.lastState(id).Pid != 0 || time.Now().After(deadline) {
			return nil, wire.State{}, err
		}
		if _, e := os.Stat(filepath.Join(e.runDir(id), "exit.json")); e == nil {
			return nil, wire.State{}, err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// lastState reads what the shim wrote when its container started.
func (e *Engine) lastState(id string) wire.State {
	var s wire.State
	if err := readJSON(filepath.Join(e.runDir(id), "state.json"), &s); err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.log.Error("reading a shim's state", "container", id, "error", err)
	}
	return s
}

// finish records the end of a container that ended while no engine looked.
func (e *Engine) finish(c *ctr, x wire.Exit) {
	state := e.lastState(c.id)
	c.mu.Lock()
	rec := *c.rec
	if rec.State.StartedAt.IsZero() || !state.StartedAt.IsZero() && state.StartedAt.After(rec.State.StartedAt) {
		rec.State.StartedAt = state.StartedAt.UTC()
	}
	neverRan := !rec.State.Running() && state.Pid == 0
	if !rec.State.Running() && !neverRan {
		rec.State.Status = container.StateRunning // the engine died before it recorded the start
	}
	c.rec = &rec
	r := newRun(nil, state)
	c.run = r
	c.mu.Unlock()
	if neverRan {
		c.mu.Lock()
		c.run = nil
		c.mu.Unlock()
	} else {
		e.ended(c, r, x)
	}
	if err := e.clear(c.id, state); err != nil {
		e.log.Error("clearing up after a container", "container", c.id, "error", err)
	}
	close(r.ended)
}

// endOrphan ends a container that has a shim but no record: its creation was
// not durable, or its record was lost.
func (e *Engine) endOrphan(id string) {
	state := e.lastState(id)
	e.log.Warn("a container runs that nobody knows: it is ended", "container", id, "pid", state.Pid)
	if err := kill(state.Pid, state.PidStart); err != nil {
		e.log.Error("ending an unknown container", "container", id, "error", err)
	}
	if err := e.clear(id, state); err != nil {
		e.log.Error("clearing up after an unknown container", "container", id, "error", err)
	}
}
