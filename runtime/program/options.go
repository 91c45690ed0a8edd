package program

import (
	"strings"

	"golang.org/x/sys/unix"
)

// options is the meaning of a mount's option list.
type options struct {
	set, clr     uint64 // mount attributes
	rset, rclr   uint64 // the same for the mount and all below it
	propagation  uint64 // MS_SHARED...; 0: not said
	rpropagation bool   // of the mounts below as well
	bind, rbind  bool
	remount      bool // change the mount that is there; with alone, nothing of its filesystem
	alone        bool
	copyUp       bool     // fill a new tmpfs with what lies below it
	idmap        bool     // show the ids of the container's user namespace, or of the mount's own maps
	ridmap       bool     // of the mounts below as well
	superblock   []string // flags of the filesystem, such as "sync"
	data         []string // what the filesystem itself understands
}

// attribute says what an option does to a mount's attributes.
type attribute struct {
	name     string
	set, clr uint64
}

func findAttribute(name string) (attribute, bool) {
	for _, a := range attributes {
		if a.name == name {
			return a, true
		}
	}
	return attribute{}, false
}

const (
	attrRO       = unix.MOUNT_ATTR_RDONLY
	attrAtime    = unix.MOUNT_ATTR__ATIME
	attrRelatime = unix.MOUNT_ATTR_RELATIME
)

// attributes are options as mount(8) and the OCI runtime spec name them; with
// an r in front (but for relatime and ro, rw: rrelatime, rro, rrw) they hold
// for the mounts below as well.
var attributes = [...]attribute{
	{"ro", attrRO, 0},
	{"rw", 0, attrRO},
	{"nosuid", unix.MOUNT_ATTR_NOSUID, 0},
	{"suid", 0, unix.MOUNT_ATTR_NOSUID},
	{"nodev", unix.MOUNT_ATTR_NODEV, 0},
	{"dev", 0, unix.MOUNT_ATTR_NODEV},
	{"noexec", unix.MOUNT_ATTR_NOEXEC, 0},
	{"exec", 0, unix.MOUNT_ATTR_NOEXEC},
	{"nodiratime", unix.MOUNT_ATTR_NODIRATIME, 0},
	{"diratime", 0, unix.MOUNT_ATTR_NODIRATIME},
	{"relatime", attrRelatime, attrAtime},
	{"norelatime", 0, 0},
	{"noatime", unix.MOUNT_ATTR_NOATIME, attrAtime},
	{"atime", attrRelatime, attrAtime},
	{"strictatime", unix.MOUNT_ATTR_STRICTATIME, attrAtime},
	{"nostrictatime", attrRelatime, attrAtime},
	{"nosymfollow", unix.MOUNT_ATTR_NOSYMFOLLOW, 0},
	{"symfollow", 0, unix.MOUNT_ATTR_NOSYMFOLLOW},
}

// parsePropagation reads "private", "rprivate" and so on.
func parsePropagation(s string) (flag uint64, recursive, ok bool) {
	for _, n := range [...]named{{unix.MS_SHARED, "shared"}, {unix.MS_SLAVE, "slave"}, {unix.MS_PRIVATE, "private"}, {unix.MS_UNBINDABLE, "unbindable"}} {
		if s == n.name || s == "r"+n.name {
			return n.value, s != n.name, true
		}
	}
	return 0, false, false
}

// parseOptions reads the option list of a mount.
func parseOptions(list []string) (options, error) {
	var o options
	for _, s := range list {
		if a, ok := findAttribute(s); ok {
			o.set, o.clr = o.set&^a.clr|a.set, o.clr&^a.set|a.clr
			continue
		}
		if a, ok := findAttribute(strings.TrimPrefix(s, "r")); ok {
			o.rset, o.rclr = o.rset&^a.clr|a.set, o.rclr&^a.set|a.clr
			continue
		}
		if f, r, ok := parsePropagation(s); ok {
			o.propagation, o.rpropagation = f, r
			continue
		}
		switch s {
		case "", "defaults", "async", "nomand", "noiversion", "nolazytime", "loud":
		case "bind":
			o.bind = true
		case "rbind":
			o.bind, o.rbind = true, true
		case "sync", "dirsync", "mand", "lazytime", "iversion", "silent":
			o.superblock = append(o.superblock, s)
		case "remount":
			o.remount = true
		case "tmpcopyup":
			o.copyUp = true
		case "idmap":
			o.idmap = true
		case "ridmap":
			o.idmap, o.ridmap = true, true
		default:
			o.data = append(o.data, s)
		}
	}
	if o.remount { // nothing is bound
		o.alone, o.bind = o.bind, false
	}
	return o, nil
}
