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
		c.put(cwd, "/proc/self/oom_score_adj", itoa(*adj), "can't set oom_score_adj "+itoa(*adj))
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
