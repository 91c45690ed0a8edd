package engine

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/sys/signal"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/engine/spec"
	"github.com/davit-engine/davit/errs"
)

// validate checks everything about a request that does not need its image.
// The texts are Docker's where it has them.
func (d *drafter) validate(req container.CreateRequest) (warnings []string, err error) {
	c, h := req.Config, req.HostConfig
	for _, check := range []func(*container.Config, *container.HostConfig) error{
		validateConfig, validateNamespaces, d.validateUserNS, d.validateNetwork, unsupported, validateLog, validateLimits,
	} {
		if err := check(c, h); err != nil {
			return nil, err
		}
	}
	if _, err := spec.UserMounts(c, h); err != nil {
		return nil, err
	}
	sec, err := spec.ParseSecurity(h.SecurityOpt, d.cfg.Defaults.NoNewPrivileges)
	if err != nil {
		return nil, err
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
	return d.limitWarnings(h), nil
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
	for _, x := range h.ExtraHosts {
		if name, addr, ok := cutHost(x); !ok || name == "" || addr == "" {
			return errs.New(errs.InvalidParameter, "bad format for add-host: %q", x)
		}
	}
	for _, u := range h.Ulimits {
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
	case h.IpcMode.IsContainer():
		return errs.New(errs.NotImplemented, "--ipc %s is not supported yet: use private, shareable, host or none", h.IpcMode)
	}
	return nil
}

func (d *drafter) validateNetwork(c *container.Config, h *container.HostConfig) error {
	m := h.NetworkMode
	switch {
	case m.IsContainer() && c.Hostname != "":
		return errs.New(errs.InvalidParameter, "conflicting options: hostname and the network mode")
	case h.UTSMode.IsHost() && c.Hostname != "":
		return errs.New(errs.InvalidParameter, "conflicting options: hostname and the UTS mode")
	case m.IsContainer() && m.ConnectedContainer() == "":
		return errs.New(errs.InvalidParameter, "invalid container format container:<name|id>")
	case m.IsContainer():
		_, err := d.table.find(m.ConnectedContainer())
		return err
	case m.IsHost() || m.IsNone() || networkOf(h) == networkBridge:
		return nil
	}
	return errs.New(errs.NotFound, "network %s not found", m)
}

// unsupported names the first thing asked for that does not exist yet, by the
// flag that asks for it.
func unsupported(c *container.Config, h *container.HostConfig) error {
	for _, u := range []struct {
		asked bool
		flag  string
	}{
		{len(h.PortBindings) > 0, "-p/--publish"},
		{h.PublishAllPorts, "-P/--publish-all"},
		{!h.RestartPolicy.IsNone(), "--restart"},
		{c.Healthcheck != nil && len(c.Healthcheck.Test) > 0 && c.Healthcheck.Test[0] != "NONE", "--health-cmd"},
		{len(h.Links) > 0, "--link"},
		{len(h.VolumesFrom) > 0, "--volumes-from"},
		{h.VolumeDriver != "" && h.VolumeDriver != "local", "--volume-driver"},
		{len(h.DeviceRequests) > 0, "--gpus"},
		{len(h.StorageOpt) > 0, "--storage-opt"},
		{h.Runtime != "" && h.Runtime != runtimeName && h.Runtime != "runc" && h.Runtime != "io.containerd.runc.v2", "--runtime " + h.Runtime},
		{!h.Isolation.IsDefault(), "--isolation " + string(h.Isolation)},
		{len(h.BlkioWeightDevice) > 0, "--blkio-weight-device"},
		{len(h.BlkioDeviceReadBps) > 0, "--device-read-bps"},
		{len(h.BlkioDeviceWriteBps) > 0, "--device-write-bps"},
		{len(h.BlkioDeviceReadIOps) > 0, "--device-read-iops"},
		{len(h.BlkioDeviceWriteIOps) > 0, "--device-write-iops"},
	} {
		if u.asked {
			return errs.New(errs.NotImplemented, "%s is not supported yet", u.flag)
		}
	}
	return nil
}

func validateLog(_ *container.Config, h *container.HostConfig) error {
	_, err := logSettings(h.LogConfig)
	return err
}

// validateLimits checks resources as Docker does (moby
// daemon/daemon_unix.go: verifyPlatformContainerResources).
func validateLimits(_ *container.Config, h *container.HostConfig) error {
	const least = 6 << 20
	bad := func(format string, args ...any) error { return errs.New(errs.InvalidParameter, format, args...) }
	switch {
	case h.Memory != 0 && h.Memory < least:
		return bad("Minimum memory limit allowed is 6MB")
	case h.MemorySwap > 0 && h.Memory == 0:
		return bad("You should always set the Memory limit when using Memoryswap limit, see usage")
	case h.Memory > 0 && h.MemorySwap > 0 && h.MemorySwap < h.Memory:
		return bad("Minimum memoryswap limit should be larger than memory limit, see usage")
	case h.MemorySwappiness != nil && (*h.MemorySwappiness < -1 || *h.MemorySwappiness > 100):
		return bad("Invalid value: %v, valid memory swappiness range is 0-100", *h.MemorySwappiness)
	case h.MemoryReservation != 0 && h.MemoryReservation < least:
		return bad("Minimum memory reservation allowed is 6MB")
	case h.Memory > 0 && h.MemoryReservation > 0 && h.Memory < h.MemoryReservation:
		return bad("Minimum memory limit can not be less than memory reservation limit, see usage")
	case h.NanoCPUs > 0 && h.CPUPeriod > 0:
		return bad("Conflicting options: Nano CPUs and CPU Period cannot both be set")
	case h.NanoCPUs > 0 && h.CPUQuota > 0:
		return bad("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
	case h.NanoCPUs < 0 || h.NanoCPUs > int64(numCPU())*1e9:
		return bad("range of CPUs is from 0.01 to %d.00, as there are only %d CPUs available", numCPU(), numCPU())
	case h.CPUPeriod != 0 && (h.CPUPeriod < 1000 || h.CPUPeriod > 1000000):
		return bad("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	case h.CPUQuota > 0 && h.CPUQuota < 1000:
		return bad("CPU cfs quota can not be less than 1ms (i.e. 1000)")
	case h.CPUShares < 0:
		return bad("invalid CPU shares (%d): value must be a positive integer", h.CPUShares)
	case h.BlkioWeight != 0 && (h.BlkioWeight < 10 || h.BlkioWeight > 1000):
		return bad("Range of blkio weight is from 10 to 1000")
	case h.OomScoreAdj < -1000 || h.OomScoreAdj > 1000:
		return bad("Invalid value %d, range for oom score adj is [-1000, 1000]", h.OomScoreAdj)
	case h.ShmSize < 0:
		return bad("SHM size can not be less than 0")
	}
	if err := cpuList(h.CpusetCpus, numCPU()); err != nil {
		return bad("Invalid value %s for cpuset cpus", h.CpusetCpus)
	}
	return nil
}

// cpuList checks a list such as 0-2,4 against the number of CPUs.
func cpuList(list string, n int) error {
	if list == "" {
		return nil
	}
	for _, r := range strings.Split(list, ",") {
		lo, hi, ranged := strings.Cut(r, "-")
		if !ranged {
			hi = lo
		}
		a, err1 := strconv.Atoi(lo)
		b, err2 := strconv.Atoi(hi)
		if err1 != nil || err2 != nil || a < 0 || b < a || b >= n {
			return fmt.Errorf("invalid range %q", r)
		}
	}
	return nil
}

// limitWarnings says which limits will not hold as the user may think.
func (d *drafter) limitWarnings(h *container.HostConfig) []string {
	var w []string
	if h.OomKillDisable != nil && *h.OomKillDisable && h.Memory == 0 {
		w = append(w, "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.")
	}
	return w
}
