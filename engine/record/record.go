// Package record owns what the engine remembers of a container: its shape on
// disk, its states and the legal steps between them.
//
// One directory per container holds container.json and everything else that is
// the container's own. A record is written to a temporary file that is renamed
// over the old one, so a reader finds either the old or the new one whole, and
// is synced first where the user was promised that it lasts. The package knows
// nothing of processes, images or networks. It does not lock: a record has one
// owner, the engine, which serialises changes.
package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/davit-engine/davit/engine/idrange"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network"
	"github.com/moby/moby/api/types/container"
	apinet "github.com/moby/moby/api/types/network"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Format is the version of the record's shape on disk.
const Format = 1

// Container is what was asked for, and how far it got.
type Container struct {
	Format  int
	ID      string // 64 hexadecimal digits
	Name    string // without a slash
	Created time.Time

	Config           *container.Config
	HostConfig       *container.HostConfig
	Origin           *Origin                  `json:",omitempty"` // what of the two is not the user's; nil in records of engines that did not note it
	NetworkingConfig *apinet.NetworkingConfig `json:",omitempty"`

	Image     Image
	Path      string             // the command: entrypoint and arguments, as resolved at creation
	Args      []string           `json:",omitempty"`
	Endpoints []network.Endpoint `json:",omitempty"` // while the container has a place on networks, in the order of its interfaces
	UserNS    *UserNS            `json:",omitempty"` // nil: the host's user namespace
	Links     []Link             `json:",omitempty"` // containers that this one knows by names of its own
	Mounts    []Mount            `json:",omitempty"` // in the order in which they were asked for
	Project   uint32             `json:",omitempty"` // whose quota limits the writable layer; 0: none does

	State State
}

// Link is another container on the default bridge under a name of one's own
// (--link). The other may be gone.
type Link struct{ Alias, ID string }

// Image names the image that a container was made of and where its layers
// lie. Layers are kept as long as a container needs them, whatever becomes of
// the image's name.
type Image struct {
	ID       string              // digest of the index or manifest
	Name     string              // as the user wrote it
	Manifest *ocispec.Descriptor `json:",omitempty"`
	Platform ocispec.Platform
	Lower    []string // directories, topmost first
}

// UserNS is the user namespace that a container lives in, where that is not
// the host's. It was chosen when the container was made, and outlasts changes
// of the engine's configuration.
type UserNS struct {
	UIDs, GIDs []specs.LinuxIDMapping // from the container's ids to the host's; of Of's when this one started last
	Range      *idrange.Range         `json:",omitempty"` // where the ids are from; nil with userns-remap
	Borrowed   bool                   `json:",omitempty"` // Range is Of's, who gives it back
	MapBinds   bool                   `json:",omitempty"` // bind mounts are mapped too, unless they say otherwise
	Of         string                 `json:",omitempty"` // the container whose namespace it is, by name or ID; if that lives in the host's there are no maps
}

// Own returns the range of ids that the container has to give back, or nil.
func (u *UserNS) Own() *idrange.Range {
	if u == nil || u.Borrowed {
		return nil
	}
	return u.Range
}

// Private reports whether the container has other ids than the host.
func (u *UserNS) Private() bool { return u != nil && len(u.UIDs) > 0 }

// Root returns the ids of the host that the container's 0 stands for.
func (u *UserNS) Root() (uid, gid uint32) { return hostID(u.UIDs), hostID(u.GIDs) }

func hostID(maps []specs.LinuxIDMapping) uint32 {
	for _, m := range maps {
		if m.ContainerID == 0 {
			return m.HostID
		}
	}
	return math.MaxUint32
}

// Store keeps one directory per container below a root. Its methods may be
// called at the same time for different containers.
type Store struct {
	root  string
	ready chan string // directories made ahead, waiting for a container
	made  atomic.Uint64
}

// readyDirs is how many directories are made ahead. A new inode costs ext4
// 0.1 to 0.3 ms, the more the more were deleted in the last minute.
const readyDirs = 8

// Files that each container has; they are made ahead with its directory.
const (
	recordFile = "container.json"
	Hostname   = "hostname"
	Hosts      = "hosts"
	ResolvConf = "resolv.conf"
)

// Open returns the store in root, which is created if it is missing.
// Directories that an interrupted removal left behind are deleted.
func Open(root string) (*Store, error) {
	if err := os.MkdirAll(root, 0o710); err != nil {
		return nil, fmt.Errorf("opening container store: %w", err)
	}
	s := &Store{root: root, ready: make(chan string, readyDirs)}
	for _, d := range []string{s.trash(), s.nursery()} {
		if err := os.RemoveAll(d); err != nil {
			return nil, fmt.Errorf("clearing %s: %w", d, err)
		}
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, fmt.Errorf("opening container store: %w", err)
		}
	}
	return s, nil
}

func (s *Store) trash() string { return filepath.Join(s.root, ".removed") }

