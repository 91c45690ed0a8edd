package program

import (
	"slices"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A process of a user namespace begins as the caller, root of the host or not.
// What takes the rights of the host's root, or belongs to namespaces of the
// host, it does before it enters its own:
//
//	root of the host     cgroups, limits, joined namespaces, idmaps, the root
//	                     filesystem as a detached mount, what can only be
//	                     mounted by the owner of a joined namespace
//	 setns(user)
//	still uid 0 of the   unshare: all new namespaces belong to the user
//	host, but powerless  namespace; kernel parameters that need this uid
//	 clone, setuid(0)
//	root of the          everything else, as without a user namespace
//	namespace
//
// An ordinary user does the first part's share that is possible after setns.

// users is the part of a program that is about its user namespace.
type users struct{ *container }

// plan asks for the user namespace.
func (c users) plan() {
	uids, gids := c.linux.UIDMappings, c.linux.GIDMappings
	c.privileged = c.in.Facts.Caps&(1<<unix.CAP_SYS_ADMIN) != 0
	c.user = None
	c.users = c.has(specs.UserNamespace)
	if !c.users {
		if len(uids)+len(gids) > 0 {
			c.fail(errs.InvalidParameter, "linux.uidMappings: they are for a user namespace, which linux.namespaces does not list")
		}
		return
	}
	n := Need{Kind: NeedUserNS, Path: c.namespaces[specs.UserNamespace], Flag: unix.CLONE_NEWUSER}
	if c.makes(specs.UserNamespace) {
		n.UIDs, n.GIDs = uids, gids
		if len(uids) == 0 || len(gids) == 0 {
			c.fail(errs.InvalidParameter, "linux.uidMappings and linux.gidMappings: a new user namespace needs both")
		}
	} else if n.Path != "" && !c.in.UserNS {
		n.Context = joining(specs.UserNamespace, n.Path)
	}
	c.user = c.need(n)
	c.in.Facts.Caps = 1<<(c.in.Facts.LastCap+1) - 1 // all of the namespace
}

// hostID is the id of the host that id of the container stands for.
func hostID(maps []specs.LinuxIDMapping, id uint32) (uint32, bool) {
	for _, m := range maps {
		if id >= m.ContainerID && uint64(id) < uint64(m.ContainerID)+uint64(m.Size) {
			return m.HostID + id - m.ContainerID, true
		}
	}
	return 0, false
}

// asHost does what takes the rights of the host's root.
func (c users) asHost() {
	c.raiseLimits()
	entrance(c).join()
	mounter(c).idmapTrees()
	c.during("mounting the root filesystem")
	rootfs(c).tree()
	mounter(c).foreign()
	c.sysctls(cwd, "/proc/sys/", c.enters)
	c.during("")
	c.call(unix.SYS_SETGROUPS, "dropping supplementary groups", nil, num(0), num(0))
}

// enter turns the process into one of its user namespace.
func (c users) enter() {
	if c.privileged {
		c.asHost()
	}
	c.during("joining the user namespace")
	c.setns(c.user, unix.CLONE_NEWUSER, "setns")
	c.close(c.user)
	if !c.privileged {
		entrance(c).join()
	}
}

// becomeRoot makes the process root of its user namespace, and sets kernel
// parameters of its new namespaces: those of ipc need uid 0 of the host before
// Linux 6.11, and root of the user namespace since. The network's wait for
// network devices.
func (c users) becomeRoot() {
	become := func() {
		c.during("becoming root of the user namespace")
		c.call(unix.SYS_SETGID, "setgid", nil, num(0))
		c.call(unix.SYS_SETUID, "setuid", nil, num(0))
	}
	early := func(ns specs.LinuxNamespaceType) bool { return c.makes(ns) && ns != specs.NetworkNamespace }
	if !c.privileged || !slices.ContainsFunc(c.sysctl, func(p parameter) bool { return early(p.of) }) {
		become()
		return
	}
	done, all := c.label(), slices.Clone(c.sysctl)
	refused := c.later(done, func() {
		become()
		c.sysctl = all
		c.sysctls(cwd, "/proc/sys/", early)
	})
	c.sysctls(cwd, "/proc/sys/", early, on(unix.EACCES, refused), on(unix.EPERM, refused))
	become()
	c.place(done)
}

// raiseLimits raises hard limits while that is allowed. A low limit of open
// files would hinder what follows, and need not be raised.
func (c users) raiseLimits() {
	for _, l := range c.process.Rlimits {
		resource, ok := numbered(rlimits[:], l.Type)
		if !ok || resource == unix.RLIMIT_NOFILE && l.Hard < 1024 || l.Soft > l.Hard {
			continue // limits tells what is wrong
		}
		c.during(limitContext(l.Type, l.Soft, l.Hard))
		c.call(unix.SYS_PRLIMIT64, "prlimit", nil, num(0), num(int(resource)), c.how(formWords, l.Hard, l.Hard), num(0))
	}
}
