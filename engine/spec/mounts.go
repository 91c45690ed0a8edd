package spec

import (
	"fmt"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// mounts lists the container's mounts in the order in which they are made:
// the system's, then the engine's files, then the user's by depth of target.
func mounts(in Input) ([]specs.Mount, error) {
	c, h := in.Container.Config, in.Container.HostConfig
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
	points, err := UserMounts(c, h)
	if err != nil {
		return nil, err
	}
	user := make([]specs.Mount, 0, len(points))
	for _, p := range points {
		if o := in.IDMap[p.Destination]; o != "" {
			p.Options = append(p.Options, o)
		}
		user = append(user, p.Mount)
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
	return append(kept, user...), nil
}

func system(in Input) []specs.Mount {
	h := in.Container.HostConfig
	sysOpts := []string{"nosuid", "noexec", "nodev", "ro"}
	cgroupOpts := []string{"ro", "nosuid", "noexec", "nodev"}
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

// UserMount is one mount that the user asked for.
type UserMount struct {
	specs.Mount
	CreateSource bool                 // make a missing source directory, as -v does
	IDMap        string               // "idmap", "ridmap" or "noidmap" where the user has said so
	Point        container.MountPoint // how it is shown
}

// Recursive reports whether what is mounted below a bind's source comes along.
func (m *UserMount) Recursive() bool { return slices.Contains(m.Options, "rbind") }

// UserMounts lists what -v, --mount and --tmpfs ask for, in that order. Errors
// are errs.InvalidParameter, or errs.NotImplemented for kinds of mounts that
// do not exist yet.
func UserMounts(c *container.Config, h *container.HostConfig) ([]UserMount, error) {
	var out []UserMount
	seen := map[string]bool{}
	add := func(m UserMount) error {
		if seen[m.Destination] {
			return errs.New(errs.InvalidParameter, "Duplicate mount point: %s", m.Destination)
		}
		seen[m.Destination] = true
		out = append(out, m)
		return nil
	}
	for _, b := range h.Binds {
		m, err := parseBind(b)
		if err != nil {
			return nil, err
		}
		if err := add(m); err != nil {
			return nil, err
		}
	}
	for _, w := range h.Mounts {
		m, err := fromMount(w)
		if err != nil {
			return nil, err
		}
		if err := add(m); err != nil {
			return nil, err
		}
	}
	targets := make([]string, 0, len(h.Tmpfs))
	for t := range h.Tmpfs {
		targets = append(targets, t)
	}
	sort.Strings(targets)
	for _, t := range targets {
		m, err := tmpfs(t, h.Tmpfs[t])
		if err != nil {
			return nil, err
		}
		if err := add(m); err != nil {
			return nil, err
		}
	}
	for t := range c.Volumes {
		if !seen[path.Clean(t)] {
			return nil, errs.New(errs.NotImplemented, "anonymous volumes are not supported yet: bind a host directory to %s with -v /host/dir:%s, or use --tmpfs %s", t, t, t)
		}
	}
	return out, nil
}

// parseBind reads source:target[:options] of -v.
func parseBind(b string) (UserMount, error) {
	parts := strings.Split(b, ":")
	var mode string
	switch {
	case len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "":
		return UserMount{}, errs.New(errs.InvalidParameter, "invalid volume specification: '%s'", b)
	case len(parts) == 3:
		mode = parts[2]
	}
	if !path.IsAbs(parts[0]) {
		return UserMount{}, errs.New(errs.NotImplemented, "-v %s: named volumes are not supported yet: name a host directory, as in -v /host/dir:%s", b, parts[1])
	}
	target := path.Clean(parts[1])
	if !path.IsAbs(parts[1]) {
		return UserMount{}, errs.New(errs.InvalidParameter, "invalid volume specification: '%s': invalid mount config for type \"bind\": invalid mount path: '%s' mount path must be absolute", b, parts[1])
	}
	if target == "/" {
		return UserMount{}, errs.New(errs.InvalidParameter, "invalid volume specification: '%s': invalid specification: destination can't be '/'", b)
	}
	m := UserMount{
		Mount:        specs.Mount{Destination: target, Type: "bind", Source: path.Clean(parts[0])},
		CreateSource: true,
	}
	rw, propagation, recursive := true, "rprivate", true
	var set struct{ rw, propagation bool }
	idmap := ""
	if mode != "" {
		for _, o := range strings.Split(mode, ",") {
			switch o {
			case "ro", "rw":
				if set.rw {
					return UserMount{}, invalidMode(b, mode)
				}
				rw, set.rw = o == "rw", true
			case "private", "rprivate", "shared", "rshared", "slave", "rslave":
				if set.propagation {
					return UserMount{}, invalidMode(b, mode)
				}
				propagation, set.propagation = o, true
			case "idmap", "ridmap", "noidmap":
				if idmap != "" {
					return UserMount{}, invalidMode(b, mode)
				}
				idmap = o
			case "z", "Z", "consistent", "cached", "delegated":
				// Labels need SELinux, consistency a remote file system: both mean nothing here.
			case "nocopy":
				return UserMount{}, invalidMode(b, mode)
			default:
				return UserMount{}, invalidMode(b, mode)
			}
		}
	}
	m.Options, m.IDMap = bindOptions(rw, recursive, propagation, ""), idmap
	m.Point = container.MountPoint{Type: mount.TypeBind, Source: m.Source, Destination: target, Mode: mode, RW: rw, Propagation: mount.Propagation(propagation)}
	return m, nil
}

func invalidMode(b, mode string) error {
	return errs.New(errs.InvalidParameter, "invalid volume specification: '%s': invalid mode: %s", b, mode)
}

// bindOptions writes a bind mount's options. readOnly "" or "best-effort" is
// recursive where the kernel can, "non-recursive" is not, "force" must be.
func bindOptions(rw, recursive bool, propagation, readOnly string) []string {
	kind := "rbind"
	if !recursive {
		kind = "bind"
	}
	opts := []string{kind, propagation}
	if rw {
		return opts
	}
	if recursive && readOnly != "non-recursive" {
		return append(opts, "rro")
	}
	return append(opts, "ro")
}

func fromMount(w mount.Mount) (UserMount, error) {
	if err := knownMount(w.Type); err != nil {
		return UserMount{}, err
	}
	bad := func(format string, args ...any) error {
		return errs.New(errs.InvalidParameter, "invalid mount config for type %q: %s", w.Type, fmt.Sprintf(format, args...))
	}
	target := path.Clean(w.Target)
	switch {
	case w.Target == "":
		return UserMount{}, bad("field Target must not be empty")
	case !path.IsAbs(w.Target):
		return UserMount{}, bad("invalid mount path: '%s' mount path must be absolute", w.Target)
	case target == "/":
		return UserMount{}, bad("destination can't be '/'")
	case w.VolumeOptions != nil:
		return UserMount{}, bad("field VolumeOptions must not be specified")
	}
	if w.Type == mount.TypeTmpfs {
		return tmpfsMount(w, target, bad)
	}
	switch {
	case w.TmpfsOptions != nil:
		return UserMount{}, bad("field TmpfsOptions must not be specified")
	case w.Source == "":
		return UserMount{}, bad("field Source must not be empty")
	case !path.IsAbs(w.Source):
		return UserMount{}, bad("invalid mount path: '%s' mount path must be absolute", w.Source)
	}
	recursive, propagation, ro, create := true, "rprivate", "", false
	if o := w.BindOptions; o != nil {
		recursive = !o.NonRecursive
		create = o.CreateMountpoint
		if o.Propagation != "" {
			propagation = string(o.Propagation)
		}
		switch {
		case o.ReadOnlyNonRecursive && o.ReadOnlyForceRecursive:
			return UserMount{}, bad("ReadOnlyNonRecursive and ReadOnlyForceRecursive contradict each other")
		case o.ReadOnlyNonRecursive:
			ro = "non-recursive"
		case o.ReadOnlyForceRecursive:
			ro = "force"
		}
	}
	known := false
	for _, p := range mount.Propagations {
		known = known || string(p) == propagation
	}
	if !known {
		return UserMount{}, bad("invalid propagation mode: %s", propagation)
	}
	idmap := ""
	switch w.Consistency { // says nothing on Linux, and goes through any client
	case "idmap", "ridmap", "noidmap":
		idmap = string(w.Consistency)
	}
	return UserMount{
		Mount:        specs.Mount{Destination: target, Type: "bind", Source: path.Clean(w.Source), Options: bindOptions(!w.ReadOnly, recursive, propagation, ro)},
		CreateSource: create,
		IDMap:        idmap,
		Point:        container.MountPoint{Type: mount.TypeBind, Source: path.Clean(w.Source), Destination: target, RW: !w.ReadOnly, Propagation: mount.Propagation(propagation)},
	}, nil
}

func tmpfsMount(w mount.Mount, target string, bad func(string, ...any) error) (UserMount, error) {
	switch {
	case w.Source != "":
		return UserMount{}, bad("field Source must not be specified")
	case w.BindOptions != nil:
		return UserMount{}, bad("field BindOptions must not be specified")
	}
	opts := []string{"noexec", "nosuid", "nodev", "rprivate"}
	if w.ReadOnly {
		opts = append(opts, "ro")
	}
	if o := w.TmpfsOptions; o != nil {
		if o.SizeBytes < 0 {
			return UserMount{}, bad("invalid tmpfs size: %d", o.SizeBytes)
		}
		if o.SizeBytes > 0 {
			opts = append(opts, "size="+strconv.FormatInt(o.SizeBytes, 10))
		}
		if o.Mode != 0 {
			opts = append(opts, fmt.Sprintf("mode=%o", o.Mode))
		}
		for _, kv := range o.Options {
			switch kv[0] {
			case "exec", "noexec":
				opts = append(opts, kv[0])
			default:
				return UserMount{}, bad("invalid option: %q", kv[0])
			}
		}
	}
	return UserMount{
		Mount: specs.Mount{Destination: target, Type: "tmpfs", Source: "tmpfs", Options: opts},
		Point: container.MountPoint{Type: mount.TypeTmpfs, Destination: target, RW: !w.ReadOnly},
	}, nil
}

// tmpfsWords are the options of --tmpfs without a value.
var tmpfsWords = map[string]bool{"exec": true, "noexec": true, "suid": true, "nosuid": true, "dev": true, "nodev": true, "ro": true, "rw": true,
	"sync": true, "async": true, "atime": true, "noatime": true, "diratime": true, "nodiratime": true, "relatime": true, "norelatime": true,
	"strictatime": true, "nostrictatime": true, "mand": true, "nomand": true,
	"private": true, "rprivate": true, "shared": true, "rshared": true, "slave": true, "rslave": true, "unbindable": true, "runbindable": true}

var tmpfsKeys = map[string]bool{"size": true, "mode": true, "uid": true, "gid": true, "nr_inodes": true, "nr_blocks": true, "mpol": true}

// tmpfs reads one --tmpfs target:options.
func tmpfs(target, options string) (UserMount, error) {
	clean := path.Clean(target)
	if !path.IsAbs(target) || clean == "/" {
		return UserMount{}, errs.New(errs.InvalidParameter, "invalid tmpfs mount path %q: it must be absolute and not '/'", target)
	}
	opts := []string{"noexec", "nosuid", "nodev"}
	rw := true
	if options != "" {
		for _, o := range strings.Split(options, ",") {
			key, _, valued := strings.Cut(o, "=")
			if valued && !tmpfsKeys[key] || !valued && !tmpfsWords[o] {
				return UserMount{}, errs.New(errs.InvalidParameter, "invalid tmpfs option %q", o)
			}
			if o == "ro" {
				rw = false
			}
			opts = append(opts, o)
		}
	}
	return UserMount{
		Mount: specs.Mount{Destination: clean, Type: "tmpfs", Source: "tmpfs", Options: opts},
		Point: container.MountPoint{Type: mount.TypeTmpfs, Destination: clean, Mode: options, RW: rw},
	}, nil
}
