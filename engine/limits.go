package engine

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/engine/spec"
	"github.com/davit-engine/davit/errs"
)

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
		return bad("Range of CPUs is from 0.01 to %d.00, as there are only %d CPUs available", numCPU(), numCPU())
	case h.CPUPeriod != 0 && (h.CPUPeriod < 1000 || h.CPUPeriod > 1000000):
		return bad("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	case h.CPUQuota > 0 && h.CPUQuota < 1000:
		return bad("CPU cfs quota can not be less than 1ms (i.e. 1000)")
	case h.CPUShares < 0:
		return bad("invalid CPU shares (%d): value must be a positive integer", h.CPUShares)
	case h.BlkioWeight != 0 && (h.BlkioWeight < 10 || h.BlkioWeight > 1000):
		return bad("Range of blkio weight is from 10 to 1000")
	case h.IOMaximumBandwidth != 0 || h.IOMaximumIOps != 0:
		return bad("Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps")
	case h.CPURealtimePeriod != 0 && h.CPURealtimeRuntime > h.CPURealtimePeriod:
		return bad("cpu real-time runtime cannot be higher than cpu real-time period")
	case h.CPURealtimePeriod < 0 || h.CPURealtimeRuntime < 0:
		return bad("invalid cpu real-time period or runtime: a number of microseconds cannot be negative")
	case h.OomScoreAdj < -1000 || h.OomScoreAdj > 1000:
		return bad("Invalid value %d, range for oom score adj is [-1000, 1000]", h.OomScoreAdj)
	case h.ShmSize < 0:
		return bad("SHM size can not be less than 0")
	}
	switch last, err := lastCPU(h.CpusetCpus); {
	case err != nil:
		return bad("Invalid value %s for cpuset cpus: %w", h.CpusetCpus, err)
	case last >= numCPU():
		return bad("Requested CPUs are not available - requested %s, available: 0-%d", h.CpusetCpus, numCPU()-1)
	}
	return nil
}

// lastCPU returns the highest number in a list such as 0-2,4; -1 if it is empty.
func lastCPU(list string) (int, error) {
	last := -1
	if list == "" {
		return last, nil
	}
	for _, r := range strings.Split(list, ",") {
		lo, hi, ranged := strings.Cut(r, "-")
		if !ranged {
			hi = lo
		}
		a, err1 := strconv.Atoi(lo)
		b, err2 := strconv.Atoi(hi)
		if err1 != nil || err2 != nil || a < 0 || b < a {
			return 0, fmt.Errorf("invalid range %q", r)
		}
		last = max(last, b)
	}
	return last, nil
}

// limit is a resource limit that a kernel may not have.
type limit struct {
	asked      bool
	controller [2]string // its name on v1 and on v2
	file       string    // of a v1 hierarchy's root that shows that the kernel has it; "" asks for the controller only
	v1Only     bool
	text       string // Docker's warning
	drop       func()
}

// discard takes limits out of h that this kernel does not have, as Docker does,
// and returns a warning for each. (moby daemon/daemon_unix.go:
// verifyPlatformContainerResources)
func (d *drafter) discard(h *container.HostConfig) []string {
	var w []string
	memory, blkio, cpu, cpuset, pids := [2]string{"memory", "memory"}, [2]string{"blkio", "io"}, [2]string{"cpu", "cpu"}, [2]string{"cpuset", "cpuset"}, [2]string{"pids", "pids"}
	block := func(what string) string { return "or the cgroup is not mounted. " + what + " discarded." }
	for _, l := range [...]limit{
		{asked: h.Memory > 0, controller: memory, file: "memory.limit_in_bytes",
			text: "Your kernel does not support memory limit capabilities " + block("Limitation"),
			drop: func() { h.Memory, h.MemorySwap = 0, -1 }},
		{asked: h.MemorySwap > 0, controller: memory, file: "memory.memsw.limit_in_bytes",
			text: "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
			drop: func() { h.MemorySwap = -1 }},
		{asked: h.MemorySwappiness != nil && *h.MemorySwappiness >= 0, controller: memory, file: "memory.swappiness", v1Only: true,
			text: "Your kernel does not support memory swappiness capabilities " + block("Memory swappiness"),
			drop: func() { h.MemorySwappiness = nil }},
		{asked: h.MemoryReservation > 0, controller: memory, file: "memory.soft_limit_in_bytes",
			text: "Your kernel does not support memory soft limit capabilities " + block("Limitation"),
			drop: func() { h.MemoryReservation = 0 }},
		{asked: h.OomKillDisable != nil && *h.OomKillDisable, controller: memory, file: "memory.oom_control", v1Only: true,
			text: "Your kernel does not support OomKillDisable. OomKillDisable discarded.",
			drop: func() { h.OomKillDisable = nil }},
		{asked: h.PidsLimit != nil && *h.PidsLimit > 0, controller: pids,
			text: "Your kernel does not support PIDs limit capabilities " + block("PIDs limit"),
			drop: func() { h.PidsLimit = nil }},
		{asked: h.CPUShares > 0, controller: cpu, file: "cpu.shares",
			text: "Your kernel does not support CPU shares " + block("Shares"),
			drop: func() { h.CPUShares = 0 }},
		{asked: h.CPUPeriod != 0 || h.CPUQuota != 0, controller: cpu, file: "cpu.cfs_quota_us",
			text: "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.",
			drop: func() { h.CPUPeriod, h.CPUQuota = 0, 0 }},
		{asked: h.CpusetCpus != "" || h.CpusetMems != "", controller: cpuset,
			text: "Your kernel does not support cpuset " + block("Cpuset"),
			drop: func() { h.CpusetCpus, h.CpusetMems = "", "" }},
		{asked: h.BlkioWeight > 0, controller: blkio, file: "blkio.bfq.io_serviced",
			text: "Your kernel does not support Block I/O weight " + block("Weight"),
			drop: func() { h.BlkioWeight = 0 }},
		{asked: len(h.BlkioWeightDevice) > 0, controller: blkio, file: "blkio.bfq.io_serviced",
			text: "Your kernel does not support Block I/O weight_device " + block("Weight-device"),
			drop: func() { h.BlkioWeightDevice = nil }},
		{asked: len(h.BlkioDeviceReadBps) > 0, controller: blkio, file: "blkio.throttle.read_bps_device",
			text: "Your kernel does not support BPS Block I/O read limit " + block("Block I/O BPS read limit"),
			drop: func() { h.BlkioDeviceReadBps = nil }},
		{asked: len(h.BlkioDeviceWriteBps) > 0, controller: blkio, file: "blkio.throttle.write_bps_device",
			text: "Your kernel does not support BPS Block I/O write limit " + block("Block I/O BPS write limit"),
			drop: func() { h.BlkioDeviceWriteBps = nil }},
		{asked: len(h.BlkioDeviceReadIOps) > 0, controller: blkio, file: "blkio.throttle.read_iops_device",
			text: "Your kernel does not support IOPS Block read limit " + block("Block I/O IOPS read limit"),
			drop: func() { h.BlkioDeviceReadIOps = nil }},
		{asked: len(h.BlkioDeviceWriteIOps) > 0, controller: blkio, file: "blkio.throttle.write_iops_device",
			text: "Your kernel does not support IOPS Block write limit " + block("Block I/O IOPS write limit"),
			drop: func() { h.BlkioDeviceWriteIOps = nil }},
	} {
		if l.asked && !d.host.can(l) {
			w = append(w, l.text)
			l.drop()
		}
	}
	if h.OomKillDisable != nil && *h.OomKillDisable && h.Memory == 0 {
		w = append(w, "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.")
	}
	return w
}

