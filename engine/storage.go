package engine

import (
	"maps"
	"path/filepath"
	"slices"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/volume/quota"
)

// layerSize is how much a container may write, in bytes, as --storage-opt size
// says; 0: as much as there is.
func layerSize(h *container.HostConfig) (int64, error) {
	for _, key := range slices.Sorted(maps.Keys(h.StorageOpt)) {
		if key != "size" {
			return 0, errs.New(errs.InvalidParameter, "invalid --storage-opt %s=%s: the only storage option is size", key, h.StorageOpt[key])
		}
	}
	text, ok := h.StorageOpt["size"]
	if !ok {
		return 0, nil
	}
	n, err := units.RAMInBytes(text)
	if err != nil || n < 0 {
		return 0, errs.New(errs.InvalidParameter, "invalid --storage-opt size=%s: a size is a number with a unit, such as 10G", text)
	}
	return n, nil
}

// validateStorage refuses a limit that would not hold.
func (d *drafter) validateStorage(_ *container.Config, h *container.HostConfig) error {
	size, err := layerSize(h)
	if err != nil || size == 0 {
		return err
	}
	if err := quota.Check(d.store.Dir("")); err != nil {
		return errs.New(errs.KindOf(err), "--storage-opt is supported only for overlay over xfs with 'pquota' mount option, or ext4 with 'prjquota': %w", err)
	}
	return nil
}

// limiting returns what limits a new container's writable layer, nil if nothing
// is to. How to take that back it adds to taken.
func (m *mounter) limiting(rec *record.Container, taken *undo) func(dir string) error {
	size, _ := layerSize(rec.HostConfig) // was checked
	if size == 0 {
		return nil
	}
	return func(dir string) (err error) {
		rec.Project, err = quota.Limit([]string{filepath.Join(dir, "upper"), filepath.Join(dir, "work")}, uint64(size))
		taken.add(func() { m.unlimit(rec) })
		return err
	}
}

// unlimit gives a removed container's project back.
func (m *mounter) unlimit(rec *record.Container) {
	if rec.Project == 0 {
		return
	}
	if err := quota.Clear(m.store.Dir(""), rec.Project); err != nil {
		m.log.Error("taking a removed container's quota away", "container", rec.ID, "error", err)
	}
}
