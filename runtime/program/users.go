package program

import (
	"path"
	"slices"
	"strconv"
	"strings"

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

// planUsers asks for the user namespace.
func (c *container) planUsers() {
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
		n.Context = "creating the user namespace"
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

// planIDMap asks for a user namespace with the maps of a mount; without maps the
// container's is used.
func (c *container) planIDMap(m *mount) {
	uids, gids := m.UIDMappings, m.GIDMappings
	m.ids = None
	switch {
	case len(uids)+len(gids) == 0 && !m.idmap:
		return
	case !m.bind:
		c.fail(errs.InvalidParameter, "mounts: %s: only bind mounts can be idmapped", m.Destination)
	case c.users && !c.privileged:
		c.fail(errs.NotImplemented, "mounts: %s: idmapping takes the rights of the host's root", m.Destination)
	case (len(uids) == 0) != (len(gids) == 0):
		c.fail(errs.InvalidParameter, "mounts: %s: uidMappings and gidMappings come together", m.Destination)
	case len(uids) == 0 && !c.users:
		c.fail(errs.InvalidParameter, "mounts: %s: idmap without uidMappings is for containers with a user namespace", m.Destination)
	case len(uids) == 0:
		m.ids = c.user
	default:
		m.ids = c.need(Need{Kind: NeedIDMap, UIDs: uids, GIDs: gids, Context: "idmapping " + m.Source})
	}
}

// idmap shows the ids of a detached mount as the user namespace ids maps them.
func (c *container) idmap(tree, ids Reg, recursive bool, doing string) {
	k := Block{Data: make([]byte, 32), form: formAttrs}
	put64(k.Data, unix.MOUNT_ATTR_IDMAP)
	attr := c.block(k)
	c.store(attr, 24, ids)
	flags := uint64(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	c.call(unix.SYS_MOUNT_SETATTR, doing, nil, fd(tree), mem(c.empty), imm(flags, formTree), mem(attr), num(32))
}

// openTrees makes detached copies of what a caller without rights could not
// open.
func (c *container) openTrees() {
	if c.privileged || !c.users {
		return
	}
	for i := range c.mounts {
		if m := &c.mounts[i]; m.source != "" {
			c.during(m.context())
			flags := uint64(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
			if m.recursive {
				flags |= unix.AT_RECURSIVE
			}
			m.tree = c.open(unix.SYS_OPEN_TREE, None, "opening "+m.source, nil, cwd, c.text(m.source), imm(flags, formTree))
		}
	}
}

// idmapTrees does so for those mounts that ask for it.
func (c *container) idmapTrees() {
	for i := range c.mounts {
		if m := &c.mounts[i]; m.ids != None {
			c.during(m.context())
			c.idmap(m.tree, m.ids, m.ridmap, "idmapping")
		}
	}
}

// asHost does what takes the rights of the host's root.
func (c *container) asHost() {
	c.raiseLimits()
	c.joinNamespaces()
	c.idmapTrees()
	c.during("mounting the root filesystem")
	c.rootTree()
	c.mountForeign()
	c.sysctls(cwd, "/proc/sys/", c.enters)
	c.during("")
	c.call(unix.SYS_SETGROUPS, "dropping supplementary groups", nil, num(0), num(0))
}

// enterUsers turns the process into one of its user namespace.
func (c *container) enterUsers() {
	if c.privileged {
		c.asHost()
	}
	c.during("joining the user namespace")
	c.setns(c.user, unix.CLONE_NEWUSER, "setns")
	c.close(c.user)
	if !c.privileged {
		c.joinNamespaces()
	}
}

// becomeRoot makes the process root of its user namespace, and sets kernel
// parameters of its new namespaces: those of ipc need uid 0 of the host before
// Linux 6.11, and root of the user namespace since. The network's wait for
// network devices.
func (c *container) becomeRoot() {
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
func (c *container) raiseLimits() {
	for _, l := range c.process.Rlimits {
		resource, ok := numbered(rlimits[:], l.Type)
		if !ok || resource == unix.RLIMIT_NOFILE && l.Hard < 1024 || l.Soft > l.Hard {
			continue // limits tells what is wrong
		}
		c.during(limitContext(l.Type, l.Soft, l.Hard))
		c.call(unix.SYS_PRLIMIT64, "prlimit", nil, num(0), num(int(resource)), c.how(formWords, l.Hard, l.Hard), num(0))
	}
}

// mountForeign mounts what belongs to a namespace that is not the container's
// own: nobody but its owner may, and root of the user namespace is not.
func (c *container) mountForeign() {
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
		m.made = mounter{c}.newFilesystem(m)
	}
}

// layerTree makes a copy of a layer's mount, mapped to the container's ids or
// as it is.
func (c *container) layerTree(dir string, mapped bool) Reg {
	t := c.open(unix.SYS_OPEN_TREE, None, "opening "+dir, nil, cwd, c.text(dir), imm(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC, formTree))
	if mapped {
		c.idmap(t, c.user, false, "idmapping "+dir)
	}
	return t
}

// writers returns the directory that holds both the upper and the work
// directory of an overlay, which have to lie on one mount, and their names
// below it.
func (o *Overlay) writers() (base, upper, work string) {
	base = common([]string{o.Upper, o.Work})
	return base, below(base, o.Upper), below(base, o.Work)
}

// common is the directory that all of dirs lie in.
func common(dirs []string) string {
	base := path.Dir(path.Clean(dirs[0]))
	for _, dir := range dirs[1:] {
		for base != "/" && !strings.HasPrefix(path.Clean(dir), base+"/") {
			base = path.Dir(base)
		}
	}
	return base
}

// below is the name of dir from base.
func below(base, dir string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path.Clean(dir), base), "/")
}

// noSetuidFixup is SECBIT_NO_SETUID_FIXUP of linux/securebits.h.
const noSetuidFixup = 1 << 2

// asOwner has f run with the ids that the files which it makes get on an
// idmapped mount: overlayfs keeps the credentials of who mounts it, and the
// host's root has no id there.
func (c *container) asOwner(mapped bool, f func()) {
	if !mapped {
		f()
		return
	}
	uid, ok := hostID(c.linux.UIDMappings, 0)
	gid, also := hostID(c.linux.GIDMappings, 0)
	if !ok || !also {
		c.fail(errs.InvalidParameter, "linux.uidMappings and linux.gidMappings: an idmapped root filesystem needs to know what the container's root is on the host")
	}
	// Else the change of user would take rights away; the user namespace sets
	// it back.
	c.prctl(unix.PR_SET_SECUREBITS, noSetuidFixup, 0, "keeping capabilities")
	c.call(unix.SYS_SETFSGID, "setfsgid", nil, num(gid))
	c.call(unix.SYS_SETFSUID, "setfsuid", nil, num(uid))
	f()
	c.call(unix.SYS_SETFSUID, "setfsuid", nil, num(0))
	c.call(unix.SYS_SETFSGID, "setfsgid", nil, num(0))
}

// overlayByPath makes a detached overlay on a kernel that takes layers by name
// only: they are attached in a mount namespace that nobody else is in.
func (c *container) overlayByPath(o *Overlay, mapped bool) Reg {
	var trees []Reg
	var names []string
	for i, dir := range o.Lower {
		trees, names = append(trees, c.layerTree(dir, mapped)), append(names, itoa(i))
	}
	options := "lowerdir=" + strings.Join(names, ":")
	if o.Upper != "" {
		base, upper, work := o.writers()
		trees, names = append(trees, c.layerTree(base, mapped)), append(names, "w")
		options += ",upperdir=w/" + overlayEscape(upper) + ",workdir=w/" + overlayEscape(work)
	}
	if o.Volatile {
		options += ",volatile"
	}
	c.unshare(unix.CLONE_NEWNS, "creating a mount namespace for the layers")
	c.slaveMounts()
	r := c.fsopen("tmpfs")
	c.options(r, []string{"mode=0700", "size=64k"})
	c.fscreate(r)
	dir := c.fsmount(r, 0)
	c.attach(dir, cwd, o.Lower[0], "attaching a place for the layers")
	for i, t := range trees {
		c.mkdirat(fd(dir), names[i], 0o700, "creating a place for a layer")
		c.attach(t, fd(dir), names[i], "attaching a layer")
		c.close(t)
	}
	c.call(unix.SYS_FCHDIR, "entering the place for the layers", nil, fd(dir))
	c.mkdirat(cwd, "m", 0o700, "creating a mount point")
	c.asOwner(mapped, func() {
		c.call(unix.SYS_MOUNT, "mounting overlay", nil, c.text("overlay"), c.text("m"), c.text("overlay"), imm(0, formMS), c.text(options))
	})
	m := c.open(unix.SYS_OPEN_TREE, None, "detaching the overlay", nil, cwd, c.text("m"), imm(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC, formTree))
	c.call(unix.SYS_CHDIR, "leaving the place for the layers", nil, c.text("/"))
	c.close(dir)
	return m
}

// hierarchiesV1 mounts the hierarchies of cgroup v1, beginning at the cgroup
// that the process is in, though it will live in the host's cgroup namespace.
func (c *container) hierarchiesV1(m *mount) {
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

// mappedData leaves out the group that terminals shall have if the container
// has none of that number: the kernel would refuse it.
func (c *container) mappedData(fstype string, data []string) []string {
	if !c.users || fstype != "devpts" || len(c.linux.GIDMappings) == 0 {
		return data
	}
	return slices.DeleteFunc(slices.Clone(data), func(s string) bool {
		text, ok := strings.CutPrefix(s, "gid=")
		gid, err := strconv.ParseUint(text, 10, 32)
		if !ok || err != nil {
			return false
		}
		_, mapped := hostID(c.linux.GIDMappings, uint32(gid))
		return !mapped
	})
}
