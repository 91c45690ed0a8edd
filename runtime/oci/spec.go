package oci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func newSpec() *command {
	var dir string
	var rootless bool
	c := &command{name: "spec", about: "write a config.json to begin with", max: 0}
	c.flags.text(&dir, "bundle b", "directory", "where to write it (default: the working directory)")
	c.flags.toggle(&rootless, "rootless", "for a user without rights on the host: this user becomes root inside")
	c.run = func(*invocation, []string) (int, error) {
		s := example()
		if rootless {
			withoutRights(s, uint32(os.Geteuid()), uint32(os.Getegid()))
		}
		f, err := os.OpenFile(filepath.Join(dir, configName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			return 1, errs.New(errs.Conflict, "%w: it would be overwritten", err)
		}
		if err != nil {
			return 1, errs.Wrap(errs.System, err)
		}
		return 0, errors.Join(printJSON(f, s, "\t"), f.Close())
	}
	return c
}

// example is a spec that runs a shell with few rights.
func example() *specs.Spec {
	caps := []string{"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"}
	mount := func(kind, source, destination string, options ...string) specs.Mount {
		return specs.Mount{Type: kind, Source: source, Destination: destination, Options: options}
	}
	return &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Terminal:        true,
			Args:            []string{"sh"},
			Env:             []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"},
			Cwd:             "/",
			NoNewPrivileges: true,
			Capabilities:    &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
			Rlimits:         []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 1024, Soft: 1024}},
		},
		Root:     &specs.Root{Path: "rootfs", Readonly: true},
		Hostname: "davit",
		Mounts: []specs.Mount{
			mount("proc", "proc", "/proc", "nosuid", "noexec", "nodev"),
			mount("tmpfs", "tmpfs", "/dev", "nosuid", "strictatime", "mode=755", "size=65536k"),
			mount("devpts", "devpts", "/dev/pts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
			mount("tmpfs", "shm", "/dev/shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
			mount("mqueue", "mqueue", "/dev/mqueue", "nosuid", "noexec", "nodev"),
			mount("sysfs", "sysfs", "/sys", "nosuid", "noexec", "nodev", "ro"),
			mount("cgroup", "cgroup", "/sys/fs/cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
		},
		Linux: &specs.Linux{
			Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
			Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.MountNamespace}, {Type: specs.CgroupNamespace}},
			MaskedPaths: []string{"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
				"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
}

// withoutRights changes a spec to what a plain user can have: a user namespace
// with one user and the host's network.
func withoutRights(s *specs.Spec, uid, gid uint32) {
	l := s.Linux
	l.Namespaces = append(slices.DeleteFunc(l.Namespaces, func(ns specs.LinuxNamespace) bool {
		return ns.Type == specs.NetworkNamespace
	}), specs.LinuxNamespace{Type: specs.UserNamespace})
	l.UIDMappings = []specs.LinuxIDMapping{{HostID: uid, Size: 1}}
	l.GIDMappings = []specs.LinuxIDMapping{{HostID: gid, Size: 1}}
	l.Resources = nil
	var mounts []specs.Mount
	for _, m := range s.Mounts {
		switch m.Destination {
		case "/sys/fs/cgroup": // what lies below /sys comes along
			continue
		case "/sys": // a new one needs a network namespace of one's own
			m = specs.Mount{Type: "none", Source: "/sys", Destination: "/sys", Options: []string{"rbind", "nosuid", "noexec", "nodev", "ro"}}
		}
		m.Options = slices.DeleteFunc(m.Options, func(o string) bool { return o == "gid=5" }) // has no mapping
		mounts = append(mounts, m)
	}
	s.Mounts = mounts
}
