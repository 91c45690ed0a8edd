package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network"
	"github.com/davit-engine/davit/runtime/namespace"
)

// place is the network and the user namespace that a container starts in, by
// the files that hold them until the shim has them; nil is the host's. shm is
// the shared memory of another container; nil: its own. sources are mounts
// that were made for it, resolver the sockets of its resolver; nil: it has none.
type place struct {
	netns, userns, shm *os.File
	sources            []source
	resolver           []*os.File
}

func (p place) close() {
	closeSources(p.sources)
	closeFiles(p.resolver)
	closeFiles([]*os.File{p.netns, p.userns, p.shm})
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}

// files are what the shim gets, in wire.Start's order.
func (p place) files() (files []syscall.Conn) {
	for _, f := range []*os.File{p.netns, p.userns, p.shm} {
		if f != nil {
			files = append(files, f)
		}
	}
	for _, s := range p.sources {
		files = append(files, s.file)
	}
	return append(files, conns(p.resolver)...)
}

// enter gets the container's namespaces and notes its endpoints in rec.
func (l *launcher) enter(ctx context.Context, rec *record.Container) (_ place, err error) {
	rec.Endpoints = nil
	u := rec.UserNS
	switch {
	case u == nil:
		return l.enterNetwork(ctx, rec, nil)
	case u.Of != "":
		return l.enterShared(ctx, rec)
	}
	user, sandbox, empty, err := l.spaces.enter(rec)
	if err != nil {
		return place{}, err
	}
	if sandbox != nil {
		rec.Endpoints = sandbox.Endpoints
		return place{netns: sandbox.NetNS, userns: user}, nil
	}
	at, err := l.enterNetwork(ctx, rec, empty)
	if err != nil || at.netns != empty {
		_ = empty.Close()
	}
	if err != nil {
		_ = user.Close()
		return place{}, err
	}
	at.userns = user
	return at, nil
}

// enterShared is enter for a container in the user namespace of another.
func (l *launcher) enterShared(ctx context.Context, rec *record.Container) (place, error) {
	user, err := l.borrowUserNS(rec)
	if err != nil {
		return place{}, err
	}
	var empty *os.File
	if user != nil {
		if m := rec.HostConfig.NetworkMode; !record.ForeignNet(m) && !m.IsHost() {
			if empty, err = namespace.Net(user); err != nil {
				_ = user.Close()
				return place{}, err
			}
		}
	}
	at, err := l.enterNetwork(ctx, rec, empty)
	if err != nil {
		place{netns: empty, userns: user}.close()
		return place{}, err
	}
	at.userns = user
	return at, nil
}

// enterNetwork gets the container's network namespace, nil for the host's, with
// its resolver's sockets if they are there, and notes its endpoints in rec.
// Where it is the container's own it is made of empty, unless that is nil.
func (l *launcher) enterNetwork(ctx context.Context, rec *record.Container, empty *os.File) (place, error) {
	h := rec.HostConfig
	switch {
	case h.NetworkMode.IsHost():
		return place{}, nil
	case h.NetworkMode.IsContainer():
		pid, err := l.pidOf(h.NetworkMode.ConnectedContainer())
		l.lend(h)
		if err != nil {
			return place{}, err
		}
		f, err := os.Open(netNSPath(pid))
		if err != nil {
			return place{}, errs.New(errs.Conflict, "joining the network of container %s: %w", h.NetworkMode.ConnectedContainer(), err)
		}
		return place{netns: f}, nil
	}
	if path, ok := record.NetNS(h.NetworkMode); ok {
		netns, err := openNetNS(path)
		return place{netns: netns}, err
	}
	list, err := l.nets.memberships(rec)
	if err != nil {
		return place{}, setUpFailed(err)
	}
	s, err := l.cfg.Network.Acquire(ctx, wishes(list), empty)
	if err != nil {
		return place{}, setUpFailed(err)
	}
	rec.Endpoints = named(rec, list, s.Endpoints)
	return place{netns: s.NetNS, resolver: s.Resolver}, nil
}

// openNetNS opens a network namespace that somebody else has made. Errors:
// NotFound, InvalidParameter when the path is that of something else.
func openNetNS(path string) (*os.File, error) {
	const nsGetType = 0xb703                                    // NS_GET_NSTYPE, linux/nsfs.h
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe would wait for a writer
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errs.New(errs.NotFound, "joining network namespace %s: %w: make it first (ip netns add), or name another with --network ns:PATH", path, err)
	case err != nil:
		return nil, errs.New(errs.InvalidParameter, "joining network namespace %s: %w", path, err)
	}
	kind, err := unix.IoctlRetInt(int(f.Fd()), nsGetType)
	if err != nil || kind != unix.CLONE_NEWNET {
		_ = f.Close()
		return nil, errs.New(errs.InvalidParameter, "joining network namespace %s: this is no network namespace: name one as ip netns makes them in /run/netns, or /proc/PID/ns/net", path)
	}
	return f, nil
}

// setUpFailed says, in Docker's words, that it was the network.
func setUpFailed(err error) error {
	return errs.New(errs.KindOf(err), "failed to set up container networking: %w", err)
}

// lend notes of the container whose network another one joins that it does.
func (e *core) lend(h *container.HostConfig) {
	if !h.NetworkMode.IsContainer() {
		return
	}
	if c, err := e.table.find(h.NetworkMode.ConnectedContainer()); err == nil {
		c.lent.Store(true)
	}
}

// quitNetwork is leaveNetwork for a container that has run. Where another one
// may be in its network the interfaces do not go by themselves.
func (k *keeper) quitNetwork(c *ctr, rec *record.Container) {
	if !c.lent.Load() {
		k.leaveNetwork(rec)
		return
	}
	for _, p := range rec.Endpoints {
		if err := k.cfg.Network.Disconnect(context.Background(), nil, p, nil); err != nil {
			k.log.Error("taking a container off its network", "container", c.id, "network", p.Network, "error", err)
		}
	}
	rec.Endpoints = nil
}

// leaveNetwork gives the container's addresses back. Interfaces go with the
// namespace, when its last process does.
func (k *keeper) leaveNetwork(rec *record.Container) {
	releaseAll(k.cfg.Network, rec.Endpoints)
	rec.Endpoints = nil
}

func releaseAll(s *network.Store, list []network.Endpoint) {
	for _, p := range list {
		s.Release(p)
	}
}
