package engine

import (
	"context"
	"io"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/image"
)

// Images is the engine's view of the image store: it adds what only the engine
// knows, which containers use an image, and tells subscribers.
type Images struct {
	e *Engine
}

// Images returns the image verbs.
func (e *Engine) Images() *Images { return &Images{e} }

// Pull gets an image from a registry.
func (i *Images) Pull(ctx context.Context, ref reference.Named, o image.PullOptions) (digest.Digest, error) {
	id, err := i.e.cfg.Images.Pull(ctx, ref, o)
	if err != nil {
		return "", err
	}
	name := reference.FamiliarString(ref)
	i.publish(name, name, events.ActionPull)
	return id, nil
}

// Push sends an image to a registry.
func (i *Images) Push(ctx context.Context, ref reference.Named, o image.PushOptions) error {
	if err := i.e.cfg.Images.Push(ctx, ref, o); err != nil {
		return err
	}
	name := reference.FamiliarString(ref)
	i.publish(name, name, events.ActionPush)
	return nil
}

// Import makes an image of one layer from a tar stream.
func (i *Images) Import(ctx context.Context, r io.Reader, o image.ImportOptions) (digest.Digest, error) {
	id, err := i.e.cfg.Images.Import(ctx, r, o)
	if err != nil {
		return "", err
	}
	name := string(id)
	if o.Ref != nil {
		name = reference.FamiliarString(o.Ref)
	}
	i.publish(string(id), name, events.ActionImport)
	return id, nil
}

// List describes the images.
func (i *Images) List(ctx context.Context, o image.ListOptions) ([]imagetypes.Summary, error) {
	o.Containers = i.users()
	return i.e.cfg.Images.List(ctx, o)
}

// Inspect tells everything about an image.
func (i *Images) Inspect(ctx context.Context, ref string, o image.InspectOptions) (imagetypes.InspectResponse, error) {
	o.Containers = i.users()
	return i.e.cfg.Images.Inspect(ctx, ref, o)
}

// History tells how an image's layers came about.
func (i *Images) History(ctx context.Context, ref string, platform *ocispec.Platform) ([]imagetypes.HistoryResponseItem, error) {
	return i.e.cfg.Images.History(ctx, ref, platform)
}

// Tag gives an image a further name.
func (i *Images) Tag(ctx context.Context, src string, dst reference.Named) (digest.Digest, error) {
	id, err := i.e.cfg.Images.Tag(ctx, src, dst)
	if err != nil {
		return "", err
	}
	i.publish(string(id), reference.FamiliarString(dst), events.ActionTag)
	return id, nil
}

// Remove takes an image's name away, and the image with its last one.
func (i *Images) Remove(ctx context.Context, ref string, o image.RemoveOptions) ([]imagetypes.DeleteResponse, error) {
	o.InUse = i.inUse
	gone, err := i.e.cfg.Images.Remove(ctx, ref, o)
	i.publishRemoved(gone)
	return gone, err
}

// publishRemoved tells of names and images that went.
func (i *Images) publishRemoved(gone []imagetypes.DeleteResponse) {
	for _, g := range gone {
		if g.Untagged != "" {
			i.publish(g.Untagged, g.Untagged, events.ActionUnTag)
		}
		if g.Deleted != "" {
			i.publish(g.Deleted, g.Deleted, events.ActionDelete)
		}
	}
}

// inUse names a container made of the image, a running one if there is one.
func (i *Images) inUse(id digest.Digest) (container string, running bool) {
	for _, c := range i.e.table.all() {
		rec := c.snapshot()
		if rec.Image.ID != string(id) {
			continue
		}
		if rec.State.Running() {
			return rec.ID, true
		}
		container = rec.ID
	}
	return container, false
}

// users returns a function that lists the containers made of a manifest.
func (i *Images) users() func(digest.Digest) []string {
	by := map[digest.Digest][]string{}
	for _, c := range i.e.table.all() {
		rec := c.snapshot()
		if rec.Image.Manifest != nil {
			by[rec.Image.Manifest.Digest] = append(by[rec.Image.Manifest.Digest], rec.ID)
		}
	}
	return func(manifest digest.Digest) []string { return by[manifest] }
}

func (i *Images) publish(id, name string, action events.Action) {
	i.e.cfg.Events.Publish(events.Message{Type: events.ImageEventType, Action: action, Actor: events.Actor{ID: id, Attributes: map[string]string{"name": name}}})
}
