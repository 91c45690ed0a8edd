package program

import "slices"

// Capabilities lists the capabilities that a spec may name, by number.
func Capabilities() []string {
	all := make([]string, len(capNames))
	for i, name := range capNames {
		all[i] = "CAP_" + name
	}
	return all
}

// MountOptions lists the mount options that are not handed to the filesystem,
// sorted.
func MountOptions() []string {
	all := []string{"async", "bind", "defaults", "dirsync", "idmap", "iversion", "lazytime", "loud", "mand", "nolazytime", "noiversion", "nomand", "private",
		"rbind", "remount", "ridmap", "rprivate", "rshared", "rslave", "runbindable", "shared", "silent", "slave", "sync", "tmpcopyup", "unbindable"}
	for _, a := range attributes {
		all = append(all, a.name, "r"+a.name)
	}
	slices.Sort(all)
	return all
}

// MemoryPolicies lists the modes and flags of memory policies.
func MemoryPolicies() (modes, flags []string) {
	for _, n := range memoryModes {
		modes = append(modes, n.name)
	}
	for _, n := range memoryFlags {
		flags = append(flags, n.name)
	}
	return modes, flags
}
