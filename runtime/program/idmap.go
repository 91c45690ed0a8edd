package program

import (
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

// planIDMap asks for a user namespace with the maps of a mount; without maps the
// container's is used.
func (c mounter) planIDMap(m *mount) {
	uids, gids := m.UIDMappings, m.GIDMappings
	m.ids = None
	switch {
	case len(uids)+len(gids) == 0 && !m.idmap:
		return
	case !m.bind:
		c.fail(errs.InvalidParameter, "mounts: %s: only bind mounts can be idmapped", m.Destination)
	case c.users && !c.privileged:
		c.fail(errs.NotImplemented, "mounts: %s: idmapping takes the rights of the host's root", m.Destination)
	case (len(uids) == 0) != (len(gids) == 0):
		c.fail(errs.InvalidParameter, "mounts: %s: uidMappings and gidMappings come together", m.Destination)
	case len(uids) == 0 && !c.users:
		c.fail(errs.InvalidParameter, "mounts: %s: idmap without uidMappings is for containers with a user namespace", m.Destination)
	case len(uids) == 0:
		m.ids = c.user
	default:
		m.ids = c.need(Need{Kind: NeedIDMap, UIDs: uids, GIDs: gids, Context: "idmapping " + m.Source})
	}
}

// idmap shows the ids of a detached mount as the user namespace ids maps them.
func (b *builder) idmap(tree, ids Reg, recursive bool, doing string, catch ...Catch) {
	k := Block{Data: make([]byte, 32), form: formAttrs}
	put64(k.Data, unix.MOUNT_ATTR_IDMAP)
	attr := b.block(k)
	b.store(attr, 24, ids)
	flags := uint64(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	b.call(unix.SYS_MOUNT_SETATTR, doing, catch, fd(tree), mem(b.empty), imm(flags, formTree), mem(attr), num(32))
}

// idmapTrees does so for those mounts that ask for it.
func (c mounter) idmapTrees() {
	for i := range c.mounts {
		if m := &c.mounts[i]; m.ids != None {
			c.during(m.context())
			c.idmap(m.tree, m.ids, m.ridmap, "idmapping, which its filesystem has to allow")
		}
	}
}

// mappedData leaves out the group that terminals shall have if the container
// has none of that number: the kernel would refuse it.
func (c mounter) mappedData(fstype string, data []string) []string {
	if !c.users || fstype != "devpts" || len(c.linux.GIDMappings) == 0 {
		return data
	}
	return slices.DeleteFunc(slices.Clone(data), func(s string) bool {
		text, ok := strings.CutPrefix(s, "gid=")
		gid, err := strconv.ParseUint(text, 10, 32)
		if !ok || err != nil {
			return false
		}
		_, mapped := hostID(c.linux.GIDMappings, uint32(gid))
		return !mapped
	})
}
