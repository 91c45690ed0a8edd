// Package spec turns what the user asked of a container, and what is known of
// the host, into an OCI runtime specification.
//
// It is pure: it opens no file, asks no kernel and keeps no state, so that
// every decision in it can be tested as text. What must be looked up - the
// user's numbers, the host's devices - comes in through Input. Defaults are
// those of Docker Engine 29.
package spec

import (
	"maps"
	"path"
	"sort"
	"strings"

	"github.com/davit-engine/davit/engine/record"
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Input is everything that a specification is made of.
type Input struct {
	Container *record.Container
	User      User
	Files     Files
	Security  Security
	Host      Host
	Defaults  Defaults
	Join      Join
	Sysctls   map[string]string // of the container's network interface
	Variables []string          // that the engine adds before the user's
	IDMap     map[string]string // mount option ("idmap", "ridmap", "") of each bind mount of the user's, by its target
}

// User is the container's user as its image's passwd and group files resolve
// it.
type User struct {
	UID, GID uint32
	Groups   []uint32
	Home     string
}

// Files are host paths of the files that the engine writes for the container.
// An empty path is not mounted.
type Files struct {
	Hostname, Hosts, ResolvConf string
}

// Host is what the specification needs to know of the machine.
type Host struct {
	Capabilities []string            // all that the kernel knows and the engine holds, CAP_ prefixed
	Nofile       uint64              // the engine's own hard limit of open files
	OOMScoreAdj  int                 // the engine's own
	Thermal      []string            // existing /sys/devices/system/cpu/cpu*/thermal_throttle
	Devices      []specs.LinuxDevice // of /dev; given for privileged containers only
	Mapped       []specs.LinuxDevice // those that HostConfig.Devices names, at their paths in the container
	MappedAccess []specs.LinuxDeviceCgroup
	Blocks       map[string]DeviceNumber // of the block devices that limits name, by path
	Nodes        []Node                  // in place of Mapped, in a user namespace, where no device node can be made
}

// Node is a device node of the host, by its paths there and in the container.
type Node struct{ Source, Target string }

// DeviceNumber is a device as the kernel knows it.
type DeviceNumber struct{ Major, Minor int64 }

// Defaults are the engine's settings.
type Defaults struct {
	CgroupParent    string // "/davit"
	ShmSize         int64  // bytes
	Ulimits         []*container.Ulimit
	InitPath        string // host path of the init program
	Init            bool   // use it unless the container says otherwise
	NoNewPrivileges bool
	CgroupNS        container.CgroupnsMode
	IPC             container.IpcMode
}

// Join holds paths of namespaces of other containers, empty for none.
type Join struct {
	PID, IPC string
}

// InitMount is where the init program is mounted in a container.
const InitMount = "/sbin/docker-init"

// ShmMount is where a container has its shared memory. Of one that joins
// another's IPC namespace it is a bind mount whose source the shim is given.
const ShmMount = "/dev/shm"

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Build returns the specification. The error is an errs.InvalidParameter that
// names the field at fault.
func Build(in Input) (*specs.Spec, error) {
	c, h := in.Container.Config, in.Container.HostConfig
	s := &specs.Spec{
		Version:  specs.Version,
		Hostname: c.Hostname,
		Root:     &specs.Root{Path: "rootfs", Readonly: h.ReadonlyRootfs},
		Process:  process(in),
		Linux:    &specs.Linux{CgroupsPath: cgroupPath(in)},
	}
	if c.Domainname != "" {
		s.Domainname = c.Domainname
	}
	if h.UTSMode.IsHost() {
		s.Hostname, s.Domainname = "", ""
	}
	if len(h.Annotations) > 0 {
		s.Annotations = h.Annotations
	}
	caps, err := capabilities(in)
	if err != nil {
		return nil, err
	}
	s.Process.Capabilities = caps
	s.Linux.Namespaces = namespaces(in)
	if u := in.Container.UserNS; u.Private() {
		s.Linux.UIDMappings, s.Linux.GIDMappings = u.UIDs, u.GIDs
	}
	s.Linux.Sysctl = sysctls(in)
	s.Mounts = mounts(in)
	s.Linux.RootfsPropagation = propagationOf(s.Mounts)
	s.Linux.Resources = resources(in)
	switch {
	case h.Privileged:
		s.Linux.Devices = in.Host.Devices
	default:
		s.Linux.Devices = in.Host.Mapped
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = guardedPaths(in)
	}
	return s, nil
}

func process(in Input) *specs.Process {
	c, h := in.Container.Config, in.Container.HostConfig
	p := &specs.Process{
		Terminal:        c.Tty,
		User:            specs.User{UID: in.User.UID, GID: in.User.GID, AdditionalGids: in.User.Groups, Umask: h.Umask},
		Args:            append([]string{in.Container.Path}, in.Container.Args...),
		Env:             environment(in),
		Cwd:             c.WorkingDir,
		NoNewPrivileges: in.Security.NoNewPrivileges,
		ApparmorProfile: in.Security.AppArmor,
		SelinuxLabel:    in.Security.SELinux,
		Rlimits:         rlimits(in),
	}
	if p.Cwd == "" {
		p.Cwd = "/"
	}
	if c.Tty && (h.ConsoleSize[0] != 0 || h.ConsoleSize[1] != 0) {
		p.ConsoleSize = &specs.Box{Height: h.ConsoleSize[0], Width: h.ConsoleSize[1]}
	}
	// An engine that the kernel spares (OOMScoreAdjust in its unit) must not
	// hand that on. One that is disfavoured may lack the right to go back to 0.
	if adj := h.OomScoreAdj; adj != 0 || in.Host.OOMScoreAdj < 0 {
		p.OOMScoreAdj = &adj
	}
	if UsesInit(in.Container, in.Defaults) {
		p.Args = append([]string{InitMount, "--"}, p.Args...)
	}
	return p
}

// UsesInit says whether the container's first process is the init program.
func UsesInit(c *record.Container, d Defaults) bool {
	if !c.HostConfig.PidMode.IsPrivate() {
		return false
	}
	if c.HostConfig.Init != nil {
		return *c.HostConfig.Init
	}
	return d.Init
}

// environment gives what the user set precedence over the defaults. A
// variable without '=' is unset, as Docker has it.
func environment(in Input) []string {
	c := in.Container.Config
	env := []string{defaultPath, "HOSTNAME=" + c.Hostname}
	if c.Tty {
		env = append(env, "TERM=xterm")
	}
	env = append(env, in.Variables...)
	at := make(map[string]int, len(env)+len(c.Env))
	for i, e := range env {
		name, _, _ := strings.Cut(e, "=")
		at[name] = i
	}
	for _, e := range c.Env {
		name, _, set := strings.Cut(e, "=")
		i, known := at[name]
		switch {
		case known && set:
			env[i] = e
		case known:
			env[i] = ""
		case set:
			at[name] = len(env)
			env = append(env, e)
		}
	}
	if _, known := at["HOME"]; !known && in.User.Home != "" {
		env = append(env, "HOME="+in.User.Home)
	}
	kept := env[:0]
	for _, e := range env {
		if e != "" {
			kept = append(kept, e)
		}
	}
	return kept
}

func namespaces(in Input) []specs.LinuxNamespace {
	h := in.Container.HostConfig
	ns := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	if in.Container.UserNS.Private() {
		ns = append(ns, specs.LinuxNamespace{Type: specs.UserNamespace})
	}
	if !h.NetworkMode.IsHost() {
		ns = append(ns, specs.LinuxNamespace{Type: specs.NetworkNamespace})
	}
	if !h.UTSMode.IsHost() {
		ns = append(ns, specs.LinuxNamespace{Type: specs.UTSNamespace})
	}
	if !h.PidMode.IsHost() {
		ns = append(ns, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: in.Join.PID})
	}
	if !ipcMode(in).IsHost() {
		ns = append(ns, specs.LinuxNamespace{Type: specs.IPCNamespace, Path: in.Join.IPC})
	}
	if CgroupNS(in.Container, in.Defaults).IsPrivate() {
		ns = append(ns, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return ns
}

// CgroupNS returns the container's cgroup namespace mode. A user namespace of
// its own brings a cgroup namespace with it, without which nothing could be
// mounted at /sys/fs/cgroup.
func CgroupNS(c *record.Container, d Defaults) container.CgroupnsMode {
	switch {
	case c.HostConfig.CgroupnsMode != "":
		return c.HostConfig.CgroupnsMode
	case c.UserNS.Private():
		return container.CgroupnsModePrivate
	}
	return d.CgroupNS
}

func ipcMode(in Input) container.IpcMode {
	if m := in.Container.HostConfig.IpcMode; !m.IsEmpty() {
		return m
	}
	return in.Defaults.IPC
}

func cgroupPath(in Input) string {
	parent := in.Container.HostConfig.CgroupParent
	if parent == "" {
		parent = in.Defaults.CgroupParent
	}
	return path.Join("/", parent, in.Container.ID)
}

// sysctls lets the container's users bind low ports and send pings in its own
// network namespace, where that harms nobody, and adds what was asked for.
func sysctls(in Input) map[string]string {
	h := in.Container.HostConfig
	out := make(map[string]string, len(h.Sysctls)+2)
	if !h.NetworkMode.IsHost() && !record.ForeignNet(h.NetworkMode) {
		out["net.ipv4.ip_unprivileged_port_start"] = "0"
		out["net.ipv4.ping_group_range"] = "0 2147483647"
	}
	maps.Copy(out, h.Sysctls)
	maps.Copy(out, in.Sysctls)
	if len(out) == 0 {
		return nil
	}
	return out
}

func rlimits(in Input) []specs.POSIXRlimit {
	merged := map[string]*container.Ulimit{}
	for _, list := range [][]*container.Ulimit{in.Defaults.Ulimits, in.Container.HostConfig.Ulimits} {
		for _, u := range list {
			merged[u.Name] = u
		}
	}
	out := make([]specs.POSIXRlimit, 0, len(merged)+1)
	for _, u := range merged {
		out = append(out, specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: uint64(u.Soft), Hard: uint64(u.Hard)})
	}
	if merged["nofile"] == nil {
		// The engine's own soft limit was raised by the Go runtime; programs that use select(2) need the customary one.
		out = append(out, specs.POSIXRlimit{Type: "RLIMIT_NOFILE", Soft: min(1024, in.Host.Nofile), Hard: min(524288, in.Host.Nofile)})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Type < out[j].Type })
	return out
}

// propagationOf returns the root's propagation: a shared or slave bind needs
// the root to be at least that.
func propagationOf(mounts []specs.Mount) string {
	p := ""
	for _, m := range mounts {
		for _, o := range m.Options {
			switch o {
			case "shared", "rshared":
				return "shared"
			case "slave", "rslave":
				p = "rslave"
			}
		}
	}
	return p
}
