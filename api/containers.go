package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/containerd/platforms"
	"github.com/davit-engine/davit/api/compat"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/errs"
	"github.com/moby/moby/api/types/container"
)

// Lifecycle makes containers and moves them from state to state. A ref is a
// name, an ID or the beginning of an ID.
type Lifecycle interface {
	Create(ctx context.Context, o engine.CreateOptions) (container.CreateResponse, error)
	Start(ctx context.Context, ref string, o engine.StartOptions) error // NotModified when it runs
	Stop(ctx context.Context, ref string, o engine.StopOptions) error
	Restart(ctx context.Context, ref string, o engine.StopOptions) error
	Kill(ctx context.Context, ref, signal string) error
}

// Freezer stops containers where they stand, and lets them go on.
type Freezer interface {
	Pause(ctx context.Context, ref string) error
	Unpause(ctx context.Context, ref string) error
}

// Catalog lists, shows, renames and removes containers.
type Catalog interface {
	List(ctx context.Context, o engine.ListOptions) ([]container.Summary, error)
	Inspect(ctx context.Context, ref string, size bool) (container.InspectResponse, error)
	Rename(ctx context.Context, ref, name string) error
	Remove(ctx context.Context, ref string, o engine.RemoveOptions) error
}

type lifecycleRoutes struct {
	part Lifecycle
	host compat.Host
}

func (t *table) lifecycle(part Lifecycle, cgroupUnified bool) {
	if part == nil {
		return
	}
	h := lifecycleRoutes{part, compat.Host{CgroupUnified: cgroupUnified}}
	t.add("POST", "/containers/create", h.create)
	t.add("POST", "/containers/{id}/start", h.start)
	t.add("POST", "/containers/{id}/stop", h.stop)
	t.add("POST", "/containers/{id}/restart", h.restart)
	t.add("POST", "/containers/{id}/kill", h.kill)
}

func (h lifecycleRoutes) create(c *call) error {
	if err := requireJSON(c.r); err != nil {
		return err
	}
	req, warnings, err := compat.Create(c.version, c.r.Body, h.host)
	if err != nil {
		return err
	}
	o := engine.CreateOptions{Name: c.r.Form.Get("name"), Request: req}
	if text := c.r.Form.Get("platform"); text != "" && !c.version.Before(41) {
		p, err := platforms.Parse(text)
		if err != nil {
			return errs.Wrap(errs.InvalidParameter, err)
		}
		o.Platform = &p
	}
	resp, err := h.part.Create(c.ctx, o)
	if err != nil {
		return err
	}
	resp.Warnings = append(append([]string{}, resp.Warnings...), warnings...)
	return c.json(http.StatusCreated, resp)
}

func (h lifecycleRoutes) start(c *call) error {
	// A configuration could stand here up to 1.23. Anything of up to seven bytes
	// is as good as none; -1 is a body of unknown length.
	if c.r.ContentLength > 7 || c.r.ContentLength == -1 {
		return errs.New(errs.InvalidParameter, "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24")
	}
	o := engine.StartOptions{Checkpoint: c.r.Form.Get("checkpoint"), CheckpointDir: c.r.Form.Get("checkpoint-dir")}
	if err := h.part.Start(c.ctx, c.container(), o); err != nil {
		return err
	}
	return c.empty(http.StatusNoContent)
}

// stopOptions reads what stop and restart share; 1.42 brought the signal.
func (c *call) stopOptions() (engine.StopOptions, error) {
	var o engine.StopOptions
	if !c.version.Before(42) {
		o.Signal = c.r.Form.Get("signal")
	}
	var err error
	o.Timeout, err = c.number("t")
	o.Warn = func(text string) { c.w.Header().Add(warningHeader, text) }
	return o, err
}

// warningHeader carries what a user should know after a request that has
// succeeded, where Docker's answer has no place for it. Docker's clients do not
// look at it.
const warningHeader = "Davit-Warning"

func (h lifecycleRoutes) stop(c *call) error {
	o, err := c.stopOptions()
	if err == nil {
		err = h.part.Stop(c.ctx, c.container(), o)
	}
	if err != nil {
		return err
	}
	return c.empty(http.StatusNoContent)
}

func (h lifecycleRoutes) restart(c *call) error {
	o, err := c.stopOptions()
	if err == nil {
		err = h.part.Restart(c.ctx, c.container(), o)
	}
	if err != nil {
		return err
	}
	return c.empty(http.StatusNoContent)
}

func (h lifecycleRoutes) kill(c *call) error {
	if err := h.part.Kill(c.ctx, c.container(), c.r.Form.Get("signal")); err != nil {
		// Docker's clients read this before every reason; the engine says it where it
		// knows more than that there is no such container.
		if prefix := "cannot kill container: "; !strings.HasPrefix(err.Error(), prefix) {
			return fmt.Errorf("%s%s: %w", prefix, c.container(), err)
		}
		return err
	}
	return c.empty(http.StatusNoContent)
}

func (t *table) freezer(part Freezer) {
	if part == nil {
		return
	}
	verb := func(do func(context.Context, string) error) func(*call) error {
		return func(c *call) error {
			if err := do(c.ctx, c.container()); err != nil {
				return err
			}
			return c.empty(http.StatusNoContent)
		}
	}
	t.add("POST", "/containers/{id}/pause", verb(part.Pause))
	t.add("POST", "/containers/{id}/unpause", verb(part.Unpause))
}

type catalogRoutes struct{ part Catalog }

func (t *table) catalog(part Catalog) {
	if part == nil {
		return
	}
	h := catalogRoutes{part}
	t.add("GET", "/containers/json", h.list)
	t.add("GET", "/containers/{id}/json", h.inspect)
	t.add("POST", "/containers/{id}/rename", h.rename)
	t.add("DELETE", "/containers/{id}", h.remove)
}

func (h catalogRoutes) list(c *call) error {
	filters, err := c.filters()
	if err != nil {
		return err
	}
	// Before filters were, these two stood alone; Docker reads them still.
	for _, name := range []string{"since", "before"} {
		if v := c.r.Form.Get(name); v != "" && filters[name] == nil {
			filters[name] = map[string]bool{v: true}
		}
	}
	o := engine.ListOptions{All: c.truth("all"), Size: c.truth("size"), Filters: filters, Brief: c.truth("brief")} // brief is ours
	limit, err := c.number("limit")
	if err != nil {
		return err
	}
	if limit != nil && *limit > 0 { // -1 is sent for "all"
		o.Limit = *limit
	}
	list, err := h.part.List(c.ctx, o)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, compat.Containers(c.version, list))
}

func (h catalogRoutes) inspect(c *call) error {
	resp, err := h.part.Inspect(c.ctx, c.container(), c.truth("size"))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, compat.Container(c.version, resp))
}

func (h catalogRoutes) rename(c *call) error {
	if err := h.part.Rename(c.ctx, c.container(), c.r.Form.Get("name")); err != nil {
		return err
	}
	return c.empty(http.StatusNoContent)
}

func (h catalogRoutes) remove(c *call) error {
	err := h.part.Remove(c.ctx, c.container(), engine.RemoveOptions{
		Force: c.truth("force"), Volumes: c.truth("v"), Link: c.truth("link"),
	})
	if err != nil {
		return err
	}
	return c.empty(http.StatusNoContent)
}
