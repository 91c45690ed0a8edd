package compat

import (
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"
)

// DiskUsage returns what is on the disk as a client of version v expects it: up
// to 1.51 as lists, from 1.52 on as sums, with the lists where verbose is asked
// for. 1.52 has both, unless it is verbose.
func DiskUsage(v Version, u system.DiskUsage, verbose bool) any {
	lists := map[string]any{}
	if v.Before(53) && (v.Before(52) || !verbose) {
		lists = oldDiskUsage(v, u)
	}
	if v.Before(52) {
		return lists
	}
	if c := u.ContainerUsage; c != nil {
		items := *c
		items.Items = nil
		if verbose {
			items.Items, _ = Containers(v, c.Items).([]container.Summary)
		}
		u.ContainerUsage = &items
	}
	if i := u.ImageUsage; i != nil {
		items := *i
		items.Items = nil
		if verbose {
			items.Items, _ = Images(v, i.Items).([]image.Summary)
		}
		u.ImageUsage = &items
	}
	if w := u.VolumeUsage; w != nil && !verbose {
		items := *w
		items.Items = nil
		u.VolumeUsage = &items
	}
	if b := u.BuildCacheUsage; b != nil && !verbose {
		items := *b
		items.Items = nil
		u.BuildCacheUsage = &items
	}
	return Extended{Base: u, Add: lists}
}

// oldDiskUsage is what there was before 1.53. Kinds that were not asked for are
// null.
func oldDiskUsage(v Version, u system.DiskUsage) map[string]any {
	old := map[string]any{"LayersSize": int64(0), "Images": nil, "Containers": nil, "Volumes": nil, "BuildCache": nil}
	if v.Before(42) {
		old["BuilderSize"] = 0 // 1.42 dropped it; it had no meaning since 1.40
	}
	if i := u.ImageUsage; i != nil {
		old["LayersSize"], old["Images"] = i.TotalSize, imageSummaries(v, append([]image.Summary{}, i.Items...))
	}
	if c := u.ContainerUsage; c != nil {
		old["Containers"] = Containers(v, append([]container.Summary{}, c.Items...))
	}
	if w := u.VolumeUsage; w != nil {
		old["Volumes"] = append([]volume.Volume{}, w.Items...)
	}
	if b := u.BuildCacheUsage; b != nil {
		old["BuildCache"] = append([]build.CacheRecord{}, b.Items...)
	}
	return old
}
