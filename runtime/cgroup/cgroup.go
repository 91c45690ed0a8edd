// Package cgroup makes, limits, measures, freezes, signals, empties and removes
// the control groups of one container: on cgroup v1, on v2, and on hybrid hosts
// that mount both.
//
// It owns the directories it makes below the mounted hierarchies and the
// values written there. It must not know what a container is, who runs in the
// group, or where the paths are kept between runs: the caller stores
// [Cgroup.Paths] and comes back with [Open].
//
// Where a group lies. A path such as /davit/1a2b is taken below the root of
// each hierarchy as it is mounted here, not below the group that the caller
// itself runs in. A container is therefore not charged to its engine's own
// limits, a restart of the engine from another session finds the same
// directories, and inside a cgroup namespace (or with a subtree bind-mounted
// over /sys/fs/cgroup, as in Docker in Docker) the root that is visible is the
// outer container's own group, which is the right one to be below.
//
// Limits arrive as OCI resources, which speak v1; they are converted where the
// controller lives on v2 (shares to weight, memory+swap to swap, blkio weight
// to io weight). What an untouched group holds anyway is not written again: a
// group costs one mkdir for each hierarchy and one write for each limit. The
// same conversion, told that the group may hold anything by now, serves
// [Cgroup.Update].
//
// Package systemd, below this one, has systemd make the group and tells it of
// the limits.
//
// The package does all file access by itself. opencontainers/cgroups would add
// 1.7 MB and 0.4 ms of package initialisation to each shim (measured).
//
// A Hierarchies value never changes and may be shared. A Cgroup may be used by
// several goroutines at once except for Remove, which must be the last call.
package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// directory is one directory of a group: it serves one v1 hierarchy or the v2
// hierarchy.
type directory struct {
	path        string
	v2          bool
	controllers []string // v1 only; named hierarchies as "name=systemd"
}

// Cgroup is a control group: the same path in each mounted hierarchy.
type Cgroup struct {
	dirs []directory
	fs   files
}

// Create makes the group at path in each hierarchy of the host and applies the
// limits; it is Discover followed by [Hierarchies.Create].
func Create(path string, res *specs.LinuxResources) (*Cgroup, error) {
	h, err := Discover()
	if err != nil {
		return nil, err
	}
	return h.Create(path, res)
}

