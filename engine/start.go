package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/engine/spec"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/wire"
)

// StartOptions says how to start a container. The zero value starts its command.
type StartOptions struct {
	Checkpoint    string // the name of a checkpoint to go on from
	CheckpointDir string // where it is; empty: with the container
}

// Start runs a container that does not run. Errors: NotModified when it does,
// Conflict in states that cannot start, InvalidParameter when its command,
// user or mounts cannot be had; then nothing is left but the record with the
// error.
func (e *Engine) Start(ctx context.Context, ref string, o StartOptions) error {
	c, err := e.table.find(ref)
	if err != nil {
		return err
	}
	from, err := e.launcher.checkpointOf(c, o)
	if err != nil {
		return err
	}
	if c.current() == nil {
		if err := e.keeper.usher.bring(ctx, c); err != nil {
			return e.launcher.refuse(c, err)
		}
	}
	if err := c.own(ctx); err != nil {
		return err
	}
	defer c.disown()
	e.keeper.reviver.settle(c)
	// From here on a client that goes away changes nothing.
	return e.launcher.startFrom(context.WithoutCancel(ctx), c, from)
}

// launcher brings containers to life.
type launcher struct {
	*keeper
	shims  *shimPool
	ahead  *quiet // makes what the next container needs
	filter *filterCache
	users  *userCache
}

// makeReady does work before it is asked for.
func (l *launcher) makeReady() {
	l.shims.fill()
	if err := l.store.Fill(); err != nil {
		l.log.Warn("making directories for containers to come", "error", err)
	}
	if err := l.spaces.fill(); err != nil {
		l.log.Warn("making user namespaces for containers to come", "error", err)
	}
}

// start is Start for the owner of c.
func (l *launcher) start(ctx context.Context, c *ctr) error { return l.startFrom(ctx, c, nil) }

// startFrom is start from a checkpoint, if that is not nil.
func (l *launcher) startFrom(ctx context.Context, c *ctr, from *wire.Checkpoint) (err error) {
	rec, upper := c.snapshot(), filepath.Join(l.store.Dir(c.id), "upper")
	switch rec.State.Status {
	case container.StateRunning:
		return errs.New(errs.NotModified, "container %s is already running", c.id)
	case container.StatePaused:
		return errs.New(errs.Conflict, "cannot start a paused container, try unpause instead")
	case container.StateRemoving, container.StateDead:
		return errs.New(errs.Conflict, "container is marked for removal and cannot be started")
	case container.StateRestarting: // by its restart policy
	default:
		rec.State.RestartCount = 0
	}
	if rec.HostConfig.AutoRemove {
		// Deferred first, so that it runs when the steps below are undone.
		defer func() {
			if err != nil {
				l.removeEnded(c)
			}
		}()
	}
	defer func() {
		if err != nil {
			err = l.startFailed(c, err)
		}
	}()
	var undo undo
	defer undo.unless(&err)

	c.mu.Lock()
	fresh, pending, cooling := !c.used, c.pending, c.cooling
	if rec.State.Status != container.StateRestarting {
		c.waited = 0
	}
	c.used, c.pending = true, nil
	c.mu.Unlock()
	defer closeAll(pending) // the shim has its own descriptors by then
	if err := cool(cooling); err != nil {
		return err
	}
	c.revokeViews()
	if rec.HostConfig.AutoRemove && !fresh {
		if err := remount(l.store.Dir(c.id)); err != nil {
			return err
		}
	}

	runDir := l.runDir(c.id)
	if err := freshDir(runDir); err != nil {
		return err
	}
	undo.add(func() { _ = os.RemoveAll(runDir) })

	at, err := l.enter(ctx, &rec)
	if err != nil {
		return err
	}
	undo.add(func() { l.leaveNetwork(&rec) })
	at.shm, err = l.sharedMemory(&rec)
	defer func() { at.close() }() // as it is then
	if err != nil {
		return err
	}
	services, err := l.ports.publish(&rec)
	if err != nil {
		return err
	}
	defer services.close() // the shim has its own by then
	if len(rec.Endpoints) > 0 {
		if err := l.nets.note(&rec); err != nil {
			return err
		}
		undo.add(func() { l.naming.ended(&rec) })
		if err := l.naming.enter(rec.Endpoints...); err != nil {
			return err
		}
	}
	if len(rec.Mounts) > 0 {
		if at.sources, err = l.mounts.ready(&rec, at.userns); err != nil {
			return err
		}
		undo.add(func() { l.mounts.ended(&rec) })
	}

	user, err := l.users.lookup(&rec, upper, fresh)
	if err != nil {
		return err
	}
	files, through, err := l.writeFiles(&rec)
	if err != nil {
		return err
	}
	order, err := l.startOrder(&rec, user, files, at.userns)
	if err != nil {
		return err
	}
	order.Checkpoint = from
	order.RunDir, order.NetNS, order.UserNS = runDir, at.netns != nil, at.userns != nil
	if at.shm != nil {
		order.Trees = append(order.Trees, spec.ShmMount)
	}
	for _, s := range at.sources {
		order.Trees = append(order.Trees, s.target)
	}
	if through {
		if err := l.naming.giveResolver(&rec, &at, order); err != nil {
			return err
		}
	}
	order.Services = append(order.Services, services.services...)
	descriptors := append(at.files(), conns(services.files)...)
	for _, a := range pending {
		order.Attachments = append(order.Attachments, a.order)
		descriptors = append(descriptors, a.socket)
	}

	s, err := l.shims.take()
	if err != nil {
		return err
	}
	state, err := s.client.Start(ctx, order, descriptors...)
	if err != nil {
		_ = s.client.Close()
		if from != nil {
			return errs.New(errs.KindOf(err), "Cannot restore container %s from checkpoint %s: %s%s", rec.Name, filepath.Base(from.Dir), err, criuAdvice(err))
		}
		return err
	}
	l.begun(c, &rec, s.client, state, true)
	if rec.UserNS != nil && rec.UserNS.Borrowed {
		l.work.Go(func() { l.keepIDs(c) })
	}
	now := c.snapshot()
	l.nets.tellParents(&now)
	l.nets.tell(&now, events.ActionConnect)
	l.publish(&now, events.ActionStart, nil)
	l.ahead.soon()
	return nil
}

