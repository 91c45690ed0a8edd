package spec

import (
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// resources returns the container's limits and the list of its devices.
func resources(in Input) *specs.LinuxResources {
	r := Limits(&in.Container.HostConfig.Resources, in.Host.Blocks)
	r.Devices = devices(in)
	return r
}

// Limits returns what the runtime is to limit. Fields that the user left alone
// stay nil, so that nothing is written for them. blocks has the numbers of the
// block devices that h names, by path.
func Limits(h *container.Resources, blocks map[string]DeviceNumber) *specs.LinuxResources {
	r := &specs.LinuxResources{}
	if h.Memory != 0 || h.MemorySwap != 0 || h.MemoryReservation != 0 || h.MemorySwappiness != nil || h.OomKillDisable != nil {
		m := &specs.LinuxMemory{Limit: positive(h.Memory), Swap: positive(h.MemorySwap), Reservation: positive(h.MemoryReservation)}
		if h.Memory > 0 && h.MemorySwap == 0 {
			both := 2 * h.Memory
			m.Swap = &both
		}
		if h.MemorySwappiness != nil && *h.MemorySwappiness >= 0 {
			v := uint64(*h.MemorySwappiness)
			m.Swappiness = &v
		}
		if h.OomKillDisable != nil && *h.OomKillDisable {
			m.DisableOOMKiller = h.OomKillDisable
		}
		r.Memory = m
	}
	if c := cpu(h); *c != (specs.LinuxCPU{}) {
		r.CPU = c
	}
	if h.PidsLimit != nil && *h.PidsLimit > 0 {
		r.Pids = &specs.LinuxPids{Limit: h.PidsLimit}
	}
	if b := blockIO(h, blocks); b != nil {
		r.BlockIO = b
	}
	return r
}

func positive(v int64) *int64 {
	if v == 0 {
		return nil
	}
	return &v
}

func cpu(h *container.Resources) *specs.LinuxCPU {
	c := &specs.LinuxCPU{Cpus: h.CpusetCpus, Mems: h.CpusetMems}
	if h.CPUShares > 0 {
		v := uint64(h.CPUShares)
		c.Shares = &v
	}
	period, quota := h.CPUPeriod, h.CPUQuota
	if h.NanoCPUs > 0 {
		// 100 ms, the kernel's default period.
		period = 100_000
		quota = h.NanoCPUs * period / 1e9
	}
	if period > 0 {
		v := uint64(period)
		c.Period = &v
	}
	c.Quota = positive(quota)
	if h.CPURealtimePeriod > 0 {
		v := uint64(h.CPURealtimePeriod)
		c.RealtimePeriod = &v
	}
	c.RealtimeRuntime = positive(h.CPURealtimeRuntime)
	return c
}

// blockIO returns the limits on block devices, whose numbers are given by path.
func blockIO(h *container.Resources, numbers map[string]DeviceNumber) *specs.LinuxBlockIO {
	b := &specs.LinuxBlockIO{
		ThrottleReadBpsDevice:   throttles(h.BlkioDeviceReadBps, numbers),
		ThrottleWriteBpsDevice:  throttles(h.BlkioDeviceWriteBps, numbers),
		ThrottleReadIOPSDevice:  throttles(h.BlkioDeviceReadIOps, numbers),
		ThrottleWriteIOPSDevice: throttles(h.BlkioDeviceWriteIOps, numbers),
	}
	asked := len(b.ThrottleReadBpsDevice)+len(b.ThrottleWriteBpsDevice)+len(b.ThrottleReadIOPSDevice)+len(b.ThrottleWriteIOPSDevice) > 0
	if w := h.BlkioWeight; w != 0 {
		b.Weight, asked = &w, true
	}
	for _, d := range h.BlkioWeightDevice {
		if d.Weight == 0 {
			continue
		}
		w := specs.LinuxWeightDevice{Weight: &d.Weight}
		w.Major, w.Minor = numbers[d.Path].Major, numbers[d.Path].Minor
		b.WeightDevice, asked = append(b.WeightDevice, w), true
	}
	if !asked {
		return nil
	}
	return b
}

func throttles(list []*blkiodev.ThrottleDevice, numbers map[string]DeviceNumber) []specs.LinuxThrottleDevice {
	var out []specs.LinuxThrottleDevice
	for _, d := range list {
		t := specs.LinuxThrottleDevice{Rate: d.Rate}
		t.Major, t.Minor = numbers[d.Path].Major, numbers[d.Path].Minor
		out = append(out, t)
	}
	return out
}

// devices is the device cgroup's list: everything for privileged containers,
// else nodes may be made but only the harmless ones used.
func devices(in Input) []specs.LinuxDeviceCgroup {
	if in.Container.HostConfig.Privileged {
		return []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	}
	n := func(v int64) *int64 { return &v }
	list := []specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"},
		{Allow: true, Type: "c", Access: "m"},
		{Allow: true, Type: "b", Access: "m"},
	}
	for _, d := range [][2]int64{{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 1}, {5, 2}} {
		list = append(list, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: n(d[0]), Minor: n(d[1]), Access: "rwm"})
	}
	list = append(list, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: n(136), Access: "rwm"}) // pseudo terminals
	return append(list, in.Host.MappedAccess...)
}

// ParseDeviceRule reads one --device-cgroup-rule, such as "c 42:* rmw".
func ParseDeviceRule(rule string) (specs.LinuxDeviceCgroup, error) {
	bad := errs.New(errs.InvalidParameter, "invalid device cgroup rule format: '%s'", rule)
	var kind, numbers, access string
	fields := strings.Fields(rule)
	if len(fields) != 3 {
		return specs.LinuxDeviceCgroup{}, bad
	}
	kind, numbers, access = fields[0], fields[1], fields[2]
	if kind != "a" && kind != "b" && kind != "c" {
		return specs.LinuxDeviceCgroup{}, bad
	}
	for _, c := range access {
		if c != 'r' && c != 'w' && c != 'm' {
			return specs.LinuxDeviceCgroup{}, bad
		}
	}
	d := specs.LinuxDeviceCgroup{Allow: true, Type: kind, Access: access}
	major, minor, ok := strings.Cut(numbers, ":")
	if !ok {
		return specs.LinuxDeviceCgroup{}, bad
	}
	for _, p := range []struct {
		text string
		to   **int64
	}{{major, &d.Major}, {minor, &d.Minor}} {
		if p.text == "*" {
			continue
		}
		v, err := strconv.ParseInt(p.text, 10, 32)
		if err != nil || v < 0 {
			return specs.LinuxDeviceCgroup{}, bad
		}
		*p.to = &v
	}
	return d, nil
}
