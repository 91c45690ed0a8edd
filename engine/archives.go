package engine

import (
	"context"
	"io"

	"github.com/moby/moby/api/types/events"

	"github.com/davit-engine/davit/image"
)

// Save writes images as an archive.
func (i *Images) Save(ctx context.Context, w io.Writer, refs []string, o image.SaveOptions) error {
	if err := i.e.cfg.Images.Save(ctx, w, refs, o); err != nil {
		return err
	}
	for _, ref := range refs {
		i.publish(ref, ref, events.ActionSave)
	}
	return nil
}

// Load makes images of an archive.
func (i *Images) Load(ctx context.Context, r io.Reader, o image.LoadOptions) ([]image.Loaded, error) {
	loaded, err := i.e.cfg.Images.Load(ctx, r, o)
	for _, l := range loaded {
		name := l.Name
		if name == "" {
			name = string(l.ID)
		}
		i.publish(string(l.ID), name, events.ActionLoad)
	}
	return loaded, err
}
