package engine

import (
	"context"
	"io"
	"path/filepath"
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/engine/rootfs"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/image"
)

// Files is the engine's view of what is in containers, running or not. Nothing
// in it executes anything of theirs.
type Files struct {
	*viewer
	keeper *keeper
}

// Files returns the verbs on containers' files.
func (e *Engine) Files() *Files { return &Files{&viewer{e.core}, e.keeper} }

// ExtractOptions say how files come into a container.
type ExtractOptions struct {
	KeepKinds bool // no directory takes the place of another file, nor the other way round
	UserOwns  bool // all files belong to the container's user, if it has one
}

// StatPath describes what is at a path in a container. NotFound where there is
// nothing.
func (f *Files) StatPath(ctx context.Context, ref, path string) (container.PathStat, error) {
	v, err := f.view(ctx, ref)
	if err != nil {
		return container.PathStat{}, err
	}
	defer v.Close()
	st, err := v.Stat(path)
	return st, fileError(ref, path, err)
}

// ArchivePath describes what is at a path, and returns it as a tar archive. It
// has to be closed.
func (f *Files) ArchivePath(ctx context.Context, ref, path string) (container.PathStat, io.ReadCloser, error) {
	v, err := f.view(ctx, ref)
	if err != nil {
		return container.PathStat{}, nil, err
	}
	st, err := v.Stat(path)
	if err != nil {
		v.Close()
		return container.PathStat{}, nil, fileError(ref, path, err)
	}
	f.tell(ref, events.ActionArchivePath)
	return st, v.read(func(ctx context.Context, w io.Writer) error { return v.Archive(ctx, w, path) }), nil
}

// ExtractToDir makes files of a tar archive, which may be compressed, in a
// directory of a container's.
func (f *Files) ExtractToDir(ctx context.Context, ref, path string, content io.Reader, o ExtractOptions) error {
	c, err := f.table.find(ref)
	if err != nil {
		return err
	}
	options := rootfs.ExtractOptions{KeepKinds: o.KeepKinds}
	if rec := c.snapshot(); o.UserOwns && rec.Config.User != "" {
		user, err := resolveUser(rec.Config.User, nil, append([]string{filepath.Join(f.store.Dir(rec.ID), "upper")}, rec.Image.Lower...))
		if err != nil {
			return err
		}
		options.Owner = &rootfs.Owner{UID: int(user.UID), GID: int(user.GID)}
	}
	v, err := f.openRoot(ctx, c)
	if err != nil {
		return err
	}
	defer v.Close()
	err = v.feed(content, func(ctx context.Context, r io.Reader) error {
		plain, err := image.Decompress(r)
		if err != nil {
			return errs.Wrap(errs.InvalidParameter, err)
		}
		defer plain.Close()
		if err := v.Extract(ctx, plain, path, options); err != nil {
			return err
		}
		// What a client pads its archive with has to be taken from it.
		_, err = io.CopyN(io.Discard, plain, maxPadding)
		if err == io.EOF {
			err = nil
		}
		return err
	})
	if err != nil {
		if _, serr := v.Stat(path); errs.Is(serr, errs.NotFound) {
			return fileError(ref, path, serr)
		}
		return err
	}
	f.tell(ref, events.ActionExtractToDir)
	return nil
}

// maxPadding bounds what is read behind the end of an archive.
const maxPadding = 1 << 20

// Export returns all files of a container as a tar archive, without what is
// mounted in it. It has to be closed.
func (f *Files) Export(ctx context.Context, ref string) (io.ReadCloser, error) {
	c, err := f.table.find(ref)
	if err != nil {
		return nil, err
	}
	rec := c.snapshot()
	if err := notGoing(&rec, "export"); err != nil {
		return nil, err
	}
	f.tell(ref, events.ActionExport)
	return stream(ctx, 0, f.layers(&rec).Export, func() {}), nil
}

// Changes lists what a container changed in the files of its image.
func (f *Files) Changes(ctx context.Context, ref string) ([]container.FilesystemChange, error) {
	c, err := f.table.find(ref)
	if err != nil {
		return nil, err
	}
	rec := c.snapshot()
	list, err := f.layers(&rec).Changes(ctx)
	return append([]container.FilesystemChange{}, list...), err
}

func (f *Files) view(ctx context.Context, ref string) (*rootView, error) {
	c, err := f.table.find(ref)
	if err != nil {
		return nil, err
	}
	return f.openRoot(ctx, c)
}

// tell publishes what happened to a container's files.
func (f *Files) tell(ref string, action events.Action) {
	if c, err := f.table.find(ref); err == nil {
		rec := c.snapshot()
		f.publish(&rec, action, nil)
	}
}

// layers are the layers of a container and its image.
func (f *Files) layers(rec *record.Container) rootfs.Layers {
	return rootfs.Layers{
		Upper: filepath.Join(f.store.Dir(rec.ID), "upper"), Lower: append(slices.Clip(rec.Image.Lower), f.base), Log: f.log.With("container", rec.ID),
	}
}

// notGoing refuses a container that is on its way out.
func notGoing(rec *record.Container, verb string) error {
	switch rec.State.Status {
	case container.StateRemoving:
		return errs.New(errs.Conflict, "You cannot %s container %s which is being removed", verb, rec.ID)
	case container.StateDead:
		return errs.New(errs.Conflict, "You cannot %s container %s which is Dead", verb, rec.ID)
	}
	return nil
}

// fileError gives a missing file Docker's words.
func fileError(ref, path string, err error) error {
	if errs.Is(err, errs.NotFound) {
		return errs.New(errs.NotFound, "Could not find the file %s in container %s", path, ref)
	}
	return err
}
