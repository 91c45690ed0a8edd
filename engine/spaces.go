package engine

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"sync"

	"github.com/davit-engine/davit/engine/idrange"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network"
	"github.com/davit-engine/davit/runtime/namespace"
)

// readySpaces is how many user namespaces are made ahead, where each container
// gets one by default or one has asked for it. One takes 2 ms, most of it for
// its network.
const readySpaces = 4

// space is a user namespace that no container has entered yet, with a network
// sandbox on the default bridge that belongs to it.
type space struct {
	ids      idrange.Range
	user     *os.File
	sandbox  *network.Sandbox
	promised bool // a container was created that will enter it when it starts
}

// spaces gives containers user namespaces, with ids that only they have. Those
// for plain containers are made ahead: a container gets its ids when it is
// created, and what belongs to them when it starts. They are held by file
// descriptors only, so the kernel removes them with the engine.
type spaces struct {
	ids   *idrange.Pool
	net   *network.Store
	ahead bool         // there is a default bridge, so spaces can be made ahead
	able  func() error // whether the host and the data root can serve user namespaces; asked once

	giving sync.Mutex // held while it is found out whom ids go to; before a container's verb

	mu      sync.Mutex
	want    int      // guarded by mu; spaces to keep ready that nobody was promised
	ready   []*space // guarded by mu; oldest first
	filling bool     // guarded by mu
	closed  bool     // guarded by mu
}

func newSpaces(cfg Config, engineID string) *spaces {
	h := fnv.New64a()
	h.Write([]byte(engineID)) // so that engines begin at different places
	s := &spaces{ids: idrange.New(idrange.Config{Seed: h.Sum64()}), net: cfg.Network}
	s.ahead = cfg.Network != nil && cfg.Network.Info().Name != ""
	s.able = sync.OnceValue(func() error { return canServe(cfg.DataRoot) })
	if cfg.UserNS.Auto && s.ahead {
		s.want = readySpaces
	}
	return s
}

// assign chooses the user namespace of a new container and notes it in rec,
// which gets a range of ids of its own if need be. release takes it back.
func (s *spaces) assign(rec *record.Container, d UserNS) error {
	kind, of, err := chooseUserNS(rec.HostConfig, d)
	if err == nil && (kind == usernsAuto || kind == usernsRemap) {
		err = s.able()
	}
	if err != nil {
		return err
	}
	switch kind {
	case usernsShared:
		rec.UserNS = &record.UserNS{Of: of}
	case usernsRemap:
		rec.UserNS = &record.UserNS{UIDs: d.Remap.UIDs, GIDs: d.Remap.GIDs}
	case usernsAuto:
		ids, err := s.promise(isPlain(rec))
		if err != nil {
			return err
		}
		rec.UserNS = rangeUserNS(ids)
	}
	return nil
}

// canServe tries whether user namespaces can be made, and whether layers at
// path can be shown with their ids.
func canServe(path string) error {
	uids, gids := idrange.Range{UID: 1 << 16, GID: 1 << 16}.Maps() // nothing ever runs there
	user, net, err := namespace.New(uids, gids)
	if err != nil {
		return errs.New(errs.System, "user namespaces cannot be had on this host: %w: use --userns host", err)
	}
	defer user.Close()
	defer net.Close()
	if err := canMap(path, user, false); err != nil {
		return errs.New(errs.System, "user namespaces need the data root %s on a file system whose owners can be mapped, such as ext4, xfs or btrfs on Linux 5.19: %w: use --userns host", path, err)
	}
	return nil
}

func rangeUserNS(ids idrange.Range) *record.UserNS {
	uids, gids := ids.Maps()
	return &record.UserNS{UIDs: uids, GIDs: gids, Range: &ids, MapBinds: true}
}

// isPlain reports whether a container's network is what sandboxes made ahead
// are: the default bridge, without wishes.
func isPlain(rec *record.Container) bool {
	list := rec.Memberships()
	if len(list) != 1 || list[0].Network != networkBridge {
		return false
	}
	s := list[0].Settings
	return len(s.MacAddress) == 0 && s.IPAMConfig == nil && len(s.DriverOpts) == 0
}

// promise returns a range of ids, for a plain container that of a space.
func (s *spaces) promise(plain bool) (idrange.Range, error) {
	if plain && s.ahead {
		s.mu.Lock()
		s.want = readySpaces // where there is one, there are more
		for _, p := range s.ready {
			if !p.promised {
				p.promised = true
				s.mu.Unlock()
				return p.ids, nil
			}
		}
		s.mu.Unlock()
	}
	return s.ids.Take()
}

