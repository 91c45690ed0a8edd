package program

import (
	"path"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The devices and links that every container has, as the OCI runtime spec
// lists them (config-linux, "Default Devices" and "/dev symbolic links").
var (
	defaultDevices = []specs.LinuxDevice{
		{Path: "/dev/null", Type: "c", Major: 1, Minor: 3},
		{Path: "/dev/zero", Type: "c", Major: 1, Minor: 5},
		{Path: "/dev/full", Type: "c", Major: 1, Minor: 7},
		{Path: "/dev/random", Type: "c", Major: 1, Minor: 8},
		{Path: "/dev/urandom", Type: "c", Major: 1, Minor: 9},
		{Path: "/dev/tty", Type: "c", Major: 5, Minor: 0},
	}
	defaultLinks = [][2]string{{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"}}
)

// deviceType reads the type of a device of the spec.
func deviceType(s string) (mode uint32, ok bool) {
	switch s {
	case "c", "u":
		return unix.S_IFCHR, true
	case "b":
		return unix.S_IFBLK, true
	case "p":
		return unix.S_IFIFO, true
	}
	return 0, false
}

// devices fills /dev.
func (c *container) devices() {
	c.during("filling /dev")
	ours := c.needsDevices()
	if c.dev == None {
		c.dev = c.path(None, "/dev", PathDir, "opening /dev")
	}
	if !ours {
		return
	}
	list := append([]specs.LinuxDevice(nil), defaultDevices...)
	for _, d := range c.linux.Devices {
		d.Path = path.Clean("/" + d.Path)
		replaced := false
		for i := range list {
			if list[i].Path == d.Path {
				list[i], replaced = d, true
			}
		}
		if !replaced {
			list = append(list, d)
		}
	}
	for _, d := range list {
		c.device(d)
	}
	c.during("filling /dev")
	for _, l := range defaultLinks {
		c.link(l[1], l[0])
	}
	none, done := c.label(), c.label()
	c.call(unix.SYS_FACCESSAT, "looking for /proc/kcore", []Catch{on(0, none)}, cwd, c.text("/proc/kcore"), num(unix.F_OK))
	c.link("/proc/kcore", "core")
	c.jump(done)
	c.place(none)
	c.place(done)
	if _, fresh := c.made["/dev"]; !fresh {
		gone := c.label()
		c.call(unix.SYS_UNLINKAT, "removing ptmx", []Catch{on(unix.ENOENT, gone)}, fd(c.dev), c.text("ptmx"), num(0))
		c.place(gone)
	}
	c.link("pts/ptmx", "ptmx")
	for _, m := range c.mounts {
		if m.Destination == "/dev" && (m.set|m.rset)&attrRO != 0 {
			c.readonlyDev = true
		}
	}
}

// link makes a symbolic link in /dev, unless the name is taken.
func (c *container) link(target, name string) {
	taken := c.label()
	c.symlinkat(target, fd(c.dev), name, "linking "+name, on(unix.EEXIST, taken))
	c.place(taken)
}

// device makes a device node; where that is not permitted it binds the host's.
func (c *container) device(d specs.LinuxDevice) {
	kind, ok := deviceType(d.Type)
	if !ok {
		c.fail(errs.InvalidParameter, "linux.devices: %s: unknown type %q", d.Path, d.Type)
		return
	}
	if kind != unix.S_IFIFO && (d.Major < 0 || d.Minor < 0 || d.Major > 1<<12-1 || d.Minor > 1<<20-1) {
		c.fail(errs.InvalidParameter, "linux.devices: %s: no such device number %d:%d", d.Path, d.Major, d.Minor)
		return
	}
	c.during("creating device " + d.Path)
	dir, name := path.Split(d.Path)
	parent, temporary := c.dev, dir != "/dev/"
	if temporary {
		if name == "" {
			c.fail(errs.InvalidParameter, "linux.devices: %q is not a path", d.Path)
			return
		}
		parent = c.path(None, dir, PathDir, "opening its directory")
	}
	mode := uint32(0o666)
	if d.FileMode != nil {
		mode = uint32(*d.FileMode) & 0o7777
	}
	dev := unix.Mkdev(uint32(d.Major), uint32(d.Minor))
	if kind == unix.S_IFIFO {
		dev = 0
	}
	done := c.label()
	bind := c.later(done, func() {
		exists := c.label()
		c.mknodat(fd(parent), name, unix.S_IFREG, 0, "creating a mount point", on(unix.EEXIST, exists))
		c.place(exists)
		at := c.openat(fd(parent), name, unix.O_PATH|unix.O_NOFOLLOW, "opening the mount point")
		t := c.open(unix.SYS_OPEN_TREE, None, "opening the host's", nil, cwd, c.text(d.Path), imm(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC, formTree))
		if kind != unix.S_IFIFO { // whatever the host calls so, it must be what we would make
			c.isNode(fd(t), "", kind, uint32(d.Major), uint32(d.Minor), "verifying the host's", nil)
		}
		c.attach(t, fd(at), "", "attaching the host's")
		c.close(t)
		c.close(at)
		if temporary {
			c.close(parent)
		}
	})
	known := c.later(done, func() { // the image has it: it must be what we would make
		if kind == unix.S_IFCHR {
			c.isDevice(fd(parent), name, uint32(d.Major), uint32(d.Minor), "verifying what the image holds there", nil)
		} else {
			c.refuse(unix.EEXIST, "creating device "+d.Path+": the image holds a file of that name")
		}
		if temporary {
			c.close(parent)
		}
	})
	c.mknodat(fd(parent), name, kind|mode, dev, "mknod", on(unix.EPERM, bind), on(unix.EEXIST, known))
	if d.UID != nil && *d.UID != 0 || d.GID != nil && *d.GID != 0 {
		c.call(unix.SYS_FCHOWNAT, "setting its owner", nil, fd(parent), c.text(name), num(value(d.UID)), num(value(d.GID)), imm(unix.AT_SYMLINK_NOFOLLOW, formAt))
		if mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
			c.fail(errs.InvalidParameter, "linux.devices: %s: a device has no set-id bits", d.Path)
		}
	}
	if temporary {
		c.close(parent)
	}
	c.place(done)
}

func value(p *uint32) uint32 {
	if p == nil {
		return 0
	}
	return *p
}
