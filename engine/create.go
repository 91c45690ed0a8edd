package engine

import (
	"context"
	"fmt"

	"github.com/containerd/platforms"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/errs"
)

// platformWarning says that an image is not for this host, where nobody asked
// for another platform than the host's.
func platformWarning(p ocispec.Platform) []string {
	if p.Architecture == "" || platforms.Default().Match(p) {
		return nil
	}
	return []string{fmt.Sprintf("The requested image's platform (%s) does not match the detected host platform (%s) and no specific platform was requested",
		platforms.FormatAll(p), platforms.FormatAll(platforms.DefaultSpec()))}
}

// Create makes a container of an image, without starting it. Errors: NotFound
// for the image, Conflict for a name in use, InvalidParameter and
// NotImplemented for the configuration.
func (e *Engine) Create(ctx context.Context, o CreateOptions) (_ container.CreateResponse, err error) {
	req := o.Request
	if req.Config == nil {
		return container.CreateResponse{}, errs.New(errs.InvalidParameter, "config cannot be empty in order to create a container")
	}
	if req.HostConfig == nil {
		req.HostConfig = &container.HostConfig{}
	}
	req.HostConfig = extensions(req.Config, req.HostConfig)
	warnings, err := e.drafter.validate(req)
	if err != nil {
		return container.CreateResponse{}, err
	}
	if err := e.keeper.usher.check(o.Name, req); err != nil {
		return container.CreateResponse{}, err
	}
	img, err := e.cfg.Images.Get(ctx, req.Config.Image, o.Platform)
	if err != nil {
		return container.CreateResponse{}, err
	}
	if o.Platform == nil {
		warnings = append(warnings, platformWarning(img.Platform)...)
	}
	rec, more, err := e.drafter.newRecord(req, img)
	if err != nil {
		return container.CreateResponse{}, err
	}
	var undo undo
	defer undo.unless(&err)
	if rec.Name, err = e.table.reserve(o.Name, rec.ID); err != nil {
		return container.CreateResponse{}, err
	}
	undo.add(func() { e.table.release(rec.Name, rec.ID) })
	if err := e.spaces.assign(rec, e.cfg.UserNS); err != nil {
		return container.CreateResponse{}, err
	}
	undo.add(func() { e.spaces.release(rec) })
	if err := e.cfg.Images.Pin(ctx, rec.ID, img); err != nil {
		return container.CreateResponse{}, err
	}
	undo.add(func() { _ = e.cfg.Images.Unpin(context.WithoutCancel(ctx), rec.ID, img.Manifest.Digest) })
	if err := e.keeper.mounts.settle(ctx, rec, &undo); err != nil {
		return container.CreateResponse{}, err
	}
	if err := e.store.Create(rec, !rec.HostConfig.AutoRemove, e.keeper.mounts.limiting(rec, &undo)); err != nil {
		return container.CreateResponse{}, err
	}
	e.table.add(rec)
	e.publish(rec, events.ActionCreate, nil)
	return container.CreateResponse{ID: rec.ID, Warnings: append(warnings, more...)}, nil
}
