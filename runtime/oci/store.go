package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/cgroup"
	"github.com/davit-engine/davit/runtime/cgroup/systemd"
	"github.com/davit-engine/davit/runtime/wire"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Files in a container's directory.
const (
	recordName = "state.json"
	configName = "config.json"
	holdName   = "start"
)

// lockPatience is how long a command waits for another one of the same
// container.
const lockPatience = 10 * time.Second

// store is the directory with all containers.
type store struct{ root string }

// record is what is written down of a container. Its methods ask, or act on,
// what runs, and leave the directory alone.
type record struct {
	Version     string               `json:"ociVersion"`
	ID          string               `json:"id"`
	Creating    bool                 `json:"creating,omitempty"` // create has not got to its end
	Pid         int                  `json:"pid"`                // 0: there is no process yet
	PidStart    uint64               `json:"pidStart"`           // field 22 of /proc/PID/stat
	Bundle      string               `json:"bundle"`
	Rootfs      string               `json:"rootfs"`
	Created     time.Time            `json:"created"`
	Owner       int                  `json:"owner"` // who called create
	Annotations map[string]string    `json:"annotations,omitempty"`
	Cgroup      map[string]string    `json:"cgroup,omitempty"`   // directories by controller
	Scope       *systemd.Unit        `json:"scope,omitempty"`    // the systemd unit that the group is of
	IntelRdt    *specs.LinuxIntelRdt `json:"intelRdt,omitempty"` // the resctrl group that was made
	Pipes       []string             `json:"pipes,omitempty"`    // criu's names of the standard streams that are pipes, as they were at create

	Checkpointed bool `json:"checkpointed,omitempty"` // it has ended by a checkpoint
}

// container is a container's directory, and what was read there.
type container struct {
	record
	dir  string
	lock *os.File // nil: not locked
}

// checkID refuses what cannot be a container's name: it becomes the name of a
// directory, and part of a cgroup's.
func checkID(id string) error {
	bad := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_+-.", r))
	}
	if id == "" || len(id) > 1024 || strings.Trim(id, ".") == "" || strings.ContainsFunc(id, bad) {
		return errs.New(errs.InvalidParameter, "invalid container ID format: %q: letters, digits and _+-. only, and not dots alone", id)
	}
	return nil
}

// create makes a container's directory, and locks it.
func (s store) create(id string) (*container, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.root, 0o711); err != nil {
		return nil, errs.New(errs.System, "making the directory of containers: %w", err)
	}
	c := &container{dir: filepath.Join(s.root, id)}
	if err := os.Mkdir(c.dir, 0o711); errors.Is(err, fs.ErrExist) {
		return nil, errs.New(errs.Conflict, "container with given ID already exists: %s", id)
	} else if err != nil {
		return nil, errs.New(errs.System, "making the container's directory: %w", err)
	}
	if err := c.acquire(); err != nil {
		_ = os.Remove(c.dir)
		return nil, err
	}
	c.ID = id
	return c, nil
}

// open reads a container. One whose create was killed before it had written
// anything has an empty record with no more than the ID.
func (s store) open(id string) (*container, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	c := &container{dir: filepath.Join(s.root, id)}
	return c, c.read(id)
}

// openLocked is open for a command that changes the container.
func (s store) openLocked(id string) (*container, error) {
	c, err := s.open(id)
	if err != nil {
		return nil, err
	}
	if err := c.acquire(); err != nil {
		return nil, err
	}
	if err := c.read(id); err != nil { // it may have changed meanwhile
		c.release()
		return nil, err
	}
	return c, nil
}

// ids lists all containers, sorted.
func (s store) ids() ([]string, error) {
	entries, err := os.ReadDir(s.root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, errs.New(errs.System, "listing containers: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && checkID(e.Name()) == nil {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

func (c *container) read(id string) error {
	b, err := os.ReadFile(filepath.Join(c.dir, recordName))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(c.dir); err != nil {
			return errs.New(errs.NotFound, "container does not exist: %s", id)
		}
		c.record = record{Version: specs.Version, ID: id, Creating: true}
		return nil
	}
	if err != nil {
		return errs.New(errs.System, "reading the container's state: %w", err)
	}
	c.record = record{}
	if err := json.Unmarshal(b, &c.record); err != nil || c.ID != id {
		return errs.New(errs.System, "%s holds no state of this container (%v): remove it with `%s delete --force %s`", filepath.Join(c.dir, recordName), err, Name, id)
	}
	return nil
}

// acquire locks the container against other commands.
func (c *container) acquire() error {
	f, err := os.Open(c.dir)
	if err != nil {
		return errs.New(errs.NotFound, "container does not exist: %s", filepath.Base(c.dir))
	}
	for end := time.Now().Add(lockPatience); ; time.Sleep(2 * time.Millisecond) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		f.Close()
		return errs.New(errs.Conflict, "container %s is being created, started or deleted by another command: %w", filepath.Base(c.dir), err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Nlink == 0 {
		f.Close()
		return errs.New(errs.NotFound, "container does not exist: %s", filepath.Base(c.dir))
	}
	c.lock = f
	return nil
}

// release gives the lock back. The process's end does so too.
func (c *container) release() {
	if c.lock != nil {
		c.lock.Close()
		c.lock = nil
	}
}

// busy reports whether another command holds the lock.
func (c *container) busy() bool {
	f, err := os.Open(c.dir)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// save writes the record, whole or not at all. The directory is in memory, so
// nothing is synced.
func (c *container) save() error {
	b, err := json.Marshal(&c.record)
	if err == nil {
		err = writeFile(filepath.Join(c.dir, recordName), b, 0o644)
	}
	if err != nil {
		return errs.New(errs.System, "writing the container's state: %w", err)
	}
	return nil
}

// setProcess records the container's first process.
func (c *container) setProcess(pid int) error {
	start, err := wire.StartTime(pid)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		start, err = 0, nil // it has ended and was reaped: no process has this start
	}
	if err != nil {
		return errs.Wrap(errs.System, err)
	}
	c.Pid, c.PidStart = pid, start
	return c.save()
}

// remove forgets the container.
func (c *container) remove() error {
	if err := os.RemoveAll(c.dir); err != nil {
		return errs.New(errs.System, "removing the container's directory: %w", err)
	}
	return nil
}

// group is the container's control group; nil without one.
func (r *record) group() *cgroup.Cgroup {
	if len(r.Cgroup) == 0 {
		return nil
	}
	return cgroup.Open(r.Cgroup)
}

// writeFile writes a file by way of another one beside it, which takes its
// place.
func writeFile(path string, b []byte, mode os.FileMode) error {
	beside := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%d", filepath.Base(path), os.Getpid()))
	err := os.WriteFile(beside, b, mode)
	if err == nil {
		err = os.Rename(beside, path)
	}
	if err != nil {
		_ = os.Remove(beside)
	}
	return err
}
