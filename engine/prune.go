package engine

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	imagetypes "github.com/moby/moby/api/types/image"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/image"
)

// PruneContainers removes the containers that do not run and pass the filters
// until, label and label!. When ctx ends it stops after the one it is at, and
// tells what it did. Conflict while another call is at work.
func (s *Space) PruneContainers(ctx context.Context, filters map[string]map[string]bool) (container.PruneReport, error) {
	report := container.PruneReport{ContainersDeleted: []string{}}
	match, err := pruneMatch(filters, time.Now())
	if err != nil {
		return report, err
	}
	leave, err := enterPrune(&s.pruningContainers)
	if err != nil {
		return report, err
	}
	defer leave()
	for _, c := range s.table.all() {
		if ctx.Err() != nil {
			break
		}
		size, removed, err := s.pruneContainer(ctx, c, match)
		if err != nil {
			s.log.Warn("pruning a container", "container", c.id, "error", err)
		}
		if removed {
			report.ContainersDeleted = append(report.ContainersDeleted, c.id)
			report.SpaceReclaimed += size
		}
	}
	s.publishPrune(events.ContainerEventType, report.SpaceReclaimed)
	return report, nil
}

// pruneContainer removes c if it may go.
func (s *Space) pruneContainer(ctx context.Context, c *ctr, match func(created time.Time, labels map[string]string) bool) (size uint64, removed bool, err error) {
	if rec := c.snapshot(); !prunable(&rec) || !match(rec.Created, rec.Config.Labels) {
		return 0, false, nil
	}
	if err := c.own(ctx); err != nil {
		if errs.Is(err, errs.NotFound) {
			err = nil // somebody else removed it
		}
		return 0, false, err
	}
	defer c.disown()
	if rec := c.snapshot(); !prunable(&rec) || c.current() != nil {
		return 0, false, nil // it was started meanwhile
	}
	size = uint64(usage(filepath.Join(s.store.Dir(c.id), "upper")))
	if err := s.keeper.removeOwned(c, false); err != nil {
		return 0, false, err
	}
	return size, true, nil
}

// prunable reports whether a container neither runs nor is about to.
func prunable(rec *record.Container) bool {
	switch rec.State.Status {
	case container.StateCreated, container.StateExited, container.StateDead:
		return true
	}
	return false
}

// pruneMatch reads the filters of a prune: of what was made when, with which
// labels, it may take.
func pruneMatch(filters map[string]map[string]bool, now time.Time) (func(created time.Time, labels map[string]string) bool, error) {
	var until time.Time
	for key, values := range filters {
		switch key {
		case "label", "label!":
		case "until":
			if len(values) > 1 {
				return nil, errs.New(errs.InvalidParameter, "more than one until filter specified")
			}
			for v := range values {
				var err error
				if until, err = image.ParseTime(v, now); err != nil {
					return nil, err
				}
			}
		default:
			return nil, errs.New(errs.InvalidParameter, "invalid filter '%s'", key)
		}
	}
	wanted, unwanted := slices.Collect(maps.Keys(filters["label"])), slices.Collect(maps.Keys(filters["label!"]))
	return func(created time.Time, labels map[string]string) bool {
		has := func(want string) bool { return hasLabel(labels, want) }
		return (until.IsZero() || created.Before(until)) &&
			!slices.ContainsFunc(wanted, func(l string) bool { return !has(l) }) && !slices.ContainsFunc(unwanted, has)
	}, nil
}

// PruneImages removes images that no container uses; see [image.Store.Prune].
// Conflict while another call is at work.
func (s *Space) PruneImages(ctx context.Context, filters map[string]map[string]bool) (imagetypes.PruneReport, error) {
	leave, err := enterPrune(&s.pruningImages)
	if err != nil {
		return imagetypes.PruneReport{}, err
	}
	defer leave()
	report, err := s.cfg.Images.Prune(ctx, image.PruneOptions{Filters: filters, Gone: s.table.unknown})
	s.images.publishRemoved(report.ImagesDeleted)
	if err != nil {
		if len(report.ImagesDeleted) == 0 {
			return report, err
		}
		s.log.Warn("pruning images", "error", err)
	}
	s.publishPrune(events.ImageEventType, report.SpaceReclaimed)
	return report, nil
}

func (s *Space) publishPrune(kind events.Type, reclaimed uint64) {
	s.cfg.Events.Publish(events.Message{Type: kind, Action: events.ActionPrune, Actor: events.Actor{
		Attributes: map[string]string{"reclaimed": strconv.FormatUint(reclaimed, 10)},
	}})
}

// enterPrune lets one in at a time.
func enterPrune(one *sync.Mutex) (leave func(), err error) {
	if !one.TryLock() {
		return nil, errs.New(errs.Conflict, "a prune operation is already running")
	}
	return one.Unlock, nil
}
