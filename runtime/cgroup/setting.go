package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

// setting is one value to write into a file of a group.
type setting struct {
	file, value string
	what        string   // in words, such as "a memory limit"
	more        []string // further values for the same file: opening it takes four times as long as writing
	alt         *setting // written instead where the file does not exist
	optional    bool     // a missing file is no error
}

// String prints the setting for tests and errors.
func (s setting) String() string {
	text := s.file + " = " + strings.Join(append([]string{s.value}, s.more...), ", ")
	if s.alt != nil {
		text += " (or " + s.alt.String() + ")"
	}
	if s.optional {
		text += " (if there)"
	}
	return text
}

// plan is what has to be written for some resources: by hierarchy, in order.
type plan struct {
	settings map[int][]setting
	device   []bpfInstruction // the v2 device program, nil: none
	realtime float64          // the share of real time that v1 parents must have for it
}

// asksNothing returns an error that names a limit, if there is one for the
// hierarchy at i in which why forbids to make a group.
func (p plan) asksNothing(i int, why error) error {
	if len(p.settings[i]) == 0 {
		return nil
	}
	s := p.settings[i][0]
	return errs.New(errs.Forbidden, "%s (%s) needs a cgroup, which this user may not make: leave the limit out, "+
		"or have cgroups delegated to the user (systemd: Delegate=yes): %w", s.what, s.file, why)
}

// apply writes the plan into c, whose directories are in h's order.
func (h *Hierarchies) apply(p plan, c *Cgroup) error {
	if d, ok := c.controller("cpu"); ok && p.realtime > 0 {
		if err := grantRealtime(h.fs, d.path, p.realtime); err != nil {
			return refusal(d.path+"/cpu.rt_runtime_us", err)
		}
	}
	for i, d := range c.dirs {
		if err := applySettings(h.fs, d, p.settings[i]); err != nil {
			return err
		}
		if d.v2 && p.device != nil {
			if err := setDeviceProgram(d.path, p.device); err != nil {
				return errs.New(errs.System, "limiting the cgroup's devices: %w", err)
			}
		}
	}
	return nil
}

// applySettings writes settings in order. Values of one controller can depend
// on each other (a quota on its period, memory on memory+swap, both on the
// parent's): what the kernel refuses as invalid is tried once more after the rest.
func applySettings(fs files, d directory, list []setting) error {
	var refused []setting
	for _, s := range list {
		err := applySetting(fs, d, s)
		switch {
		case errors.Is(err, unix.EINVAL) && len(list) > 1:
			refused = append(refused, s)
		case err != nil:
			return err
		}
	}
	for _, s := range refused {
		if err := applySetting(fs, d, s); err != nil {
			return err
		}
	}
	return nil
}

func applySetting(fs files, d directory, s setting) error {
	err := fs.write(d.path+"/"+s.file, append([]string{s.value}, s.more...)...)
	if errors.Is(err, unix.ENOENT) {
		switch {
		case s.alt != nil:
			return applySetting(fs, d, *s.alt)
		case s.optional:
			return nil
		case strings.Contains(s.file, "memsw") || s.file == "memory.swap.max":
			return errs.New(errs.InvalidParameter,
				"limiting swap: this kernel does not count it: start it with swapaccount=1, or leave the swap limit out: %w", err)
		case d.v2:
			return errs.New(errs.InvalidParameter, "limiting the cgroup: %s is not there: %s: %w", s.file, reason(s.file), err)
		}
	}
	if err == nil {
		return nil
	}
	return refusal(s.file, err)
}

// refusal says what the kernel means by not taking a value.
func refusal(file string, err error) error {
	hint := ""
	switch filepath.Base(file) {
	case "memory.limit_in_bytes":
		switch {
		case errors.Is(err, unix.EBUSY):
			return errs.New(errs.Conflict, "limiting the cgroup: the memory limit is below what is in use: %w", err)
		case errors.Is(err, unix.EINVAL):
			hint = "the memory limit must not exceed that on memory and swap together: "
		}
	case "memory.memsw.limit_in_bytes":
		switch {
		case errors.Is(err, unix.EBUSY):
			return errs.New(errs.Conflict, "limiting the cgroup: the limit on memory and swap is below what is in use: %w", err)
		case errors.Is(err, unix.EINVAL):
			hint = "the limit on memory and swap together must not be less than that on memory: "
		}
	case "cpu.rt_runtime_us":
		hint = "the groups above have no such share of real time left: "
	}
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOENT):
		return errs.New(errs.InvalidParameter, "limiting the cgroup: %s%w", hint, err)
	}
	return errs.New(errs.System, "limiting the cgroup: %w", err)
}

// reason says why a file of a v2 group can be missing and what to do about it.
func reason(file string) string {
	controller, _, _ := strings.Cut(file, ".")
	return fmt.Sprintf("either this kernel is too old for it, or the controller %q could not be enabled because a parent "+
		"cgroup has processes of its own (move them to a child cgroup) or lacks delegation (systemd: Delegate=yes)", controller)
}
