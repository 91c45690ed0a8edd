package program

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

// Magic numbers of filesystems, as fstatfs gives them.
const procMagic = 0x9fa0

// mounter mounts what the spec lists.
type mounter struct{ *container }

// all mounts everything, in the spec's order.
func (c mounter) all() {
	unshared := c.cgroupns == None
	for i := range c.mounts {
		m := &c.mounts[i]
		c.during(m.context())
		if !insideProc(m) {
			c.fail(errs.InvalidParameter, "%q cannot be mounted because it is inside /proc", m.Destination)
		}
		if m.Destination == "/proc" && !m.bind && !m.remount && m.Type != "proc" {
			c.fail(errs.InvalidParameter, notProc)
		}
		switch {
		case m.remount:
			c.remount(m)
		case m.source != "":
			c.bind(m)
		case m.Type == "cgroup" && !c.in.Facts.CgroupV2:
			if !unshared && !c.users {
				// A namespace just for the mounts: their root is then the
				// container's own cgroup, as it should be seen.
				c.unshare(unix.CLONE_NEWCGROUP, "creating a cgroup namespace")
			}
			c.cgroupV1(m)
			if !unshared && !c.users {
				c.setns(c.cgroupns, unix.CLONE_NEWCGROUP, "going back to the host's cgroup namespace")
				c.close(c.cgroupns)
				unshared = true
				c.cgroupns = None
			}
		default:
			c.filesystem(m)
		}
	}
}

// notProc refuses what would have later steps, and programs, read a false /proc.
const notProc = `"/proc" cannot be mounted because it is not of type proc`

