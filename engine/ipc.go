package engine

import (
	"os"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/engine/spec"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/namespace"
)

// ipcDonor returns the process whose IPC namespace and shared memory a
// container joins. The texts are Docker's.
func (l *launcher) ipcDonor(ref string) (pid int, err error) {
	c, err := l.table.find(ref)
	if err != nil {
		return 0, err
	}
	h := c.snapshot().HostConfig
	mode := h.IpcMode
	if mode.IsEmpty() {
		mode = l.cfg.Defaults.IPC
	}
	if mode.IsPrivate() || mode.IsNone() {
		return 0, errs.New(errs.InvalidParameter, "failed to join IPC namespace: container %s: non-shareable IPC (hint: use IpcMode:shareable for the donor container)", c.id)
	}
	return l.pidOf(ref)
}

// sharedMemory gives a container that joins another's IPC namespace that one's
// /dev/shm, as a detached mount: POSIX semaphores and shared memory live there.
// It is nil for any other container.
func (l *launcher) sharedMemory(rec *record.Container) (*os.File, error) {
	m := rec.HostConfig.IpcMode
	if !m.IsContainer() {
		return nil, nil
	}
	pid, err := l.ipcDonor(m.Container())
	if err != nil {
		return nil, err
	}
	f, err := namespace.Mount(pid, spec.ShmMount)
	if err != nil {
		return nil, errs.New(errs.Conflict, "failed to join IPC namespace: container %s: %w", m.Container(), err)
	}
	return f, nil
}

// settle replaces names of containers whose namespaces are joined by IDs, which
// a rename does not change. A name of nobody stays, for later checks.
func (d *drafter) settle(h *container.HostConfig) {
	id := func(ref string) (string, bool) {
		c, err := d.table.find(ref)
		if err != nil {
			return "", false
		}
		return "container:" + c.id, true
	}
	if h.NetworkMode.IsContainer() {
		if m, ok := id(h.NetworkMode.ConnectedContainer()); ok {
			h.NetworkMode = container.NetworkMode(m)
		}
	}
	if h.PidMode.IsContainer() {
		if m, ok := id(h.PidMode.Container()); ok {
			h.PidMode = container.PidMode(m)
		}
	}
	if h.IpcMode.IsContainer() {
		if m, ok := id(h.IpcMode.Container()); ok {
			h.IpcMode = container.IpcMode(m)
		}
	}
}
