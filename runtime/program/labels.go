package program

import (
	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

// unconfined is AppArmor's name for no profile.
const unconfined = "unconfined"

// labels says what AppArmor and SELinux are to make of the process when it
// executes the user's command. They take it from /proc, which is the host's
// here: a container's could be something else that gives no protection
// (CVE-2019-16884, CVE-2025-52881).
func (c arrival) labels() {
	if profile := c.process.ApparmorProfile; profile != "" && (profile != unconfined || c.in.Facts.AppArmor) {
		if !c.in.Facts.AppArmor {
			c.fail(errs.NotImplemented, "process.apparmorProfile: this kernel has no AppArmor, or it is off")
		}
		c.during("applying AppArmor profile " + profile)
		c.attr("apparmor/exec", "exec "+profile)
	}
	if label := c.process.SelinuxLabel; label != "" {
		if !c.in.Facts.SELinux {
			c.fail(errs.NotImplemented, "process.selinuxLabel: this kernel has no SELinux, or it is off")
		}
		c.during("applying SELinux label " + label)
		c.attr("exec", label)
		c.attr("keycreate", label) // for the session keyring to come
	}
	c.during("")
}

// attr writes a security attribute of this process.
func (c arrival) attr(name, value string) {
	r := c.openat(cwd, "/proc/thread-self/attr/"+name, unix.O_WRONLY|unix.O_NOFOLLOW, "opening /proc/thread-self/attr/"+name)
	c.call(unix.SYS_FSTATFS, "verifying /proc", nil, fd(r), mem(Scratch))
	c.test(Scratch, 0, 8, ^uint64(0), procMagic, unix.ENODEV, "verifying /proc")
	c.write(r, value, "writing /proc/thread-self/attr/"+name)
	c.close(r)
}

// context gives all files of a new filesystem an SELinux label.
func (c mounter) context(r Reg) {
	label := c.linux.MountLabel
	if label == "" {
		return
	}
	c.fsset(r, "context", &label)
}
