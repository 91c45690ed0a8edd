package engine

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/engine/idrange"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
)

// UserNS says which user namespace containers get whose --userns is not set.
type UserNS struct {
	Auto  bool   // each one of its own, with ids of its own
	Remap *Remap // all the same ids (Docker's userns-remap); not together with Auto
}

// Remap are the ids that userns-remap gives.
type Remap struct {
	UIDs, GIDs []specs.LinuxIDMapping
}

// private reports whether containers are apart from the host by default.
func (u UserNS) private() bool { return u.Auto || u.Remap != nil }

// usernsKind is a sort of user namespace.
type usernsKind uint8

const (
	usernsHost   usernsKind = iota
	usernsAuto              // of its own, with a range of ids of its own
	usernsRemap             // of its own, with the ids of userns-remap
	usernsShared            // another container's
)

// chooseUserNS decides which user namespace a container gets. of is whose, for
// usernsShared. Who shares a namespace with another container lives in its
// user namespace as well, else it would have no rights in what it shares, as
// Docker has it; so does, by default, who shares one with the host
// or joins a network namespace that somebody else has made.
func chooseUserNS(h *container.HostConfig, d UserNS) (kind usernsKind, of string, err error) {
	ref, shared := strings.CutPrefix(string(h.UsernsMode), "container:")
	switch {
	case h.UsernsMode.IsHost():
		return usernsHost, "", nil
	case shared && ref == "":
		return 0, "", errs.New(errs.InvalidParameter, "invalid container format container:<name|id>")
	case shared:
		return usernsShared, ref, refusePrivileged(h, "--userns "+string(h.UsernsMode))
	case h.UsernsMode == "auto", h.UsernsMode == "private" && d.Remap == nil:
		kind = usernsAuto
	case h.UsernsMode == "private":
		return usernsRemap, "", refuseRemapped(h, "--userns private")
	case h.UsernsMode != "":
		return 0, "", errs.New(errs.InvalidParameter, "invalid USER mode %q: --userns takes host, auto, private or container:<name|id>; files of bind mounts keep their owners with auto", h.UsernsMode)
	default:
		return defaultUserNS(h, d)
	}
	flag := "--userns " + string(h.UsernsMode)
	for name, m := range map[string]string{"network": string(h.NetworkMode), "pid": string(h.PidMode), "ipc": string(h.IpcMode)} {
		if ref, ok := strings.CutPrefix(m, "container:"); ok {
			return 0, "", errs.New(errs.InvalidParameter, "conflicting options: --%s %s shares a namespace that belongs to another user namespace than %s: leave --userns out, or use --userns container:%s", name, m, flag, ref)
		}
	}
	return kind, "", refusePrivileged(h, flag)
}

// defaultUserNS is chooseUserNS for a container that does not say.
func defaultUserNS(h *container.HostConfig, d UserNS) (usernsKind, string, error) {
	if d.Remap != nil {
		if err := refuseRemapped(h, "userns-remap"); err != nil {
			return 0, "", err
		}
	}
	_, foreign := record.NetNS(h.NetworkMode)
	if !d.private() || h.Privileged || foreign || h.NetworkMode.IsHost() || h.PidMode.IsHost() || h.IpcMode.IsHost() {
		return usernsHost, "", nil
	}
	for _, m := range []string{string(h.NetworkMode), string(h.PidMode), string(h.IpcMode)} {
		if ref, ok := strings.CutPrefix(m, "container:"); ok {
			return usernsShared, ref, nil
		}
	}
	if d.Remap != nil {
		return usernsRemap, "", nil
	}
	return usernsAuto, "", nil
}

// refusePrivileged refuses the one thing that cannot go together with a user
// namespace: rights over the host. The texts here are Docker's (moby
// daemon/daemon_unix.go: verifyPlatformContainerSettings), with what to do.
func refusePrivileged(h *container.HostConfig, flag string) error {
	if !h.Privileged {
		return nil
	}
	return refusal("privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode", "--privileged", flag)
}

// refuseRemapped refuses what Docker refuses with userns-remap.
func refuseRemapped(h *container.HostConfig, flag string) error {
	switch {
	case h.NetworkMode.IsHost():
		return refusal("cannot share the host's network namespace when user namespaces are enabled", "--network host", flag)
	case h.PidMode.IsHost():
		return refusal("cannot share the host PID namespace when user namespaces are enabled", "--pid host", flag)
	}
	return refusePrivileged(h, flag)
}

func refusal(text, this, with string) error {
	return errs.New(errs.InvalidParameter, "%s (%s with %s): use --userns host", text, this, with)
}

// validateUserNS refuses user namespaces that cannot be.
func (d *drafter) validateUserNS(_ *container.Config, h *container.HostConfig) error {
	kind, of, err := chooseUserNS(h, d.cfg.UserNS)
	if err == nil && kind == usernsShared {
		_, err = d.table.find(of)
	}
	return err
}

