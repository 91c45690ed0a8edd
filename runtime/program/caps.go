package program

import (
	"slices"
	"strings"
)

// capNames are the capabilities by number (linux/capability.h).
var capNames = [...]string{"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO",
	"SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
	"LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
	"PERFMON", "BPF", "CHECKPOINT_RESTORE"}

// capSets are a process's five sets of capabilities, bit n for capability n.
type capSets struct{ bounding, effective, permitted, inheritable, ambient uint64 }

// capabilities reads the spec's sets. What the kernel does not know or the
// caller cannot grant is left out, as the OCI runtime spec wants it; so is
// what is ambient without being permitted and inheritable, since the kernel
// refuses that.
func (e *entry) capabilities() capSets {
	s := e.process.Capabilities
	if s == nil {
		return capSets{}
	}
	set := func(names []string) (v uint64) {
		for _, name := range names {
			v |= capability(name)
		}
		return v & e.in.Facts.Caps
	}
	sets := capSets{bounding: set(s.Bounding), effective: set(s.Effective), permitted: set(s.Permitted), inheritable: set(s.Inheritable), ambient: set(s.Ambient)}
	sets.effective &= sets.permitted
	sets.inheritable &= sets.bounding | sets.permitted
	sets.ambient &= sets.permitted & sets.inheritable
	return sets
}

// capability is the bit of a capability by its name; 0 if there is none.
func capability(name string) uint64 {
	name = strings.TrimPrefix(name, "CAP_")
	for n, known := range capNames {
		if name == known {
			return 1 << n
		}
	}
	return 0
}

// unknownCapabilities are those that capabilities leaves out because the kernel
// does not know them or the caller cannot grant them, in order.
func (e *entry) unknownCapabilities() (list []string) {
	s := e.process.Capabilities
	if s == nil {
		return nil
	}
	for _, set := range [][]string{s.Bounding, s.Effective, s.Permitted, s.Inheritable, s.Ambient} {
		for _, name := range set {
			if capability(name)&e.in.Facts.Caps == 0 {
				list = append(list, name)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
