package engine

import (
	"context"
	"path"
	"slices"

	"github.com/containerd/platforms"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/davit-engine/davit/dialect"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
)

// Request tells what to ask for to get such a container again. Conflict for a
// container of which it was not noted.
func (g *Changes) Request(_ context.Context, ref string) (dialect.Request, error) {
	c, err := g.table.find(ref)
	if err != nil {
		return dialect.Request{}, err
	}
	rec := c.snapshot()
	if rec.Origin == nil {
		return dialect.Request{}, errs.New(errs.Conflict,
			"container %s was made by an older engine, which did not note what its user asked for and what came from the image: make it anew with run", rec.Name)
	}
	config, host := rec.Origin.Asked(rec.Config, rec.HostConfig)
	keepVolumes(config, host, rec.Mounts)
	return dialect.Request{
		Name: rec.Name, Platform: platforms.Format(rec.Image.Platform),
		CreateRequest: container.CreateRequest{Config: config, HostConfig: host, NetworkingConfig: rec.NetworkingConfig},
	}, nil
}

// keepVolumes names the anonymous volumes that a container has.
func keepVolumes(c *container.Config, h *container.HostConfig, mounts []record.Mount) {
	h.Mounts = slices.Clone(h.Mounts)
	for _, m := range mounts {
		if m.Type != mount.TypeVolume || !m.Anonymous || m.Name == "" {
			continue
		}
		for at := range c.Volumes {
			if path.Clean(at) == m.Destination {
				delete(c.Volumes, at)
			}
		}
		i := slices.IndexFunc(h.Mounts, func(o mount.Mount) bool { return path.Clean(o.Target) == m.Destination })
		if i >= 0 {
			h.Mounts[i].Source = m.Name
			continue
		}
		h.Mounts = append(h.Mounts, mount.Mount{Type: mount.TypeVolume, Source: m.Name, Target: m.Destination, ReadOnly: !m.RW})
	}
}