// begun records that the container runs, and watches it from now on. fresh says
// that it was started, not taken over from another engine.
func (k *keeper) begun(c *ctr, rec *record.Container, client *wire.Client, state wire.State, fresh bool) {
	r := newRun(client, state)
	now := *rec
	now.State = record.State{
		Status: rec.State.Status, Pid: state.Pid, StartedAt: state.StartedAt.UTC(), FinishedAt: rec.State.FinishedAt, RestartCount: rec.State.RestartCount,
	}
	// That a user has asked for the end of this very run still holds.
	now.State.ManuallyStopped = !fresh && rec.State.ManuallyStopped && rec.State.StartedAt.Equal(state.StartedAt)
	if err := now.State.To(container.StateRunning); err != nil {
		k.log.Error("a container runs that should not", "container", c.id, "error", err)
		now.State.Status = container.StateRunning
	}
	c.mu.Lock()
	c.rec, c.run, c.used = &now, r, true
	c.mu.Unlock()
	k.checker.begin(c, r, fresh)
	k.logging.ship(&now, r.exited)
	k.work.Add(1)
	go func() {
		defer k.work.Done()
		// Nobody waits for this: what runs is told by the shim's own record.
		if err := k.persist(c, false); err != nil {
			k.log.Error("recording a start", "container", c.id, "error", err)
		}
		k.watch(c, r)
	}()
}

func newRun(client *wire.Client, state wire.State) *run {
	return &run{shim: client, state: state, exited: make(chan struct{}), ended: make(chan struct{})}
}

// cool waits until the shim of the run before has let go of the cgroup.
func cool(ended <-chan struct{}) error {
	if ended == nil {
		return nil
	}
	t := time.NewTimer(killPatience)
	defer t.Stop()
	select {
	case <-ended:
		return nil
	case <-t.C:
		return errs.New(errs.System, "the container's last run has not been cleared up yet: try again")
	}
}

// remount lets the writable layer in dir be mounted again that was mounted
// volatile. The kernel refuses it after each such mount, because a crash of the
// host may have lost some of it; with that a container with --rm is lost anyway.
func remount(dir string) error {
	if err := os.RemoveAll(filepath.Join(dir, "work", "work", "incompat")); err != nil {
		return fmt.Errorf("mounting the container's writable layer again: %w", err)
	}
	return nil
}

// refuse is what a start comes to that cannot begin, for whoever does not own c.
func (l *launcher) refuse(c *ctr, err error) error {
	if c.own(context.Background()) != nil {
		return err
	}
	defer c.disown()
	if c.current() != nil { // somebody else has started it
		return err
	}
	err = l.startFailed(c, err)
	if c.snapshot().HostConfig.AutoRemove {
		l.removeEnded(c)
	}
	return err
}

// startFailed keeps the reason in the record and gives the error Docker's
// words, which clients read to find the exit code.
func (l *launcher) startFailed(c *ctr, err error) error {
	code := 128
	var refused *wire.Error
	if errors.As(err, &refused) {
		if refused.ExitCode != 0 {
			code = refused.ExitCode
		}
		kind := refused.Kind
		if kind == errs.Unknown {
			kind = errs.System
		}
		err = errs.New(kind, "failed to create task for container: failed to create shim task: OCI runtime create failed: unable to start container process: %w", refused)
	}
	rec := c.snapshot()
	rec.State.Error, rec.State.ExitCode = err.Error(), code
	c.replace(&rec)
	if err := l.persist(c, false); err != nil {
		l.log.Error("recording a failed start", "container", c.id, "error", err)
	}
	return err
}

// freshDir makes an empty directory for the shim. What an earlier life left
// there was dealt with before.
func freshDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, os.ErrExist) {
		if err = os.RemoveAll(dir); err == nil {
			err = os.Mkdir(dir, 0o700)
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("making the shim's directory: %w", err)
	}
	return nil
}
