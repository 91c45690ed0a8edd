// Package volume keeps volumes: directories that outlive the containers which
// use them. It is Docker's "local" driver, the only one.
//
// It owns the directory of volumes. Each has one of its own,
//
//	<root>/<name>/volume.json    what it was made with
//	              _data/         what containers see
//	              .fill/         the first content, until it is whole
//
// which appears with all that belongs to it, by a rename, and goes by another:
// an engine killed at any instant leaves no half of a volume behind, only
// directories beginning with a dot that the next Open deletes. A volume with
// options (type, device, o) has a file system mounted on _data as long as a
// container that uses it runs.
//
// The package does not know what a container is: users are names that others
// hold volumes by, in memory only, to be told again after a start. Nor does it
// publish events or copy files out of images.
//
// Store.mu guards the table of volumes and who holds them, and is kept for
// moments, or for a rename. Each volume's turn serialises what takes time: to
// mount, to unmount, to fill, to delete. Lock order: turn, then mu.
package volume

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/volume"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
)

// Driver is the name of the driver that this package is.
const Driver = "local"

// AnonymousLabel marks a volume that nobody has named.
const AnonymousLabel = "com.docker.volume.anonymous"

const (
	recordFile = "volume.json"
	dataDir    = "_data"
	fillDir    = ".fill"
	newDir     = ".new-"     // and a number: a volume being made
	goneDir    = ".removed-" // and a number: one being deleted
)

// format is the version of the record's shape on disk.
const format = 1

// Record is what a volume was made with. It never changes.
type Record struct {
	Format  int
	Name    string
	Created time.Time
	Labels  map[string]string `json:",omitempty"`
	Options map[string]string `json:",omitempty"`
	Project uint32            `json:",omitempty"` // whose quota its size is; 0: none
}

// Anonymous reports whether nobody has named the volume.
func (r *Record) Anonymous() bool {
	_, ok := r.Labels[AnonymousLabel]
	return ok
}

// Store holds the volumes below one directory. Its methods may be called at
// any time.
type Store struct {
	root string
	log  *slog.Logger
	work sync.WaitGroup // deletions of what an earlier engine has left

	mu      sync.Mutex
	volumes map[string]*entry // guarded by mu
	made    int               // number of the latest directory beginning with a dot; guarded by mu
}

// entry is one volume. What is not guarded never changes once ready is closed.
type entry struct {
	Record
	path  string        // of its directory
	ready chan struct{} // closed when it is on disk, or failed
	err   error         // why it is not there; set before ready is closed

	users map[string]bool // who holds it; guarded by Store.mu
	gone  bool            // removed; guarded by Store.mu

	turn    sync.Mutex
	mounted map[string]bool // who needs it mounted; guarded by turn
	size    measure
}

func newEntry(r Record, path string) *entry {
	return &entry{Record: r, path: path, ready: make(chan struct{}), users: map[string]bool{}, mounted: map[string]bool{}, size: measure{turn: make(chan struct{}, 1)}}
}

func (v *entry) data() string { return filepath.Join(v.path, dataDir) }

// Open reads the volumes in root, which is made if it is missing, and begins
// to delete what an engine that was killed has left half done. A volume whose
// record cannot be read is left alone on disk and named in the log; a
// directory without a record, such as one copied from another engine, is a
// volume without options.
func Open(root string, log *slog.Logger) (*Store, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	// Closed to the host's users: a container's root may leave setuid files.
	if err := errors.Join(os.MkdirAll(root, 0o710), os.Chmod(root, 0o710)); err != nil {
		return nil, fmt.Errorf("opening the volumes: %w", err)
	}
	root, err := filepath.EvalSymlinks(root) // as mountinfo has it
	if err != nil {
		return nil, fmt.Errorf("opening the volumes: %w", err)
	}
	list, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("opening the volumes: %w", err)
	}
	s := &Store{root: root, log: log, volumes: make(map[string]*entry, len(list))}
	var left []string
	var work sync.WaitGroup
	slots := make(chan struct{}, 2*runtime.NumCPU())
	for _, d := range list {
		name, path := d.Name(), filepath.Join(root, d.Name())
		switch {
		case !d.IsDir():
		case strings.HasPrefix(name, newDir), strings.HasPrefix(name, goneDir):
			left = append(left, path)
		case validName(name):
			left = append(left, filepath.Join(path, fillDir))
			slots <- struct{}{}
			work.Go(func() {
				s.restore(name, path)
				<-slots
			})
		}
	}
	work.Wait()
	// Their names must not be given again meanwhile.
	s.made = int(time.Now().UnixNano() & (1<<40 - 1))
	s.work.Go(func() { s.sweep(left) })
	return s, nil
}

// restore reads the record of a volume that an earlier engine made.
func (s *Store) restore(name, path string) {
	r, err := load(path, name)
	if err != nil {
		s.log.Error("a volume cannot be read: it is left as it is", "volume", name, "directory", path, "error", err)
		return
	}
	v := newEntry(r, path)
	close(v.ready)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.volumes[name] = v
}

