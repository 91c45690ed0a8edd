package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/davit-engine/davit/errs"
	"github.com/moby/moby/api/types/volume"
)

// Volumes are directories that outlive containers.
type Volumes interface {
	Create(ctx context.Context, r volume.CreateRequest) (volume.Volume, error)
	Inspect(ctx context.Context, name string) (volume.Volume, error)
	List(ctx context.Context, filters map[string]map[string]bool) ([]volume.Volume, error)
	Remove(ctx context.Context, name string, force bool) error
	Prune(ctx context.Context, filters map[string]map[string]bool) (volume.PruneReport, error)
}

type volumeRoutes struct{ part Volumes }

func (t *table) volumes(part Volumes) {
	if part == nil {
		return
	}
	h := volumeRoutes{part}
	t.add("GET", "/volumes", h.list)
	t.add("GET", "/volumes/{name}", h.inspect)
	t.add("POST", "/volumes/create", h.create)
	t.add("POST", "/volumes/prune", h.prune)
	t.add("PUT", "/volumes/{name}", h.update)
	t.add("DELETE", "/volumes/{name}", h.remove)
}

func (h volumeRoutes) list(c *call) error {
	filters, err := c.filters()
	if err != nil {
		return err
	}
	list, err := h.part.List(c.ctx, filters)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, volume.ListResponse{Volumes: list})
}

func (h volumeRoutes) inspect(c *call) error {
	v, err := h.part.Inspect(c.ctx, c.vars[0])
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, v)
}

func (h volumeRoutes) create(c *call) error {
	if err := requireJSON(c.r); err != nil {
		return err
	}
	var r volume.CreateRequest
	if err := json.NewDecoder(io.LimitReader(c.r.Body, maxVolume)).Decode(&r); err != nil {
		if errors.Is(err, io.EOF) {
			return errs.New(errs.InvalidParameter, "got EOF while reading request body")
		}
		return errs.New(errs.InvalidParameter, "reading the volume's configuration: %w", err)
	}
	if r.ClusterVolumeSpec != nil && !c.version.Before(42) {
		return errs.New(errs.Unavailable, "ClusterVolumeSpec: this node is not a swarm manager: only volumes of the driver local are made")
	}
	v, err := h.part.Create(c.ctx, r)
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, v)
}

// maxVolume bounds what describes a volume, in bytes.
const maxVolume = 4 << 20

// prune removed named volumes as well before 1.42.
func (h volumeRoutes) prune(c *call) error {
	filters, err := c.filters()
	if err != nil {
		return err
	}
	if c.version.Before(42) {
		if filters["all"] != nil {
			return errs.New(errs.InvalidParameter, "invalid filter 'all'")
		}
		filters["all"] = map[string]bool{"true": true}
	}
	report, err := h.part.Prune(c.ctx, filters)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, report)
}

// update changes volumes of a swarm, and there is none.
func (volumeRoutes) update(*call) error {
	return errs.New(errs.Unavailable, "volume update only valid for cluster volumes, but swarm is unavailable")
}

func (h volumeRoutes) remove(c *call) error {
	if err := h.part.Remove(c.ctx, c.vars[0], c.truth("force")); err != nil {
		return err
	}
	return c.empty(http.StatusNoContent)
}
