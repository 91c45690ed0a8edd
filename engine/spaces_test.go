package engine

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/engine/idrange"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
)

func testPool(t *testing.T, dir string) *idrange.Pool {
	p := idrange.New(idrange.Config{Etc: dir, Lock: filepath.Join(dir, "lock")})
	t.Cleanup(p.Close)
	return p
}

// TestSpacesPromise gives each plain container the ids of a space of its own,
// and lets go of spaces that were promised too long ago.
func TestSpacesPromise(t *testing.T) {
	s := &spaces{ids: testPool(t, t.TempDir()), ahead: true}
	for i := range uint32(2) {
		s.ready = append(s.ready, &space{ids: idrange.Range{UID: 1 + i}})
	}
	for i, want := range []uint32{1, 2} {
		if r, err := s.promise(true); err != nil || r.UID != want {
			t.Errorf("promise %d: %v %v, want %d", i, r, err, want)
		}
	}
	if s.want != readySpaces {
		t.Errorf("%d spaces are kept ready after one was asked for, want %d", s.want, readySpaces)
	}
	s.want = 2
	if surplus, missing := s.look(); len(surplus) != 0 || !missing {
		t.Errorf("two promised: surplus %d, missing %v; want none, true", len(surplus), missing)
	}
	for _, plain := range []bool{true, false} {
		if r, err := s.promise(plain); err != nil || r.UID < 1<<16 {
			t.Errorf("none is left, plain %v: %v %v", plain, r, err)
		}
	}
	s.want = 2
	s.ready = append(s.ready, &space{ids: idrange.Range{UID: 3}, promised: true}, &space{ids: idrange.Range{UID: 4}}, &space{ids: idrange.Range{UID: 5}})
	surplus, missing := s.look()
	if len(surplus) != 1 || surplus[0].ids.UID != 1 || missing {
		t.Errorf("three promised, two free: surplus %v, missing %v; want the oldest, false", surplus, missing)
	}
	if p := s.take(idrange.Range{UID: 1}); p != nil {
		t.Error("the surplus is still there")
	}
	if p := s.take(idrange.Range{UID: 2}); p == nil || len(s.ready) != 3 {
		t.Errorf("taking what was promised: %v, %d left", p, len(s.ready))
	}
}

// TestAssign notes ids in the records of those that get some, and only takes
// back what is a container's own.
func TestAssign(t *testing.T) {
	s := &spaces{ids: testPool(t, t.TempDir()), able: func() error { return nil }}
	a := rec("ab", "a", func(r *record.Container) { r.HostConfig.UsernsMode = "auto" })
	if err := s.assign(a, UserNS{}); err != nil || !a.UserNS.Private() || a.UserNS.Range == nil || !a.UserNS.MapBinds {
		t.Fatalf("auto: %+v %v", a.UserNS, err)
	}
	if uid, gid := a.UserNS.Root(); uid != a.UserNS.Range.UID || gid != a.UserNS.Range.GID {
		t.Errorf("root is %d:%d, the range %v", uid, gid, a.UserNS.Range)
	}
	if err := s.ids.Reserve(*a.UserNS.Range); !errs.Is(err, errs.Conflict) {
		t.Errorf("the range is not taken: %v", err)
	}
	s.release(a)
	s.release(a)
	if err := s.ids.Reserve(*a.UserNS.Range); err != nil {
		t.Errorf("after release: %v", err)
	}
	host := rec("cd", "b", nil)
	if err := s.assign(host, UserNS{}); err != nil || host.UserNS != nil || host.UserNS.Private() {
		t.Errorf("host: %+v %v", host.UserNS, err)
	}
	shared := rec("ef", "c", func(r *record.Container) { r.HostConfig.NetworkMode = "container:a" })
	if err := s.assign(shared, UserNS{Auto: true}); err != nil || shared.UserNS == nil || shared.UserNS.Of != "a" || shared.UserNS.Private() {
		t.Errorf("shared: %+v %v", shared.UserNS, err)
	}
	s.release(shared)
}

