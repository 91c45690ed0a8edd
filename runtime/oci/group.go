package oci

import (
	"path"
	"slices"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/cgroup"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// groupPath is where a container's control group lies. With systemd the spec's
// path is slice:prefix:name, and the group lies where systemd would put the
// scope prefix-name.scope.
func groupPath(h *cgroup.Hierarchies, given, id string, systemd bool) (string, error) {
	if systemd {
		return scopePath(given, id)
	}
	if given == "" && !unprivileged() {
		given = "/" + Name + "/" + id
	}
	return h.Place(given, id)
}

func scopePath(given, id string) (string, error) {
	if given == "" {
		given = "system.slice:" + Name + ":" + id
	}
	parts := strings.Split(given, ":")
	if len(parts) != 3 {
		return "", errs.New(errs.InvalidParameter, "linux.cgroupsPath: %q has not the form slice:prefix:name, which --systemd-cgroup asks for", given)
	}
	slice, prefix, unit := parts[0], parts[1], parts[2]
	if slice == "" {
		slice = "system.slice"
	}
	dir, err := slicePath(slice)
	if err != nil {
		return "", err
	}
	if unit == "" || strings.Contains(prefix+unit, "/") {
		return "", errs.New(errs.InvalidParameter, "linux.cgroupsPath: %q names no unit", given)
	}
	if !strings.HasSuffix(unit, ".slice") {
		if prefix != "" {
			unit = prefix + "-" + unit
		}
		unit += ".scope"
	}
	return path.Join(dir, unit), nil
}

// slicePath expands a slice into the slices that it lies in, which its name
// tells: a-b.slice is /a.slice/a-b.slice (systemd.slice(5)).
func slicePath(slice string) (string, error) {
	name, ok := strings.CutSuffix(slice, ".slice")
	if !ok || strings.Contains(slice, "/") || name != "-" && (name == "" || strings.HasPrefix(name, "-") || strings.HasSuffix(name, "-") || strings.Contains(name, "--")) {
		return "", errs.New(errs.InvalidParameter, "linux.cgroupsPath: %q is not the name of a slice", slice)
	}
	if name == "-" {
		return "/", nil
	}
	dir, above := "/", ""
	for part := range strings.SplitSeq(name, "-") {
		dir = path.Join(dir, above+part+".slice")
		above += part + "-"
	}
	return dir, nil
}

// delegation says who a control group is given to: the root of a container
// that has user and cgroup namespaces of its own and may write to its control
// group.
func delegation(s *specs.Spec) (uid, gid int, ok bool) {
	makes := func(t specs.LinuxNamespaceType) bool {
		return slices.ContainsFunc(s.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == t && ns.Path == "" })
	}
	writable := slices.ContainsFunc(s.Mounts, func(m specs.Mount) bool {
		return (m.Type == "cgroup" || m.Type == "cgroup2") && !slices.Contains(m.Options, "ro")
	})
	uid, gid = hostID(s.Linux.UIDMappings), hostID(s.Linux.GIDMappings)
	return uid, gid, makes(specs.UserNamespace) && makes(specs.CgroupNamespace) && writable && uid >= 0
}

// hostID is what the container's root is outside; -1: nobody.
func hostID(m []specs.LinuxIDMapping) int {
	for _, x := range m {
		if x.ContainerID == 0 && x.Size > 0 {
			return int(x.HostID)
		}
	}
	return -1
}
