package engine

import (
	"errors"
	"os"
	"slices"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/sys/user"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/engine/tree"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/volume"
)

// source is a detached mount that the shim is given, and where it goes.
type source struct {
	target string
	file   *os.File
}

// ready makes all that a container has mounted ready for its start: missing
// directories that -v names, volumes with file systems of their own, parts of
// volumes, and images. The caller closes what it returns, and calls done when
// the container has ended or did not start.
func (m *mounter) ready(rec *record.Container, userns *os.File) (sources []source, err error) {
	defer func() {
		if err != nil {
			closeSources(sources)
			sources = nil
			m.done(rec)
		}
	}()
	for i := range rec.Mounts {
		o := &rec.Mounts[i]
		switch o.Type {
		case mount.TypeBind:
			if err := makeSource(rec, o); err != nil {
				return sources, err
			}
		case mount.TypeVolume:
			path, err := m.cfg.Volumes.Mount(o.Name, rec.ID)
			if err != nil {
				return sources, err
			}
			if path != o.Source { // the data root was moved
				rec.Mounts = slices.Clone(rec.Mounts)
				o = &rec.Mounts[i]
				o.Source = path
			}
		}
		file, err := open(o, rec, userns)
		if err != nil {
			return sources, err
		}
		if file != nil {
			sources = append(sources, source{o.Destination, file})
		}
	}
	for i := range rec.Mounts {
		if o := &rec.Mounts[i]; o.Type == mount.TypeVolume {
			m.publishMount(rec.ID, o, events.ActionMount)
		}
	}
	return sources, nil
}

// open opens the source of an image mount or of a part of a volume; nil for
// others.
func open(o *record.Mount, rec *record.Container, userns *os.File) (*os.File, error) {
	switch {
	case o.Image != nil:
		file, err := tree.Layers(o.Image.Lower, o.Subpath, userns)
		if err != nil {
			return nil, errs.New(kindOr(err, errs.System), "mounting image %s at %s: %w", o.Name, o.Destination, err)
		}
		return file, nil
	case o.Subpath == "":
		return nil, nil
	}
	file, err := tree.Below(o.Source, o.Subpath)
	if err != nil || userns == nil || !wantsMap(rec, o) {
		return file, err
	}
	if err := tree.Map(file, userns, true); err != nil {
		err = tree.Map(file, userns, false)
		if err != nil && o.IDMap != "" {
			_ = file.Close()
			return nil, cannotMap(o, err)
		}
	}
	return file, nil
}

func kindOr(err error, kind errs.Kind) errs.Kind {
	if k := errs.KindOf(err); k != errs.Unknown {
		return k
	}
	return kind
}

// done takes ready back.
func (m *mounter) done(rec *record.Container) {
	for i := range rec.Mounts {
		o := &rec.Mounts[i]
		if o.Type != mount.TypeVolume {
			continue
		}
		if err := m.cfg.Volumes.Unmount(o.Name, rec.ID); err != nil {
			m.log.Error("unmounting a volume", "container", rec.ID, "volume", o.Name, "error", err)
		}
	}
}

// ended is done for a container that ran.
func (m *mounter) ended(rec *record.Container) {
	m.done(rec)
	for i := range rec.Mounts {
		if o := &rec.Mounts[i]; o.Type == mount.TypeVolume {
			m.publishMount(rec.ID, o, events.ActionUnmount)
		}
	}
}

// withVolumes has the volumes of a container that does not run mounted, for
// whoever looks at its files, until release.
func withVolumes(store *volume.Store, rec *record.Container) (release func(), err error) {
	user := rec.ID + "/files" // no container is called that
	var names []string
	release = func() {
		for _, n := range names {
			_ = store.Unmount(n, user) // tried again by whoever uses it next
		}
	}
	for _, o := range rec.Mounts {
		if o.Type != mount.TypeVolume || slices.Contains(names, o.Name) {
			continue
		}
		if _, err := store.Mount(o.Name, user); err != nil {
			release()
			return nil, err
		}
		names = append(names, o.Name)
	}
	return release, nil
}

func closeSources(list []source) {
	for _, s := range list {
		_ = s.file.Close()
	}
}

// makeSource makes a missing directory that -v names on the host, as Docker
// does, for the root of a container whose binds show the host's ids; --mount
// wants it to exist.
func makeSource(rec *record.Container, o *record.Mount) error {
	err := checkSource(o)
	if err != nil || !o.CreateSource {
		return err
	}
	if _, err = os.Stat(o.Source); !errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if !rec.UserNS.Private() || wantsMap(rec, o) {
		err = os.MkdirAll(o.Source, 0o755)
	} else {
		uid, gid := rec.UserNS.Root()
		err = user.MkdirAllAndChown(o.Source, 0o755, int(uid), int(gid), user.WithOnlyNew)
	}
	if err != nil {
		return errs.New(errs.InvalidParameter, "error while creating mount source path '%s': %w", o.Source, err)
	}
	return nil
}
