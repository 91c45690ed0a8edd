// Package idrange hands out ranges of the host's user and group ids, for
// containers with a user namespace of their own.
//
// It owns the question which ids are free: they come from what /etc/subuid and
// /etc/subgid grant to the user davit or containers or, without such lines,
// from an area of the engine's own that nobody else is known to use. It knows
// nothing of containers and namespaces. Nothing is kept on disk: who has a
// range remembers it and reserves it after a restart. Engines of one host tell
// each other by locks on a file, one byte for a range, which the kernel frees
// with the process.
//
// A Pool may be used by several goroutines at once.
package idrange

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Size is how many ids a range has.
const Size = 1 << 16

// The area that ranges come from where nobody says otherwise. It is a part of
// what systemd leaves to containers (524288 to 1879048191), beyond what
// useradd grants to users (SUB_UID_MAX, 600100000).
const (
	firstOwn = 0x24000000
	endOwn   = 0x70000000
)

// defaultLock is where the engines of a host meet, whatever their roots are:
// only root may write below /run.
const defaultLock = "/run/davit/ids.lock"

// Range is Size user ids and Size group ids of the host, by the first of each.
type Range struct{ UID, GID uint32 }

// String names the range, for errors and logs.
func (r Range) String() string {
	if r.UID == r.GID {
		return fmt.Sprintf("ids %d-%d", r.UID, uint64(r.UID)+Size-1)
	}
	return fmt.Sprintf("user ids %d-%d, group ids %d-%d", r.UID, uint64(r.UID)+Size-1, r.GID, uint64(r.GID)+Size-1)
}

// Maps are the maps of a user namespace whose ids from 0 on are the range's.
func (r Range) Maps() (uids, gids []specs.LinuxIDMapping) {
	one := func(first uint32) []specs.LinuxIDMapping {
		return []specs.LinuxIDMapping{{ContainerID: 0, HostID: first, Size: Size}}
	}
	return one(r.UID), one(r.GID)
}

// Config says where a pool looks. The zero value is right for a host.
type Config struct {
	Etc  string // directory of subuid, subgid, passwd and group; "": /etc
	Lock string // the file by which engines tell each other; "": /run/davit/ids.lock
	Seed uint64 // where the search begins, so that engines that do not see each other seldom meet
}

// Pool hands out ranges.
type Pool struct {
	config Config

	mu    sync.Mutex
	lock  *os.File       // guarded by mu; nil until the first range is asked for
	known database       // guarded by mu; what Etc says, as it was read last
	areas []area         // guarded by mu; where ranges come from
	own   bool           // guarded by mu; areas are the engine's own
	next  int            // guarded by mu; slot to look at first
	taken map[Range]bool // guarded by mu
	held  map[uint32]int // guarded by mu; by number of the locked byte: ranges that need it
}

// area is a run of slots, each of which is a range.
type area struct {
	first Range
	slots int
}

// New makes a pool. It looks at nothing before the first range is asked for.
func New(c Config) *Pool {
	if c.Etc == "" {
		c.Etc = "/etc"
	}
	if c.Lock == "" {
		c.Lock = defaultLock
	}
	return &Pool{config: c, taken: map[Range]bool{}, held: map[uint32]int{}, next: -1}
}

// Take returns a range that nobody has, one that was given back as late as
// possible. The error is errs.Exhausted when there is none.
func (p *Pool) Take() (Range, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.readyLocked(); err != nil {
		return Range{}, err
	}
	total := p.slotsLocked()
	for i := range total {
		at := (p.next + i) % total
		r := p.slotLocked(at)
		if p.taken[r] || p.own && p.known.uses(r) {
			continue
		}
		switch free, err := p.claimLocked(r); {
		case err != nil:
			return Range{}, err
		case free:
			p.taken[r] = true
			p.next = at + 1
			return r, nil
		}
	}
	return Range{}, errs.New(errs.Exhausted, "no range of %d ids is left for another user namespace (%d exist, in %s): remove containers that are not needed, add lines for the user davit to /etc/subuid and /etc/subgid, or use --userns host",
		Size, total, p.sourceLocked())
}

// Reserve keeps the range of a container that exists. The error is
// errs.Conflict when somebody else has it.
func (p *Pool) Reserve(r Range) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken[r] {
		return errs.New(errs.Conflict, "%s belong to another container", r)
	}
	if err := p.openLocked(); err != nil {
		return err
	}
	free, err := p.claimLocked(r)
	if err == nil && !free {
		err = errs.New(errs.Conflict, "%s are in use by another engine on this host", r)
	}
	if err == nil {
		p.taken[r] = true
	}
	return err
}