// TestRestoreRanges: a stopped container whose ids another engine has taken
// meanwhile gets others, on disk too; a running one keeps them.
func TestRestoreRanges(t *testing.T) {
	dir := t.TempDir()
	store, err := record.Open(filepath.Join(dir, "containers"))
	if err != nil {
		t.Fatal(err)
	}
	other := testPool(t, dir)
	theirs, err := other.Take()
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{core: &core{log: slog.New(slog.DiscardHandler), store: store, table: newTable(), spaces: &spaces{ids: testPool(t, dir)}}}
	rs := &restorer{keeper: k}
	mine := theirs
	mine.UID, mine.GID = mine.UID+idrange.Size, mine.GID+idrange.Size
	var all []*ctr
	for id, r := range map[string]idrange.Range{"ab": theirs, "cd": mine} {
		c := rec(id, id, func(c *record.Container) { c.UserNS, c.State.Status = rangeUserNS(r), container.StateExited })
		if err := store.Create(c, false, nil); err != nil {
			t.Fatal(err)
		}
		all = append(all, rs.table.add(c))
		rs.reserveRange(all[len(all)-1])
	}
	if len(rs.moved) != 1 || *rs.moved[0].rec.UserNS.Range != theirs {
		t.Fatalf("moved %v", rs.moved)
	}
	c := rs.moved[0]
	c.run = &run{}
	rs.moveRange(c)
	if *c.rec.UserNS.Range != theirs {
		t.Error("a running container's ids were changed")
	}
	c.run = nil
	rs.moveRange(c)
	loaded, err := store.Load(c.id)
	if err != nil {
		t.Fatal(err)
	}
	if got := *loaded.UserNS.Range; got == theirs || got == mine || got != *c.rec.UserNS.Range || loaded.UserNS.UIDs[0].HostID != got.UID {
		t.Errorf("moved to %v, in memory %v; theirs %v, the other's %v", got, c.rec.UserNS.Range, theirs, mine)
	}
}

// TestCanServe asks the kernel, once for a place that can be mapped and once
// for one that cannot.
func TestCanServe(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("makes a user namespace with any ids: needs root")
	}
	if err := canServe(t.TempDir()); err != nil {
		t.Error(err)
	}
	if err := canServe("/sys/kernel"); !errs.Is(err, errs.System) || !strings.Contains(err.Error(), "need the data root /sys/kernel on a file system whose owners can be mapped") {
		t.Errorf("a file system that cannot be mapped: %v", err)
	}
	failing := &spaces{ids: testPool(t, t.TempDir()), able: func() error { return errs.New(errs.System, "no") }}
	if err := failing.assign(rec("ab", "a", nil), UserNS{Auto: true}); err == nil {
		t.Error("ids were given where nothing can use them")
	}
	if err := failing.assign(rec("ab", "a", nil), UserNS{}); err != nil {
		t.Errorf("the host's user namespace: %v", err)
	}
}

// TestGiveIDs: ids go on to a container that runs with them, and are free when
// that is removed.
func TestGiveIDs(t *testing.T) {
	dir := t.TempDir()
	store, err := record.Open(filepath.Join(dir, "containers"))
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{core: &core{log: slog.New(slog.DiscardHandler), store: store, table: newTable(), spaces: &spaces{ids: testPool(t, dir), able: func() error { return nil }}}}
	owner := rec("ab", "owner", func(r *record.Container) { r.HostConfig.UsernsMode = "auto" })
	if err := k.spaces.assign(owner, UserNS{}); err != nil {
		t.Fatal(err)
	}
	var all []*ctr
	for id, u := range map[string]*record.UserNS{
		"cd": {Of: "owner", UIDs: owner.UserNS.UIDs, GIDs: owner.UserNS.GIDs, Range: owner.UserNS.Range, Borrowed: true},
		"ef": {Of: "other", Range: &idrange.Range{UID: 7, GID: 7}, Borrowed: true},
		"12": nil,
	} {
		r := rec(id, id, func(r *record.Container) { r.UserNS = u })
		if err := store.Create(r, false, nil); err != nil {
			t.Fatal(err)
		}
		c := k.table.add(r)
		c.run = &run{}
		all = append(all, c)
	}
	k.giveIDs(owner)
	var heir *ctr
	for _, c := range all {
		if c.rec.UserNS.Own() != nil {
			heir = c
		}
	}
	if heir == nil || heir.rec.Name != "cd" || *heir.rec.UserNS.Range != *owner.UserNS.Range {
		t.Fatalf("the heir is %v", heir)
	}
	if err := k.spaces.ids.Reserve(*owner.UserNS.Range); !errs.Is(err, errs.Conflict) {
		t.Errorf("ids in use can be had: %v", err)
	}
	k.keepIDs(heir)
	heir.run = nil
	k.giveIDs(heir.rec)
	if err := k.spaces.ids.Reserve(*owner.UserNS.Range); err != nil {
		t.Errorf("ids that nobody lives with: %v", err)
	}
	// One that had just begun to live with them when they were given back.
	k.spaces.ids.Give(*owner.UserNS.Range)
	late := *heir.rec.UserNS
	late.Borrowed = true
	heir.rec.UserNS, heir.run = &late, &run{}
	k.keepIDs(heir)
	if heir.rec.UserNS.Own() == nil || !errs.Is(k.spaces.ids.Reserve(*owner.UserNS.Range), errs.Conflict) {
		t.Error("a container lives with ids that are free")
	}
}