// procFiles may be covered by bind mounts: their content is all that matters.
// (The same list as runc's.)
var procFiles = [...]string{"cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "net/dev", "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled"}

// insideProc reports whether the mount may stand where it does, seen from /proc.
func insideProc(m *mount) bool {
	rest, inside := strings.CutPrefix(m.Destination, "/proc/")
	return !inside || m.bind && slices.Contains(procFiles[:], rest)
}

// bind attaches a part of the host's tree.
func (c mounter) bind(m *mount) {
	if m.tree == None {
		m.tree = c.openTree(m.source, m.recursive)
	}
	if m.Destination == "/proc" {
		c.call(unix.SYS_FSTATFS, "looking at its source", nil, fd(m.tree), mem(Scratch))
		c.test(Scratch, 0, 8, ^uint64(0), procMagic, unix.EPERM, "")
		c.message(&c.p.Steps[len(c.p.Steps)-1], notProc)
	}
	if m.set|m.clr != 0 {
		c.setattr(m.tree, m.set, m.clr, 0, false, "setting its options")
	}
	propagation, recursive := m.propagation, m.rpropagation
	if propagation == 0 { // a copy would stay tied to the host's mount, both ways
		propagation, recursive = unix.MS_SLAVE, true
		if p, _, ok := parsePropagation(c.linux.RootfsPropagation); ok && p == unix.MS_PRIVATE {
			propagation = p
		}
	}
	if m.recursive && !recursive && propagation != unix.MS_SHARED {
		c.setattr(m.tree, 0, 0, unix.MS_SLAVE, true, "untying what is below from the host's mounts")
	}
	if m.rset|m.rclr != 0 {
		if recursive {
			c.setattr(m.tree, m.rset, m.rclr, propagation, true, "setting its recursive options")
			propagation = 0
		} else {
			c.setattr(m.tree, m.rset, m.rclr, 0, true, "setting its recursive options")
		}
	}
	if propagation != 0 {
		c.setattr(m.tree, 0, 0, propagation, recursive, "setting its propagation")
	}

	target, found := c.reg(), c.label()
	missing := c.later(found, func() {
		made, file := c.label(), c.label()
		c.statx(fd(m.tree), "", "looking at its source")
		c.test(Scratch, statxMode, 2, unix.S_IFMT, unix.S_IFDIR, unix.ENOTDIR, "", on(unix.ENOTDIR, file))
		c.path(target, m.Destination, PathDir, "creating the mount point")
		c.jump(made)
		c.place(file)
		c.path(target, m.Destination, 0, "creating the mount point")
		c.place(made)
	})
	c.open(unix.SYS_OPENAT2, target, "opening the mount point", []Catch{on(unix.ENOENT, missing)}, fd(c.root), c.text(m.Destination[1:]),
		c.how(formHow, unix.O_PATH|unix.O_CLOEXEC, 0, inRoot), num(24))
	c.place(found)
	if !strings.HasPrefix(m.Destination, "/proc/") {
		c.outsideProc(target, m.Destination)
	}
	attached := c.label()
	c.attach(m.tree, fd(target), "", "attaching", on(unix.EINVAL, c.later(attached, func() { c.unequal(m.tree, target) })))
	c.place(attached)
	c.close(target)
	c.forget(m.Destination)
	if m.Destination == "/dev" {
		c.dev = m.tree
		return
	}
	c.close(m.tree)
}

// unequal fails with ENOTDIR, as mount(2) would, if one is a directory and the
// other is not; else with EINVAL.
func (c mounter) unequal(tree, target Reg) {
	same, file := c.label(), c.label()
	isDir := func(r Reg, no label) {
		c.statx(fd(r), "", "looking at both sides")
		c.test(Scratch, statxMode, 2, unix.S_IFMT, unix.S_IFDIR, unix.ENOTDIR, "attaching", on(unix.ENOTDIR, no))
	}
	isDir(tree, file)
	c.statx(fd(target), "", "looking at both sides")
	c.test(Scratch, statxMode, 2, unix.S_IFMT, unix.S_IFDIR, unix.ENOTDIR, "attaching")
	c.jump(same)
	c.place(file)
	isDir(target, same)
	c.failing(unix.ENOTDIR, "attaching")
	c.place(same)
	c.failing(unix.EINVAL, "attaching")
}

// outsideProc refuses a target that symbolic links of the image have led into
// a procfs, where a mount could fool later steps.
func (c mounter) outsideProc(target Reg, dest string) {
	ok := c.label()
	bad := c.later(ok, func() {
		c.refuse(unix.EPERM, "\""+dest+"\" cannot be mounted because it is inside /proc")
	})
	c.call(unix.SYS_FSTATFS, "looking at the mount point", nil, fd(target), mem(Scratch))
	c.test(Scratch, 0, 8, ^uint64(0), procMagic, unix.EXDEV, "", on(unix.EXDEV, ok))
	c.jump(bad)
	c.place(ok)
}

// forget drops what is known of directories that a mount at dest has covered.
func (c mounter) forget(dest string) {
	for _, d := range slices.Sorted(maps.Keys(c.made)) {
		if d == dest || strings.HasPrefix(d, dest+"/") {
			c.close(c.made[d])
			delete(c.made, d)
		}
	}
	if c.pts != None && (dest == "/dev" || dest == "/dev/pts") {
		c.close(c.pts)
		c.pts = None
	}
}

// filesystem mounts a filesystem of any type.
func (c mounter) filesystem(m *mount) {
	fstype, d := m.kind(), m.made
	if d == None {
		d = c.newFilesystem(m)
	}
	target := c.directory(m.Destination, fstype == "proc" || fstype == "sysfs", fstype)
	c.attach(d, fd(target), "", "attaching")
	c.close(target)

	c.forget(m.Destination)
	switch {
	case m.Destination == "/dev":
		c.dev = d
		if fstype == "tmpfs" {
			c.made["/dev"] = d
		}
	case fstype == "tmpfs", fstype == "sysfs":
		c.made[m.Destination] = d
	case fstype == "proc" && m.Destination == "/proc":
		c.proc = d
	case fstype == "devpts" && m.Destination == "/dev/pts":
		c.pts = d
	default:
		c.close(d)
	}
}

// kind is the type as the kernel knows it.
func (m *mount) kind() string {
	if m.Type == "cgroup" {
		return "cgroup2"
	}
	return m.Type
}

// newFilesystem makes a filesystem, detached.
func (c mounter) newFilesystem(m *mount) Reg {
	fstype := m.kind()
	r := c.fsopen(fstype)
	if m.Source != "" {
		c.fsset(r, "source", &m.Source)
	}
	virtual := false
	switch fstype {
	case "proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup2":
		virtual = true
	}
	for _, s := range m.superblock {
		c.fsset(r, s, nil)
	}
	if !virtual && m.set&attrRO != 0 {
		c.fsset(r, "ro", nil)
	}
	c.options(r, c.mappedData(fstype, m.data))
	if fstype != "proc" && fstype != "sysfs" && fstype != "cgroup2" { // SELinux has labels of its own for those
		c.context(r)
	}
	c.fscreate(r)
	attr := m.set | m.rset
	readonly := fstype == "tmpfs" && attr&attrRO != 0
	if readonly {
		attr &^= attrRO // until all is in it
	}
	d := c.fsmount(r, attr)
	if fstype == "tmpfs" {
		c.inherit(m, d)
		if readonly && m.Destination != "/dev" {
			c.setattr(d, attrRO, 0, 0, false, "making it read-only")
		}
	}
	if m.propagation != 0 && m.propagation != unix.MS_PRIVATE {
		c.setattr(d, 0, 0, m.propagation, m.rpropagation, "setting its propagation")
	}
	return d
}

// directory opens a mount point that must be a directory and makes it if it
// is missing. With real set, no part of dest may be a symbolic link.
func (c mounter) directory(dest string, real bool, fstype string) Reg {
	parent, name := path.Split(dest)
	if p, ok := c.made[strings.TrimSuffix(parent, "/")]; ok {
		// Nobody but this program writes there, so plain names do.
		done := c.label()
		c.mkdirat(fd(p), name, 0o755, "creating the mount point", on(unix.EEXIST, done), on(unix.EPERM, done), on(unix.EACCES, done))
		c.place(done)
		return c.openat(fd(p), name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, "opening the mount point")
	}
	target, found := c.reg(), c.label()
	resolve, flags := uint64(inRoot), PathDir
	var odd []Catch
	if real {
		resolve, flags = direct, PathDir|PathNoLinks
		refuse := c.later(found, func() {
			c.refuse(unix.ELOOP, "filesystem \""+fstype+"\" must be mounted on ordinary directory")
		})
		odd = []Catch{on(unix.ELOOP, refuse), on(unix.ENOTDIR, refuse)}
	}
	missing := c.later(found, func() { c.path(target, dest, flags, "creating the mount point", odd...) })
	c.open(unix.SYS_OPENAT2, target, "opening the mount point", append([]Catch{on(unix.ENOENT, missing)}, odd...), fd(c.root), c.text(dest[1:]),
		c.how(formHow, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0, resolve), num(24))
	c.place(found)
	if !real {
		c.outsideProc(target, dest)
	}
	return target
}

// cgroupV1 mounts a tmpfs and in it each hierarchy, beginning at the cgroup
// that the process is in.
func (c mounter) cgroupV1(m *mount) {
	r := c.fsopen("tmpfs")
	c.options(r, []string{"mode=755"})
	c.fscreate(r)
	ro := (m.set | m.rset) & attrRO
	attr := (m.set | m.rset) &^ attrRO
	d := c.fsmount(r, attr)
	target := c.directory(m.Destination, false, "tmpfs")
	c.attach(d, fd(target), "", "attaching")
	c.close(target)
	c.forget(m.Destination)
	// Nobody else can reach the tmpfs yet, so plain names do, and mount(2)
	// needs a third of the calls.
	c.call(unix.SYS_FCHDIR, "entering it", nil, fd(d))
	flags := mountFlags(attr | ro)
	for i, h := range c.in.Facts.CgroupV1 {
		c.mkdirat(cwd, h.Dir, 0o755, "creating "+h.Dir)
		if len(c.v1) > 0 {
			if ro != 0 {
				c.setattr(c.v1[i], ro, 0, 0, false, "making "+h.Dir+" read-only")
			}
			c.attach(c.v1[i], cwd, h.Dir, "attaching "+h.Dir)
			c.close(c.v1[i])
		} else {
			c.call(unix.SYS_MOUNT, "mounting "+h.Dir, nil, c.text("cgroup"), c.text(h.Dir), c.text("cgroup"), imm(flags, formMS), c.text(h.Options))
		}
		if names := strings.Split(h.Dir, ","); len(names) > 1 {
			for _, name := range names {
				c.symlinkat(h.Dir, cwd, name, "linking "+name)
			}
		}
	}
	if ro != 0 {
		c.setattr(d, ro, 0, 0, false, "making it read-only")
	}
	c.close(d)
}

// mountFlags turns mount attributes into flags of mount(2).
func mountFlags(attr uint64) (flags uint64) {
	for _, f := range [...][2]uint64{{attrRO, unix.MS_RDONLY}, {unix.MOUNT_ATTR_NOSUID, unix.MS_NOSUID}, {unix.MOUNT_ATTR_NODEV, unix.MS_NODEV},
		{unix.MOUNT_ATTR_NOEXEC, unix.MS_NOEXEC}, {unix.MOUNT_ATTR_NOATIME, unix.MS_NOATIME}, {unix.MOUNT_ATTR_STRICTATIME, unix.MS_STRICTATIME},
		{unix.MOUNT_ATTR_NODIRATIME, unix.MS_NODIRATIME}, {unix.MOUNT_ATTR_NOSYMFOLLOW, unix.MS_NOSYMFOLLOW}} {
		if attr&f[0] != 0 {
			flags |= f[1]
		}
	}
	return flags
}

// protect hides and write-protects paths of the container.
func (c *container) protect() {
	for _, p := range c.linux.ReadonlyPaths {
		c.during("making " + p + " read-only")
		done := c.label()
		dir, name := c.nearest(p)
		r := c.openat2(fd(dir), name, unix.O_PATH, inRoot, "opening", on(unix.ENOENT, done), on(unix.ENOTDIR, done))
		t := c.clone(r, unix.AT_RECURSIVE, "copying the mount")
		c.setattr(t, attrRO, 0, 0, true, "setting the attribute")
		c.attach(t, fd(r), "", "attaching")
		c.close(t)
		c.close(r)
		c.place(done)
	}
	if len(c.linux.MaskedPaths) > 0 {
		c.mask()
	}
	if c.proc != None {
		c.close(c.proc)
	}
}

// mask puts /dev/null over files, and an empty directory over directories.
func (c *container) mask() {
	c.during("masking paths")
	null := c.openat(fd(c.dev), "null", unix.O_PATH|unix.O_NOFOLLOW, "opening /dev/null")
	c.isDevice(fd(null), "", 1, 3, "verifying /dev/null", nil)
	for _, p := range c.linux.MaskedPaths {
		c.during("masking " + p)
		done := c.label()
		target := c.reg()
		dir, name := c.nearest(p)
		file := c.later(done, func() {
			c.open(unix.SYS_OPENAT2, target, "opening", []Catch{on(unix.ENOENT, done), on(unix.ENOTDIR, done)}, fd(dir), c.text(name),
				c.how(formHow, unix.O_PATH|unix.O_CLOEXEC, 0, inRoot), num(24))
			t := c.clone(null, 0, "copying /dev/null")
			c.attach(t, fd(target), "", "attaching /dev/null")
			c.close(t)
			c.close(target)
		})
		c.open(unix.SYS_OPENAT2, target, "opening", []Catch{on(unix.ENOENT, done), on(unix.ENOTDIR, file)}, fd(dir), c.text(name),
			c.how(formHow, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0, inRoot), num(24))
		t := c.clone(c.made["mask"], 0, "copying an empty directory")
		c.attach(t, fd(target), "", "attaching an empty directory")
		c.close(t)
		c.close(target)
		c.place(done)
	}
}

// nearest returns the mount of this program's own that p lies in, and the rest
// of p. Who can write to the root filesystem meanwhile could, by a link for
// /proc, make a path that is to be hidden look missing.
func (c *container) nearest(p string) (Reg, string) {
	p = path.Clean("/" + p)
	best, dir := "", c.root
	consider := func(at string, r Reg) {
		if r != None && len(at) > len(best) && strings.HasPrefix(p, at+"/") {
			best, dir = at, r
		}
	}
	consider("/proc", c.proc)
	for at, r := range c.made {
		consider(at, r)
	}
	return dir, inside(p[len(best):])
}

// inside makes a container path relative, for use with the root's descriptor.
func inside(p string) string {
	if p = path.Clean("/" + p)[1:]; p == "" {
		return "."
	}
	return p
}

// needsDevices reports whether /dev is the runtime's to fill: not when the
// user has bound a directory there.
func (c *container) needsDevices() bool {
	for _, m := range c.mounts {
		if m.Destination == "/dev" && m.bind {
			return false
		}
	}
	return true
}

// isDevice fails unless the file is the given character device.
func (c *container) isDevice(dir Arg, name string, major, minor uint32, doing string, catch []Catch) {
	c.isNode(dir, name, unix.S_IFCHR, major, minor, doing, catch)
}

// isNode fails unless the file is the given device.
func (c *container) isNode(dir Arg, name string, kind, major, minor uint32, doing string, catch []Catch) {
	c.statx(dir, name, doing, catch...)
	c.test(Scratch, statxMode, 2, unix.S_IFMT, uint64(kind), unix.ENODEV, doing, catch...)
	c.test(Scratch, statxMajor, 8, ^uint64(0), uint64(major)|uint64(minor)<<32, unix.ENODEV, doing, catch...)
}
