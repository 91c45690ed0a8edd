package cgroup

import (
	"errors"
	"path"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// defaultParent is where groups go whose place nobody names.
const defaultParent = "/davit"

// Place returns the path for [Hierarchies.Create] that a container's
// linux.cgroupsPath names. An absolute one is taken below the root of each
// hierarchy. A relative one, and the container's id if the path is empty, goes
// below /davit; or for who may not make groups there, beside the group of this
// process on v2: that one has processes and cannot give controllers to groups
// inside it, but what it lies in may be delegated to the user.
//
// A path that climbs out with ".." stays below the root.
func (h *Hierarchies) Place(cgroupsPath, id string) (string, error) {
	writable := unix.Access(h.all[0].mount, unix.W_OK) == nil
	return h.place(cgroupsPath, id, writable)
}

func (h *Hierarchies) place(cgroupsPath, id string, writable bool) (string, error) {
	if cgroupsPath == "" {
		cgroupsPath = id
	}
	clean := path.Clean("/" + cgroupsPath)
	if clean == "/" {
		return "", errs.New(errs.InvalidParameter, "invalid cgroupsPath %q: it names no group", cgroupsPath)
	}
	if cgroupsPath[0] != '/' {
		parent := defaultParent
		if i, ok := h.unified(); ok && !writable && h.Version() == 2 {
			parent = path.Dir(path.Clean("/" + h.all[i].own))
		}
		clean = path.Join(parent, clean)
	}
	return clean, checkPath(clean)
}

// Rootless is for callers without rights on the host. Hierarchies in which
// they may make no group are left out of the group, down to one that has no
// directory at all; an error of kind errs.Forbidden names a limit that would
// have needed one. Lists of devices are passed over: who has no rights on the
// host has none on its devices.
func Rootless() Option { return func(c *creation) { c.rootless = true } }

// joinable returns an error if a process of the caller's could not be put into
// the group at path: for that the kernel wants a right on the group above both
// that the caller is in and that one.
func (h *Hierarchies) joinable(hy hierarchy, to string) error {
	common := ""
	own := strings.Split(strings.Trim(hy.own, "/"), "/")
	for i, name := range strings.Split(to[1:], "/") {
		if i >= len(own) || own[i] != name {
			break
		}
		common += "/" + name
	}
	for _, dir := range []string{common, to} {
		if err := h.fs.writable(hy.mount + dir + "/cgroup.procs"); err != nil {
			return err
		}
	}
	return nil
}

// withoutDevices returns res without its list of devices.
func withoutDevices(res *specs.LinuxResources) *specs.LinuxResources {
	if res == nil || len(res.Devices) == 0 {
		return res
	}
	rest := *res
	rest.Devices = nil
	return &rest
}

// forbidden reports whether err is for want of rights.
func forbidden(err error) bool {
	return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EROFS)
}
