package program

import "golang.org/x/sys/unix"

// tell sends the caller a message of two words.
func (c *container) tell(what int32, doing string) {
	k := Block{Data: make([]byte, 8), form: formTell}
	put32(k.Data, uint32(what))
	c.call(unix.SYS_WRITE, doing, nil, fd(c.sync), mem(c.block(k)), num(8))
}

// await waits for the caller's byte. A caller that is gone sends none.
func (c *container) await(doing string) {
	r := c.open(unix.SYS_READ, None, doing, nil, fd(c.sync), mem(Scratch), num(1))
	c.store(Scratch, 0, r)
	c.test(Scratch, 0, 4, 0xffffffff, 1, unix.ECANCELED, doing)
}

// created lets the caller act on namespaces and mounts before the root is
// entered.
func (c *container) created() {
	if c.in.Created {
		c.during("")
		c.tell(TellCreated, "telling the caller that the container is created")
		c.await("waiting for what the caller does with the created container")
	}
}

// ready is the last thing before execve.
func (e *entry) ready() {
	if e.sync == None {
		return
	}
	e.during("")
	e.tell(TellReady, "telling the caller that the container is ready")
	if e.hold != None {
		e.call(unix.SYS_READ, "waiting to be started", nil, fd(e.hold), mem(Scratch), num(1))
	}
}