// release takes back what assign gave. It is no error to call it twice.
func (s *spaces) release(rec *record.Container) {
	ids := rec.UserNS.Own()
	if ids == nil {
		return
	}
	if p := s.take(*ids); p != nil {
		s.drop(p)
	}
	s.ids.Give(*ids)
}

// take takes the space with these ids out, or returns nil.
func (s *spaces) take(ids idrange.Range) *space {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range s.ready {
		if p.ids == ids {
			s.ready = append(s.ready[:i], s.ready[i+1:]...)
			return p
		}
	}
	return nil
}

// drop closes a space. Its ids stay taken.
func (s *spaces) drop(p *space) {
	_ = p.user.Close()
	_ = p.sandbox.NetNS.Close()
	releaseAll(s.net, p.sandbox.Endpoints)
}

// enter returns a container's user namespace and a network sandbox in it. If
// none was made ahead the sandbox is nil, and an empty network namespace is
// returned to make it of.
func (s *spaces) enter(rec *record.Container) (user *os.File, sandbox *network.Sandbox, netns *os.File, err error) {
	if ids := rec.UserNS.Own(); ids != nil {
		if p := s.take(*ids); p != nil {
			if isPlain(rec) {
				return p.user, p.sandbox, nil, nil
			}
			s.drop(p)
		}
	}
	user, netns, err = namespace.New(rec.UserNS.UIDs, rec.UserNS.GIDs)
	if err != nil {
		uid, _ := rec.UserNS.Root()
		return nil, nil, nil, errs.New(errs.System, "making the container's user namespace (ids from %d on): %w: --userns host goes without", uid, err)
	}
	return user, nil, netns, nil
}

// fill makes what is missing, and gives up what was promised long ago, but for
// the ids.
func (s *spaces) fill() error {
	s.mu.Lock()
	busy := s.filling
	s.filling = true
	s.mu.Unlock()
	if busy {
		return nil
	}
	defer func() {
		s.mu.Lock()
		s.filling = false
		s.mu.Unlock()
	}()
	for {
		surplus, missing := s.look()
		for _, p := range surplus {
			s.drop(p)
		}
		if !missing {
			return nil
		}
		p, err := s.make()
		if err != nil {
			return err
		}
		s.mu.Lock()
		closed := s.closed
		if !closed {
			s.ready = append(s.ready, p)
		}
		s.mu.Unlock()
		if closed {
			s.drop(p)
			return nil
		}
	}
}

// look takes out the spaces that were promised before others, beyond the
// number to keep, and says whether there are too few of those that were not.
func (s *spaces) look() (surplus []*space, missing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false
	}
	promised := 0
	for _, p := range s.ready {
		if p.promised {
			promised++
		}
	}
	kept := s.ready[:0]
	free := len(s.ready) - promised
	for _, p := range s.ready {
		if p.promised && promised > s.want {
			promised--
			surplus = append(surplus, p)
			continue
		}
		kept = append(kept, p)
	}
	s.ready = kept
	return surplus, free < s.want
}

func (s *spaces) make() (*space, error) {
	ids, err := s.ids.Take()
	if err != nil {
		return nil, err
	}
	uids, gids := ids.Maps()
	user, netns, err := namespace.New(uids, gids)
	if err != nil {
		s.ids.Give(ids)
		return nil, err
	}
	var sandbox *network.Sandbox
	n, err := s.net.Find(networkBridge)
	if err == nil {
		sandbox, err = s.net.Acquire(context.Background(), []network.Wish{{Network: n.ID}}, netns)
	}
	if err != nil {
		_ = user.Close()
		_ = netns.Close()
		s.ids.Give(ids)
		return nil, err
	}
	return &space{ids: ids, user: user, sandbox: sandbox}, nil
}

// close gives up what is ready.
func (s *spaces) close() {
	s.mu.Lock()
	s.closed = true
	ready := s.ready
	s.ready = nil
	s.mu.Unlock()
	for _, p := range ready {
		s.drop(p)
	}
	s.ids.Close()
}

// openUserNS opens the user namespace of a container that runs.
func (e *core) openUserNS(ref string) (*os.File, error) {
	pid, err := e.pidOf(ref)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
	if err != nil {
		return nil, errs.New(errs.Conflict, "joining the user namespace of container %s: %w", ref, err)
	}
	return f, nil
}
