package engine

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/sys/signal"

	"github.com/davit-engine/davit/engine/health"
	"github.com/davit-engine/davit/engine/mountpoint"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/engine/spec"
	"github.com/davit-engine/davit/errs"
)

// validate checks everything about a request that does not need its image.
// The texts are Docker's where it has them.
func (d *drafter) validate(req container.CreateRequest) (warnings []string, err error) {
	c, h := req.Config, req.HostConfig
	d.settle(h)
	if _, err := d.networking(h, req.NetworkingConfig); err != nil {
		return nil, err
	}
	for _, check := range []func(*container.Config, *container.HostConfig) error{
		validateConfig, validateNamespaces, d.settleRuntime, d.validateUserNS, validateNetwork, validatePorts, validateIsolation, validateLog, validateLimits, d.validateStorage, d.validateRealtime,
	} {
		if err := check(c, h); err != nil {
			return nil, err
		}
	}
	if _, err := mountpoint.Parse(c, h, nil); err != nil {
		return nil, err
	}
	sec, err := spec.ParseSecurity(h.SecurityOpt, d.cfg.Defaults.NoNewPrivileges)
	if err != nil {
		return nil, err
	}
	if mode := h.CgroupnsMode; sec.WritableCgroups && !h.Privileged && (mode.IsHost() || mode.IsEmpty() && d.cfg.Defaults.CgroupNS.IsHost()) {
		return nil, errs.New(errs.InvalidParameter, "conflicting options: --security-opt writable-cgroups lets the container change its own cgroup only, which takes --cgroupns private")
	}
	in := spec.Input{Container: &record.Container{Config: c, HostConfig: h}, Host: spec.Host{Capabilities: d.host.capabilities}}
	caps, err := spec.Capabilities(in)
	if err != nil {
		return nil, err
	}
	if !h.Privileged {
		if _, _, err := d.filter.get(sec, caps); err != nil {
			return nil, err
		}
	}
	for _, d := range h.Devices {
		if _, _, _, err := mapDevice(d); err != nil {
			return nil, err
		}
	}
	for _, r := range h.DeviceCgroupRules {
		if _, err := spec.ParseDeviceRule(r); err != nil {
			return nil, err
		}
	}
	warnings = d.discard(h)
	if _, err := blockDevices(h); err != nil {
		return nil, err
	}
	return warnings, nil
}

func validateConfig(c *container.Config, h *container.HostConfig) error {
	for _, v := range c.Env {
		if name, _, _ := strings.Cut(v, "="); name == "" {
			return errs.New(errs.InvalidParameter, "invalid environment variable: %s", v)
		}
		if strings.ContainsRune(v, 0) {
			return errs.New(errs.InvalidParameter, "invalid environment variable: it contains a null byte")
		}
	}
	for _, word := range slices.Concat(c.Entrypoint, c.Cmd) {
		if strings.ContainsRune(word, 0) {
			return errs.New(errs.InvalidParameter, "the command contains a null byte")
		}
	}
	if c.WorkingDir != "" {
		if !path.IsAbs(c.WorkingDir) {
			return errs.New(errs.InvalidParameter, "the working directory '%s' is invalid, it needs to be an absolute path", c.WorkingDir)
		}
		c.WorkingDir = path.Clean(c.WorkingDir)
	}
	if c.StopSignal != "" {
		if _, err := signal.ParseSignal(c.StopSignal); err != nil {
			return errs.Wrap(errs.InvalidParameter, err)
		}
	}
	if len(c.Hostname) > 64 || len(c.Domainname) > 64 {
		return errs.New(errs.InvalidParameter, "invalid hostname: the kernel allows at most 64 bytes")
	}
	if h.Umask != nil && *h.Umask > 0o777 {
		return errs.New(errs.InvalidParameter, "invalid Umask %#o: it must be between 0 and 0777", *h.Umask)
	}
	for k := range h.Annotations {
		if k == "" {
			return errs.New(errs.InvalidParameter, "invalid Annotations: the empty string is not permitted as an annotation key")
		}
	}
	if err := container.ValidateRestartPolicy(h.RestartPolicy); err != nil {
		return errs.Wrap(errs.InvalidParameter, err)
	}
	if h.AutoRemove && !h.RestartPolicy.IsNone() {
		return errs.New(errs.InvalidParameter, "can't create 'AutoRemove' container with restart policy")
	}
	if err := health.Validate(c.Healthcheck); err != nil {
		return err
	}
	if _, err := health.ParseAction(h.Annotations[annotationOnFailure]); err != nil {
		return err
	}
	for _, x := range h.ExtraHosts {
		if name, addr, ok := cutHost(x); !ok || name == "" || addr == "" {
			return errs.New(errs.InvalidParameter, "bad format for add-host: %q", x)
		}
	}
	for _, u := range h.Ulimits {
		if u == nil {
			return errs.New(errs.InvalidParameter, "Ulimits: an entry is null")
		}
		if _, err := units.ParseUlimit(fmt.Sprintf("%s=%d:%d", u.Name, u.Soft, u.Hard)); err != nil {
			return errs.Wrap(errs.InvalidParameter, err)
		}
	}
	return nil
}

// cutHost splits host:address or host=address.
func cutHost(s string) (name, addr string, ok bool) {
	if i := strings.IndexAny(s, "=:"); i >= 0 {
		return s[:i], strings.Trim(s[i+1:], "[]"), true
	}
	return "", "", false
}

func validateNamespaces(_ *container.Config, h *container.HostConfig) error {
	switch {
	case !h.IpcMode.Valid():
		return errs.New(errs.InvalidParameter, "invalid IPC mode: %v", h.IpcMode)
	case !h.PidMode.Valid():
		return errs.New(errs.InvalidParameter, "invalid PID mode: %v", h.PidMode)
	case !h.UTSMode.Valid():
		return errs.New(errs.InvalidParameter, "invalid UTS mode: %v", h.UTSMode)
	case !h.CgroupnsMode.Valid():
		return errs.New(errs.InvalidParameter, "invalid cgroup namespace mode: %v", h.CgroupnsMode)
	case !h.Cgroup.Valid() || h.Cgroup.IsContainer():
		return errs.New(errs.NotImplemented, "HostConfig.Cgroup %q is not supported", h.Cgroup)
	}
	return nil
}

func validateIsolation(_ *container.Config, h *container.HostConfig) error {
	if !h.Isolation.IsDefault() {
		return errs.New(errs.NotImplemented, "--isolation %s is not supported yet", h.Isolation)
	}
	return nil
}

func validateLog(_ *container.Config, h *container.HostConfig) error {
	_, err := logSettings(h.LogConfig)
	return err
}
