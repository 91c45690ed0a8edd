package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/engine/spec"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/program"
	"github.com/davit-engine/davit/runtime/wire"
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// startOrder is everything that the shim must know.
func (l *launcher) startOrder(rec *record.Container, who spec.User, files spec.Files, userns *os.File) (*wire.Start, error) {
	h := rec.HostConfig
	in, err := l.input(rec, who)
	if err != nil {
		return nil, err
	}
	in.Files = files
	if in.Join, err = l.joins(h); err != nil {
		return nil, err
	}
	if in.Variables, err = l.linkVariables(rec); err != nil {
		return nil, err
	}
	if in.Sysctls, err = l.endpointParameters(rec); err != nil {
		return nil, err
	}
	if in.IDMap, err = mapMounts(rec, userns); err != nil {
		return nil, err
	}
	s, err := spec.Build(in)
	if err != nil {
		return nil, err
	}
	if err := l.cdi.Inject(s, h.DeviceRequests); err != nil {
		return nil, err
	}
	log, err := l.logging.order(rec)
	if err != nil {
		return nil, err
	}
	dir := l.store.Dir(rec.ID)
	order := &wire.Start{
		ID: rec.ID, Spec: s, Log: log, MakeCwd: true,
		Root: program.Root{IDMap: userns != nil, Overlay: &program.Overlay{
			Lower: append(slices.Clip(rec.Image.Lower), l.base), Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"), Volatile: h.AutoRemove, Limited: rec.Project != 0,
			Options: l.host.overlay,
		}},
		Stdio: wire.Stdio{Stdin: rec.Config.OpenStdin, StdinOnce: rec.Config.StdinOnce},
	}
	if order.Runtime, err = l.runtimes.foreign(h.Runtime); err != nil {
		return nil, err
	}
	if !h.Privileged {
		caps, err := spec.Capabilities(in)
		if err != nil {
			return nil, err
		}
		if order.Runtime == nil {
			order.Seccomp, order.SeccompFlags, err = l.filter.get(in.Security, caps)
		} else {
			s.Linux.Seccomp, err = l.filter.spec(in.Security, caps)
		}
		if err != nil {
			return nil, err
		}
	}
	return order, nil
}

// input is what the specification of a container is made of, as far as it is
// known without starting it.
func (l *launcher) input(rec *record.Container, who spec.User) (spec.Input, error) {
	sec, err := spec.ParseSecurity(rec.HostConfig.SecurityOpt, l.cfg.Defaults.NoNewPrivileges)
	if err != nil {
		return spec.Input{}, err
	}
	in := spec.Input{
		Container: rec, User: who, Security: sec, Defaults: l.cfg.Defaults,
		Host: spec.Host{Capabilities: l.host.capabilities, Nofile: l.host.nofile, OOMScoreAdj: l.host.oomScoreAdj, Thermal: l.host.thermal},
	}
	return in, hostDevices(&in)
}

// joins finds the namespaces of other containers that h asks for.
func (l *launcher) joins(h *container.HostConfig) (spec.Join, error) {
	var j spec.Join
	if h.PidMode.IsContainer() {
		pid, err := l.pidOf(h.PidMode.Container())
		if err != nil {
			return j, err
		}
		j.PID = fmt.Sprintf("/proc/%d/ns/pid", pid)
	}
	if h.IpcMode.IsContainer() {
		pid, err := l.ipcDonor(h.IpcMode.Container())
		if err != nil {
			return j, err
		}
		j.IPC = fmt.Sprintf("/proc/%d/ns/ipc", pid)
	}
	return j, nil
}

// pidOf returns the first process of a container that runs.
func (e *core) pidOf(ref string) (int, error) {
	c, err := e.table.find(ref)
	if err != nil {
		return 0, err
	}
	r := c.current()
	if r == nil {
		return 0, errs.New(errs.Conflict, "cannot join namespace of a non running container: %s", ref)
	}
	return r.state.Pid, nil
}

// hostDevices looks up the device nodes that the container is given.
func hostDevices(in *spec.Input) error {
	h := in.Container.HostConfig
	if h.Privileged {
		in.Host.Devices = devicesBelow("/dev", "/dev")
	}
	var err error
	if in.Host.Blocks, err = blockDevices(h); err != nil {
		return err
	}
	for _, m := range h.Devices {
		found, src, target, err := mapDevice(m)
		if err != nil {
			return err
		}
		access := m.CgroupPermissions
		if access == "" {
			access = "rwm"
		}
		for _, d := range found {
			if in.Container.UserNS.Private() {
				in.Host.Nodes = append(in.Host.Nodes, spec.Node{Source: src + strings.TrimPrefix(d.Path, target), Target: d.Path})
			} else {
				in.Host.Mapped = append(in.Host.Mapped, d)
			}
			in.Host.MappedAccess = append(in.Host.MappedAccess, specs.LinuxDeviceCgroup{Allow: true, Type: d.Type, Major: &d.Major, Minor: &d.Minor, Access: access})
		}
	}
	if h.Privileged {
		in.Host.Devices = append(in.Host.Devices, in.Host.Mapped...)
	}
	for _, r := range h.DeviceCgroupRules {
		rule, err := spec.ParseDeviceRule(r)
		if err != nil {
			return err
		}
		in.Host.MappedAccess = append(in.Host.MappedAccess, rule)
	}
	return nil
}
