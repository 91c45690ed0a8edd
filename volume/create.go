package volume

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/volume"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/volume/quota"
)

// Request says what a volume is made with.
type Request struct {
	Name    string
	Driver  string            // "" is this one
	Options map[string]string // of the driver: type, device, o, size
	Labels  map[string]string
	User    string // who holds it from the beginning; "": nobody
}

// Create makes a volume, or returns the one that has the name already, as
// Docker does, whatever its labels are; fresh says which. Errors:
// InvalidParameter for the name and options, NotFound for another driver,
// Conflict where the volume that is there has other options.
func (s *Store) Create(r Request) (v volume.Volume, fresh bool, err error) {
	e, fresh, err := s.create(r)
	if err != nil {
		return volume.Volume{}, false, failed("create", r.Name, err)
	}
	return e.describe(), fresh, nil
}

func (s *Store) create(r Request) (*entry, bool, error) {
	if r.Driver != "" && r.Driver != Driver {
		return nil, false, NoDriver(r.Driver)
	}
	if err := checkName(r.Name); err != nil {
		return nil, false, err
	}
	if err := checkOptions(r.Options); err != nil {
		return nil, false, err
	}
	for {
		s.mu.Lock()
		v := s.volumes[r.Name]
		if v == nil {
			v = newEntry(Record{Format: format, Name: r.Name, Created: time.Now().UTC(), Labels: maps.Clone(r.Labels), Options: maps.Clone(r.Options)},
				filepath.Join(s.root, r.Name))
			if r.User != "" {
				v.users[r.User] = true
			}
			s.volumes[r.Name] = v
			s.mu.Unlock()
			return v, true, s.finish(v)
		}
		s.mu.Unlock()
		if <-v.ready; v.err != nil {
			return nil, false, v.err
		}
		if len(r.Options) > 0 && !maps.Equal(r.Options, v.Options) {
			return nil, false, errs.New(errs.Conflict, "a volume named %s exists with other options (%s): remove it first, or choose another name", r.Name, describeOptions(v.Options))
		}
		if r.User == "" {
			return v, false, nil
		}
		s.mu.Lock()
		gone := v.gone
		if !gone {
			v.users[r.User] = true
		}
		s.mu.Unlock()
		if !gone {
			return v, false, nil
		}
	}
}

// NoDriver is the error for a driver that is not this package's, in Docker's
// words: it looks for a plugin then.
func NoDriver(driver string) error {
	return errs.New(errs.NotFound, "error looking up volume plugin %s: plugin %q not found", driver, driver)
}

// finish puts the volume on disk and lets others have it.
func (s *Store) finish(v *entry) error {
	v.err = s.put(v)
	if v.err != nil {
		s.mu.Lock()
		delete(s.volumes, v.Name)
		s.mu.Unlock()
	}
	close(v.ready)
	return v.err
}

// put makes the volume's directory, whole or not at all.
func (s *Store) put(v *entry) (err error) {
	dir := s.hidden(newDir)
	if err := os.Mkdir(dir, 0o710); err != nil {
		return fmt.Errorf("making the volume's directory: %w", err)
	}
	defer func() {
		if err != nil {
			_ = remove(dir)
			if v.Project != 0 {
				_ = quota.Clear(s.root, v.Project)
			}
		}
	}()
	if size, _ := sizeOption(v.Options); size > 0 {
		// Set on the directory above the data, which hands it on.
		if v.Project, err = quota.Limit([]string{dir}, uint64(size)); err != nil {
			return errs.New(errs.KindOf(err), "quota size requested but no quota support: %w", err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, dataDir), 0o755); err != nil {
		return fmt.Errorf("making the volume's directory: %w", err)
	}
	text, err := json.MarshalIndent(&v.Record, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the volume's record: %w", err)
	}
	if err := writeSynced(filepath.Join(dir, recordFile), append(text, '\n')); err != nil {
		return fmt.Errorf("writing the volume's record: %w", err)
	}
	if err := syncDir(dir); err != nil {
		return fmt.Errorf("writing the volume's record: %w", err)
	}
	err = unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, v.path, unix.RENAME_NOREPLACE)
	switch {
	case errors.Is(err, unix.EEXIST):
		return errs.New(errs.Conflict, "%s is there already, and could not be read as a volume when the engine started: look at the engine's log", v.path)
	case err != nil:
		return fmt.Errorf("making the volume's directory: %w", err)
	}
	return syncDir(s.root)
}

// hidden returns the path for a directory that is no volume.
func (s *Store) hidden(prefix string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	return filepath.Join(s.root, prefix+strconv.Itoa(s.made))
}

func writeSynced(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
