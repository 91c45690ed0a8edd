package oci

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"github.com/davit-engine/davit/runtime/cgroup"
	"github.com/davit-engine/davit/runtime/cgroup/systemd"
	"github.com/davit-engine/davit/runtime/checkpoint"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// groupPath is where a container's control group lies, if systemd does not
// keep it.
func groupPath(h *cgroup.Hierarchies, given, id string) (string, error) {
	if given == "" && !unprivileged() {
		given = "/" + Name + "/" + id
	}
	return h.Place(given, id)
}

// pruneParent removes the groups that groupPath puts others below, once they
// are empty.
func pruneParent(dirs map[string]string) {
	for _, dir := range dirs {
		if parent := filepath.Dir(dir); filepath.Base(parent) == Name {
			_ = os.Remove(parent) // the kernel keeps one that holds others
		}
	}
}

// newScope has systemd make the container's control group.
func newScope(h *cgroup.Hierarchies, spec *specs.Spec, id string, res *specs.LinuxResources, rootless bool, options []cgroup.Option) (*systemd.Group, error) {
	unit, err := systemd.Parse(spec.Linux.CgroupsPath, id, unprivileged())
	if err != nil {
		return nil, err
	}
	return scopeKeeper().Create(context.Background(), h, unit, res,
		systemd.Options{Description: "container " + id, Group: options, Rootless: rootless, Annotations: spec.Annotations})
}

// scopeKeeper is the systemd that keeps this user's scopes.
func scopeKeeper() systemd.Manager {
	if unprivileged() {
		return systemd.User(os.Getenv("XDG_RUNTIME_DIR"))
	}
	return systemd.System()
}

// kept is a control group for those who change and remove it: of a scope,
// systemd has to know.
type kept interface {
	Update(res *specs.LinuxResources) error
	Kill() error
	Remove() error
}

// keptGroup is the container's control group with its keeper; false without one.
func keptGroup(c *container) (kept, bool) {
	if c.Scope != nil {
		return scopeKeeper().Open(*c.Scope, c.Cgroup), true
	}
	g := c.group()
	return g, g != nil
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
	uid, gid = checkpoint.HostID(s.Linux.UIDMappings, 0), checkpoint.HostID(s.Linux.GIDMappings, 0)
	return uid, gid, makes(specs.UserNamespace) && makes(specs.CgroupNamespace) && writable && uid >= 0
}
