package cgroup

import (
	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Adopt is for a group that somebody else makes, such as systemd: directories
// that are there stay as they are, with the processes in them, and which
// controllers they have is the maker's to say.
func Adopt() Option { return func(c *creation) { c.adopt = true } }

// Setting is what a limit comes to: a value of one of the group's files, such
// as memory.max.
type Setting struct{ File, Value string }

// Settings returns the values that a new group gets for res on this host, in
// order, for whom they have to be told; lists of devices are left out.
func (h *Hierarchies) Settings(res *specs.LinuxResources) ([]Setting, error) {
	p, err := h.plan(withoutDevices(res))
	return p.list(len(h.all)), err
}

// Settings returns the values that [Cgroup.Update] writes for res, as
// [Hierarchies.Settings] does for a new group.
func (c *Cgroup) Settings(res *specs.LinuxResources) ([]Setting, error) {
	_, p, err := c.plan(withoutDevices(res))
	return p.list(len(c.dirs)), err
}

func (p plan) list(hierarchies int) (all []Setting) {
	for i := range hierarchies {
		for _, s := range p.settings[i] {
			for _, value := range append([]string{s.value}, s.more...) {
				all = append(all, Setting{File: s.file, Value: value})
			}
		}
	}
	return all
}

// Devices returns what a list of device rules comes to, in the words of
// devices.allow, such as "c 1:3 rwm"; every is true if all devices are allowed
// but those in the list.
func Devices(list []specs.LinuxDeviceCgroup) (rules []string, every bool, err error) {
	r, err := deviceRules(list)
	if err != nil {
		return nil, false, errs.Wrap(errs.InvalidParameter, err)
	}
	for _, e := range r.exceptions {
		rules = append(rules, e.String())
	}
	return rules, r.allow, nil
}