// borrowUserNS notes in rec the maps of the container whose user namespace it
// shares, and opens that; nil if it is the host's.
func (l *launcher) borrowUserNS(rec *record.Container) (*os.File, error) {
	of := rec.UserNS.Of
	c, err := l.table.find(of)
	if err != nil {
		return nil, err
	}
	theirs := c.snapshot().UserNS
	if theirs != nil && theirs.Of != "" && !theirs.Private() {
		theirs = nil
	}
	l.spaces.release(rec) // what it inherited from a container that is gone
	rec.UserNS = &record.UserNS{Of: of}
	if !theirs.Private() {
		return nil, nil
	}
	*rec.UserNS = record.UserNS{
		Of: of, UIDs: theirs.UIDs, GIDs: theirs.GIDs, MapBinds: theirs.MapBinds, Range: theirs.Range, Borrowed: theirs.Range != nil,
	}
	return l.openUserNS(of)
}

// giveIDs gives a removed container's range of ids back or, where another
// container runs with them still, on to that.
func (k *keeper) giveIDs(rec *record.Container) {
	ids := rec.UserNS.Own()
	if ids == nil {
		return
	}
	k.spaces.giving.Lock()
	defer k.spaces.giving.Unlock()
	for _, c := range k.table.all() {
		if c.borrows(ids) && k.inherit(c) {
			return
		}
	}
	k.spaces.release(rec)
}

// keepIDs makes sure that the ids of c, which runs since a moment ago, are not
// free because the container that it has them from was removed meanwhile.
func (k *keeper) keepIDs(c *ctr) {
	ids := *c.snapshot().UserNS.Range
	k.spaces.giving.Lock()
	defer k.spaces.giving.Unlock()
	if k.spaces.ids.Reserve(ids) != nil {
		return // they are their owner's still, who gives them on
	}
	if !k.inherit(c) {
		k.spaces.ids.Give(ids)
	}
}

// borrows reports whether c runs with these ids, which are another's.
func (c *ctr) borrows(ids *idrange.Range) bool {
	u := c.snapshot().UserNS
	return c.current() != nil && u != nil && u.Borrowed && *u.Range == *ids
}

// inherit makes c the owner of the ids that it borrows; false if it has ended
// before.
func (k *keeper) inherit(c *ctr) bool {
	if c.own(context.Background()) != nil {
		return false
	}
	defer c.disown()
	rec := c.snapshot()
	u := *rec.UserNS
	if c.current() == nil || !u.Borrowed {
		return false
	}
	u.Borrowed = false
	rec.UserNS = &u
	c.replace(&rec)
	if err := k.persist(c, true); err != nil {
		k.log.Error("recording a container's range of ids", "container", c.id, "error", err)
	}
	return true
}

// mapMounts decides how each bind mount and volume of the user's shows the
// owners of its files: as they are on disk ("idmap", with what is mounted below
// it "ridmap"), or as the host's ids, which are nobody's inside (""). Unless the
// user has said, the container's default is taken as far as the file systems
// can. What the shim is given as a mount is mapped already.
func mapMounts(rec *record.Container, userns *os.File) (map[string]string, error) {
	if userns == nil || len(rec.Mounts) == 0 {
		return nil, nil
	}
	out := map[string]string{}
	for i := range rec.Mounts {
		m := &rec.Mounts[i]
		if m.Subpath != "" || !wantsMap(rec, m) {
			continue
		}
		tried := errors.New("the mount is not recursive")
		for _, option := range []string{"ridmap", "idmap"} {
			recursive := option == "ridmap"
			if m.IDMap != "" && m.IDMap != option || recursive && !m.Recursive() {
				continue
			}
			if tried = canMap(m.Source, userns, recursive); tried == nil {
				out[m.Destination] = option
				break
			}
		}
		if m.IDMap != "" && out[m.Destination] == "" {
			return nil, cannotMap(m, tried)
		}
	}
	return out, nil
}

// wantsMap says whether the files of a mount are to keep their owners in a user
// namespace. A volume's always do, as an image's: they are no files of the
// host's.
func wantsMap(rec *record.Container, m *record.Mount) bool {
	switch {
	case m.IDMap != "":
		return m.IDMap != "noidmap"
	case m.Type == mount.TypeBind:
		return rec.UserNS.Private() && rec.UserNS.MapBinds
	}
	return m.Type == mount.TypeVolume
}

func cannotMap(m *record.Mount, err error) error {
	return errs.New(errs.InvalidParameter, "invalid mount config for type %q: %s cannot be mounted with option %s (%w): its file system, or one below it, knows no mapped owners; leave the option out, or use noidmap", m.Type, m.Source, m.IDMap, err)
}

// canMap tries whether what is at path can be mounted with mapped owners: only
// the kernel knows which file systems and mounts can.
func canMap(path string, userns *os.File, recursive bool) error {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	at := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
		at |= unix.AT_RECURSIVE
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, path, flags)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	return unix.MountSetattr(tree, "", at, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns.Fd())})
}
