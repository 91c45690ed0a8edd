package change

import (
	"slices"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/davit-engine/davit/engine/spec"
	"github.com/davit-engine/davit/errs"
)

// Limits returns what the limits of a container become by a wish, of which the
// zero fields change nothing: Docker's rules of an update, in Docker's words
// (moby container/container_unix.go: UpdateContainer).
func Limits(old, wish *container.Resources) (container.Resources, error) {
	conflict := func(text string) (container.Resources, error) {
		return container.Resources{}, errs.New(errs.Conflict, "%s", text)
	}
	now := *old
	now.MemorySwap = swapOf(old)
	switch {
	case wish.NanoCPUs > 0 && old.CPUPeriod > 0:
		return conflict("Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set")
	case wish.NanoCPUs > 0 && old.CPUQuota > 0:
		return conflict("Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set")
	case wish.CPUPeriod > 0 && old.NanoCPUs > 0:
		return conflict("Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set")
	case wish.CPUQuota > 0 && old.NanoCPUs > 0:
		return conflict("Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set")
	case wish.Memory > now.MemorySwap && now.MemorySwap >= 0 && wish.MemorySwap == 0:
		return conflict("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
	}
	set(&now.BlkioWeight, wish.BlkioWeight)
	set(&now.CPUShares, wish.CPUShares)
	set(&now.NanoCPUs, wish.NanoCPUs)
	set(&now.CPUPeriod, wish.CPUPeriod)
	set(&now.CPUQuota, wish.CPUQuota)
	set(&now.CPURealtimePeriod, wish.CPURealtimePeriod)
	set(&now.CPURealtimeRuntime, wish.CPURealtimeRuntime)
	set(&now.CpusetCpus, wish.CpusetCpus)
	set(&now.CpusetMems, wish.CpusetMems)
	set(&now.Memory, wish.Memory)
	set(&now.MemorySwap, wish.MemorySwap)
	set(&now.MemoryReservation, wish.MemoryReservation)
	replace(&now.BlkioWeightDevice, wish.BlkioWeightDevice)
	replace(&now.BlkioDeviceReadBps, wish.BlkioDeviceReadBps)
	replace(&now.BlkioDeviceWriteBps, wish.BlkioDeviceWriteBps)
	replace(&now.BlkioDeviceReadIOps, wish.BlkioDeviceReadIOps)
	replace(&now.BlkioDeviceWriteIOps, wish.BlkioDeviceWriteIOps)
	if p := wish.PidsLimit; p != nil {
		now.PidsLimit = p
		if *p <= 0 {
			now.PidsLimit = nil
		}
	}
	switch {
	case now.MemorySwap > 0 && now.Memory <= 0:
		return now, errs.New(errs.InvalidParameter, "You should always set the Memory limit when using Memoryswap limit, see usage")
	case now.MemorySwap > 0 && now.MemorySwap < now.Memory:
		return now, errs.New(errs.InvalidParameter, "Minimum memoryswap limit should be larger than memory limit, see usage")
	}
	return now, nil
}

// swapOf is the limit on memory and swap together: twice that on memory, where
// nothing is said of it.
func swapOf(r *container.Resources) int64 {
	if r.MemorySwap == 0 && r.Memory > 0 {
		return 2 * r.Memory
	}
	return r.MemorySwap
}

func set[T comparable](to *T, v T) {
	var zero T
	if v != zero {
		*to = v
	}
}

// replace takes over a list, which may be empty; nil changes nothing.
func replace[T any](to *[]T, wish []T) {
	if wish != nil {
		*to = wish
	}
}

// Cleared is a wish that also says of each device which old limits and it does
// not that there is no limit any more.
func Cleared(old, wish *container.Resources) container.Resources {
	out := *wish
	for _, l := range []struct {
		had []*blkiodev.ThrottleDevice
		to  *[]*blkiodev.ThrottleDevice
	}{
		{old.BlkioDeviceReadBps, &out.BlkioDeviceReadBps}, {old.BlkioDeviceWriteBps, &out.BlkioDeviceWriteBps},
		{old.BlkioDeviceReadIOps, &out.BlkioDeviceReadIOps}, {old.BlkioDeviceWriteIOps, &out.BlkioDeviceWriteIOps},
	} {
		if *l.to == nil {
			continue
		}
		list := slices.Clone(*l.to)
		for _, d := range l.had {
			if !slices.ContainsFunc(*l.to, func(n *blkiodev.ThrottleDevice) bool { return n != nil && n.Path == d.Path }) {
				list = append(list, &blkiodev.ThrottleDevice{Path: d.Path})
			}
		}
		*l.to = list
	}
	return out
}

// Updated returns those fields of a wish that Limits looks at.
func Updated(wish *container.Resources) container.Resources {
	return container.Resources{
		BlkioWeight: wish.BlkioWeight, CPUShares: wish.CPUShares, NanoCPUs: wish.NanoCPUs, CPUPeriod: wish.CPUPeriod, CPUQuota: wish.CPUQuota,
		CPURealtimePeriod: wish.CPURealtimePeriod, CPURealtimeRuntime: wish.CPURealtimeRuntime,
		CpusetCpus: wish.CpusetCpus, CpusetMems: wish.CpusetMems, BlkioWeightDevice: wish.BlkioWeightDevice,
		BlkioDeviceReadBps: wish.BlkioDeviceReadBps, BlkioDeviceWriteBps: wish.BlkioDeviceWriteBps,
		BlkioDeviceReadIOps: wish.BlkioDeviceReadIOps, BlkioDeviceWriteIOps: wish.BlkioDeviceWriteIOps,
		Memory: wish.Memory, MemorySwap: wish.MemorySwap, MemoryReservation: wish.MemoryReservation, PidsLimit: wish.PidsLimit,
	}
}

// Kernel returns what has to be told the kernel for a wish that made the
// limits what they are now. blocks has the numbers of the block devices that it
// names, by path.
func Kernel(now, wish *container.Resources, blocks map[string]spec.DeviceNumber) *specs.LinuxResources {
	r := Updated(wish)
	if r.Memory != 0 || r.MemorySwap != 0 {
		// cgroup v2 counts swap alone: what is left of both together when memory
		// has its share.
		r.Memory, r.MemorySwap = now.Memory, now.MemorySwap
	}
	out := spec.Limits(&r, blocks)
	out.Pids = nil // where 0 means no limit
	if wish.PidsLimit != nil {
		limit := int64(-1)
		if now.PidsLimit != nil {
			limit = *now.PidsLimit
		}
		out.Pids = &specs.LinuxPids{Limit: &limit}
	}
	return out
}

// Ignored names the fields of a wish that Limits passes over.
func Ignored(wish *container.Resources) (fields []string) {
	for _, f := range []struct {
		set  bool
		name string
	}{
		{wish.CgroupParent != "", "CgroupParent"},
		{len(wish.Devices) > 0, "Devices"},
		{len(wish.DeviceCgroupRules) > 0, "DeviceCgroupRules"},
		{len(wish.DeviceRequests) > 0, "DeviceRequests"},
		{wish.MemorySwappiness != nil && *wish.MemorySwappiness != -1, "MemorySwappiness"},
		{wish.OomKillDisable != nil && *wish.OomKillDisable, "OomKillDisable"},
		{len(wish.Ulimits) > 0, "Ulimits"},
	} {
		if f.set {
			fields = append(fields, f.name)
		}
	}
	return fields
}
