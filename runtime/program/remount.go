package program

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// remount changes a mount that is there, and its filesystem unless that is to
// be left alone. Options that are not named stay as they are.
func (c mounter) remount(m *mount) {
	target := c.openat2(fd(c.root), inside(m.Destination), unix.O_PATH, inRoot, "opening the mount point")
	if !m.alone {
		r := c.open(unix.SYS_FSPICK, None, "opening the filesystem", nil, fd(target), mem(c.empty), imm(unix.FSPICK_CLOEXEC|unix.FSPICK_EMPTY_PATH, formHex))
		for _, s := range m.superblock {
			c.fsset(r, s, nil)
		}
		switch {
		case (m.set|m.rset)&attrRO != 0:
			c.fsset(r, "ro", nil)
		case (m.clr|m.rclr)&attrRO != 0:
			c.fsset(r, "rw", nil)
		}
		c.options(r, m.data)
		c.call(unix.SYS_FSCONFIG, "changing the filesystem", nil, fd(r), imm(unix.FSCONFIG_CMD_RECONFIGURE, formFsconfig), num(0), num(0), num(0))
		c.close(r)
	}
	if m.set|m.clr != 0 {
		c.setattr(target, m.set, m.clr, 0, false, "setting its options")
	}
	if m.rset|m.rclr != 0 {
		c.setattr(target, m.rset, m.rclr, 0, true, "setting its recursive options")
	}
	if m.propagation != 0 {
		c.setattr(target, 0, 0, m.propagation, m.rpropagation, "setting its propagation")
	}
	c.close(target)
}

// inherit gives the tmpfs d what it takes from the directory below it: the
// mode if no option says otherwise, and with tmpcopyup everything.
func (c mounter) inherit(m *mount, d Reg) {
	hasMode := slices.ContainsFunc(m.data, func(s string) bool { return strings.HasPrefix(s, "mode=") })
	parent := m.Destination[:strings.LastIndexByte(m.Destination, '/')]
	if _, fresh := c.made[parent]; fresh || hasMode && !m.copyUp {
		return // whatever is there, this program has made it
	}
	done := c.label()
	flags := uint64(unix.O_PATH | unix.O_DIRECTORY)
	if m.copyUp {
		flags = unix.O_RDONLY | unix.O_DIRECTORY
	}
	// What else is wrong with it is told when the mount point is opened.
	below := c.openat2(fd(c.root), m.Destination[1:], flags, inRoot, "", on(AnyErrno, done))
	if m.copyUp {
		c.add(OpCopy, "copying what is below", fd(below), fd(d))
	}
	if !hasMode {
		c.call(unix.SYS_STATX, "looking at what is below", nil, fd(below), mem(c.empty), imm(unix.AT_EMPTY_PATH, formAt), num(unix.STATX_TYPE|unix.STATX_MODE), mem(Scratch))
		mode := c.load(Scratch, statxMode, 2)
		c.call(unix.SYS_FCHMODAT, "setting its mode", nil, fd(d), mem(c.dot), fd(mode))
	}
	c.close(below)
	c.place(done)
}
