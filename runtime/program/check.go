package program

import (
	"path"
	"slices"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// maxParts keeps a program below maxSteps.
const maxParts = 2000

// check refuses input that is incomplete, and every field of the spec that
// asks for something this package has no steps for: to leave it out silently
// would give a container less than it was promised.
func check(in Input) error {
	bad := func(format string, args ...any) error { return errs.New(errs.InvalidParameter, format, args...) }
	s := in.Spec
	switch {
	case s == nil:
		return bad("there is no spec")
	}
	if err := checkProcess(in); err != nil {
		return err
	}
	n := len(s.Mounts)
	if l := s.Linux; l != nil {
		n += len(l.MaskedPaths) + len(l.ReadonlyPaths) + len(l.Devices) + len(l.Sysctl)
	}
	if n > maxParts {
		return bad("%d mounts, paths, devices and sysctls are too many, %d is the limit", n, maxParts)
	}
	if err := checkRoot(in.Root); err != nil {
		return err
	}
	if f := unsupportedField(in); f != "" {
		return errs.New(errs.NotImplemented, "%s is not supported", f)
	}
	if l := s.Linux; l != nil && len(l.NetDevices) > 0 && !in.NetNS &&
		!slices.ContainsFunc(l.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace }) {
		return bad("linux.netDevices: there is no network namespace to move devices into")
	}
	if s.Linux != nil && s.Linux.IntelRdt != nil && !in.Resctrl {
		return errs.New(errs.NotImplemented, "linux.intelRdt: nobody has made a resctrl group for the process")
	}
	if s.Linux != nil && s.Linux.MountLabel != "" && !in.Facts.SELinux {
		return errs.New(errs.NotImplemented, "linux.mountLabel: this kernel has no SELinux, or it is off")
	}
	if s.Linux != nil && s.Linux.Seccomp != nil && len(in.Seccomp) == 0 {
		return bad("linux.seccomp is a profile, and its filter is missing")
	}
	return nil
}

// checkProcess is the part of check that is about the process alone.
func checkProcess(in Input) error {
	bad := func(format string, args ...any) error { return errs.New(errs.InvalidParameter, format, args...) }
	p := in.Spec.Process
	switch {
	case p == nil:
		return bad("process is missing")
	case len(p.Args) == 0 || p.Args[0] == "":
		return bad("process.args must not be empty")
	case !path.IsAbs(p.Cwd):
		return bad("process.cwd must be an absolute path, not %q", p.Cwd)
	case len(in.Seccomp)%8 != 0 || len(in.Seccomp) > 8*4096:
		return bad("a seccomp filter has 8 bytes an instruction and at most 4096 instructions, not %d bytes", len(in.Seccomp))
	case in.Facts.LastCap < 0 || in.Facts.LastCap > 63:
		return bad("%d cannot be the last capability", in.Facts.LastCap)
	case in.notifies() && !in.Listener:
		return bad("linux.seccomp has %s, and nobody takes its notifications", specs.ActNotify)
	case in.CgroupTasks < 0:
		return bad("%d cgroups make no sense", in.CgroupTasks)
	case in.PreserveFDs < 0 || in.PreserveFDs > maxParts:
		return bad("%d preserved descriptors make no sense", in.PreserveFDs)
	}
	return nil
}

func checkRoot(r Root) error {
	if (r.Dir == "") == (r.Overlay == nil) {
		return errs.New(errs.InvalidParameter, "root must be either a directory or an overlay")
	}
	var dirs []string
	if o := r.Overlay; o == nil {
		dirs = []string{r.Dir}
	} else {
		dirs = append(dirs, o.Lower...)
		if len(o.Lower) == 0 || (o.Upper == "") != (o.Work == "") {
			return errs.New(errs.InvalidParameter, "root: an overlay needs layers, and both an upper and a work directory or none")
		}
		if o.Upper != "" {
			dirs = append(dirs, o.Upper, o.Work)
		}
	}
	for _, d := range dirs {
		if !path.IsAbs(d) {
			return errs.New(errs.InvalidParameter, "root: %q is not an absolute path", d)
		}
	}
	return nil
}

// unsupportedField names the first field that is set and not supported.
func unsupportedField(in Input) string {
	s := in.Spec
	l, h := s.Linux, s.Hooks
	if l == nil {
		l = &specs.Linux{}
	}
	if h == nil {
		h = &specs.Hooks{}
	}
	for _, f := range []struct {
		set  bool
		name string
	}{
		// The caller runs hooks, if the process waits for them.
		{len(h.Prestart) > 0 && !in.Created, "hooks.prestart"}, //lint:ignore SA1019 deprecated, and still in use
		{len(h.CreateRuntime) > 0 && !in.Created, "hooks.createRuntime"},
		{len(h.CreateContainer) > 0 && !in.Created, "hooks.createContainer"},
		{len(h.StartContainer) > 0 && !in.Hold, "hooks.startContainer"},
		{s.VM != nil, "vm"},
	} {
		if f.set {
			return f.name
		}
	}
	return ""
}
