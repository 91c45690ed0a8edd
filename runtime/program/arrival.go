package program

import "golang.org/x/sys/unix"

// arrival is what a process does on its way into a container, be it a new one
// or one that runs.
type arrival struct{ *container }

// needStreams asks for all descriptors that the process will have.
func (c arrival) needStreams() {
	if c.process.Terminal {
		c.console = c.need(Need{Kind: NeedConsole})
	} else {
		for i := range c.stdio {
			c.stdio[i] = c.need(Need{Kind: NeedStdio, Index: i})
		}
	}
	for i := range c.in.PreserveFDs {
		c.preserved = append(c.preserved, c.need(Need{Kind: NeedPreserved, Index: i}))
	}
	c.p.LowFD = 3 + c.in.PreserveFDs
}

// joinCgroups enters the cgroups of v1.
func (c arrival) joinCgroups() {
	if len(c.cgroups) == 0 {
		return
	}
	c.during("joining the cgroup")
	for _, r := range c.cgroups {
		c.write(r, "0", "writing tasks")
		c.close(r)
	}
}

// onHost does what takes the host's /proc, or rights that a user namespace
// does not give.
func (c arrival) onHost() {
	c.during("")
	if adj := c.process.OOMScoreAdj; adj != nil {
		var denied []Catch
		done, doing := c.label(), "can't set oom_score_adj "+itoa(*adj)
		if c.rootless() { // whom the kernel lets raise it only
			denied = []Catch{on(unix.EACCES, done), on(unix.EPERM, done)}
		}
		r := c.openat(cwd, "/proc/self/oom_score_adj", unix.O_WRONLY|unix.O_NOFOLLOW, doing, denied...)
		c.write(r, itoa(*adj), doing, denied...)
		c.close(r)
		c.place(done)
	}
	c.labels()
	if !c.schedulesLate() {
		c.schedule()
	}
	c.ioPriority()
}

// keyring keeps the caller's keys from the process.
func (c arrival) keyring() {
	ok := c.label()
	c.call(unix.SYS_KEYCTL, "joining a session keyring of its own", []Catch{on(unix.ENOSYS, ok)}, num(unix.KEYCTL_JOIN_SESSION_KEYRING), num(0))
	c.place(ok)
}

// untraceable keeps those away who share a namespace with us, or will: they
// must not trace us, or open what we hold by /proc (CVE-2016-9962). Execve
// takes it back. An ordinary user's own /proc/self is closed by it too.
func (c arrival) untraceable() {
	c.prctl(unix.PR_SET_DUMPABLE, 0, 0, "becoming untraceable")
}