// can reports whether the kernel has a limit.
func (h *hostFacts) can(l limit) bool {
	if h.cgroupV2 {
		return !l.v1Only && h.has(l.controller[1])
	}
	name := l.controller[0]
	if !h.has(name) {
		// A controller that v1 does not have may be on the v2 hierarchy beside it.
		return h.has(l.controller[1]) && !l.v1Only
	}
	if l.file == "" {
		return true
	}
	_, err := os.Stat("/sys/fs/cgroup/" + name + "/" + l.file)
	return err == nil
}

// validateRealtime refuses what needs the kernel's real-time groups.
func (d *drafter) validateRealtime(_ *container.Config, h *container.HostConfig) error {
	rt := limit{controller: [2]string{"cpu", "cpu"}, file: "cpu.rt_runtime_us", v1Only: true}
	if (h.CPURealtimePeriod != 0 || h.CPURealtimeRuntime != 0) && !d.host.can(rt) {
		return errs.New(errs.InvalidParameter, "kernel does not support CPU real-time scheduler: leave --cpu-rt-period and --cpu-rt-runtime out (they need cgroup v1 and CONFIG_RT_GROUP_SCHED)")
	}
	return nil
}

// blockDevices looks up the numbers of the devices that limits on block I/O
// name.
func blockDevices(h *container.HostConfig) (map[string]spec.DeviceNumber, error) {
	var paths []string
	for _, w := range h.BlkioWeightDevice {
		if w == nil {
			return nil, errs.New(errs.InvalidParameter, "BlkioWeightDevice: a device is null")
		}
		if w.Weight != 0 && (w.Weight < 10 || w.Weight > 1000) {
			return nil, errs.New(errs.InvalidParameter, "Range of blkio weight is from 10 to 1000")
		}
		paths = append(paths, w.Path)
	}
	for _, list := range [][]*blkiodev.ThrottleDevice{h.BlkioDeviceReadBps, h.BlkioDeviceWriteBps, h.BlkioDeviceReadIOps, h.BlkioDeviceWriteIOps} {
		for _, t := range list {
			if t == nil {
				return nil, errs.New(errs.InvalidParameter, "limits of block devices: a device is null")
			}
			paths = append(paths, t.Path)
		}
	}
	if len(paths) == 0 {
		return nil, nil
	}
	numbers := make(map[string]spec.DeviceNumber, len(paths))
	slices.Sort(paths)
	for _, p := range slices.Compact(paths) {
		var st unix.Stat_t
		if err := unix.Stat(p, &st); err != nil {
			return nil, errs.Wrap(errs.InvalidParameter, &os.PathError{Op: "stat", Path: p, Err: err})
		}
		if st.Mode&unix.S_IFMT != unix.S_IFBLK {
			return nil, errs.New(errs.InvalidParameter, "limits of block devices: %s is not a block device", p)
		}
		numbers[p] = spec.DeviceNumber{Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev))}
	}
	return numbers, nil
}
