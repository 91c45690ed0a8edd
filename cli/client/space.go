package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"
)

// DiskUsage tells what is on the engine's disk, with all items if verbose is
// set.
func (c *Client) DiskUsage(ctx context.Context, verbose bool) (system.DiskUsage, error) {
	query := url.Values{}
	flag(query, "verbose", verbose)
	answer, _, err := fetch[diskUsage](ctx, c, request{method: http.MethodGet, path: "/system/df", query: query})
	if err != nil {
		return system.DiskUsage{}, err
	}
	return answer.sums(), nil
}

// diskUsage is the answer as engines gave it up to API 1.51, and since.
type diskUsage struct {
	system.DiskUsage
	LayersSize int64
	Images     []image.Summary
	Containers []container.Summary
	Volumes    []volume.Volume
	BuildCache []build.CacheRecord
}

// sums adds up what an older engine leaves to its clients, as Docker's does.
func (d *diskUsage) sums() system.DiskUsage {
	if d.ImageUsage != nil || d.ContainerUsage != nil {
		return d.DiskUsage
	}
	images := &image.DiskUsage{TotalCount: int64(len(d.Images)), TotalSize: d.LayersSize, Reclaimable: d.LayersSize, Items: d.Images}
	for _, i := range d.Images {
		if i.Containers > 0 {
			images.ActiveCount++
		}
		if i.Containers != 0 && i.Size >= 0 && i.SharedSize >= 0 {
			images.Reclaimable -= i.Size - i.SharedSize
		}
	}
	containers := &container.DiskUsage{TotalCount: int64(len(d.Containers)), Items: d.Containers}
	for _, c := range d.Containers {
		containers.TotalSize += c.SizeRw
		switch c.State {
		case container.StateRunning, container.StatePaused, container.StateRestarting:
			containers.ActiveCount++
		default:
			containers.Reclaimable += c.SizeRw
		}
	}
	volumes := &volume.DiskUsage{TotalCount: int64(len(d.Volumes)), Items: d.Volumes}
	for _, v := range d.Volumes {
		if v.UsageData == nil {
			continue
		}
		size := max(v.UsageData.Size, 0) // -1: not known
		volumes.TotalSize += size
		if v.UsageData.RefCount > 0 {
			volumes.ActiveCount++
		} else {
			volumes.Reclaimable += size
		}
	}
	cache := &build.DiskUsage{TotalCount: int64(len(d.BuildCache)), Items: d.BuildCache}
	for _, b := range d.BuildCache {
		if !b.Shared {
			cache.TotalSize += b.Size
			if !b.InUse {
				cache.Reclaimable += b.Size
			}
		}
		if b.InUse {
			cache.ActiveCount++
		}
	}
	return system.DiskUsage{ImageUsage: images, ContainerUsage: containers, VolumeUsage: volumes, BuildCacheUsage: cache}
}

// PruneContainers removes those that do not run.
func (c *Client) PruneContainers(ctx context.Context, filters Filters) (container.PruneReport, error) {
	return prune[container.PruneReport](ctx, c, "/containers/prune", filters)
}

// PruneImages removes images that nobody uses; see the filter dangling.
func (c *Client) PruneImages(ctx context.Context, filters Filters) (image.PruneReport, error) {
	return prune[image.PruneReport](ctx, c, "/images/prune", filters)
}

// PruneNetworks removes networks that nobody uses.
func (c *Client) PruneNetworks(ctx context.Context, filters Filters) (network.PruneReport, error) {
	return prune[network.PruneReport](ctx, c, "/networks/prune", filters)
}

// PruneVolumes removes volumes that nobody uses, of those without a name unless
// the filter all says otherwise.
func (c *Client) PruneVolumes(ctx context.Context, filters Filters) (volume.PruneReport, error) {
	return prune[volume.PruneReport](ctx, c, "/volumes/prune", filters)
}

// PruneBuildCache removes what builds have kept.
func (c *Client) PruneBuildCache(ctx context.Context, all bool, filters Filters) (build.CachePruneReport, error) {
	query := url.Values{}
	flag(query, "all", all)
	filters.addTo(query)
	report, _, err := fetch[build.CachePruneReport](ctx, c, request{method: http.MethodPost, path: "/build/prune", query: query})
	return report, err
}

func prune[T any](ctx context.Context, c *Client, path string, filters Filters) (T, error) {
	query := url.Values{}
	filters.addTo(query)
	report, _, err := fetch[T](ctx, c, request{method: http.MethodPost, path: path, query: query})
	return report, err
}
