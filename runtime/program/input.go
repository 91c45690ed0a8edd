package program

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Root says where the container's root filesystem comes from: exactly one of
// the two is set. Paths are absolute, the engine's own, and never influenced
// by an image.
type Root struct {
	Dir     string   `json:"dir,omitempty"`     // this directory is bound, with what is mounted below it
	Overlay *Overlay `json:"overlay,omitempty"` // an overlay is mounted in the container's mount namespace only

	// IDMap has the files owned on disk by the ids that they have in the
	// container: its layers are shown to a user namespace by idmapped mounts
	// (Linux 5.19 for an overlay). It has no meaning without a user namespace.
	IDMap bool `json:"idmap,omitempty"`
}

// Overlay names the directories of an overlay mount. Without Upper and Work it
// is read-only.
type Overlay struct {
	Lower    []string `json:"lower"` // topmost first
	Upper    string   `json:"upper,omitempty"`
	Work     string   `json:"work,omitempty"`     // empty, on Upper's filesystem
	Volatile bool     `json:"volatile,omitempty"` // no sync on unmount: the content need not survive a power loss
	Limited  bool     `json:"limited,omitempty"`  // Upper has a quota, which is to hold

	// Options are further ones of overlayfs, KEY=VALUE, where the kernel's
	// defaults will not do.
	Options []string `json:"options,omitempty"`
}

// Facts is what a program depends on of the machine that it runs on.
type Facts struct {
	OverlayFD      bool         // overlay layers may be given by descriptor (Linux 6.13)
	MappedLayers   bool         // an overlay's layers may be idmapped (Linux 5.19)
	DetachedLayers bool         // such a descriptor may be of a detached mount (Linux 6.15)
	InUserNS       bool         // the caller is in a user namespace itself: it is root of nothing but that
	CgroupV2       bool         // /sys/fs/cgroup is one cgroup2 hierarchy
	CgroupV1       []Controller // hierarchies of cgroup v1, where CgroupV2 is false
	Caps           uint64       // capabilities that can be granted, bit n for capability n
	LastCap        int          // the highest capability that the kernel knows
	NoFile         Limit        // RLIMIT_NOFILE for a spec that names none
	AppArmor       bool         // the kernel has it, and it is on
	SELinux        bool         // the kernel has it, and a policy is loaded
}

// Controller is one mounted hierarchy of cgroup v1.
type Controller struct {
	Dir     string // name below /sys/fs/cgroup, such as "cpu,cpuacct" or "systemd"
	Options string // what to mount it with, such as "cpu,cpuacct" or "none,name=systemd"
}

// Limit is a resource limit.
type Limit struct{ Soft, Hard uint64 }

// Input is everything that Compile looks at.
type Input struct {
	Spec *specs.Spec
	Root Root

	Seccomp      []byte // classic BPF, 8 bytes an instruction, host byte order; empty: no filter
	SeccompFlags uint32 // of seccomp(2); with SECCOMP_FILTER_FLAG_NEW_LISTENER the caller gets a descriptor

	Facts       Facts
	NetNS       bool     // join the network namespace that the caller holds, whatever the spec says of it
	UserNS      bool     // join the user namespace that the caller holds, whatever the spec says of it
	Trees       []string // targets of bind mounts whose source the caller holds as a detached mount
	MakeCwd     bool     // make a working directory that is missing, as root's, mode 0755
	File        string   // what to execute; empty: as process.args[0] says
	KeepKeyring bool     // the process keeps the caller's session keyring
	CgroupTasks int      // number of tasks files to join (cgroup v1)
	PreserveFDs int      // number of files that become descriptors 3, 4, ...

	Resctrl bool // CgroupTasks has the tasks file of a resctrl group too

	Created  bool // tell the caller when namespaces and mounts are there, and wait for it
	Hold     bool // make sure that the command can be executed, and wait right before that
	Listener bool // the caller takes the seccomp filter's notify descriptor
	Detached bool // the process may outlive the caller
}

// notifies reports whether the filter has a descriptor of notifications.
func (in *Input) notifies() bool {
	return len(in.Seccomp) > 0 && in.SeccompFlags&unix.SECCOMP_FILTER_FLAG_NEW_LISTENER != 0
}
