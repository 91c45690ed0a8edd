package api

import (
	"context"
	"net/http"

	"github.com/davit-engine/davit/api/compat"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/errs"
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/system"
)

// Space tells what is on the disk and removes what nobody needs.
type Space interface {
	// DiskUsage leaves out what is not asked for. The lists of items are the
	// caller's.
	DiskUsage(ctx context.Context, o engine.DiskUsageOptions) (system.DiskUsage, error)
	PruneContainers(ctx context.Context, filters map[string]map[string]bool) (container.PruneReport, error)
	PruneImages(ctx context.Context, filters map[string]map[string]bool) (image.PruneReport, error)
}

type spaceRoutes struct{ part Space }

func (t *table) space(part Space) {
	if part == nil {
		return
	}
	h := spaceRoutes{part}
	t.add("GET", "/system/df", h.usage)
	t.add("POST", "/containers/prune", h.pruneContainers)
	t.add("POST", "/images/prune", h.pruneImages)
	t.add("POST", "/build/prune", h.pruneBuildCache)
}

func (h spaceRoutes) usage(c *call) error {
	o := engine.DiskUsageOptions{Containers: true, Images: true, Volumes: true, BuildCache: true}
	if kinds := c.r.Form["type"]; len(kinds) > 0 && !c.version.Before(42) {
		o = engine.DiskUsageOptions{}
		for _, kind := range kinds {
			switch system.DiskUsageObject(kind) {
			case system.ContainerObject:
				o.Containers = true
			case system.ImageObject:
				o.Images = true
			case system.VolumeObject:
				o.Volumes = true
			case system.BuildCacheObject:
				o.BuildCache = true
			default:
				return errs.New(errs.InvalidParameter, "unknown object type: %s", kind)
			}
		}
	}
	u, err := h.part.DiskUsage(c.ctx, o)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, compat.DiskUsage(c.version, u, c.truth("verbose")))
}

// pruneBuildCache has nothing to remove: nothing is built yet. `docker system
// prune` asks for it all the same.
func (h spaceRoutes) pruneBuildCache(c *call) error {
	if _, err := c.filters(); err != nil {
		return err
	}
	return c.json(http.StatusOK, build.CachePruneReport{CachesDeleted: []string{}})
}

func (h spaceRoutes) pruneContainers(c *call) error {
	filters, err := c.filters()
	if err != nil {
		return err
	}
	report, err := h.part.PruneContainers(c.ctx, filters)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, report)
}

func (h spaceRoutes) pruneImages(c *call) error {
	filters, err := c.filters()
	if err != nil {
		return err
	}
	report, err := h.part.PruneImages(c.ctx, filters)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, report)
}
