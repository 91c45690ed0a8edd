package rootfs

import (
	"encoding/binary"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/davit-engine/davit/errs"
)

// IDs are the maps of a user namespace, from its ids to the host's. The zero
// value is the host's own: every id stands for itself.
type IDs struct{ UIDs, GIDs []specs.LinuxIDMapping }

// nobody is what a user namespace shows for an id that it has no own for.
const nobody = 65534

func (i IDs) mapped() bool { return len(i.UIDs) > 0 }

// inside returns what the container sees as a file's owners.
func (i IDs) inside(uid, gid uint32) (int, int) {
	if !i.mapped() {
		return int(uid), int(gid)
	}
	return lookup(i.UIDs, uid), lookup(i.GIDs, gid)
}

func lookup(maps []specs.LinuxIDMapping, id uint32) int {
	for _, m := range maps {
		if id >= m.HostID && id-m.HostID < m.Size {
			return int(m.ContainerID + (id - m.HostID))
		}
	}
	return nobody
}

// outside returns the host's ids for the container's.
func (i IDs) outside(uid, gid int) (uint32, uint32, error) {
	u, ok := outside(i.UIDs, uid)
	if !ok {
		return 0, 0, errs.New(errs.InvalidParameter, "user id %d does not exist in the container", uid)
	}
	g, ok := outside(i.GIDs, gid)
	if !ok {
		return 0, 0, errs.New(errs.InvalidParameter, "group id %d does not exist in the container", gid)
	}
	return u, g, nil
}

func outside(maps []specs.LinuxIDMapping, id int) (uint32, bool) {
	if id < 0 || id >= 1<<32-1 { // -1 means "leave it" to the kernel
		return 0, false
	}
	if len(maps) == 0 {
		return uint32(id), true
	}
	for _, m := range maps {
		if uint32(id) >= m.ContainerID && uint32(id)-m.ContainerID < m.Size {
			return m.HostID + uint32(id) - m.ContainerID, true
		}
	}
	return 0, false
}

// File capabilities (linux/capability.h: vfs_cap_data, vfs_ns_cap_data) begin
// with a word that holds the revision; revision 3 ends with the host's id of
// the root that they count for.
const (
	capRevision3 = 0x03000000
	capRevision2 = 0x02000000
	capRevisions = 0xff000000
	capSize2     = 20
	capSize3     = 24
)

// capsInside is the attribute security.capability as the container sees it: of
// its own root, with no id in it.
func (i IDs) capsInside(v []byte) []byte {
	if len(v) != capSize3 || binary.LittleEndian.Uint32(v)&capRevisions != capRevision3 {
		return v
	}
	root, ok := outside(i.UIDs, 0)
	if !ok || binary.LittleEndian.Uint32(v[capSize2:]) != root {
		return v
	}
	out := append([]byte(nil), v[:capSize2]...)
	binary.LittleEndian.PutUint32(out, binary.LittleEndian.Uint32(out)&^capRevisions|capRevision2)
	return out
}

// capsOutside is the other direction.
func (i IDs) capsOutside(v []byte) []byte {
	root, ok := outside(i.UIDs, 0)
	if !i.mapped() || !ok || len(v) != capSize2 || binary.LittleEndian.Uint32(v)&capRevisions != capRevision2 {
		return v
	}
	out := make([]byte, capSize3)
	copy(out, v)
	binary.LittleEndian.PutUint32(out, binary.LittleEndian.Uint32(out)&^capRevisions|capRevision3)
	binary.LittleEndian.PutUint32(out[capSize2:], root)
	return out
}
