package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"sync"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/engine/layers"
	"github.com/davit-engine/davit/engine/mountpoint"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/image"
	"github.com/davit-engine/davit/volume"
)

// mounter joins containers with the volumes and images that they mount.
type mounter struct {
	*core
	pruning sync.Mutex // held while volumes are being pruned

	mu    sync.Mutex
	early bool     // not every container has said yet what it holds; guarded by mu
	later []func() // removals that wait for that; guarded by mu
}

// settle decides what a container has mounted: it takes over what is mounted
// in others, makes the volumes that are missing, and fills the new ones with
// what the image has in their places. How to take that back it adds to taken.
func (m *mounter) settle(ctx context.Context, rec *record.Container, taken *undo) error {
	c, h := rec.Config, rec.HostConfig
	if len(h.VolumesFrom)+len(h.Binds)+len(h.Mounts)+len(h.Tmpfs)+len(c.Volumes) == 0 {
		return nil
	}
	from, err := m.inherited(h.VolumesFrom)
	if err != nil {
		return err
	}
	wanted, err := mountpoint.Parse(c, h, func(destination string) bool {
		return slices.ContainsFunc(from, func(f record.Mount) bool { return f.Destination == destination })
	})
	if err != nil {
		return err
	}
	for _, f := range from {
		if slices.ContainsFunc(wanted, func(w mountpoint.Wanted) bool { return w.Destination == f.Destination }) {
			continue
		}
		if err := m.hold(ctx, rec.ID, &f); err != nil {
			return err
		}
		taken.add(func() { m.letGo(rec.ID, &f) })
		rec.Mounts = append(rec.Mounts, f)
	}
	for i := range wanted {
		w, err := &wanted[i], error(nil)
		switch w.Type {
		case mount.TypeBind:
			err = checkSource(&w.Mount)
		case mount.TypeVolume:
			err = m.obtain(ctx, rec, w, taken)
		case mount.TypeImage:
			err = m.choose(ctx, rec.ID, w, taken)
		}
		if err != nil {
			return err
		}
		rec.Mounts = append(rec.Mounts, w.Mount)
	}
	if n := len(given(rec.Mounts)); n > maxGiven {
		return errs.New(errs.InvalidParameter, "%d mounts of images and of parts of volumes: a container can have %d", n, maxGiven)
	}
	return nil
}

// maxGiven is how many mounts can be handed to a shim: a message on a socket
// carries 253 descriptors.
const maxGiven = 200

// given are the mounts whose source the engine opens for the shim.
func given(mounts []record.Mount) (list []record.Mount) {
	for _, m := range mounts {
		if m.Type == mount.TypeImage || m.Subpath != "" {
			list = append(list, m)
		}
	}
	return list
}

// inherited lists what --volumes-from brings; of two at one place the later.
func (m *mounter) inherited(from []string) ([]record.Mount, error) {
	var list []record.Mount
	for _, text := range from {
		ref, rw, err := mountpoint.ParseFrom(text)
		if err != nil {
			return nil, err
		}
		other, err := m.table.find(ref)
		if err != nil { // no 404, which Docker's client takes for a missing image
			return nil, errs.Wrap(errs.InvalidParameter, err)
		}
		for _, theirs := range other.snapshot().Mounts {
			if theirs.Hidden {
				continue
			}
			list = slices.DeleteFunc(list, func(l record.Mount) bool { return l.Destination == theirs.Destination })
			list = append(list, mountpoint.Inherit(theirs, rw))
		}
	}
	return list, nil
}

// checkSource fails for a --mount whose source is missing; -v makes its own
// when the container starts.
func checkSource(b *record.Mount) error {
	_, err := os.Stat(b.Source)
	switch {
	case err == nil, errors.Is(err, os.ErrNotExist) && b.CreateSource:
		return nil
	case errors.Is(err, os.ErrNotExist):
		return errs.New(errs.InvalidParameter, "invalid mount config for type \"bind\": bind source path does not exist: %s", b.Source)
	}
	return errs.New(errs.InvalidParameter, "invalid mount config for type \"bind\": %w", err)
}

// obtain gets the volume that w wants, with its first content.
func (m *mounter) obtain(ctx context.Context, rec *record.Container, w *mountpoint.Wanted, taken *undo) error {
	inImage := layers.IsDir(rec.Image.Lower, w.Destination)
	if w.Anonymous && errors.Is(inImage, unix.ENOTDIR) {
		return errs.New(errs.InvalidParameter, "cannot mount volume over existing file, file exists %s", w.Destination)
	}
	labels := w.Labels
	if w.Name == "" {
		var err error
		if w.Name, err = randomVolumeName(); err != nil {
			return err
		}
		labels = mergeMaps(labels, map[string]string{volume.AnonymousLabel: ""})
	}
	v, fresh, err := m.cfg.Volumes.Create(volume.Request{Name: w.Name, Driver: w.Driver, Options: w.Options, Labels: labels, User: rec.ID})
	if err != nil {
		return err
	}
	w.Source = v.Mountpoint
	taken.add(func() {
		m.cfg.Volumes.Release(w.Name, rec.ID)
		if fresh {
			m.drop(w.Name)
		}
	})
	if fresh {
		m.publishVolume(w.Name, events.ActionCreate, nil)
	}
	switch {
	case w.NoCopy || errors.Is(inImage, fs.ErrNotExist) || errors.Is(inImage, unix.ENOTDIR):
		return nil
	case inImage != nil:
		return errs.New(errs.System, "looking for the content of volume %s: %w", w.Name, inImage)
	}
	return m.cfg.Volumes.Fill(w.Name, rec.ID, func(dir *os.File) error { return layers.Copy(ctx, rec.Image.Lower, w.Destination, dir) })
}