// sweep deletes what is left of volumes that were being made, filled or removed.
func (s *Store) sweep(left []string) {
	for _, path := range left {
		if err := s.clear(path); err != nil {
			s.log.Error("deleting what is left of a volume", "directory", path, "error", err)
		}
	}
}

func (s *Store) clear(path string) error {
	if !exists(path) {
		return nil
	}
	if filepath.Base(path) == fillDir { // somebody may be filling the volume by now
		if v, err := s.find(filepath.Base(filepath.Dir(path))); err == nil {
			v.turn.Lock()
			defer v.turn.Unlock()
		}
	}
	return remove(path)
}

// Close waits for deletions in the background.
func (s *Store) Close() { s.work.Wait() }

// load reads the record of the volume in dir.
func load(dir, name string) (Record, error) {
	text, err := os.ReadFile(filepath.Join(dir, recordFile))
	if os.IsNotExist(err) {
		info, err := os.Lstat(filepath.Join(dir, dataDir))
		if err != nil {
			return Record{}, err
		}
		if !info.IsDir() {
			return Record{}, fmt.Errorf("%s is not a directory", dataDir)
		}
		return Record{Name: name, Created: info.ModTime().UTC()}, nil
	}
	if err != nil {
		return Record{}, err
	}
	return decode(name, text)
}

// decode reads a record and checks that it can be that of volume name.
func decode(name string, text []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(text, &r); err != nil {
		return Record{}, errs.New(errs.System, "reading the record: %w", err)
	}
	switch {
	case r.Format > format:
		return Record{}, errs.New(errs.System, "the record has format %d, written by a newer engine; this one reads up to %d", r.Format, format)
	case r.Name != name:
		return Record{}, errs.New(errs.System, "the record is that of a volume named %q", r.Name)
	}
	return r, nil
}

// validName reports whether a volume may have this name.
func validName(name string) bool {
	if len(name) < 2 || len(name) > 255 {
		return false
	}
	for i, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case i > 0 && (c == '_' || c == '.' || c == '-'):
		default:
			return false
		}
	}
	return true
}

// checkName is validName with the reason, in Docker's words.
func checkName(name string) error {
	switch {
	case validName(name):
		return nil
	case len(name) == 1:
		return errs.New(errs.InvalidParameter, "volume name is too short, names should be at least two alphanumeric characters")
	case len(name) > 255:
		return errs.New(errs.InvalidParameter, "volume name is too long: the file system takes 255 characters")
	}
	return errs.New(errs.InvalidParameter, "%q includes invalid characters for a local volume name, only %q are allowed. If you intended to pass a host directory, use absolute path", name, "[a-zA-Z0-9][a-zA-Z0-9_.-]")
}

// failed wraps an error as Docker does: with the verb and the name.
func failed(verb, name string, err error) error {
	return errs.New(errs.KindOf(err), "%s %s: %w", verb, name, err)
}

func noSuch(name string) error {
	return errs.New(errs.NotFound, "get %s: no such volume", name)
}

// find returns the volume of that name when it is on disk.
func (s *Store) find(name string) (*entry, error) {
	s.mu.Lock()
	v := s.volumes[name]
	s.mu.Unlock()
	if v == nil {
		return nil, noSuch(name)
	}
	if <-v.ready; v.err != nil {
		return nil, noSuch(name)
	}
	return v, nil
}

// Get describes one volume.
func (s *Store) Get(name string) (volume.Volume, error) {
	v, err := s.find(name)
	if err != nil {
		return volume.Volume{}, err
	}
	return v.describe(), nil
}

// Found is a volume with what filters ask about.
type Found struct {
	volume.Volume
	Record *Record
	Users  int // how many hold it
}

// List describes the volumes that match, by name; nil matches all.
func (s *Store) List(match func(*Found) bool) []Found {
	s.mu.Lock()
	list := make([]*entry, 0, len(s.volumes))
	users := make(map[*entry]int, len(s.volumes))
	for _, v := range s.volumes {
		list = append(list, v)
		users[v] = len(v.users)
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(a, b *entry) int { return strings.Compare(a.Name, b.Name) })
	out := make([]Found, 0, len(list))
	for _, v := range list {
		if <-v.ready; v.err != nil {
			continue
		}
		f := Found{Volume: v.describe(), Record: &v.Record, Users: users[v]}
		if match == nil || match(&f) {
			out = append(out, f)
		}
	}
	return out
}

func (v *entry) describe() volume.Volume {
	return volume.Volume{
		Name: v.Name, Driver: Driver, Mountpoint: v.data(), Scope: "local", CreatedAt: v.Created.Format(time.RFC3339),
		Labels: maps.Clone(v.Labels), Options: maps.Clone(v.Options),
	}
}

// Hold says that user needs the volume: it cannot be removed before Release.
func (s *Store) Hold(name, user string) error {
	v, err := s.find(name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.gone {
		return noSuch(name)
	}
	v.users[user] = true
	return nil
}

// Release takes Hold back. What is not held is nothing to complain of.
func (s *Store) Release(name, user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.volumes[name]; v != nil {
		delete(v.users, user)
	}
}

func exists(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil
}
