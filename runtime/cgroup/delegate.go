package cgroup

import (
	"strings"

	"github.com/davit-engine/davit/errs"
)

// owner is who a group is delegated to.
type owner struct{ uid, gid int }

// Delegate gives the v2 group to a user: its directory and the files in it
// that the kernel calls safe to give away (/sys/kernel/cgroup/delegate, see
// cgroups(7)). It is for a container that has a cgroup namespace of its own and
// a writable cgroup mount; uid and gid are those of its root on the host, -1
// leaves one as it is. Limits stay the caller's. v1 cannot be delegated safely
// and is left alone.
func Delegate(uid, gid int) Option { return func(c *creation) { c.owner = &owner{uid, gid} } }

// delegable are the files to give away where the kernel (before 4.15) has no list.
const delegable = "cgroup.procs\ncgroup.threads\ncgroup.subtree_control"

func (c *Cgroup) giveTo(o owner) error {
	d, ok := c.unified()
	if !ok {
		return nil
	}
	list, err := kernel{}.read("/sys/kernel/cgroup/delegate")
	if err != nil {
		list = delegable
	}
	if err := c.fs.chown(d.path, o.uid, o.gid); err != nil {
		return errs.New(errs.System, "delegating the cgroup: %w", err)
	}
	for name := range strings.FieldsSeq(list) {
		// Some are there only with their controller.
		if err := c.fs.chown(d.path+"/"+name, o.uid, o.gid); err != nil && !gone(err) {
			return errs.New(errs.System, "delegating the cgroup: %w", err)
		}
	}
	return nil
}
