package cgroup

import (
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

const (
	killDeadline   = 10 * time.Second
	removeDeadline = 2 * time.Second
)

// OOMKills returns how many processes of the group, and of groups inside it,
// the kernel has killed for want of memory. It is 0 where no memory controller
// is mounted.
func (c *Cgroup) OOMKills() (uint64, error) {
	if d, ok := c.controller("memory"); ok {
		// v1 counts in the group of the victim only.
		return c.sumOOM(d.path)
	}
	d, ok := c.unified()
	if !ok {
		return 0, nil
	}
	text, err := c.fs.read(d.path + "/memory.events")
	if errors.Is(err, unix.ENOENT) {
		return 0, nil // the controller is not enabled here
	}
	if err != nil {
		return 0, errs.New(errs.System, "counting OOM kills: %w", err)
	}
	return field(text, "oom_kill"), nil
}

func (c *Cgroup) sumOOM(dir string) (uint64, error) {
	text, err := c.fs.read(dir + "/memory.oom_control")
	if err != nil {
		return 0, errs.New(errs.System, "counting OOM kills: %w", err)
	}
	sum := field(text, "oom_kill")
	names, err := c.fs.children(dir)
	if err != nil {
		return 0, errs.New(errs.System, "counting OOM kills: %w", err)
	}
	for _, name := range names {
		n, err := c.sumOOM(filepath.Join(dir, name))
		if err == nil { // else it has gone meanwhile
			sum += n
		}
	}
	return sum, nil
}

// field returns the number behind key in lines of "key number".
func field(text, key string) uint64 {
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == key {
			n, _ := strconv.ParseUint(v, 10, 64)
			return n
		}
	}
	return 0
}

// Kill sends SIGKILL to every process in the group and in groups inside it,
// also to frozen ones, and returns when none is left: at the latest after ten
// seconds, with an error of kind errs.Deadline. A group that is gone is empty.
func (c *Cgroup) Kill() error {
	if err := c.check(); err != nil {
		return err
	}
	end := time.Now().Add(killDeadline)
	for pause := time.Duration(0); ; pause = min(2*pause+100*time.Microsecond, 20*time.Millisecond) {
		time.Sleep(pause)
		// Who is in the v2 group dies in one stroke, forks included.
		d, v2 := c.unified()
		if v2 {
			if err := c.fs.write(d.path+"/cgroup.kill", "1"); err != nil && !gone(err) {
				return errs.New(errs.System, "killing the cgroup: %w", err)
			}
		}
		left, err := c.pids()
		if err != nil {
			return errs.New(errs.System, "killing the cgroup: %w", err)
		}
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return errs.New(errs.Deadline, "killing the cgroup: processes %v do not end: they wait for a device or a network file system", left)
		}
		if !v2 || pause > 0 { // on v2 they are about to be gone
			c.killEach()
		}
	}
}

// killEach stops the v1 group, so that nobody forks or has its number taken
// over by another process, signals all, and lets it run again.
func (c *Cgroup) killEach() {
	frozen, ok := c.controller("freezer")
	if ok {
		_ = c.fs.write(frozen.path+"/freezer.state", "FROZEN")
		defer c.thaw(frozen.path)
	}
	pids, _ := c.pids() // an error shows in the next round
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// thaw releases a v1 group and those inside it, which the container may have
// frozen by itself: the dead must run to die.
func (c *Cgroup) thaw(dir string) {
	_ = c.fs.write(dir+"/freezer.state", "THAWED")
	names, _ := c.fs.children(dir)
	for _, name := range names {
		c.thaw(filepath.Join(dir, name))
	}
}

// pids returns the processes in all of the group's directories.
func (c *Cgroup) pids() ([]int, error) {
	var all []int
	for _, d := range c.dirs {
		var err error
		if all, err = pidsBelow(c.fs, d.path, all); err != nil {
			return nil, err
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

func pidsBelow(fs files, dir string, pids []int) ([]int, error) {
	text, err := fs.read(dir + "/cgroup.procs")
	if errors.Is(err, unix.EOPNOTSUPP) { // a threaded v2 group: its processes show in the domain above
		text, err = "", nil
	}
	if gone(err) {
		return pids, nil
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(text) {
		// 0 stands for a process that this pid namespace cannot see.
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	names, err := fs.children(dir)
	if err != nil && !gone(err) {
		return nil, err
	}
	for _, name := range names {
		if pids, err = pidsBelow(fs, filepath.Join(dir, name), pids); err != nil {
			return nil, err
		}
	}
	return pids, nil
}

// Remove removes the group's directories and those that the container made
// inside. The kernel gives a directory back only a moment after its last
// process ended, so a busy one is tried again for up to two seconds; then the
// error is of kind errs.Conflict. It kills nobody; directories that are gone
// are no error.
func (c *Cgroup) Remove() error {
	if err := c.check(); err != nil {
		return err
	}
	var failed []error
	end := time.Now().Add(removeDeadline)
	for _, d := range c.dirs {
		for pause := 100 * time.Microsecond; ; pause = min(2*pause, 20*time.Millisecond) {
			err := removeTree(c.fs, d.path)
			if err == nil {
				break
			}
			if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
				failed = append(failed, err)
				break
			}
			time.Sleep(pause)
		}
	}
	if err := errors.Join(failed...); err != nil {
		kind := errs.System
		if errors.Is(err, unix.EBUSY) {
			kind = errs.Conflict
		}
		return errs.New(kind, "removing the cgroup: %w", err)
	}
	return nil
}

// removeTree removes dir and the groups inside it, deepest first.
func removeTree(fs files, dir string) error {
	err := fs.rmdir(dir)
	if err == nil || gone(err) {
		return nil
	}
	if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	names, listErr := fs.children(dir)
	if len(names) == 0 || listErr != nil {
		return err
	}
	for _, name := range names {
		if err := removeTree(fs, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if err := fs.rmdir(dir); err != nil && !gone(err) {
		return err
	}
	return nil
}

// gone reports whether err says that a group is not there any more: a file
// that was open when its group went gives ENODEV.
func gone(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) }

// check refuses to kill or remove what cannot be a container's group: the
// paths may come from a file on disk.
func (c *Cgroup) check() error {
	if _, real := c.fs.(kernel); !real {
		return nil
	}
	for _, d := range c.dirs {
		if err := checkPath(d.path); err != nil {
			return err
		}
		// A hierarchy's root lies in a directory of another file system.
		for _, path := range []string{d.path, filepath.Dir(d.path)} {
			var st unix.Statfs_t
			err := unix.Statfs(path, &st)
			if errors.Is(err, unix.ENOENT) {
				break // gone, or its parent is: nothing to do for it
			}
			if err != nil {
				return errs.New(errs.System, "looking at cgroup: %w", pathError("statfs", path, err))
			}
			if st.Type != unix.CGROUP_SUPER_MAGIC && st.Type != unix.CGROUP2_SUPER_MAGIC {
				return errs.New(errs.InvalidParameter, "%s is not a container's cgroup", d.path)
			}
		}
	}
	return nil
}
