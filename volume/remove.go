package volume

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/volume/quota"
)

// Remove takes the volume out of sight at once and returns a function that
// deletes what is in it, which may take long; an engine killed between the two
// makes good at the next Open. Conflict while somebody holds the volume, or
// while something is mounted in it. force makes a missing volume no error; purge is
// nil then.
func (s *Store) Remove(name string, force bool) (purge func() error, err error) {
	v, err := s.find(name)
	if err != nil {
		if force {
			return nil, nil
		}
		return nil, err
	}
	// Before the turn, which somebody who uses the volume may have for long.
	if err = s.unused(v); err == nil {
		v.turn.Lock()
		defer v.turn.Unlock()
		purge, err = s.remove(v)
	}
	if err != nil {
		return nil, failed("remove", name, err)
	}
	return purge, nil
}

func (s *Store) remove(v *entry) (func() error, error) {
	if err := s.unused(v); err != nil {
		return nil, err
	}
	if err := v.unmount(); err != nil {
		return nil, err
	}
	// What the host's administrator has mounted in there is not the volume's.
	if err := nothingMounted(v.path); err != nil {
		return nil, err
	}
	gone := s.hidden(goneDir)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := v.unusedLocked(); err != nil {
		return nil, err
	}
	if err := os.Rename(v.path, gone); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errs.New(errs.System, "removing the volume's directory: %w", err)
	}
	v.gone = true
	delete(s.volumes, v.Name)
	return func() error {
		err := errors.Join(syncDir(s.root), remove(gone))
		if v.Project != 0 {
			err = errors.Join(err, quota.Clear(s.root, v.Project))
		}
		return err
	}, nil
}

// unused fails while somebody holds the volume.
func (s *Store) unused(v *entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return v.unusedLocked()
}

func (v *entry) unusedLocked() error {
	switch {
	case v.gone:
		return noSuch(v.Name)
	case len(v.users) > 0:
		return errs.New(errs.Conflict, "volume is in use - [%s]", strings.Join(slices.Sorted(maps.Keys(v.users)), ", "))
	}
	return nil
}

// nothingMounted fails if anything is mounted at or below dir.
func nothingMounted(dir string) error {
	found, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return fmt.Errorf("looking for mounts: %w", err)
	}
	if len(found) > 0 {
		return errs.New(errs.Conflict, "%s is mounted in it: unmount that first", found[0].Mountpoint)
	}
	return nil
}

// remove deletes a tree, but nothing that is mounted there.
func remove(dir string) error {
	if !exists(dir) {
		return nil
	}
	if err := nothingMounted(dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
