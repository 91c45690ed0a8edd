package engine

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/engine/health"
	"github.com/davit-engine/davit/engine/mountpoint"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
)

// lister describes containers in short.
type lister struct {
	*core
	layers *layerSizes
}

// List describes containers, newest first.
func (e *Engine) List(ctx context.Context, o ListOptions) ([]container.Summary, error) {
	keep, err := e.lister.listFilter(ctx, o)
	if err != nil {
		return nil, err
	}
	out := []container.Summary{}
	parents := e.table.linking()
	for _, c := range e.table.all() {
		rec := c.snapshot()
		if !keep(&rec) {
			continue
		}
		s := e.lister.summary(&rec, o.Size)
		s.Names = e.lister.names(&rec, parents)
		if !o.Brief {
			e.lister.describe(&rec, &s)
		}
		out = append(out, s)
		if o.Limit > 0 && len(out) == o.Limit {
			break
		}
	}
	return out, nil
}

func (l *lister) summary(rec *record.Container, size bool) container.Summary {
	s := container.Summary{
		ID: rec.ID, Image: rec.Image.Name, ImageID: rec.Image.ID,
		Command: command(rec), Created: rec.Created.Unix(), Ports: summaryPorts(rec),
		State: rec.State.Status, Status: status(&rec.State, time.Now()),
	}
	s.Health = healthOf(rec)
	if size {
		s.SizeRw, s.SizeRootFs = l.sizes(rec)
	}
	return s
}

// describe adds what a brief list leaves out.
func (l *lister) describe(rec *record.Container, s *container.Summary) {
	s.ImageManifestDescriptor = rec.Image.Manifest
	if s.Labels = rec.Config.Labels; s.Labels == nil {
		s.Labels = map[string]string{}
	}
	s.Mounts = mountPoints(rec)
	s.NetworkSettings = &container.NetworkSettingsSummary{Networks: l.nets.shown(rec)}
	s.HostConfig.NetworkMode = record.ModeOf(rec.HostConfig)
	s.HostConfig.Annotations = rec.HostConfig.Annotations
}

// healthOf is a container's health in short.
func healthOf(rec *record.Container) *container.HealthSummary {
	if h := rec.State.Health; h != nil {
		return &container.HealthSummary{Status: h.Status, FailingStreak: h.FailingStreak}
	}
	return &container.HealthSummary{Status: container.NoHealthcheck}
}

