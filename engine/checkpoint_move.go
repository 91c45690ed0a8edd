package engine

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/dialect"
	"github.com/davit-engine/davit/engine/parcel"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/image"
)

// Export returns a checkpoint with its container as one archive: what the
// container was asked for, what it changed of its image's files, as they are
// now, and criu's files. It has to be closed.
func (p *Checkpoints) Export(ctx context.Context, ref, dir, name string) (io.ReadCloser, error) {
	c, err := p.table.find(ref)
	if err != nil {
		return nil, err
	}
	path, err := p.existing(c, dir, name)
	if err != nil {
		return nil, err
	}
	request, err := p.e.Changes().Request(ctx, ref)
	if err != nil {
		return nil, err
	}
	rec := c.snapshot()
	h := parcel.Header{Checkpoint: name, Image: parcel.Image{ID: rec.Image.ID, Name: rec.Config.Image}, Request: request}
	layers := p.e.Files().layers(&rec)
	return stream(ctx, 0, func(ctx context.Context, w io.Writer) error {
		return parcel.Write(w, h, func(w io.Writer) error { return layers.Diff(ctx, w) }, path)
	}, func() {}), nil
}

// Import makes a container and its checkpoint of an archive that Export has
// written, here or elsewhere. name is the container's; empty: the one that it
// had. The image has to be there.
func (p *Checkpoints) Import(ctx context.Context, name string, r io.Reader) (dialect.ImportedCheckpoint, error) {
	arriving := &arrival{Checkpoints: p, ctx: context.WithoutCancel(ctx), name: name}
	if err := parcel.Read(r, arriving); err != nil {
		arriving.undo()
		return dialect.ImportedCheckpoint{}, err
	}
	arriving.c.disown()
	return arriving.done, nil
}

// arrival is an import under way.
type arrival struct {
	*Checkpoints
	ctx  context.Context
	name string
	c    *ctr // once it is there; owned
	done dialect.ImportedCheckpoint
}

// Begin creates the container.
func (a *arrival) Begin(h parcel.Header) error {
	dir := filepath.Base(h.Checkpoint)
	if dir != h.Checkpoint || validName(dir) != nil {
		return errs.New(errs.InvalidParameter, "Invalid checkpoint ID (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", h.Checkpoint)
	}
	o := CreateOptions{Name: a.name, Request: h.Request.CreateRequest}
	if o.Name == "" {
		o.Name = h.Request.Name
	}
	if h.Request.Platform != "" {
		platform, err := platforms.Parse(h.Request.Platform)
		if err != nil {
			return errs.New(errs.InvalidParameter, "the archive's platform: %w", err)
		}
		o.Platform = &platform
	}
	if err := a.findImage(h.Image, &o); err != nil {
		return err
	}
	made, err := a.e.Create(a.ctx, o)
	if err != nil {
		return err
	}
	a.done = dialect.ImportedCheckpoint{ID: made.ID, Checkpoint: h.Checkpoint, Warnings: made.Warnings}
	c, err := a.table.find(made.ID)
	if err != nil {
		return err
	}
	if err := c.own(a.ctx); err != nil { // nobody starts half of it
		return err
	}
	c.mu.Lock()
	c.used = true // its files are not the image's
	c.mu.Unlock()
	a.c = c
	return nil
}

// findImage has the container made of the very image that it was made of.
func (a *arrival) findImage(want parcel.Image, o *CreateOptions) error {
	for _, ref := range []string{want.Name, want.ID} {
		img, err := a.cfg.Images.Get(a.ctx, ref, o.Platform)
		if err == nil && string(img.ID) == want.ID {
			config := *o.Request.Config
			config.Image = ref
			o.Request.Config = &config
			return nil
		}
	}
	return errs.New(errs.NotFound, "the checkpoint's image %s (%s) is not here: pull or load it first%s", want.Name, want.ID, platformWords(o.Platform))
}

func platformWords(p *ocispec.Platform) string {
	if p == nil {
		return ""
	}
	return ", for " + platforms.Format(*p)
}

// Layer makes the files that the container changed.
func (a *arrival) Layer(r io.Reader) error {
	rec := a.c.snapshot()
	parents := append(slices.Clip(rec.Image.Lower), a.base)
	if err := image.ApplyLayer(a.ctx, r, filepath.Join(a.store.Dir(a.c.id), "upper"), parents); err != nil {
		return errs.Wrap(errs.InvalidParameter, err)
	}
	return nil
}

// Files makes the checkpoint's directory.
func (a *arrival) Files() (string, error) {
	dir, err := a.checkpointDir(a.c, "", a.done.Checkpoint)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return "", fmt.Errorf("making the checkpoint's directory: %w", err)
	}
	return dir, nil
}

// undo removes the container of an import that failed.
func (a *arrival) undo() {
	if a.c != nil {
		a.c.disown()
	}
	if a.done.ID == "" {
		return
	}
	if err := a.e.Remove(a.ctx, a.done.ID, RemoveOptions{Force: true, Volumes: true}); err != nil {
		a.log.Error("removing a container whose import failed", "container", a.done.ID, "error", err)
	}
}