// Create makes the group at path (absolute, such as /davit/1a2b; see
// [Hierarchies.Place]) in each hierarchy and applies res, which may be nil. A
// directory that a crash left behind is replaced if no process is in it;
// otherwise the error is of kind errs.Conflict. A limit that this host has no
// controller for is of kind errs.InvalidParameter. On error nothing that Create
// made is left.
func (h *Hierarchies) Create(path string, res *specs.LinuxResources, options ...Option) (_ *Cgroup, err error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	var o creation
	for _, option := range options {
		option(&o)
	}
	if o.rootless {
		res = withoutDevices(res)
	}
	plan, err := h.plan(res)
	if err != nil {
		return nil, err
	}
	c := &Cgroup{dirs: make([]directory, 0, len(h.all)), fs: h.fs}
	var made []string // in the order of making
	undo := func(from int) {
		for _, dir := range slices.Backward(made[from:]) {
			_ = h.fs.rmdir(dir) // an ancestor may be in use by others by now
		}
		made = made[:from]
	}
	defer func() {
		if err != nil {
			undo(0)
		}
	}()
	for i, hy := range h.all {
		before := len(made)
		made, err = h.makeLeaf(hy, path, made, o.adopt)
		if err == nil && o.rootless && !o.adopt {
			err = h.joinable(hy, path)
		}
		if err != nil {
			if !o.rootless || !forbidden(err) {
				return nil, err
			}
			if err := plan.asksNothing(i, err); err != nil {
				return nil, err
			}
			undo(before)
			continue
		}
		plan.settings[len(c.dirs)] = plan.settings[i] // the same, unless one was left out
		dir := directory{path: hy.mount + path, v2: hy.v2}
		if !hy.v2 {
			dir.controllers = hy.controllers
		}
		c.dirs = append(c.dirs, dir)
	}
	if err := h.apply(plan, c); err != nil {
		return nil, err
	}
	if o.owner != nil {
		if err := c.giveTo(*o.owner); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// creation is what options say about a group to be made.
type creation struct {
	owner    *owner // nil: the caller
	rootless bool
	adopt    bool
}

// Option says more about a group to be made.
type Option func(*creation)

// Open returns the group whose directories are paths, as [Cgroup.Paths] gave
// them. Nothing is read or checked: the directories may be gone already.
func Open(paths map[string]string) *Cgroup {
	c := &Cgroup{fs: kernel{}}
	for controller, path := range paths {
		if i := slices.IndexFunc(c.dirs, func(d directory) bool { return d.path == path }); i >= 0 {
			c.dirs[i].controllers = append(c.dirs[i].controllers, controller)
			continue
		}
		d := directory{path: path, v2: controller == ""}
		if !d.v2 {
			d.controllers = []string{controller}
		}
		c.dirs = append(c.dirs, d)
	}
	slices.SortFunc(c.dirs, func(a, b directory) int { return strings.Compare(a.path, b.path) })
	return c
}

// Paths returns the group's directories by controller. The key of a named v1
// hierarchy is "name=" and its name, that of the v2 hierarchy is empty.
func (c *Cgroup) Paths() map[string]string {
	paths := make(map[string]string, len(c.dirs))
	for _, d := range c.dirs {
		if d.v2 {
			paths[""] = d.path
		}
		for _, name := range d.controllers {
			paths[name] = d.path
		}
	}
	return paths
}

// Tasks opens the tasks file of each v1 directory, for a process of one thread
// to write "0" into and so to move itself. The caller closes the files. On
// pure v2 there are none.
//
// Not cgroup.procs: to move a process with all its threads, the kernel stops
// every fork and exit of the machine for an RCU grace period, 5-20 ms when it
// has not done so just before (cgroup_threadgroup_rwsem). A thread that moves
// itself is spared that since Linux 5.5.
func (c *Cgroup) Tasks() ([]*os.File, error) {
	var files []*os.File
	for _, d := range c.dirs {
		if d.v2 {
			continue
		}
		f, err := os.OpenFile(d.path+"/tasks", os.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			for _, f := range files {
				_ = f.Close()
			}
			return nil, errs.New(errs.System, "opening the cgroup for the container's process: %w", err)
		}
		files = append(files, f)
	}
	return files, nil
}

// Dir opens the v2 directory, for CLONE_INTO_CGROUP. The caller closes it. It
// is nil where no v2 hierarchy is mounted.
func (c *Cgroup) Dir() (*os.File, error) {
	d, ok := c.unified()
	if !ok {
		return nil, nil
	}
	fd, err := unix.Open(d.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, errs.New(errs.System, "opening the cgroup for the container's process: %w",
			&os.PathError{Op: "open", Path: d.path, Err: err})
	}
	return os.NewFile(uintptr(fd), d.path), nil
}

func (c *Cgroup) unified() (directory, bool) {
	for _, d := range c.dirs {
		if d.v2 {
			return d, true
		}
	}
	return directory{}, false
}

func (c *Cgroup) controller(name string) (directory, bool) {
	for _, d := range c.dirs {
		if slices.Contains(d.controllers, name) {
			return d, true
		}
	}
	return directory{}, false
}

// makeLeaf makes path in a hierarchy, and what is missing above it, and
// returns made with the directories added that are new. One that is there is
// adopted as it is, or replaced.
func (h *Hierarchies) makeLeaf(hy hierarchy, path string, made []string, adopt bool) ([]string, error) {
	dir := hy.mount + path
	err := h.fs.mkdir(dir)
	// More than once only if another engine prunes the same parents meanwhile.
	for range 3 {
		if !errors.Is(err, unix.ENOENT) {
			break
		}
		if made, err = h.makeAncestors(hy, dir, made); err == nil {
			err = h.fs.mkdir(dir)
		}
	}
	if errors.Is(err, unix.EEXIST) {
		if adopt {
			return made, nil
		}
		if err := h.vacate(path, made); err != nil {
			return made, err
		}
		err = h.fs.mkdir(dir)
	}
	if err != nil {
		return made, errs.New(errs.System, "making the cgroup: %w", err)
	}
	made = append(made, dir)
	if hy.v2 {
		return made, h.delegate(hy, dir)
	}
	if slices.Contains(hy.controllers, "cpuset") {
		return made, h.inheritCpuset(hy, dir)
	}
	return made, nil
}

// vacate removes what a crash left at path, in all hierarchies but those where
// it was just made. It touches nothing if there is a process in any of them.
func (h *Hierarchies) vacate(path string, made []string) error {
	var pids []int
	var err error
	for _, hy := range h.all {
		if pids, err = pidsBelow(h.fs, hy.mount+path, pids); err != nil {
			return errs.New(errs.System, "looking into the cgroup: %w", err)
		}
	}
	if len(pids) > 0 {
		return errs.New(errs.Conflict, "cgroup %s exists and is in use by the processes %v", path, slices.Compact(slices.Sorted(slices.Values(pids))))
	}
	for _, hy := range h.all {
		if dir := hy.mount + path; !slices.Contains(made, dir) {
			if err := removeTree(h.fs, dir); err != nil {
				return errs.New(errs.Conflict, "cgroup %s exists and cannot be replaced: %w", path, err)
			}
		}
	}
	return nil
}

func (h *Hierarchies) makeAncestors(hy hierarchy, dir string, made []string) ([]string, error) {
	parent := filepath.Dir(dir)
	if parent == hy.mount {
		return made, nil
	}
	err := h.fs.mkdir(parent)
	if errors.Is(err, unix.ENOENT) {
		if made, err = h.makeAncestors(hy, parent, made); err != nil {
			return made, err
		}
		err = h.fs.mkdir(parent)
	}
	switch {
	case err == nil:
		made = append(made, parent)
	case !errors.Is(err, unix.EEXIST):
		return made, err
	}
	if slices.Contains(hy.controllers, "cpuset") && !hy.v2 {
		// Groups made below copy cpus and mems by themselves from now on,
		// which saves four file accesses for each container.
		if err := h.fs.write(parent+"/cgroup.clone_children", "1"); err != nil {
			return made, err
		}
		return made, h.inheritCpuset(hy, parent)
	}
	return made, nil
}

// inheritCpuset copies cpus and mems from the parent where a v1 group has
// none: no process can join a group with an empty set.
func (h *Hierarchies) inheritCpuset(hy hierarchy, dir string) error {
	for _, file := range []string{"/cpuset.cpus", "/cpuset.mems"} {
		if err := h.inherit(hy, dir, file); err != nil {
			return errs.New(errs.System, "inheriting the cpuset: %w", err)
		}
	}
	return nil
}

func (h *Hierarchies) inherit(hy hierarchy, dir, file string) error {
	own, err := h.fs.read(dir + file)
	if err != nil || own != "" || dir == hy.mount {
		return err
	}
	parent := filepath.Dir(dir)
	// The parent may have been made a moment ago by somebody who has not come
	// to filling it.
	if err := h.inherit(hy, parent, file); err != nil {
		return err
	}
	set, err := h.fs.read(parent + file)
	if err != nil {
		return err
	}
	return h.fs.write(dir+file, set)
}

// delegate enables all controllers of the v2 root for dir, from the top down.
// A controller that cannot be enabled is no error here: only who asks for a
// limit needs it.
func (h *Hierarchies) delegate(hy hierarchy, dir string) error {
	have, err := h.fs.read(dir + "/cgroup.controllers")
	if err != nil {
		return errs.New(errs.System, "reading the cgroup's controllers: %w", err)
	}
	fields := strings.Fields(have)
	if !slices.ContainsFunc(hy.controllers, func(c string) bool { return !slices.Contains(fields, c) }) {
		return nil
	}
	all := "+" + strings.Join(hy.controllers, " +")
	for at, rest := hy.mount, strings.Split(dir[len(hy.mount)+1:], "/"); len(rest) > 0; at, rest = at+"/"+rest[0], rest[1:] {
		if h.fs.write(at+"/cgroup.subtree_control", all) == nil {
			continue
		}
		for _, c := range hy.controllers {
			_ = h.fs.write(at+"/cgroup.subtree_control", "+"+c)
		}
	}
	return nil
}

// checkPath refuses paths that are not plainly below a hierarchy's root.
func checkPath(path string) error {
	if !strings.HasPrefix(path, "/") || path == "/" || filepath.Clean(path) != path || strings.ContainsAny(path, "\n\x00") {
		return errs.New(errs.InvalidParameter, "invalid cgroup path %q: it must be absolute, clean and below /", path)
	}
	for name := range strings.SplitSeq(path[1:], "/") {
		if len(name) > unix.NAME_MAX {
			return errs.New(errs.InvalidParameter, "invalid cgroup path: %q is longer than %d bytes", name, unix.NAME_MAX)
		}
	}
	return nil
}