// Give takes a range back. One that is not taken is ignored.
func (p *Pool) Give(r Range) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.taken[r] {
		return
	}
	delete(p.taken, r)
	for _, b := range bytesOf(r) {
		if p.held[b]--; p.held[b] <= 0 {
			delete(p.held, b)
			_ = p.lockByteLocked(b, unix.F_UNLCK) // cannot fail for a lock that is held
		}
	}
}

// Close lets go of all ranges.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lock != nil {
		p.lock.Close()
		p.lock = nil
	}
	clear(p.taken)
	clear(p.held)
}

// openLocked opens the lock file.
func (p *Pool) openLocked() error {
	if p.lock != nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(p.config.Lock), 0o711); err != nil {
		return fmt.Errorf("making the directory of the id ranges' locks: %w", err)
	}
	f, err := os.OpenFile(p.config.Lock, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("opening the id ranges' locks: %w", err)
	}
	p.lock = f
	return nil
}

// readyLocked reads what Etc says, if it has changed.
func (p *Pool) readyLocked() error {
	if err := p.openLocked(); err != nil {
		return err
	}
	fresh, changed, err := readDatabase(p.config.Etc, p.known)
	if err != nil || !changed {
		return err
	}
	p.known = fresh
	p.areas, p.own = fresh.granted(), false
	if len(p.areas) == 0 {
		p.areas, p.own = []area{{Range{firstOwn, firstOwn}, (endOwn - firstOwn) / Size}}, true
	}
	p.next = int(p.config.Seed % uint64(p.slotsLocked()))
	return nil
}

func (p *Pool) slotsLocked() (n int) {
	for _, a := range p.areas {
		n += a.slots
	}
	return n
}

func (p *Pool) slotLocked(i int) Range {
	for _, a := range p.areas {
		if i < a.slots {
			return Range{a.first.UID + uint32(i)*Size, a.first.GID + uint32(i)*Size}
		}
		i -= a.slots
	}
	return Range{}
}

func (p *Pool) sourceLocked() string {
	if p.own {
		return "the engine's own area"
	}
	return filepath.Join(p.config.Etc, "subuid") + " and subgid"
}

// bytesOf returns the bytes of the lock file that stand for a range's user ids:
// two where it begins in the midst of one.
func bytesOf(r Range) []uint32 {
	first, last := r.UID/Size, uint32((uint64(r.UID)+Size-1)/Size)
	if first == last {
		return []uint32{first}
	}
	return []uint32{first, last}
}

// claimLocked locks a range against other engines; false if one has it, or
// something of systemd's does.
func (p *Pool) claimLocked(r Range) (bool, error) {
	for _, of := range []string{"/run/systemd/nspawn-uid/%d", "/run/systemd/nsresource/registry/u%d.userns"} {
		if _, err := os.Lstat(fmt.Sprintf(of, r.UID)); err == nil {
			return false, nil
		}
	}
	var got []uint32
	for _, b := range bytesOf(r) {
		if p.held[b] == 0 {
			err := p.lockByteLocked(b, unix.F_WRLCK)
			if err != nil {
				for _, g := range got {
					_ = p.lockByteLocked(g, unix.F_UNLCK) // as in Give
				}
			}
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
				return false, nil
			}
			if err != nil {
				return false, fmt.Errorf("locking %s: %w", r, err)
			}
			got = append(got, b)
		}
	}
	for _, b := range bytesOf(r) {
		p.held[b]++
	}
	return true, nil
}

func (p *Pool) lockByteLocked(b uint32, kind int16) error {
	if p.lock == nil {
		return nil
	}
	l := unix.Flock_t{Type: kind, Whence: 0, Start: int64(b), Len: 1}
	return unix.FcntlFlock(p.lock.Fd(), unix.F_OFD_SETLK, &l)
}

// ParseUser splits what userns-remap names: user, user:group, or default for
// dockremap. The group is the user's name where none is given.
func ParseUser(s string) (user, group string, err error) {
	user, group, both := strings.Cut(s, ":")
	switch {
	case user == "" || both && group == "":
		return "", "", errs.New(errs.InvalidParameter, "invalid user namespace remapping %q: write USER, USER:GROUP or default", s)
	case user == "default" && both:
		return "", "", errs.New(errs.InvalidParameter, "invalid user namespace remapping %q: default stands alone", s)
	case user == "default":
		user = "dockremap"
	}
	if !both {
		group = user
	}
	return user, group, nil
}
