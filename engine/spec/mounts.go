package spec

import (
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/engine/record"
	"github.com/moby/moby/api/types/mount"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// mounts lists the container's mounts in the order in which they are made:
// the system's, then the engine's files, then the user's by depth of target.
func mounts(in Input) []specs.Mount {
	ms := system(in)
	for _, f := range []struct{ source, target string }{
		{in.Files.ResolvConf, "/etc/resolv.conf"},
		{in.Files.Hostname, "/etc/hostname"},
		{in.Files.Hosts, "/etc/hosts"},
	} {
		if f.source != "" {
			options := []string{"rbind", "rprivate"}
			if in.Container.UserNS.Private() {
				options = append(options, "idmap")
			}
			ms = append(ms, specs.Mount{Destination: f.target, Type: "bind", Source: f.source, Options: options})
		}
	}
	for _, n := range in.Host.Nodes {
		ms = append(ms, specs.Mount{Destination: n.Target, Type: "bind", Source: n.Source, Options: []string{"bind", "rprivate"}})
	}
	if UsesInit(in.Container, in.Defaults) {
		ms = append(ms, specs.Mount{Destination: InitMount, Type: "bind", Source: in.Defaults.InitPath, Options: []string{"bind", "ro"}})
	}
	if len(in.Container.Mounts) == 0 {
		return ms
	}
	user := make([]specs.Mount, 0, len(in.Container.Mounts))
	for _, m := range in.Container.Mounts {
		user = append(user, userMount(&m, in.IDMap[m.Destination]))
	}
	sort.SliceStable(user, func(i, j int) bool {
		return strings.Count(user[i].Destination, "/") < strings.Count(user[j].Destination, "/")
	})
	// A mount of the user's takes the place of one of ours at the same target.
	taken := make(map[string]bool, len(user))
	for _, u := range user {
		taken[u.Destination] = true
	}
	kept := ms[:0]
	for _, m := range ms {
		if !taken[m.Destination] {
			kept = append(kept, m)
		}
	}
	return append(kept, user...)
}

// userMount is a mount that the user asked for. Everything but a tmpfs is
// bound: a volume's data, and an image that is mounted elsewhere.
func userMount(m *record.Mount, idmap string) specs.Mount {
	if m.Type == mount.TypeTmpfs {
		return specs.Mount{Destination: m.Destination, Type: "tmpfs", Source: "tmpfs", Options: m.Options}
	}
	options := m.Options
	if idmap != "" {
		options = append(slices.Clip(options), idmap)
	}
	source := m.Source
	if m.Type == mount.TypeImage {
		source = "/" + m.Name // for errors: the shim is given what is mounted
	}
	return specs.Mount{Destination: m.Destination, Type: "bind", Source: source, Options: options}
}

func system(in Input) []specs.Mount {
	h := in.Container.HostConfig
	sysOpts := []string{"nosuid", "noexec", "nodev", "ro"}
	cgroupOpts := []string{"ro", "nosuid", "noexec", "nodev"}
	if in.Security.WritableCgroups {
		cgroupOpts = []string{"rw", "nosuid", "noexec", "nodev"}
	}
	if h.Privileged {
		sysOpts = []string{"nosuid", "noexec", "nodev", "rw"}
		cgroupOpts = []string{"rw", "nosuid", "noexec", "nodev"}
	}
	ms := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: sysOpts},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: cgroupOpts},
	}
	ipc := ipcMode(in)
	if ipc.IsHost() {
		return append(ms,
			specs.Mount{Destination: "/dev/shm", Type: "bind", Source: "/dev/shm", Options: []string{"rbind", "rprivate"}},
			specs.Mount{Destination: "/dev/mqueue", Type: "bind", Source: "/dev/mqueue", Options: []string{"rbind", "rprivate"}})
	}
	if ipc.IsContainer() {
		return append(ms,
			specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			specs.Mount{Destination: ShmMount, Type: "bind", Source: ShmMount, Options: []string{"bind", "rprivate", "nosuid", "noexec", "nodev"}})
	}
	ms = append(ms, specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}})
	if ipc.IsNone() {
		return ms
	}
	size := h.ShmSize
	if size == 0 {
		size = in.Defaults.ShmSize
	}
	return append(ms, specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm",
		Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=" + strconv.FormatInt(size, 10)}})
}
