package program

import (
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// rootfs is the part of a program that is about the root filesystem.
type rootfs struct{ *container }

// mount mounts the root filesystem while the process still stands in the
// host's: an overlay on top of the host's root, a directory on itself, since
// hooks look for it there. enter makes it the only one.
func (c rootfs) mount() {
	c.during("mounting the root filesystem")
	attached := c.root == None && c.tree()
	if len(c.linux.MaskedPaths) > 0 {
		// An empty directory to put over others. It hides under the root
		// filesystem, attached, since Linux before 6.15 copies no detached mount.
		r := c.fsopen("tmpfs")
		c.options(r, []string{"mode=0555", "size=4k", "nr_inodes=2"})
		c.fscreate(r)
		c.made["mask"] = c.fsmount(r, attrRO|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
		c.attachOver(c.made["mask"])
	}
	if !attached {
		c.attachOver(c.root)
	}
}

// attachOver attaches what is to be the root, or to lie under it.
func (c rootfs) attachOver(tree Reg) {
	dir := c.in.Root.Dir
	switch {
	case dir == "":
		c.attach(tree, cwd, "/", "attaching")
	case c.users: // its root may have no way to the directory
		done := c.label()
		closed := c.later(done, func() { c.attach(tree, cwd, "/", "attaching") })
		c.attach(tree, cwd, dir, "attaching", on(unix.EACCES, closed))
		c.place(done)
	default:
		c.attach(tree, cwd, dir, "attaching")
	}
}

// tree makes the root filesystem as a detached mount, and reports whether
// it had to be attached at once.
func (c rootfs) tree() (attached bool) {
	mapped := c.users && c.privileged && c.in.Root.IDMap
	if dir := c.in.Root.Dir; dir != "" {
		if c.root = c.given; c.root == None {
			c.root = c.openTree(dir, true)
			if c.users && c.privileged { // in the host's mount namespace, where it may be shared
				c.setattr(c.root, 0, 0, unix.MS_SLAVE, true, "making the host's mounts unreachable for ours")
			}
		}
		if mapped {
			c.idmap(c.root, c.user, true, "idmapping "+dir+", which its filesystem has to allow")
		}
		return false
	}
	o := c.in.Root.Overlay
	if mapped && !c.in.Facts.MappedLayers {
		c.fail(errs.NotImplemented, "root: an overlay of idmapped layers takes Linux 5.19")
	}
	switch {
	case mapped && !c.in.Facts.DetachedLayers, c.users && c.privileged && !c.in.Facts.OverlayFD:
		c.root = c.overlayByPath(o, mapped)
		return false
	case !c.in.Facts.OverlayFD:
		c.legacyOverlay(o)
		return true
	}
	r := c.fsopen("overlay")
	c.fsset(r, "source", &overlayName)
	set := func(key, dir string, d Reg) {
		c.call(unix.SYS_FSCONFIG, "adding layer "+dir, nil, fd(r), imm(unix.FSCONFIG_SET_FD, formFsconfig), c.text(key), num(0), fd(d))
		c.close(d)
	}
	if mapped {
		var list []opening
		for _, dir := range o.Lower {
			list = append(list, opening{dir, unix.O_RDONLY, c.reg()})
		}
		base, upper, work := "", "", ""
		if o.Upper != "" {
			base, upper, work = o.writers()
			list = append(list, opening{base, unix.O_PATH, c.reg()})
		}
		c.openMapped(list)
		for i, dir := range o.Lower {
			set("lowerdir+", dir, list[i].out)
		}
		if o.Upper != "" {
			w := list[len(o.Lower)].out
			set("upperdir", o.Upper, c.openat2(fd(w), upper, unix.O_RDONLY|unix.O_DIRECTORY, sameMount, "opening "+o.Upper))
			set("workdir", o.Work, c.openat2(fd(w), work, unix.O_RDONLY|unix.O_DIRECTORY, sameMount, "opening "+o.Work))
			c.close(w)
		}
	} else {
		open := func(dir string) Reg {
			return c.openat(cwd, dir, unix.O_RDONLY|unix.O_DIRECTORY, "opening "+dir)
		}
		for _, dir := range o.Lower {
			set("lowerdir+", dir, open(dir))
		}
		if o.Upper != "" {
			set("upperdir", o.Upper, open(o.Upper))
			set("workdir", o.Work, open(o.Work))
		}
	}
	if o.Volatile {
		c.fsset(r, "volatile", nil)
	}
	c.options(r, o.Options)
	c.asOwner(o, mapped, func() { c.fscreate(r) })
	c.root = c.fsmount(r, 0)
	return false
}

// legacyOverlay mounts by one option string, which must fit a page: hence
// names relative to the directory that the layers have in common. The mount
// covers its own topmost directory, which the overlay has a private view of.
func (c rootfs) legacyOverlay(o *Overlay) {
	all := append([]string(nil), o.Lower...)
	if o.Upper != "" {
		all = append(all, o.Upper, o.Work)
	}
	base := common(all)
	short := func(dir string) string { return overlayEscape(below(base, dir)) }
	var s strings.Builder
	for i, dir := range o.Lower {
		s.WriteString([]string{":", "lowerdir="}[min(1, max(0, 1-i))])
		s.WriteString(short(dir))
	}
	target := o.Lower[0]
	if o.Upper != "" {
		s.WriteString(",upperdir=" + short(o.Upper) + ",workdir=" + short(o.Work))
		target = o.Upper
	}
	if o.Volatile {
		s.WriteString(",volatile")
	}
	for _, option := range o.Options {
		s.WriteString("," + option)
	}
	if label := c.linux.MountLabel; label != "" {
		s.WriteString(`,context="` + label + `"`)
	}
	if s.Len() >= 4096 {
		c.fail(errs.InvalidParameter, "root: the names of %d layers do not fit the options of a mount", len(o.Lower))
	}
	for _, dir := range all { // the mount would not say which one is missing
		c.close(c.openat(cwd, dir, unix.O_PATH|unix.O_DIRECTORY, "opening "+dir))
	}
	c.call(unix.SYS_CHDIR, "entering "+base, nil, c.text(base))
	c.asOwner(o, false, func() {
		c.call(unix.SYS_MOUNT, "mounting overlay", nil, c.text("overlay"), c.text(target), c.text("overlay"), imm(0, formMS), c.text(s.String()))
	})
	c.root = c.openat(cwd, target, unix.O_PATH|unix.O_DIRECTORY, "opening "+target)
}

var overlayName = "overlay"

// overlayEscape quotes a path for overlay's mount options.
func overlayEscape(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), ",", `\,`), ":", `\:`)
}

