package image

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/containerd/errdefs"
	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"

	"github.com/davit-engine/davit/errs"
)

// PruneOptions says which images nobody needs.
type PruneOptions struct {
	// Filters are dangling (true unless given: only images without a name), until,
	// label and label!.
	Filters map[string]map[string]bool
	// Gone reports that a container that is pinned has been removed, and will be
	// unpinned in a moment; nil: none has.
	Gone func(containerID string) bool
}

// Prune removes images that no container is pinned to; one that has a container
// stays with all its names. It goes on to the next when one cannot be removed,
// and answers what it did also with an error, which is ctx's or that of the last
// failure.
func (s *Store) Prune(ctx context.Context, o PruneOptions) (imagetypes.PruneReport, error) {
	ctx = s.st.context(ctx)
	report := imagetypes.PruneReport{ImagesDeleted: []imagetypes.DeleteResponse{}}
	filter, err := s.pruneFilter(ctx, o.Filters)
	if err != nil {
		return report, err
	}
	inv, err := s.takeInventory(ctx)
	if err != nil {
		return report, classify(err)
	}
	leaving := map[string]bool{}
	for _, container := range s.pins.all() {
		leaving[container] = o.Gone != nil && o.Gone(container)
	}
	doomed, err := s.doomed(ctx, inv, filter, leaving)
	if err != nil {
		return report, classify(err)
	}
	gone := map[digest.Digest]bool{}
	var failed error
	for _, id := range doomed {
		if ctx.Err() != nil {
			failed = ctx.Err()
			break
		}
		did, err := s.pruneOne(ctx, id, inv.images[id], leaving)
		report.ImagesDeleted = append(report.ImagesDeleted, did...)
		switch {
		case err != nil && !errdefs.IsNotFound(err):
			failed = err
		case len(did) > 0:
			gone[id] = true
		}
	}
	if len(gone) > 0 {
		s.collector.soon()
	}
	report.SpaceReclaimed = uint64(inv.freedBy(func(id digest.Digest) bool { return gone[id] }))
	return report, classify(failed)
}

func (s *Store) pruneFilter(ctx context.Context, args map[string]map[string]bool) (*filters, error) {
	args = maps.Clone(args)
	dangling := args["dangling"]
	delete(args, "dangling")
	for key := range args {
		switch key {
		case "until", "label", "label!":
		default:
			return nil, errs.New(errs.InvalidParameter, "invalid filter '%s'", key)
		}
	}
	f, err := s.parseFilters(ctx, args)
	if err != nil {
		return nil, err
	}
	only := true
	for value := range dangling {
		b, err := strconv.ParseBool(value)
		if err != nil || len(dangling) > 1 {
			return nil, errs.New(errs.InvalidParameter, "invalid filter 'dangling=%s'", slices.Sorted(maps.Keys(dangling)))
		}
		only = b
	}
	if only {
		f.dangling = &only
	}
	return f, nil
}

// doomed lists the images that go, in the order of their IDs. A step of the
// classic builder stays as long as an image that was built upon it.
func (s *Store) doomed(ctx context.Context, inv *inventory, f *filters, leaving map[string]bool) ([]digest.Digest, error) {
	parents := map[string]bool{}
	for _, img := range inv.images {
		for _, rec := range img.records {
			parents[rec.Labels[parentLabel]] = true
		}
	}
	var list []digest.Digest
	for id, img := range inv.images {
		first := img.records[0]
		switch {
		case s.pins.any(img.manifests, leaving), isDangling(first) && parents[id.String()]:
			continue
		}
		// All of its names have to pass: an image is not pruned in part.
		passes := true
		for _, rec := range img.records {
			passes = passes && f.record(rec)
		}
		if !passes {
			continue
		}
		v, err := s.st.survey(ctx, first.Target, nil)
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, err
		}
		best, _ := choose(v.candidates, nil)
		if f.survey(v, best) {
			list = append(list, id)
		}
	}
	slices.SortFunc(list, func(a, b digest.Digest) int { return cmp.Compare(a, b) })
	return list, nil
}

// pruneOne removes an image with all its names, unless it got a name or a
// container since it was looked at.
func (s *Store) pruneOne(ctx context.Context, id digest.Digest, img *stock, leaving map[string]bool) ([]imagetypes.DeleteResponse, error) {
	s.pins.mu.Lock()
	defer s.pins.mu.Unlock()
	now, err := s.names.withTarget(ctx, id)
	if err != nil || len(now) != len(img.records) || s.pins.anyLocked(img.manifests, leaving) {
		return nil, err
	}
	r := &removal{Store: s, rec: now[0], all: now}
	if err := s.keepLocked(ctx, now[0].Target); err != nil && !errdefs.IsNotFound(err) {
		return nil, err
	}
	if err := r.drop(ctx, now); err != nil {
		return nil, err
	}
	r.noteUntagged(now)
	return append(r.did, imagetypes.DeleteResponse{Deleted: id.String()}), nil
}