// choose finds the image that w wants.
func (m *mounter) choose(ctx context.Context, id string, w *mountpoint.Wanted, taken *undo) error {
	img, err := m.cfg.Images.Get(ctx, w.Name, nil)
	if err != nil {
		return err
	}
	if err := m.cfg.Images.Pin(ctx, id, img); err != nil {
		return err
	}
	w.Source = string(img.ID)
	w.Image = &record.Image{ID: string(img.ID), Name: w.Name, Manifest: &img.Manifest, Platform: img.Platform, Lower: img.Lower}
	taken.add(func() { m.letGo(id, &w.Mount) })
	return nil
}

// hold says that container id needs a mount's volume or image.
func (m *mounter) hold(ctx context.Context, id string, o *record.Mount) error {
	switch {
	case o.Type == mount.TypeVolume:
		return m.cfg.Volumes.Hold(o.Name, id)
	case o.Image != nil:
		img := image.Image{ID: digest.Digest(o.Image.ID), Lower: o.Image.Lower, Platform: o.Image.Platform}
		if o.Image.Manifest != nil {
			img.Manifest = *o.Image.Manifest
		}
		return m.cfg.Images.Pin(ctx, id, img)
	}
	return nil
}

// letGo takes hold back.
func (m *mounter) letGo(id string, o *record.Mount) {
	switch {
	case o.Type == mount.TypeVolume:
		m.cfg.Volumes.Release(o.Name, id)
	case o.Image != nil && o.Image.Manifest != nil:
		if err := m.cfg.Images.Unpin(context.Background(), id, o.Image.Manifest.Digest); err != nil {
			m.log.Error("letting go of a mounted image", "container", id, "image", o.Image.ID, "error", err)
		}
	}
}

// forget lets go of all that a container which is being removed has mounted,
// and removes the volumes that go with it, if they are to: those that nobody
// has named and nobody else uses.
func (m *mounter) forget(rec *record.Container, volumes bool) {
	for i := range rec.Mounts {
		o := &rec.Mounts[i]
		m.letGo(rec.ID, o)
		if !volumes || !o.Anonymous {
			continue
		}
		m.mu.Lock()
		early := m.early
		if early {
			m.later = append(m.later, func() { m.drop(o.Name) })
		}
		m.mu.Unlock()
		if !early {
			m.drop(o.Name)
		}
	}
}

// drop removes a volume unless somebody uses it. Its content goes in the
// background.
func (m *mounter) drop(name string) {
	purge, err := m.cfg.Volumes.Remove(name, true)
	if errs.Is(err, errs.Conflict) || err == nil && purge == nil {
		return
	}
	if err != nil {
		m.log.Error("removing a container's volume", "volume", name, "error", err)
		return
	}
	m.publishVolume(name, events.ActionDestroy, nil)
	m.work.Go(func() {
		if err := purge(); err != nil {
			m.log.Error("deleting a removed volume's files", "volume", name, "error", err)
		}
	})
}

// restored ends the time in which containers are still being found: what was
// to be removed meanwhile is, and what is mounted for nobody is unmounted.
func (m *mounter) restored() {
	m.mu.Lock()
	later := m.later
	m.early, m.later = false, nil
	m.mu.Unlock()
	for _, f := range later {
		f()
	}
	// A server that does not answer must not keep the engine from starting.
	m.work.Go(m.cfg.Volumes.Settle)
}

// restore holds what a container that was just found has mounted. One from
// before this was part of the record gets it from its request.
func (m *mounter) restore(ctx context.Context, rec *record.Container) {
	if rec.Mounts == nil {
		wanted, err := mountpoint.Parse(rec.Config, rec.HostConfig, nil)
		if err != nil {
			m.log.Error("reading a container's mounts", "container", rec.ID, "error", err)
		}
		for _, w := range wanted {
			rec.Mounts = append(rec.Mounts, w.Mount)
		}
	}
	for i := range rec.Mounts {
		if err := m.hold(ctx, rec.ID, &rec.Mounts[i]); err != nil {
			m.log.Error("something that a container mounts is gone: it cannot be started again", "container", rec.ID, "destination", rec.Mounts[i].Destination, "error", err)
		}
	}
}

// adopt says that a container was running all along.
func (m *mounter) adopt(rec *record.Container) {
	for _, o := range rec.Mounts {
		if o.Type == mount.TypeVolume {
			m.cfg.Volumes.Adopt(o.Name, rec.ID)
		}
	}
}

func (m *mounter) publishVolume(name string, action events.Action, extra map[string]string) {
	m.cfg.Events.Publish(events.Message{Type: events.VolumeEventType, Action: action,
		Actor: events.Actor{ID: name, Attributes: mergeMaps(extra, map[string]string{"driver": volume.Driver})}})
}

// publishMount tells that a container begins to use a volume, or ends to.
func (m *mounter) publishMount(id string, o *record.Mount, action events.Action) {
	extra := map[string]string{"container": id}
	if action == events.ActionMount {
		extra["destination"], extra["read/write"], extra["propagation"] = o.Destination, strconv.FormatBool(o.RW), string(o.Propagation)
	}
	m.publishVolume(o.Name, action, extra)
}
