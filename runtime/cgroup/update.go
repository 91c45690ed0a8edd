package cgroup

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Update changes the limits that res sets and leaves all others as they are.
// -1 takes a limit on memory, swap, processes or the CPU quota away; 0 and
// fields that are not set change nothing, but for a CPU burst, an idle flag and
// a throttled device, where 0 takes the limit away.
//
// A memory limit below what is in use is of kind errs.Conflict on v1, where the
// kernel refuses it, and on v2 if res asks for the check; without it, v2 kills
// processes until the limit fits. Limits of one controller are set together,
// in the order that the kernel takes them. On an error, what the files held
// before is written back, lists of devices excepted.
func (c *Cgroup) Update(res *specs.LinuxResources) error {
	_, err := c.Change(res)
	return err
}

// Change is Update for whom something may fail after it: undo writes back what
// the files held before.
func (c *Cgroup) Change(res *specs.LinuxResources) (undo func() error, err error) {
	h, p, err := c.plan(res)
	if err != nil {
		return nil, err
	}
	j := &journal{files: h.fs}
	h.fs = j
	if err := h.apply(p, c); err != nil {
		return nil, errors.Join(err, j.restore())
	}
	return j.restore, nil
}

// journal is a file system that remembers what files held before they were
// written.
type journal struct {
	files
	before []setting
}

func (j *journal) write(path string, values ...string) error {
	// What cannot be read cannot be put back either: devices.allow, for one.
	old, unreadable := j.files.read(path)
	if err := j.files.write(path, values...); err != nil {
		return err
	}
	if unreadable == nil {
		j.before = append(j.before, setting{file: path, value: old})
	}
	return nil
}

// restore writes the old values back, the last one first: so each finds the
// others as they were when it was good.
func (j *journal) restore() error {
	for _, s := range slices.Backward(j.before) {
		// A line is a value of its own; an empty one has to be written as a line.
		lines := strings.Split(s.value, "\n")
		if s.value == "" {
			lines = []string{"\n"}
		}
		if err := j.files.write(s.file, lines...); err != nil {
			return fmt.Errorf("putting back what %s held: %w", s.file, err)
		}
	}
	return nil
}

// plan converts resources to settings of a group that may hold anything by
// now. Its directories are taken as hierarchies of their own.
func (c *Cgroup) plan(res *specs.LinuxResources) (*Hierarchies, plan, error) {
	if err := c.check(); err != nil {
		return nil, plan{}, err
	}
	h := &Hierarchies{fs: c.fs, all: make([]hierarchy, len(c.dirs))}
	for i, d := range c.dirs {
		h.all[i] = hierarchy{mount: d.path, v2: d.v2, controllers: d.controllers}
		if !d.v2 {
			continue
		}
		list, err := c.fs.read(d.path + "/cgroup.controllers")
		if err != nil {
			return nil, plan{}, failed("updating the cgroup", err)
		}
		h.all[i].controllers = strings.Fields(list)
	}
	planner := planner{h: h, group: c, plan: plan{settings: make(map[int][]setting)}}
	p, err := planner.all(res)
	return h, p, err
}
