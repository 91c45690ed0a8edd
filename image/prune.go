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
	filter, err := pruneFilter(ctx, s, o.Filters)
	if err != nil {
		return report, err
	}
	inv, err := s.st.takeInventory(ctx)
	if err != nil {
		return report, classify(err)
	}
	p := &pruning{Store: s, inventory: inv, leaving: map[string]bool{}}
	for _, container := range s.pins.all() {
		p.leaving[container] = o.Gone != nil && o.Gone(container)
	}
	doomed, err := p.doomed(ctx, filter)
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
		did, err := p.remove(ctx, id)
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

// pruning is one call of Prune.
type pruning struct {
	*Store
	*inventory
	leaving map[string]bool // pinned containers that were removed
}

func pruneFilter(ctx context.Context, s *Store, args map[string]map[string]bool) (*filters, error) {
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
	f, err := parseFilters(ctx, s, args)
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
func (p *pruning) doomed(ctx context.Context, f *filters) ([]digest.Digest, error) {
	parents := map[string]bool{}
	for _, img := range p.images {
		for _, rec := range img.records {
			parents[rec.Labels[parentLabel]] = true
		}
	}
	var list []digest.Digest
	for id, img := range p.images {
		first := img.records[0]
		switch {
		case p.pins.any(img.manifests, p.leaving), isDangling(first) && parents[id.String()]:
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
		v, err := p.st.survey(ctx, first.Target, nil)
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

// remove removes an image with all its names, unless it got a name or a
// container since it was looked at.
func (p *pruning) remove(ctx context.Context, id digest.Digest) ([]imagetypes.DeleteResponse, error) {
	img := p.images[id]
	p.pins.mu.Lock()
	defer p.pins.mu.Unlock()
	now, err := p.names.withTarget(ctx, id)
	if err != nil || len(now) != len(img.records) || p.pins.anyLocked(img.manifests, p.leaving) {
		return nil, err
	}
	r := &removal{Store: p.Store, rec: now[0], all: now}
	if err := p.keepLocked(ctx, now[0].Target); err != nil && !errdefs.IsNotFound(err) {
		return nil, err
	}
	if err := r.drop(ctx, now); err != nil {
		return nil, err
	}
	r.noteUntagged(now)
	return append(r.did, imagetypes.DeleteResponse{Deleted: id.String()}), nil
}
