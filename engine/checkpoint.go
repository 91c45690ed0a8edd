package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/moby/moby/api/types/checkpoint"
	"github.com/moby/moby/api/types/events"

	"github.com/davit-engine/davit/engine/spec"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/wire"
)

// Checkpoints are the verbs for containers whose processes are written to files
// and made again from them, by the program criu.
type Checkpoints struct {
	*launcher
	e *Engine
}

// Checkpoints returns them.
func (e *Engine) Checkpoints() *Checkpoints { return &Checkpoints{e.launcher, e} }

// Create writes a running container's processes to a checkpoint. With Exit they
// end by it. Conflict when the container does not run, or has a checkpoint of
// that name.
func (p *Checkpoints) Create(ctx context.Context, ref string, o checkpoint.CreateRequest) error {
	c, err := p.table.find(ref)
	if err != nil {
		return err
	}
	dir, err := p.checkpointDir(c, o.CheckpointDir, o.CheckpointID)
	if err != nil {
		return err
	}
	if err := p.ownRuntime(c); err != nil {
		return err
	}
	criu, err := findCriu()
	if err != nil {
		return err
	}
	if err := c.own(ctx); err != nil {
		return err
	}
	defer c.disown()
	rec, r := c.snapshot(), c.current()
	if r == nil {
		return errs.New(errs.Conflict, "container %s is not running", c.id)
	}
	at := wire.Checkpoint{Criu: criu, Dir: dir, Work: p.criuWork(c)}
	switch err := makeCheckpointDirs(at); {
	case errors.Is(err, fs.ErrExist):
		return errs.New(errs.Conflict, "checkpoint with name %s already exists for container %s", o.CheckpointID, rec.Name)
	case err != nil:
		return fmt.Errorf("making the checkpoint's directory: %w", err)
	}
	// The specification again, for what is mounted where; nothing is started.
	order, err := p.startOrder(&rec, spec.User{}, filesIn(p.store.Dir(c.id)), nil)
	if err == nil {
		// A client that goes away must not leave half of it.
		err = r.shim.Dump(context.WithoutCancel(ctx), &wire.Dump{Checkpoint: at, Spec: order.Spec, LeaveRunning: !o.Exit})
	}
	if err != nil {
		_ = os.RemoveAll(dir) // criu's log is elsewhere
		return errs.New(errs.KindOf(err), "Cannot checkpoint container %s: %w%s", rec.Name, err, criuAdvice(err))
	}
	p.publish(&rec, events.ActionCheckpoint, nil)
	return nil
}

// makeCheckpointDirs makes the directories of a new checkpoint, for root only:
// it holds all that is in the container's memory.
func makeCheckpointDirs(at wire.Checkpoint) error {
	for _, dir := range []string{at.Work, filepath.Dir(at.Dir)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return os.Mkdir(at.Dir, 0o700)
}

// List lists a container's checkpoints, of which the names are known.
func (p *Checkpoints) List(_ context.Context, ref, dir string) ([]checkpoint.Summary, error) {
	c, err := p.table.find(ref)
	if err != nil {
		return nil, err
	}
	parent, err := p.checkpointParent(c, dir)
	if err != nil {
		return nil, err
	}
	list := []checkpoint.Summary{}
	entries, err := os.ReadDir(parent)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing checkpoints: %w", err)
	}
	for _, d := range entries {
		if d.IsDir() {
			list = append(list, checkpoint.Summary{Name: d.Name()})
		}
	}
	return list, nil
}

// Remove deletes a checkpoint.
func (p *Checkpoints) Remove(_ context.Context, ref, dir, name string) error {
	c, err := p.table.find(ref)
	if err != nil {
		return err
	}
	path, err := p.existing(c, dir, name)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("removing checkpoint %s: %w", name, err)
	}
	return nil
}

// checkpointOf finds what a start is to go on from; nil: nothing.
func (l *launcher) checkpointOf(c *ctr, o StartOptions) (*wire.Checkpoint, error) {
	if o.Checkpoint == "" {
		if o.CheckpointDir != "" {
			return nil, errs.New(errs.InvalidParameter, "checkpoint-dir is given without a checkpoint")
		}
		return nil, nil
	}
	if err := l.ownRuntime(c); err != nil {
		return nil, err
	}
	dir, err := l.existing(c, o.CheckpointDir, o.Checkpoint)
	if err != nil {
		return nil, err
	}
	criu, err := findCriu()
	if err != nil {
		return nil, err
	}
	at := &wire.Checkpoint{Criu: criu, Dir: dir, Work: l.criuWork(c)}
	if err := os.MkdirAll(at.Work, 0o700); err != nil {
		return nil, fmt.Errorf("making criu's directory: %w", err)
	}
	return at, nil
}

// ownRuntime refuses a container that another runtime makes: its processes are
// that one's to freeze and to bring back.
func (l *launcher) ownRuntime(c *ctr) error {
	name := c.snapshot().HostConfig.Runtime
	if r, err := l.runtimes.find(name); err != nil || r == nil {
		return err
	}
	return errs.New(errs.NotImplemented, "checkpoints of containers of runtime %s are not supported: only Davit's own runtime makes them", name)
}

// criuWork is where criu writes its log for a container.
func (l *launcher) criuWork(c *ctr) string { return filepath.Join(l.store.Dir(c.id), "criu") }

func (l *launcher) checkpointParent(c *ctr, dir string) (string, error) {
	switch {
	case dir == "":
		return filepath.Join(l.store.Dir(c.id), "checkpoints"), nil
	case !filepath.IsAbs(dir):
		return "", errs.New(errs.InvalidParameter, "checkpoint directory %q is not an absolute path of the engine's host", dir)
	}
	return filepath.Clean(dir), nil
}

// checkpointDir is the directory of a checkpoint, whether it exists or not.
func (l *launcher) checkpointDir(c *ctr, dir, name string) (string, error) {
	if validName(name) != nil || name[0] == '/' {
		return "", errs.New(errs.InvalidParameter, "Invalid checkpoint ID (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	parent, err := l.checkpointParent(c, dir)
	return filepath.Join(parent, name), err
}

func (l *launcher) existing(c *ctr, dir, name string) (string, error) {
	path, err := l.checkpointDir(c, dir, name)
	if err != nil {
		return "", err
	}
	if st, err := os.Stat(path); err != nil || !st.IsDir() {
		rec := c.snapshot()
		return "", errs.New(errs.NotFound, "checkpoint %s does not exist for container %s", name, rec.Name)
	}
	return path, nil
}

// findCriu looks for the program in $PATH.
func findCriu() (string, error) {
	path, err := exec.LookPath("criu")
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return "", errs.New(errs.NotImplemented, "checkpoints need the program criu, which is not in the engine's $PATH: install it (Debian: apt-get install criu)")
	}
	return path, nil
}

// criuAdvice says what to do about a failure of criu's.
func criuAdvice(err error) string {
	var refused *wire.Error
	if !errors.As(err, &refused) || refused.Kind != errs.System {
		return ""
	}
	return ": 'criu check' says whether this kernel and this criu fit each other; an old criu does not know a new kernel"
}
