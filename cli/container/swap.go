package container

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/errs"
)

// swap puts a new container in the place of an old one: the old one is stopped
// and named otherwise, the new one, which was created under another name, gets
// its name. Until the new one runs, all of it can be taken back.
type swap struct {
	env  *env.Env
	api  *client.Client
	old  container.InspectResponse
	name string // what both are called, in turn
	id   string // of the new one
	undo []func(context.Context) error
}

// undoLimit bounds what it takes to bring the old container back.
const undoLimit = time.Minute

// findOld looks for the container that is to be replaced; nil if there is none.
func findOld(ctx context.Context, e *env.Env, name string) (*swap, error) {
	api, err := e.Client()
	if err != nil {
		return nil, err
	}
	old, _, err := api.Containers.Inspect(ctx, name, false)
	if errs.Is(err, errs.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &swap{env: e, api: api, old: old, name: strings.TrimPrefix(old.Name, "/")}, nil
}

// beside is a name for a container that is there for a while only.
func (s *swap) beside(what string) string { return s.name + "-" + what + "-" + s.old.ID[:12] }

// ran reports whether the old container was to run.
func (s *swap) ran() bool {
	return s.old.State != nil && (s.old.State.Running || s.old.State.Restarting)
}

// perishes reports whether the old container is gone once it stops.
func (s *swap) perishes() bool { return s.old.HostConfig != nil && s.old.HostConfig.AutoRemove }

// take gives the new container the place of the old one. On an error it is as
// before, without the new container.
func (s *swap) take(ctx context.Context, id string) error {
	s.id = id
	s.undo = append(s.undo, func(ctx context.Context) error {
		return absent(s.api.Containers.Remove(ctx, id, client.RemoveOptions{Force: true, Volumes: true}))
	})
	for _, step := range []func(context.Context) error{s.stopOld, s.nameNew} {
		if ctx.Err() != nil {
			return s.back(ctx, errors.New("interrupted"))
		}
		// A step that is cut short may still come true afterwards.
		if err := step(context.WithoutCancel(ctx)); err != nil {
			return s.back(ctx, err)
		}
	}
	return nil
}

// makeRoom returns the name for a new container until it gets its own, free of
// what an interrupted replacement may have left.
func (s *swap) makeRoom(ctx context.Context) (string, error) {
	name := s.beside("new")
	return name, absent(s.api.Containers.Remove(ctx, name, client.RemoveOptions{Volumes: true}))
}

// takeUninterrupted is take, which an interrupt of the user takes back.
func (s *swap) takeUninterrupted(ctx context.Context, id string) error {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM)
	defer stop()
	return s.take(ctx, id)
}

func (s *swap) stopOld(ctx context.Context) error {
	if s.perishes() {
		if s.ran() {
			// Its removal comes some time after its end; this awaits it.
			if err := s.api.Containers.Stop(ctx, s.old.ID, client.StopOptions{}); absent(err) != nil {
				return err
			}
		}
		return absent(s.api.Containers.Remove(ctx, s.old.ID, client.RemoveOptions{Force: true}))
	}
	if s.ran() {
		s.undo = append(s.undo, func(ctx context.Context) error { return s.api.Containers.Start(ctx, s.old.ID, client.StartOptions{}) })
		if err := s.api.Containers.Stop(ctx, s.old.ID, client.StopOptions{}); err != nil {
			return err
		}
	}
	if err := s.api.Containers.Rename(ctx, s.old.ID, s.beside("replaced")); err != nil {
		return err
	}
	s.undo = append(s.undo, func(ctx context.Context) error { return s.api.Containers.Rename(ctx, s.old.ID, s.name) })
	return nil
}

func (s *swap) nameNew(ctx context.Context) error {
	return s.api.Containers.Rename(ctx, s.id, s.name)
}

// back takes everything back and says so beside why.
func (s *swap) back(ctx context.Context, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	var failures []error
	// The new container goes first: it may hold what the old one needs.
	order := slices.Clone(s.undo)
	slices.Reverse(order[1:])
	for _, step := range order {
		failures = append(failures, step(ctx))
	}
	state := "as it was"
	switch {
	case errors.Join(failures...) != nil:
		return fmt.Errorf("%w\ncontainer %s (%s) could not be brought back: %w", why, s.name, s.old.ID[:12], errors.Join(failures...))
	case s.perishes():
		return fmt.Errorf("%w\nThe container %s that was replaced is gone: it had --rm", why, s.name)
	case s.ran():
		state = "running again"
	}
	return fmt.Errorf("%w\nThe old container %s is %s", why, s.name, state)
}

// finish removes the old container, or keeps it under another name. The new one
// has its place by then, whatever becomes of that.
func (s *swap) finish(ctx context.Context, keep bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	if s.perishes() {
		return
	}
	aside := s.beside("replaced")
	if !keep {
		// Its volumes stay, which the new one may have.
		if err := absent(s.api.Containers.Remove(ctx, s.old.ID, client.RemoveOptions{Force: true})); err != nil {
			s.env.Warn("the old container stays as " + aside + ": " + err.Error())
		}
		return
	}
	if h := s.old.HostConfig; h != nil && !h.RestartPolicy.IsNone() {
		// It must not come back beside the new one when the engine starts.
		off := container.UpdateConfig{RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled}}
		if _, err := s.api.Containers.Update(ctx, s.old.ID, off); err != nil {
			s.env.Warn("the old container, " + aside + ", keeps its restart policy: " + err.Error())
		}
	}
	fmt.Fprintf(s.env.Err, "%s: the old container is kept as %s\n", s.name, aside)
}

// absent forgives that a container is gone already.
func absent(err error) error {
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	return err
}
