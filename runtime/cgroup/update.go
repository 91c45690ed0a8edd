package cgroup

import (
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
// processes until the limit fits. What was written before an error stays
// written: limits of one controller are set together, in the order that the
// kernel takes them.
func (c *Cgroup) Update(res *specs.LinuxResources) error {
	h, p, err := c.plan(res)
	if err != nil {
		return err
	}
	return h.apply(p, c)
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