// enter makes the new root the process's only one.
func (c rootfs) enter() {
	c.during("entering the root filesystem")
	c.call(unix.SYS_FCHDIR, "fchdir", nil, fd(c.root))
	if !c.makes(specs.MountNamespace) {
		// pivot_root would move everybody in the namespace.
		c.call(unix.SYS_CHROOT, "chroot", nil, c.text("."))
	} else {
		c.call(unix.SYS_PIVOT_ROOT, "pivot_root", nil, c.text("."), c.text("."))
		// The host's root now lies over ours, with whatever lay over it. All of it
		// goes: until the way up from the root crosses no mount.
		covered := c.label()
		c.place(covered)
		c.call(unix.SYS_UMOUNT2, "detaching the host's root", nil, c.text("."), num(unix.MNT_DETACH))
		up := c.openat2(cwd, "..", unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_NO_XDEV, "looking for the host's root", on(unix.EXDEV, covered))
		c.close(up)
	}
	c.call(unix.SYS_CHDIR, "chdir", nil, c.text("/"))
	set, propagation, recursive := uint64(0), uint64(0), false
	if c.spec.Root != nil && c.spec.Root.Readonly {
		set = attrRO
	}
	if s := c.linux.RootfsPropagation; s != "" {
		var ok bool
		if propagation, recursive, ok = parsePropagation(s); !ok {
			c.fail(errs.InvalidParameter, "linux.rootfsPropagation: unknown mode %q", s)
		}
	}
	if set != 0 {
		c.setattr(c.root, set, 0, 0, false, "making it read-only")
	}
	if propagation != 0 {
		c.setattr(c.root, 0, 0, propagation, recursive, "setting its propagation")
	}
}
