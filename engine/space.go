package engine

import (
	"context"
	"runtime"
	"slices"
	"sync"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"
)

// Space is the engine's view of the disk: what is on it, and what can go.
type Space struct {
	*core
	keeper  *keeper
	lister  *lister
	images  *Images
	volumes *Volumes

	counting singleflight.Group // by kind of object: who asks meanwhile gets the same answer

	// One prune of a kind at a time; locked by TryLock only.
	pruningContainers, pruningImages sync.Mutex
}

// Space returns the verbs about the disk.
func (e *Engine) Space() *Space { return e.space }

// DiskUsageOptions says of which kinds of object the usage is wanted.
type DiskUsageOptions struct{ Containers, Images, Volumes, BuildCache bool }

// DiskUsage tells what is on the disk, with all items. To measure takes a while:
// calls that come while one is under way get its answer. The lists of items are
// the caller's own, what they point to is not.
func (s *Space) DiskUsage(ctx context.Context, o DiskUsageOptions) (system.DiskUsage, error) {
	var u system.DiskUsage
	eg, ctx := errgroup.WithContext(ctx)
	if o.Containers {
		eg.Go(func() (err error) {
			u.ContainerUsage, err = count(ctx, &s.counting, "containers", s.containerUsage)
			return err
		})
	}
	if o.Images {
		eg.Go(func() (err error) { u.ImageUsage, err = count(ctx, &s.counting, "images", s.imageUsage); return err })
	}
	if o.Volumes {
		eg.Go(func() (err error) { u.VolumeUsage, err = count(ctx, &s.counting, "volumes", s.volumeUsage); return err })
	}
	if err := eg.Wait(); err != nil {
		return system.DiskUsage{}, err
	}
	if c := u.ContainerUsage; c != nil {
		c.Items = slices.Clone(c.Items)
	}
	if i := u.ImageUsage; i != nil {
		i.Items = slices.Clone(i.Items)
	}
	if v := u.VolumeUsage; v != nil {
		v.Items = slices.Clone(v.Items)
	}
	if o.BuildCache {
		u.BuildCacheUsage = &build.DiskUsage{}
	}
	return u, nil
}

// count does what takes long once for all who ask at the same time. It goes on
// when one of them leaves.
func count[T any](ctx context.Context, group *singleflight.Group, key string, measure func(context.Context) (T, error)) (*T, error) {
	done := group.DoChan(key, func() (any, error) { return measure(context.WithoutCancel(ctx)) })
	select {
	case r := <-done:
		v, _ := r.Val.(T)
		return &v, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// containerUsage measures the containers' own layers.
func (s *Space) containerUsage(context.Context) (container.DiskUsage, error) {
	all := s.table.all()
	u := container.DiskUsage{TotalCount: int64(len(all)), Items: make([]container.Summary, len(all))}
	var eg errgroup.Group
	eg.SetLimit(runtime.NumCPU())
	for i, c := range all {
		eg.Go(func() error {
			rec := c.snapshot()
			u.Items[i] = s.lister.summary(&rec, true)
			s.lister.describe(&rec, &u.Items[i])
			return nil
		})
	}
	if err := eg.Wait(); err != nil {
		return u, err
	}
	for _, item := range u.Items {
		u.TotalSize += item.SizeRw
		switch item.State {
		case container.StateRunning, container.StatePaused, container.StateRestarting:
			u.ActiveCount++
		default:
			u.Reclaimable += item.SizeRw
		}
	}
	return u, nil
}

func (s *Space) imageUsage(ctx context.Context) (image.DiskUsage, error) {
	return s.cfg.Images.DiskUsage(ctx, s.images.users())
}

func (s *Space) volumeUsage(ctx context.Context) (volume.DiskUsage, error) {
	items, err := s.volumes.Usage(ctx)
	u := volume.DiskUsage{TotalCount: int64(len(items)), Items: items}
	for _, v := range items {
		size := max(v.UsageData.Size, 0) // -1: not known
		u.TotalSize += size
		if v.UsageData.RefCount > 0 {
			u.ActiveCount++
		} else {
			u.Reclaimable += size
		}
	}
	return u, err
}

// layerSizes remembers how large the directories of images' layers are. They
// never change, and several containers share each.
type layerSizes struct {
	mu sync.Mutex
	by map[string]int64 // guarded by mu
}

func (l *layerSizes) of(dir string) int64 {
	l.mu.Lock()
	size, known := l.by[dir]
	l.mu.Unlock()
	if known {
		return size
	}
	size = usage(dir)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.by[dir] = size
	return size
}
