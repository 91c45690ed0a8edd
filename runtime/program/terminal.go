package program

import "golang.org/x/sys/unix"

// terminal is the part of a program that gives the process a terminal.
type terminal struct{ *container }

// give opens a terminal of the container's own devpts and sends its
// master to the caller: a message needs nobody who waits for it.
func (c terminal) give() {
	if c.console != None {
		c.during("opening the terminal")
		if c.pts != None {
			c.pair(c.openat(fd(c.pts), "ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NOFOLLOW, "opening ptmx"))
		} else {
			c.pair(c.ptmx(fd(c.root)))
		}
		c.during("binding the terminal to /dev/console")
		exists := c.label()
		c.mknodat(fd(c.dev), "console", unix.S_IFREG|0o600, 0, "creating the mount point", on(unix.EEXIST, exists))
		c.place(exists)
		at := c.openat(fd(c.dev), "console", unix.O_PATH|unix.O_NOFOLLOW, "opening the mount point")
		t := c.clone(c.slave, 0, "copying its mount")
		c.attach(t, fd(at), "", "attaching")
		c.close(t)
		c.close(at)
	}
	if c.pts != None {
		c.close(c.pts)
	}
	if c.readonlyDev {
		c.during("making /dev read-only")
		c.setattr(c.dev, attrRO, 0, 0, false, "setting the attribute")
	}
}

// ptmx opens /dev/pts/ptmx below root where others may have mounted what they
// like: CVE-2025-52565 was a device of the host taken for a terminal. A
// devpts holds no other file of that name, and nothing mounted over it is
// opened.
func (c terminal) ptmx(root Arg) Reg {
	pts := c.openat2(root, "dev/pts", unix.O_PATH|unix.O_DIRECTORY, direct, "opening /dev/pts")
	c.call(unix.SYS_FSTATFS, "verifying /dev/pts", nil, fd(pts), mem(Scratch))
	c.test(Scratch, 0, 8, ^uint64(0), unix.DEVPTS_SUPER_MAGIC, unix.ENODEV, "verifying /dev/pts")
	master := c.openat2(fd(pts), "ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NOFOLLOW, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_XDEV|unix.RESOLVE_NO_SYMLINKS, "opening ptmx")
	c.isDevice(fd(master), "", 5, 2, "verifying ptmx", nil)
	c.close(pts)
	return master
}

// pair opens the other side of a terminal, and sends its master away.
func (c terminal) pair(master Reg) {
	c.call(unix.SYS_IOCTL, "unlocking", nil, fd(master), imm(unix.TIOCSPTLCK, formIoctl), c.how(formWords, 0))
	c.slave = c.open(unix.SYS_IOCTL, None, "opening its other side", nil, fd(master), imm(unix.TIOCGPTPEER, formIoctl), imm(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, formOpen))
	if size := c.process.ConsoleSize; size != nil {
		c.call(unix.SYS_IOCTL, "setting its size", nil, fd(c.slave), imm(unix.TIOCSWINSZ, formIoctl),
			c.how(formWords, wordsLE(uint16(min(size.Height, 0xffff)), uint16(min(size.Width, 0xffff)))))
	}
	if uid := c.process.User.UID; uid != 0 {
		c.call(unix.SYS_FCHOWN, "setting its owner", nil, fd(c.slave), num(uid), imm(unchanged, formID))
	}
	c.send(master)
	c.close(master)
}

// unchanged is the id that leaves an owner as it is.
const unchanged = 0xffffffff

// send passes r as SCM_RIGHTS over the console socket.
func (c terminal) send(r Reg) {
	const (
		payload = 0  // one byte, since an empty message cannot carry descriptors
		iovec   = 8  // base, length
		control = 24 // struct cmsghdr {length, SOL_SOCKET, SCM_RIGHTS}, descriptor, padding
		header  = 48 // struct msghdr: name, namelen, iov, iovlen, control, controllen, flags
		size    = header + 56
	)
	k := Block{Data: make([]byte, size), form: formMessage}
	self := len(c.p.Blocks)
	k.Data[payload] = 'c'
	put64(k.Data[iovec+8:], 1)
	put64(k.Data[control:], 20)
	put64(k.Data[control+8:], unix.SOL_SOCKET|unix.SCM_RIGHTS<<32)
	put64(k.Data[header+24:], 1)
	put64(k.Data[header+40:], 24)
	k.Refs = []Ref{{iovec, self}, {header + 16, self}, {header + 32, self}}
	put64(k.Data[iovec:], payload)
	put64(k.Data[header+16:], iovec)
	put64(k.Data[header+32:], control)
	c.block(k)
	c.store(self, control+16, r)
	c.call(unix.SYS_SENDMSG, "sending its master", nil, fd(c.console), memAt(self, header), num(0))
	c.close(c.console)
}
