package spec

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// defaultCapabilities are what a container's root may do (Docker Engine's
// list).
var defaultCapabilities = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// Capabilities returns the capabilities that the container's processes may at
// most have, sorted, or an errs.InvalidParameter for an unknown name.
func Capabilities(in Input) ([]string, error) {
	h := in.Container.HostConfig
	add, err := names(h.CapAdd, in.Host.Capabilities)
	if err != nil {
		return nil, fmt.Errorf("invalid CapAdd: %w", err)
	}
	drop, err := names(h.CapDrop, in.Host.Capabilities)
	if err != nil {
		return nil, fmt.Errorf("invalid CapDrop: %w", err)
	}
	var base []string
	switch {
	case h.Privileged, slices.Contains(add, "ALL"):
		base = in.Host.Capabilities
	case slices.Contains(drop, "ALL"):
	default:
		for _, c := range defaultCapabilities {
			if slices.Contains(in.Host.Capabilities, c) {
				base = append(base, c)
			}
		}
	}
	if h.Privileged {
		return sorted(base), nil
	}
	set := map[string]bool{}
	for _, c := range base {
		set[c] = true
	}
	for _, c := range add {
		set[c] = true
	}
	if !slices.Contains(drop, "ALL") || slices.Contains(add, "ALL") {
		for _, c := range drop {
			delete(set, c)
		}
	}
	delete(set, "ALL")
	out := make([]string, 0, len(set))
	for c := range set {
		out = append(out, c)
	}
	return sorted(out), nil
}

func sorted(s []string) []string {
	s = slices.Clone(s)
	sort.Strings(s)
	return s
}

// names brings capability names into one form and checks them.
func names(list, known []string) ([]string, error) {
	out := make([]string, 0, len(list))
	for _, n := range list {
		c := strings.ToUpper(n)
		if c == "ALL" {
			out = append(out, c)
			continue
		}
		if !strings.HasPrefix(c, "CAP_") {
			c = "CAP_" + c
		}
		if !slices.Contains(known, c) {
			return nil, errs.New(errs.InvalidParameter, "unknown capability: %q", c)
		}
		out = append(out, c)
	}
	return out, nil
}

// capabilities gives a user other than root the bounding set only, which is
// what execve would leave it.
func capabilities(in Input) (*specs.LinuxCapabilities, error) {
	list, err := Capabilities(in)
	if err != nil {
		return nil, err
	}
	if in.User.UID != 0 {
		return &specs.LinuxCapabilities{Bounding: list}, nil
	}
	return &specs.LinuxCapabilities{Bounding: list, Permitted: list, Effective: list}, nil
}

// Security is what --security-opt asks for.
type Security struct {
	NoNewPrivileges bool
	Unconfined      bool   // no seccomp filter
	Profile         string // JSON of a seccomp profile; empty: the default
	SystemPaths     bool   // nothing masked or read-only
	WritableCgroups bool   // /sys/fs/cgroup can be written
	AppArmor        string
	SELinux         string
}

// ParseSecurity reads the options of --security-opt. noNewPrivileges is the
// engine's default.
func ParseSecurity(opts []string, noNewPrivileges bool) (Security, error) {
	s := Security{NoNewPrivileges: noNewPrivileges}
	for _, o := range opts {
		switch o {
		case "no-new-privileges":
			s.NoNewPrivileges = true
			continue
		case "writable-cgroups":
			s.WritableCgroups = true
			continue
		}
		key, value, ok := strings.Cut(o, "=")
		if !ok {
			if key, value, ok = strings.Cut(o, ":"); !ok {
				return s, errs.New(errs.InvalidParameter, "invalid --security-opt 1: %q", o)
			}
		}
		switch key {
		case "no-new-privileges":
			switch value {
			case "true":
				s.NoNewPrivileges = true
			case "false":
				s.NoNewPrivileges = false
			default:
				return s, errs.New(errs.InvalidParameter, "invalid --security-opt 2: %q", o)
			}
		case "seccomp":
			switch value {
			case "unconfined":
				s.Unconfined, s.Profile = true, ""
			case "builtin":
				s.Unconfined, s.Profile = false, ""
			default:
				s.Unconfined, s.Profile = false, value
			}
		case "apparmor":
			if value != "unconfined" {
				s.AppArmor = value
			}
		case "systempaths":
			if value != "unconfined" {
				return s, errs.New(errs.InvalidParameter, "invalid --security-opt 2: %q", o)
			}
			s.SystemPaths = true
		case "label":
			if value != "disable" {
				s.SELinux = value
			}
		case "writable-cgroups":
			switch value {
			case "true":
				s.WritableCgroups = true
			case "false":
				s.WritableCgroups = false
			default:
				return s, errs.New(errs.InvalidParameter, "invalid --security-opt 2: %q", o)
			}
		default:
			return s, errs.New(errs.InvalidParameter, "invalid --security-opt 2: %q", o)
		}
	}
	return s, nil
}

var maskedPaths = []string{
	"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
	"/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
}

var readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

// GuardedPaths returns the defaults that inspect shows: what is hidden from a
// container and what it cannot write.
func GuardedPaths(privileged bool) (masked, readonly []string) {
	if privileged {
		return nil, nil
	}
	return maskedPaths, readonlyPaths
}

func guardedPaths(in Input) (masked, readonly []string) {
	h := in.Container.HostConfig
	if in.Security.SystemPaths {
		return nil, nil
	}
	masked, readonly = maskedPaths, readonlyPaths
	if h.MaskedPaths != nil {
		masked = h.MaskedPaths
	} else {
		masked = append(slices.Clip(masked), in.Host.Thermal...)
	}
	if h.ReadonlyPaths != nil {
		readonly = h.ReadonlyPaths
	}
	return masked, readonly
}
