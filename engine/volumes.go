package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/moby/moby/api/types/events"
	volumetypes "github.com/moby/moby/api/types/volume"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/volume"
)

// Volumes is the engine's view of the volumes: it tells subscribers what
// happens to them.
type Volumes struct{ m *mounter }

// Volumes returns the volume verbs.
func (e *Engine) Volumes() *Volumes { return &Volumes{e.keeper.mounts} }

// randomVolumeName is that of a volume which nobody names.
func randomVolumeName() (string, error) {
	var raw [32]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", errs.Wrap(errs.System, err)
	}
	return hex.EncodeToString(raw[:]), nil
}

// Create makes a volume, or returns the one that has the name already.
func (v *Volumes) Create(_ context.Context, r volumetypes.CreateRequest) (volumetypes.Volume, error) {
	labels := r.Labels
	if r.Name == "" {
		name, err := randomVolumeName()
		if err != nil {
			return volumetypes.Volume{}, err
		}
		r.Name, labels = name, mergeMaps(labels, map[string]string{volume.AnonymousLabel: ""})
	}
	made, fresh, err := v.m.cfg.Volumes.Create(volume.Request{Name: r.Name, Driver: r.Driver, Options: r.DriverOpts, Labels: labels})
	if err == nil && fresh {
		v.m.publishVolume(r.Name, events.ActionCreate, nil)
	}
	return made, err
}

// Inspect describes one volume.
func (v *Volumes) Inspect(_ context.Context, name string) (volumetypes.Volume, error) {
	return v.m.cfg.Volumes.Get(name)
}

// List describes the volumes that match the filters dangling, driver, label
// and name.
func (v *Volumes) List(_ context.Context, filters map[string]map[string]bool) ([]volumetypes.Volume, error) {
	match, err := volumeFilter(filters, "dangling", "driver", "label", "label!", "name")
	if err != nil {
		return nil, err
	}
	found := v.m.cfg.Volumes.List(match)
	out := make([]volumetypes.Volume, len(found))
	for i, f := range found {
		out[i] = f.Volume
	}
	return out, nil
}

// Usage describes all volumes with the bytes that they hold, -1 where that is
// not known, and how many containers use them. It may take long.
func (v *Volumes) Usage(ctx context.Context) ([]volumetypes.Volume, error) {
	found := v.m.cfg.Volumes.List(nil)
	out := make([]volumetypes.Volume, 0, len(found))
	for _, f := range found {
		size, err := v.m.cfg.Volumes.Usage(ctx, f.Name)
		switch {
		case errs.Is(err, errs.NotFound):
			continue // removed meanwhile
		case ctx.Err() != nil:
			return nil, errs.Wrap(errs.Cancelled, ctx.Err())
		case err != nil:
			v.m.log.Error("measuring a volume", "volume", f.Name, "error", err)
			size = -1
		}
		f.UsageData = &volumetypes.UsageData{Size: size, RefCount: int64(f.Users)}
		out = append(out, f.Volume)
	}
	return out, nil
}

// Remove deletes a volume with its content. Conflict while a container has it,
// running or not; force makes a missing one no error.
func (v *Volumes) Remove(_ context.Context, name string, force bool) error {
	purge, err := v.m.cfg.Volumes.Remove(name, force)
	if err != nil || purge == nil {
		return err
	}
	v.m.publishVolume(name, events.ActionDestroy, nil)
	return errs.Wrap(errs.System, purge())
}

// Prune removes the volumes that no container has and that match the filters
// all, label and label!; without all=true those only that nobody has named.
func (v *Volumes) Prune(ctx context.Context, filters map[string]map[string]bool) (volumetypes.PruneReport, error) {
	var report volumetypes.PruneReport
	if len(filters["until"]) > 0 {
		return report, errs.New(errs.InvalidParameter, "the \"until\" filter is not supported for volumes: nobody knows when a volume was last used")
	}
	all, err := truth(filters, "all")
	if err != nil {
		return report, err
	}
	match, err := volumeFilter(filters, "all", "label", "label!")
	if err != nil {
		return report, err
	}
	if !v.m.pruning.TryLock() {
		return report, errs.New(errs.Conflict, "a prune operation is already running")
	}
	defer v.m.pruning.Unlock()
	report.VolumesDeleted = []string{}
	for _, f := range v.m.cfg.Volumes.List(match) {
		if ctx.Err() != nil {
			break
		}
		if f.Users > 0 || (all == nil || !*all) && !f.Record.Anonymous() {
			continue
		}
		size, err := v.m.cfg.Volumes.Usage(ctx, f.Name)
		if err == nil {
			err = v.Remove(ctx, f.Name, true)
		}
		if err != nil {
			if !errs.Is(err, errs.Conflict) && ctx.Err() == nil { // a container has it by now
				v.m.log.Warn("a volume cannot be pruned", "volume", f.Name, "error", err)
			}
			continue
		}
		report.VolumesDeleted = append(report.VolumesDeleted, f.Name)
		report.SpaceReclaimed += uint64(max(0, size))
	}
	v.m.cfg.Events.Publish(events.Message{Type: events.VolumeEventType, Action: events.ActionPrune,
		Actor: events.Actor{Attributes: map[string]string{"reclaimed": strconv.FormatUint(report.SpaceReclaimed, 10)}}})
	return report, nil
}

// volumeFilter turns filters into a predicate; known are those that there are.
func volumeFilter(filters map[string]map[string]bool, known ...string) (func(*volume.Found) bool, error) {
	for key := range filters {
		if !slices.Contains(known, key) {
			return nil, errs.New(errs.InvalidParameter, "invalid filter '%s'", key)
		}
	}
	dangling, err := truth(filters, "dangling")
	if err != nil {
		return nil, err
	}
	var patterns []*regexp.Regexp
	for name := range filters["name"] {
		p, err := regexp.Compile(name)
		if err != nil {
			return nil, errs.New(errs.InvalidParameter, "invalid filter 'name=%s'", name)
		}
		patterns = append(patterns, p)
	}
	return func(f *volume.Found) bool {
		switch {
		case dangling != nil && *dangling != (f.Users == 0):
			return false
		case len(filters["driver"]) > 0 && !has(filters["driver"], f.Driver):
			return false
		case len(patterns) > 0 && !slices.ContainsFunc(patterns, func(p *regexp.Regexp) bool { return p.MatchString(f.Name) }):
			return false
		}
		for want := range filters["label"] {
			if !hasLabel(f.Labels, want) {
				return false
			}
		}
		for unwanted := range filters["label!"] {
			if hasLabel(f.Labels, unwanted) {
				return false
			}
		}
		return true
	}, nil
}

func has(values map[string]bool, v string) bool { _, ok := values[v]; return ok }

// truth reads a filter that is true or false; nil: not given.
func truth(filters map[string]map[string]bool, key string) (*bool, error) {
	values, given := filters[key]
	if !given {
		return nil, nil
	}
	isTrue := has(values, "1") || has(values, "true")
	isFalse := has(values, "0") || has(values, "false")
	if isTrue == isFalse {
		return nil, errs.New(errs.InvalidParameter, "invalid filter '%s=%v'", key, slices.Sorted(maps.Keys(values)))
	}
	return &isTrue, nil
}
