package program

import (
	"path"
	"strings"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

// layerTree makes a copy of a layer's mount, mapped to the container's ids or
// as it is.
func (c rootfs) layerTree(dir string, mapped bool) Reg {
	t := c.open(unix.SYS_OPEN_TREE, None, "opening "+dir, nil, cwd, c.text(dir), imm(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC, formTree))
	if mapped {
		c.idmap(t, c.user, false, "idmapping "+dir+", which its filesystem has to allow")
	}
	return t
}

// opening is a directory to be opened on an idmapped mount.
type opening struct {
	dir   string
	flags uint64
	out   Reg
}

// sameMount has a path found only if it stays on its mount.
const sameMount = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS

// openMapped opens directories on an idmapped copy of the mount that they lie
// on. One copy serves all, since to drop one takes the kernel some 30
// microseconds; a directory on a mount of its own, or behind a symbolic link,
// gets its own. Copies last until execve.
func (c rootfs) openMapped(list []opening) {
	dirs := make([]string, len(list))
	for i, o := range list {
		dirs[i] = o.dir
	}
	base, done := common(dirs), c.label()
	alone := func(o opening) {
		t := c.layerTree(o.dir, true)
		c.open(unix.SYS_OPENAT, o.out, "opening "+o.dir, nil, fd(t), mem(c.dot), imm(o.flags|unix.O_DIRECTORY|unix.O_CLOEXEC, formOpen), num(0))
	}
	each := c.later(done, func() { // what all lie below cannot be mapped, and need not be
		for _, o := range list {
			alone(o)
		}
	})
	host := c.openat(cwd, base, unix.O_PATH|unix.O_DIRECTORY, "opening "+base)
	tree := c.layerTree(base, false)
	c.idmap(tree, c.user, false, "idmapping "+base, on(unix.EINVAL, each), on(unix.EPERM, each))
	for _, o := range list {
		opened, name, doing := c.label(), below(base, o.dir), "opening "+o.dir
		elsewhere := c.later(opened, func() { alone(o) })
		c.close(c.openat2(fd(host), name, unix.O_PATH|unix.O_DIRECTORY, sameMount|unix.RESOLVE_NO_SYMLINKS, doing, on(unix.EXDEV, elsewhere), on(unix.ELOOP, elsewhere)))
		c.open(unix.SYS_OPENAT2, o.out, doing, nil, fd(tree), c.text(name),
			c.how(formHow, o.flags|unix.O_DIRECTORY|unix.O_CLOEXEC, 0, sameMount|unix.RESOLVE_NO_SYMLINKS), num(24))
		c.place(opened)
	}
	c.close(host)
	c.place(done)
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

// asOwner has f, which mounts the overlay, run with the ids that the files which
// it makes get on an idmapped mount: overlayfs keeps the credentials of who
// mounts it, and the host's root has no id there. Nor may they hold what lets
// a process write past the quota of an ext4.
func (c rootfs) asOwner(o *Overlay, mapped bool, f func()) {
	if o.Limited && c.caps&(1<<unix.CAP_SYS_RESOURCE) != 0 {
		mount := f
		f = func() {
			e := entry{container: c.container}
			e.capset(capSets{effective: c.caps &^ (1 << unix.CAP_SYS_RESOURCE), permitted: c.caps})
			mount()
			e.capset(capSets{effective: c.caps, permitted: c.caps})
		}
	}
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
func (c rootfs) overlayByPath(o *Overlay, mapped bool) Reg {
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
	for _, option := range o.Options {
		options += "," + option
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
	c.asOwner(o, mapped, func() {
		c.call(unix.SYS_MOUNT, "mounting overlay", nil, c.text("overlay"), c.text("m"), c.text("overlay"), imm(0, formMS), c.text(options))
	})
	m := c.open(unix.SYS_OPEN_TREE, None, "detaching the overlay", nil, cwd, c.text("m"), imm(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC, formTree))
	c.call(unix.SYS_CHDIR, "leaving the place for the layers", nil, c.text("/"))
	c.close(dir)
	return m
}
