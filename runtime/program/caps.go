package program

import "strings"

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
			name = strings.TrimPrefix(name, "CAP_")
			for n, known := range capNames {
				if name == known {
					v |= 1 << n
				}
			}
		}
		return v & e.in.Facts.Caps
	}
	sets := capSets{bounding: set(s.Bounding), effective: set(s.Effective), permitted: set(s.Permitted), inheritable: set(s.Inheritable), ambient: set(s.Ambient)}
	sets.effective &= sets.permitted
	sets.inheritable &= sets.bounding | sets.permitted
	sets.ambient &= sets.permitted & sets.inheritable
	return sets
}
