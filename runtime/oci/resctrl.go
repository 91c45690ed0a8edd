package oci

import (
	"github.com/davit-engine/davit/runtime/resctrl"
	"github.com/davit-engine/davit/runtime/spawn"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// makeResctrl makes the group that linux.intelRdt asks for, and opens what the
// process needs to join it.
func makeResctrl(r *record, asked *specs.LinuxIntelRdt, request *spawn.Request, open *files) error {
	if asked == nil {
		return nil
	}
	g, err := resctrl.New(resctrl.Root, r.ID, asked)
	if err != nil {
		return err
	}
	r.IntelRdt = asked
	request.Resctrl, err = g.Tasks()
	*open = append(*open, request.Resctrl...)
	return err
}

// joinResctrl has an exec join the container's group.
func joinResctrl(r *record, request *spawn.ExecRequest, open *files) error {
	if r.IntelRdt == nil {
		return nil
	}
	tasks, err := resctrl.Open(resctrl.Root, r.ID, r.IntelRdt).Tasks()
	*open = append(*open, tasks...)
	request.CgroupTasks = append(request.CgroupTasks, tasks...)
	return err
}

// endResctrl gives the group up.
func endResctrl(r *record) error {
	if r.IntelRdt == nil {
		return nil
	}
	return resctrl.Open(resctrl.Root, r.ID, r.IntelRdt).Remove()
}
