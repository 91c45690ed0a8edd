package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/mount"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/engine/rootfs"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/wire"
)

// rootView is a container's root filesystem, open to the engine, with all that
// is mounted in it.
//
// Of a container that runs it is what its first process has as its root. That
// of one that does not run is mounted for the purpose, in a mount namespace
// that nobody is in, and the container is owned until Close: two mounts must not
// write to the same layer. For the same reason a start takes back the views of
// the run before it.
type rootView struct {
	*rootfs.Root
	dir     *os.File        // the root, O_PATH
	ctx     context.Context // ends when nobody wants the view any more
	revoke  context.CancelCauseFunc
	patient bool // the client may take its time
	close   func()
}

// errEnded says that a container's process went before its end was recorded.
var errEnded = errors.New("the container's process has ended")

// viewer opens the root filesystems of containers.
type viewer struct{ *core }

// openRoot opens c's root filesystem. The caller must not own c.
func (w *viewer) openRoot(ctx context.Context, c *ctr) (*rootView, error) {
	for {
		if r := c.current(); r != nil {
			v, err := w.runningRoot(ctx, c, r)
			if !errors.Is(err, errEnded) {
				return v, err
			}
			select {
			case <-r.exited:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			continue
		}
		if err := c.own(ctx); err != nil {
			return nil, err
		}
		if c.current() != nil { // it was started meanwhile
			c.disown()
			continue
		}
		v, err := w.stoppedRoot(ctx, c)
		if err != nil {
			c.disown()
		}
		return v, err
	}
}

// runningRoot opens the root of the container's first process.
func (w *viewer) runningRoot(ctx context.Context, c *ctr, r *run) (*rootView, error) {
	proc, err := os.OpenFile(fmt.Sprintf("/proc/%d", r.state.Pid), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, errEnded
	}
	defer proc.Close()
	// The directory stands for the process that had the number when it was
	// opened, and for no later one.
	if start, err := wire.StartTime(r.state.Pid); err != nil || start != r.state.PidStart {
		return nil, errEnded
	}
	// The namespace keeps its mounts when the container ends while it is copied.
	ns, err := openBelow(proc, "ns/mnt", unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	if err := notOurs(ns); err != nil {
		_ = ns.Close()
		return nil, errs.New(errs.Conflict, "container %s: %w", c.id, err)
	}
	dir, err := openBelow(proc, "root", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		_ = ns.Close()
		return nil, err
	}
	rec := c.snapshot()
	var ids rootfs.IDs
	if rec.UserNS.Private() {
		ids = rootfs.IDs{UIDs: rec.UserNS.UIDs, GIDs: rec.UserNS.GIDs}
	}
	v := w.newView(ctx, dir, ids)
	v.patient = true
	v.close = func() {
		_ = dir.Close()
		_ = ns.Close()
		c.mu.Lock()
		delete(c.views, v)
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.run != r {
		_ = dir.Close()
		_ = ns.Close()
		return nil, errEnded
	}
	if c.views == nil {
		c.views = map[*rootView]chan struct{}{}
	}
	closed := make(chan struct{})
	c.views[v] = closed
	done := v.close
	v.close = func() { done(); close(closed) }
	return v, nil
}

func (w *viewer) newView(ctx context.Context, dir *os.File, ids rootfs.IDs) *rootView {
	v := &rootView{Root: rootfs.New(dir, ids, w.log), dir: dir}
	v.ctx, v.revoke = context.WithCancelCause(ctx)
	return v
}

// openBelow opens a file of a process; errEnded if that is gone.
func openBelow(proc *os.File, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(proc.Fd()), name, flags|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES) { // what a zombie has
		return nil, errEnded
	}
	if err != nil {
		return nil, errs.New(errs.System, "opening %s of the container's process: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// notOurs refuses the engine's own mount namespace. A process with all rights
// may have gone there, and the files it sees are not the container's.
func notOurs(ns *os.File) error {
	theirs, err := ns.Stat()
	if err != nil {
		return err
	}
	ours, err := os.Stat("/proc/self/ns/mnt")
	if err != nil {
		return err
	}
	if os.SameFile(theirs, ours) {
		return errors.New("its first process has left for the host's mount namespace, so its files cannot be found: stop it, and copy then")
	}
	return nil
}

// stoppedRoot mounts the root of a container that does not run, for its owner.
func (w *viewer) stoppedRoot(ctx context.Context, c *ctr) (*rootView, error) {
	rec := c.snapshot()
	dir := w.store.Dir(c.id)
	m := rootfs.Mounts{
		Lower: append(slices.Clip(rec.Image.Lower), w.base),
		Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"),
		Options: w.host.overlay, ReadOnly: rec.HostConfig.ReadonlyRootfs, Binds: w.binds(&rec),
	}
	release, err := withVolumes(w.cfg.Volumes, &rec)
	if err != nil {
		return nil, err
	}
	root, ns, err := rootfs.Mount(m)
	if err != nil {
		release()
		return nil, fmt.Errorf("mounting the root filesystem of container %s: %w", c.id, err)
	}
	v := w.newView(ctx, root, rootfs.IDs{})
	v.close = func() {
		_ = root.Close()
		_ = ns.Close()
		release()
		c.disown()
	}
	return v, nil
}

// binds lists what a stopped container has mounted, but for file systems that
// are empty at each start.
func (w *viewer) binds(rec *record.Container) []rootfs.Bind {
	var list []rootfs.Bind
	if !rec.State.StartedAt.IsZero() { // the files of its network
		dir := w.store.Dir(rec.ID)
		if other := rec.HostConfig.NetworkMode; other.IsContainer() {
			if c, err := w.table.find(other.ConnectedContainer()); err == nil {
				dir = w.store.Dir(c.id)
			}
		}
		for _, name := range []string{record.ResolvConf, record.Hostname, record.Hosts} {
			list = append(list, rootfs.Bind{Source: filepath.Join(dir, name), Target: "/etc/" + name})
		}
	}
	var own []rootfs.Bind
	for _, m := range rec.Mounts {
		b := rootfs.Bind{Source: m.Source, Subpath: m.Subpath, Target: m.Destination, ReadOnly: !m.RW, Recursive: m.Recursive()}
		switch {
		case m.Type == mount.TypeImage && m.Image != nil:
			b.Source, b.Lower = "", append(slices.Clip(m.Image.Lower), w.base)
		case m.Type != mount.TypeBind && m.Type != mount.TypeVolume:
			continue
		}
		own = append(own, b)
	}
	slices.SortStableFunc(own, func(a, b rootfs.Bind) int { return strings.Count(a.Target, "/") - strings.Count(b.Target, "/") })
	return append(list, own...)
}

// Close lets go of the view.
func (v *rootView) Close() {
	v.revoke(nil)
	v.close()
}

// revokeViews takes back the views of c's last run and waits for their end, for
// the owner of c.
func (c *ctr) revokeViews() {
	c.mu.Lock()
	var closing []chan struct{}
	for v, closed := range c.views {
		v.revoke(errs.New(errs.Conflict, "container %s was started again while its files were copied: copy again", c.id))
		closing = append(closing, closed)
	}
	c.mu.Unlock()
	for _, closed := range closing {
		<-closed
	}
}