func (s *Store) nursery() string { return filepath.Join(s.root, ".ready") }

func (s *Store) nextReady() string {
	return filepath.Join(s.nursery(), strconv.FormatUint(s.made.Add(1), 10))
}

// Fill makes directories for containers to come. It is called when there is
// time for it.
func (s *Store) Fill() error {
	for len(s.ready) < cap(s.ready) {
		dir := s.nextReady()
		if err := makeDir(dir); err != nil {
			return err
		}
		select {
		case s.ready <- dir:
		default: // another call was faster
			return os.RemoveAll(dir)
		}
	}
	return nil
}

// makeDir makes a container's directory with its layer directories, upper and
// work, and its files, empty. On error nothing is left.
func makeDir(dir string) (err error) {
	if err := os.Mkdir(dir, 0o710); err != nil {
		return fmt.Errorf("creating container directory: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	for _, d := range []string{"upper", "work"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return fmt.Errorf("creating container directory: %w", err)
		}
	}
	for _, f := range []string{Hostname, Hosts, ResolvConf} {
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o644); err != nil {
			return fmt.Errorf("creating container directory: %w", err)
		}
	}
	return nil
}

// Dir returns the directory of container id.
func (s *Store) Dir(id string) string { return filepath.Join(s.root, id) }

// Create gives the container its directory with the record in it. Both appear in
// one step, so that a crash leaves a whole container or none. durable says that it
// must survive a power loss from now on. prepare, which may be nil, does what is
// to be done to the directory before, and may still change c. On error nothing
// is left.
func (s *Store) Create(c *Container, durable bool, prepare func(dir string) error) (err error) {
	var made string
	select {
	case made = <-s.ready:
	default:
		made = s.nextReady()
		if err := makeDir(made); err != nil {
			return err
		}
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(made)
		}
	}()
	if prepare != nil {
		if err := prepare(made); err != nil {
			return err
		}
	}
	if err := save(made, c, durable); err != nil {
		return err
	}
	// renameat2 because rename(2) would take the place of an empty directory.
	if err := unix.Renameat2(unix.AT_FDCWD, made, unix.AT_FDCWD, s.Dir(c.ID), unix.RENAME_NOREPLACE); err != nil {
		return fmt.Errorf("creating container directory: %w", err)
	}
	if durable {
		return syncDir(s.root)
	}
	return nil
}

// Save writes the record over the old one.
func (s *Store) Save(c *Container, durable bool) error { return save(s.Dir(c.ID), c, durable) }

func save(dir string, c *Container, durable bool) error {
	c.Format = Format
	data, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encoding container record: %w", err)
	}
	if err := WriteFile(filepath.Join(dir, recordFile), data, 0o600, durable); err != nil {
		return fmt.Errorf("writing container record: %w", err)
	}
	return nil
}

// Remove takes the container's directory out of sight at once and returns a
// function that deletes what is in it, which may take long. A crash between
// the two is made good by Open.
func (s *Store) Remove(id string, durable bool) (purge func() error, err error) {
	gone := filepath.Join(s.trash(), id)
	if err := os.Rename(s.Dir(id), gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing container directory: %w", err)
	}
	if durable {
		if err := syncDir(s.root); err != nil {
			return nil, fmt.Errorf("removing container directory: %w", err)
		}
	}
	return func() error { return os.RemoveAll(gone) }, nil
}

// Load reads the record of container id.
func (s *Store) Load(id string) (*Container, error) {
	data, err := os.ReadFile(filepath.Join(s.Dir(id), recordFile))
	if err != nil {
		return nil, fmt.Errorf("reading container record: %w", err)
	}
	return Decode(id, data)
}

// Decode reads a record and checks that it can be one of container id.
func Decode(id string, data []byte) (*Container, error) {
	c := new(Container)
	if err := json.Unmarshal(data, c); err != nil {
		return nil, errs.New(errs.System, "reading container record %s: %w", id, err)
	}
	switch {
	case c.Format > Format:
		return nil, errs.New(errs.System, "container record %s has format %d, written by a newer engine; this one reads up to %d", id, c.Format, Format)
	case c.ID != id || c.Name == "" || c.Config == nil || c.HostConfig == nil || legal[c.State.Status] == nil:
		return nil, errs.New(errs.System, "container record %s is damaged", id)
	}
	return c, nil
}

// IDs lists the containers that have a directory, in no order.
func (s *Store) IDs() ([]string, error) {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && len(e.Name()) == 64 {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// WriteFile replaces the file at path by data in one step; durable makes it
// survive a power loss. No temporary file is left on error.
func WriteFile(path string, data []byte, mode os.FileMode, durable bool) (err error) {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_CLOEXEC, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp)
		}
	}()
	_, err = f.Write(data)
	if err == nil && durable {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if err = os.Rename(tmp, path); err != nil || !durable {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
