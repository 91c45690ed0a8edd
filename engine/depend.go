package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/davit-engine/davit/engine/depend"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
)

// The labels by which compose says the same of its services. They count only
// when the engine starts containers by itself: at other times compose looks
// after their order.
const (
	composeProject   = "com.docker.compose.project"
	composeService   = "com.docker.compose.service"
	composeDependsOn = "com.docker.compose.depends_on"
)

// lookAgain is when a container that is waited for is looked at though nothing
// was told of it: that a restart has failed is no event.
const lookAgain = time.Second

// usher brings containers up in the order in which they depend on each other.
// It owns one at a time only, so that two that wait for each other's
// dependencies never hold each other up.
type usher struct{ *launcher }

// dependencies returns what a container's annotation says.
func dependencies(rec *record.Container) ([]depend.Dependency, error) {
	return depend.Parse(rec.HostConfig.Annotations[annotationDependsOn])
}

// check refuses a container to be called name (which may be empty) that depends
// on one that is not there, or in the end on itself.
func (u *usher) check(name string, req container.CreateRequest) error {
	list, err := dependencies(&record.Container{Config: req.Config, HostConfig: req.HostConfig})
	if err != nil {
		return err
	}
	name = strings.TrimPrefix(name, "/")
	for _, d := range list {
		if d.Name != name && u.table.exact(d.Name) == nil {
			return errs.New(errs.NotFound, "No such container: %s: create what --depends-on names first", d.Name)
		}
	}
	way := depend.Circle(name, func(of string) []depend.Dependency {
		if of == name {
			return list
		}
		return u.dependenciesOf(of)
	})
	if way != nil {
		return errs.New(errs.InvalidParameter, "invalid --depends-on: the container would depend on itself: %s", strings.Join(way, " -> "))
	}
	return nil
}

func (u *usher) dependenciesOf(name string) []depend.Dependency {
	c := u.table.exact(name)
	if c == nil {
		return nil
	}
	rec := c.snapshot()
	list, err := dependencies(&rec)
	if err != nil {
		return nil // its start says why
	}
	return list
}

// bring starts what c depends on and returns when c may start. The caller must
// own no container. way is how it came to c.
func (u *usher) bring(ctx context.Context, c *ctr, way ...string) error {
	rec := c.snapshot()
	list, err := dependencies(&rec)
	if err != nil || len(list) == 0 {
		return err
	}
	way = append(slices.Clip(way), rec.Name)
	for _, d := range list {
		if slices.Contains(way, d.Name) { // names have changed hands since
			return errs.New(errs.Conflict, "container %s depends on itself: %s: create one of them anew without --depends-on", d.Name, strings.Join(append(way, d.Name), " -> "))
		}
		on := u.table.exact(d.Name)
		if on == nil {
			return errs.New(errs.Conflict, "container %s depends on %s, which does not exist: create that, or create %[1]s anew without it", rec.Name, d.Name)
		}
		if err := u.meet(ctx, on, d.Condition, way); err != nil {
			return errs.New(errs.KindOf(err), "container %s depends on %s: %w", rec.Name, d.Name, err)
		}
	}
	return nil
}

// meet makes a condition true of c.
func (u *usher) meet(ctx context.Context, c *ctr, want depend.Condition, way []string) error {
	live, cancel := u.watchEvents(c)
	defer cancel()
	if met, _ := meets(c, want); met {
		return nil
	}
	if c.current() == nil {
		if err := u.bring(ctx, c, way...); err != nil {
			return err
		}
		if err := u.startDependency(ctx, c); err != nil {
			return err
		}
		if want == depend.Started {
			return nil // whatever became of it since
		}
	}
	for {
		met, err := meets(c, want)
		if met || err != nil {
			return err
		}
		select {
		case <-live:
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (u *usher) startDependency(ctx context.Context, c *ctr) error {
	if err := c.own(ctx); err != nil {
		return err
	}
	defer c.disown()
	u.reviver.settle(c)
	err := u.start(context.WithoutCancel(ctx), c)
	if errs.Is(err, errs.NotModified) { // somebody was faster
		return nil
	}
	return err
}

// watchEvents tells when something has happened to c.
func (e *core) watchEvents(c *ctr) (live <-chan events.Message, cancel func()) {
	s := e.cfg.Events.Subscribe(time.Time{}, time.Time{}, func(m events.Message) bool { return m.Actor.ID == c.id })
	return s.Live, s.Cancel
}

// meets reports whether a condition is true of a container; an error, whether
// it cannot become so by itself any more.
func meets(c *ctr, want depend.Condition) (bool, error) {
	rec := c.snapshot()
	s := &rec.State
	if want == depend.Completed {
		switch {
		case s.Active():
			return false, nil
		case s.FinishedAt.IsZero():
			return false, errs.New(errs.Conflict, "it was never started")
		case s.ExitCode != 0:
			return false, errs.New(errs.Conflict, "it did not complete: exit code %d", s.ExitCode)
		}
		return true, nil
	}
	switch {
	case !s.Active():
		return false, errs.New(errs.Conflict, "it has ended with exit code %d", s.ExitCode)
	case s.Status == container.StateRestarting:
		return false, nil
	case want == depend.Started:
		return true, nil
	case s.Health == nil:
		return false, errs.New(errs.Conflict, "it has no health check, so it cannot become healthy: give it one with --health-cmd")
	case s.Health.Status == container.Unhealthy:
		return false, errs.New(errs.Conflict, "it is unhealthy")
	}
	return s.Health.Status == container.Healthy, nil
}

// follows returns what c is started after, if that is started at all, when the
// engine starts containers by itself: whose namespaces it joins, and what
// compose says.
func (u *usher) follows(c *ctr) map[*ctr]depend.Condition {
	rec := c.snapshot()
	h := rec.HostConfig
	found := map[*ctr]depend.Condition{}
	for _, mode := range []string{string(h.NetworkMode), string(h.IpcMode), string(h.PidMode), string(h.UsernsMode)} {
		if name, ok := strings.CutPrefix(mode, "container:"); ok {
			if on, err := u.table.find(name); err == nil {
				found[on] = depend.Started
			}
		}
	}
	project := rec.Config.Labels[composeProject]
	if project == "" {
		return found
	}
	for _, d := range depend.ParseCompose(rec.Config.Labels[composeDependsOn]) {
		for _, on := range u.table.all() {
			labels := on.snapshot().Config.Labels
			if on != c && labels[composeProject] == project && labels[composeService] == d.Name {
				found[on] = d.Condition
			}
		}
	}
	return found
}

// await returns when a container that c follows has got as far as it should,
// or has been tried and will not.
func (u *usher) await(ctx context.Context, c *ctr, want depend.Condition) error {
	live, cancel := u.watchEvents(c)
	defer cancel()
	for {
		rec := c.snapshot()
		tried := rec.State.Status == container.StateRestarting && rec.State.RestartCount > 0
		if met, err := meets(c, want); met || err != nil || tried {
			return nil
		}
		select {
		case <-live:
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return fmt.Errorf("waiting for container %s: %w", rec.Name, ctx.Err())
		}
	}
}

// order returns when c may be started by the engine itself.
func (u *usher) order(ctx context.Context, c *ctr) error {
	for on, want := range u.follows(c) {
		if err := u.await(ctx, on, want); err != nil {
			return err
		}
	}
	return u.bring(ctx, c)
}

// ordered reports whether order has anything to do for c.
func (u *usher) ordered(c *ctr) bool {
	rec := c.snapshot()
	return rec.HostConfig.Annotations[annotationDependsOn] != "" || len(u.follows(c)) > 0
}
