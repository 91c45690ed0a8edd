package program

import (
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// foreign mounts what belongs to a namespace that is not the container's
// own: nobody but its owner may, and root of the user namespace is not.
func (c mounter) foreign() {
	for i := range c.mounts {
		m := &c.mounts[i]
		var of specs.LinuxNamespaceType
		switch m.Type {
		case "sysfs":
			of = specs.NetworkNamespace
		case "mqueue":
			of = specs.IPCNamespace
		case "proc":
			if of = specs.PIDNamespace; c.has(of) {
				continue // only a process that is in it mounts it
			}
		case "cgroup":
			of = specs.CgroupNamespace
		default:
			continue
		}
		if m.bind || m.remount || m.tree != None || c.makes(of) {
			continue
		}
		c.during(m.context())
		if m.Type == "cgroup" && !c.in.Facts.CgroupV2 {
			c.hierarchiesV1(m)
			continue
		}
		m.made = c.newFilesystem(m)
	}
}

// hierarchiesV1 mounts the hierarchies of cgroup v1, beginning at the cgroup
// that the process is in, though it will live in the host's cgroup namespace.
func (c mounter) hierarchiesV1(m *mount) {
	if len(c.v1) > 0 || c.cgroupns == None {
		return
	}
	c.unshare(unix.CLONE_NEWCGROUP, "creating a cgroup namespace")
	for _, h := range c.in.Facts.CgroupV1 {
		r := c.fsopen("cgroup")
		c.options(r, strings.Split(h.Options, ","))
		c.fscreate(r)
		c.v1 = append(c.v1, c.fsmount(r, (m.set|m.rset)&^attrRO))
	}
	c.setns(c.cgroupns, unix.CLONE_NEWCGROUP, "going back to the host's cgroup namespace")
	c.close(c.cgroupns)
}