// command shows the command line as ps does, with words that need it quoted.
func command(rec *record.Container) string {
	words := make([]string, 0, len(rec.Args)+1)
	for _, w := range append([]string{rec.Path}, rec.Args...) {
		if strings.Contains(w, " ") {
			w = "'" + w + "'"
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

// status is the state in words, such as "Exited (0) 3 minutes ago".
func status(s *record.State, now time.Time) string {
	switch s.Status {
	case container.StateRunning:
		if s.Health != nil {
			return fmt.Sprintf("Up %s (%s)", units.HumanDuration(now.Sub(s.StartedAt)), health.InStatus(s.Health))
		}
		return "Up " + units.HumanDuration(now.Sub(s.StartedAt))
	case container.StatePaused:
		return "Up " + units.HumanDuration(now.Sub(s.StartedAt)) + " (Paused)"
	case container.StateRestarting:
		return fmt.Sprintf("Restarting (%d) %s ago", s.ExitCode, units.HumanDuration(now.Sub(s.FinishedAt)))
	case container.StateRemoving:
		return "Removal In Progress"
	case container.StateDead:
		return "Dead"
	case container.StateCreated:
		return "Created"
	}
	if s.FinishedAt.IsZero() {
		return ""
	}
	return fmt.Sprintf("Exited (%d) %s ago", s.ExitCode, units.HumanDuration(now.Sub(s.FinishedAt)))
}

func mountPoints(rec *record.Container) []container.MountPoint {
	out := make([]container.MountPoint, 0, len(rec.Mounts))
	for i := range rec.Mounts {
		if p, ok := mountpoint.Show(&rec.Mounts[i]); ok {
			out = append(out, p)
		}
	}
	return out
}

// sizes returns the bytes that the container wrote, and those with its image's
// layers.
func (l *lister) sizes(rec *record.Container) (own, all int64) {
	own = usage(filepath.Join(l.store.Dir(rec.ID), "upper"))
	all = own
	for _, dir := range rec.Image.Lower {
		all += l.layers.of(dir)
	}
	return own, all
}

// usage sums the sizes of a tree's regular files, each inode once.
func usage(root string) (sum int64) {
	seen := map[uint64]bool{}
	_ = filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // a file that went away while we looked
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		sum += info.Size()
		return nil
	})
	return sum
}

// listFilter turns Docker's filters into a predicate. Several values of a key
// are alternatives, but for labels; several keys must all hold.
func (l *lister) listFilter(ctx context.Context, o ListOptions) (func(*record.Container) bool, error) {
	all := o.All || o.Limit > 0
	var tests []func(*record.Container) bool
	for key, values := range o.Filters {
		given := make([]string, 0, len(values))
		for v := range values {
			given = append(given, v)
		}
		slices.Sort(given)
		test, err := l.filterBy(ctx, key, given)
		if err != nil {
			return nil, err
		}
		// Asking for a state shows stopped ones too.
		all = all || key == "status"
		tests = append(tests, test)
	}
	return func(rec *record.Container) bool {
		if !all && !rec.State.Active() {
			return false
		}
		for _, t := range tests {
			if !t(rec) {
				return false
			}
		}
		return true
	}, nil
}

func (l *lister) filterBy(ctx context.Context, key string, values []string) (func(*record.Container) bool, error) {
	bad := func(v string) error { return errs.New(errs.InvalidParameter, "invalid filter '%s=%s'", key, v) }
	anyOf := func(test func(rec *record.Container, v string) bool) (func(*record.Container) bool, error) {
		return func(rec *record.Container) bool {
			return slices.ContainsFunc(values, func(v string) bool { return test(rec, v) })
		}, nil
	}
	switch key {
	case "id":
		return anyOf(func(rec *record.Container, v string) bool { return strings.HasPrefix(rec.ID, v) })
	case "name":
		var patterns []*regexp.Regexp
		for _, v := range values {
			p, err := regexp.Compile(v)
			if err != nil {
				return nil, bad(v)
			}
			patterns = append(patterns, p)
		}
		return func(rec *record.Container) bool {
			return slices.ContainsFunc(patterns, func(p *regexp.Regexp) bool { return p.MatchString(rec.Name) || p.MatchString("/"+rec.Name) })
		}, nil
	case "label", "label!":
		return func(rec *record.Container) bool {
			return !slices.ContainsFunc(values, func(v string) bool { return hasLabel(rec.Config.Labels, v) == (key == "label!") })
		}, nil
	case "annotation":
		return func(rec *record.Container) bool {
			return !slices.ContainsFunc(values, func(v string) bool { return !hasLabel(rec.HostConfig.Annotations, v) })
		}, nil
	case "status":
		for _, v := range values {
			if err := container.ValidateContainerState(container.ContainerState(v)); err != nil {
				return nil, errs.New(errs.InvalidParameter, "invalid filter 'status=%s'", v)
			}
		}
		return anyOf(func(rec *record.Container, v string) bool { return string(rec.State.Status) == v })
	case "exited":
		for _, v := range values {
			if _, err := strconv.Atoi(v); err != nil {
				return nil, bad(v)
			}
		}
		return anyOf(func(rec *record.Container, v string) bool {
			return !rec.State.Active() && !rec.State.FinishedAt.IsZero() && strconv.Itoa(rec.State.ExitCode) == v
		})
	case "ancestor":
		var ids []string
		for _, v := range values {
			if img, err := l.cfg.Images.Get(ctx, v, nil); err == nil {
				ids = append(ids, string(img.ID))
			}
		}
		return anyOf(func(rec *record.Container, v string) bool {
			return rec.Image.Name == v || slices.Contains(ids, rec.Image.ID)
		})
	case "before", "since":
		var marks []time.Time
		for _, v := range values {
			c, err := l.table.find(v)
			if err != nil {
				return nil, err
			}
			marks = append(marks, c.snapshot().Created)
		}
		return func(rec *record.Container) bool {
			return slices.ContainsFunc(marks, func(t time.Time) bool {
				return key == "before" && rec.Created.Before(t) || key == "since" && rec.Created.After(t)
			})
		}, nil
	case "volume":
		return anyOf(func(rec *record.Container, v string) bool {
			return slices.ContainsFunc(mountPoints(rec), func(m container.MountPoint) bool { return m.Source == v || m.Destination == v || m.Name == v })
		})
	case "network":
		return anyOf(func(rec *record.Container, v string) bool {
			return slices.ContainsFunc(rec.Memberships(), func(a record.Membership) bool {
				return v == a.Network || strings.HasPrefix(l.nets.id(a.Network), v)
			})
		})
	case "publish":
		return portFilter(values, func(rec *record.Container, p network.Port) bool {
			_, published := rec.HostConfig.PortBindings[p]
			_, exposed := rec.Config.ExposedPorts[p]
			return published || exposed && rec.HostConfig.PublishAllPorts
		})
	case "expose":
		return portFilter(values, func(rec *record.Container, p network.Port) bool {
			_, exposed := rec.Config.ExposedPorts[p]
			return exposed
		})
	case "health":
		for _, v := range values {
			if err := container.ValidateHealthStatus(container.HealthStatus(v)); err != nil {
				return nil, errs.Wrap(errs.InvalidParameter, err)
			}
		}
		return anyOf(func(rec *record.Container, v string) bool { return string(healthOf(rec).Status) == v })
	case "is-task":
		return anyOf(func(_ *record.Container, v string) bool { return v == "false" || v == "0" })
	case "isolation":
		return anyOf(func(_ *record.Container, v string) bool { return v == "default" || v == "" })
	}
	return nil, errs.New(errs.InvalidParameter, "invalid filter '%s'", key)
}

// hasLabel tests key or key=value.
func hasLabel(labels map[string]string, want string) bool {
	k, v, valued := strings.Cut(want, "=")
	got, ok := labels[k]
	return ok && (!valued || got == v)
}
