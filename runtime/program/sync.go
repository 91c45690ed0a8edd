package program

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// tell sends the caller a message of two words.
func (c *container) tell(what int32, doing string) {
	k := Block{Data: make([]byte, 8), form: formTell}
	put32(k.Data, uint32(what))
	c.call(unix.SYS_WRITE, doing, nil, fd(c.sync), mem(c.block(k)), num(8))
}

// tellOf is tell with a register as the second word.
func (c *container) tellOf(what int32, r Reg, doing string) {
	k := Block{Data: make([]byte, 8), form: formTell}
	put32(k.Data, uint32(what))
	b := c.block(k)
	c.store(b, 4, r)
	c.call(unix.SYS_WRITE, doing, nil, fd(c.sync), mem(b), num(8))
}

// await waits for the caller's byte. A caller that is gone sends none.
func (c *container) await(doing string) {
	r := c.open(unix.SYS_READ, None, doing, nil, fd(c.sync), mem(Scratch), num(1))
	c.store(Scratch, 0, r)
	c.test(Scratch, 0, 4, 0xffffffff, 1, unix.ECANCELED, doing)
}

// stops reports whether the caller has something to do once the namespaces are
// there: what it has asked for, or network devices to move into them.
func (c *container) stops() bool { return c.in.Created || len(c.linux.NetDevices) > 0 }

// created lets the caller act on namespaces and mounts before the root is
// entered.
func (c *container) created() {
	if c.stops() {
		c.during("")
		c.reachable()
		c.tell(TellCreated, "telling the caller that the container is created")
		c.await("waiting for what the caller does with the created container")
	}
}

// reachable lets a caller who is not root of the host look at the process, for
// whoever runs hooks in it: its memory is still that of a program of the
// host's, and a change of users has made it untraceable. Nobody else is there
// to trace it.
func (c *container) reachable() {
	if c.rootless() && c.makes(specs.PIDNamespace) {
		c.prctl(unix.PR_SET_DUMPABLE, 1, 0, "becoming traceable to the caller")
	}
}

// ready is the last thing before execve.
func (e *entry) ready() {
	if e.sync == None {
		return
	}
	e.during("")
	if e.hold != None {
		e.reachable()
	}
	e.tell(TellReady, "telling the caller that the container is ready")
	if e.hold != None {
		e.call(unix.SYS_READ, "waiting to be started", nil, fd(e.hold), mem(Scratch), num(1))
	}
}
