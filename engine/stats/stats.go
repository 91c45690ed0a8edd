// Package stats puts what the kernel counts for a container into the words of
// Docker's API.
//
// It owns the translation only: it reads no file, knows no container and keeps
// nothing. All functions may be called at any time.
package stats

import (
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/runtime/cgroup"
)

// Sample is what a container uses at one time, as the API shows it. Pressure
// and Rates are Davit's own: other clients pass over a field that they do not
// know.
type Sample struct {
	container.StatsResponse
	Pressure *Pressure       `json:"davit_pressure,omitempty"`
	Rates    map[string]Rate `json:"davit_rates,omitempty"` // by interface, of those that are held to one
}

// Rate says what an interface is held to, and what that has done.
type Rate struct {
	Up   Direction `json:"up"`
	Down Direction `json:"down"`
}

// Direction is what a container sends or receives.
type Direction struct {
	Limit   uint64 `json:"limit"`   // bits per second; 0: none
	Waiting uint32 `json:"waiting"` // bytes, now
	Held    uint32 `json:"held"`    // times that a packet had to wait
	Dropped uint32 `json:"dropped"` // packets, because too many waited
}

// Pressure says how long processes waited for processor, memory and disk.
type Pressure struct {
	// Scope is "container", or "host" where the kernel counts it for the whole
	// host only, as it does with cgroup v1.
	Scope  string `json:"scope"`
	CPU    *Stall `json:"cpu,omitempty"`
	Memory *Stall `json:"memory,omitempty"`
	IO     *Stall `json:"io,omitempty"`
}

// Stall holds the percentage of the last ten seconds in which some processes,
// and in which all of them, waited.
type Stall struct {
	Some float64 `json:"some"`
	Full float64 `json:"full"`
}

// Host is what a sample takes from the host.
type Host struct {
	CgroupV2 bool  // cgroup v2 alone
	Memory   int64 // bytes; the limit of who has none
	CPU      CPU   // at the time of the sample
	Pressure *Pressure
}

// Counted is what was read for one container at one time.
type Counted struct {
	At       time.Time
	Group    *cgroup.Stats
	Networks map[string]container.NetworkStats
	Rates    map[string]Rate
}

// None is what is said of a container that does not run.
func None(id, name string) *Sample {
	return &Sample{StatsResponse: container.StatsResponse{ID: id, Name: "/" + name, OSType: "linux"}}
}

// New describes what a running container uses.
func New(id, name string, c Counted, h Host) *Sample {
	s := None(id, name)
	s.Read, s.Networks, s.Rates = c.At.UTC(), c.Networks, c.Rates
	s.CPUStats = container.CPUStats{
		CPUUsage: container.CPUUsage{
			TotalUsage: c.Group.CPU.Total, PercpuUsage: c.Group.CPU.PerCPU,
			UsageInKernelmode: c.Group.CPU.System, UsageInUsermode: c.Group.CPU.User,
		},
		SystemUsage: h.CPU.Nanoseconds, OnlineCPUs: h.CPU.Online,
		ThrottlingData: container.ThrottlingData{
			Periods: c.Group.CPU.Periods, ThrottledPeriods: c.Group.CPU.ThrottledPeriods, ThrottledTime: c.Group.CPU.ThrottledTime,
		},
	}
	s.MemoryStats = memory(&c.Group.Memory, h)
	s.PidsStats = container.PidsStats{Current: c.Group.Pids.Current}
	if c.Group.Pids.Limit != cgroup.Unlimited {
		s.PidsStats.Limit = c.Group.Pids.Limit
	}
	s.BlkioStats = blockIO(&c.Group.BlockIO, h.CgroupV2)
	s.Pressure = pressure("container", c.Group.CPU.Pressure, c.Group.Memory.Pressure, c.Group.BlockIO.Pressure)
	if s.Pressure == nil {
		s.Pressure = h.Pressure
	}
	return s
}

// After adds the sample before, of which only the time and the processor's
// counters are shown. before may be nil.
func (s *Sample) After(before *Sample) *Sample {
	if before == nil {
		return s
	}
	now := *s
	now.PreRead, now.PreCPUStats = before.Read, before.CPUStats
	return &now
}

// The keys of memory.stat that Docker passes on; the kernel has more.
var (
	keysV1 = strings.Fields(`cache rss rss_huge mapped_file dirty writeback pgpgin pgpgout pgfault pgmajfault inactive_anon active_anon
		inactive_file active_file unevictable hierarchical_memory_limit hierarchical_memsw_limit total_cache total_rss total_rss_huge
		total_mapped_file total_dirty total_writeback total_pgpgin total_pgpgout total_pgfault total_pgmajfault total_inactive_anon
		total_active_anon total_inactive_file total_active_file total_unevictable`)
	keysV2 = strings.Fields(`anon file kernel_stack slab sock shmem file_mapped file_dirty file_writeback anon_thp inactive_anon active_anon
		inactive_file active_file unevictable slab_reclaimable slab_unreclaimable pgfault pgmajfault workingset_refault
		workingset_activate workingset_nodereclaim pgrefill pgscan pgsteal pgactivate pgdeactivate pglazyfree pglazyfreed
		thp_fault_alloc thp_collapse_alloc`)
)

func memory(m *cgroup.MemoryStats, h Host) container.MemoryStats {
	s := container.MemoryStats{Usage: m.Usage, Limit: m.Limit}
	keys := keysV1
	if h.CgroupV2 {
		keys, s.Failcnt = keysV2, m.OOMs
	} else {
		s.MaxUsage, s.Failcnt = m.Max, m.Failures
	}
	// Nobody has more than the host, and percentages need a limit.
	if h.Memory > 0 && s.Limit > uint64(h.Memory) {
		s.Limit = uint64(h.Memory)
	}
	if len(m.Stat) > 0 {
		s.Stats = make(map[string]uint64, len(keys))
		for _, k := range keys {
			s.Stats[k] = m.Stat[k]
		}
	}
	return s
}

// blockIO lists what was read and written by device. With v2 all lists but the
// first are null, with v1 they are there and empty.
func blockIO(b *cgroup.BlockIOStats, v2 bool) container.BlkioStats {
	if v2 {
		s := container.BlkioStats{}
		for _, e := range b.Bytes {
			if e.Operation == "read" || e.Operation == "write" {
				s.IoServiceBytesRecursive = append(s.IoServiceBytesRecursive, container.BlkioStatEntry{Major: e.Major, Minor: e.Minor, Op: e.Operation, Value: e.Value})
			}
		}
		return s
	}
	none := []container.BlkioStatEntry{}
	return container.BlkioStats{
		IoServiceBytesRecursive: entriesV1(b.Bytes), IoServicedRecursive: entriesV1(b.Operations),
		IoQueuedRecursive: none, IoServiceTimeRecursive: none, IoWaitTimeRecursive: none, IoMergedRecursive: none, IoTimeRecursive: none, SectorsRecursive: none,
	}
}

// entriesV1 names the operations as the files of v1 do.
func entriesV1(list []cgroup.BlockIOEntry) []container.BlkioStatEntry {
	all := make([]container.BlkioStatEntry, 0, len(list))
	for _, e := range list {
		op := e.Operation
		if op != "" {
			op = strings.ToUpper(op[:1]) + op[1:]
		}
		all = append(all, container.BlkioStatEntry{Major: e.Major, Minor: e.Minor, Op: op, Value: e.Value})
	}
	return all
}

// pressure is nil where the kernel counts none.
func pressure(scope string, cpu, memory, io *cgroup.Pressure) *Pressure {
	if cpu == nil && memory == nil && io == nil {
		return nil
	}
	return &Pressure{Scope: scope, CPU: stall(cpu), Memory: stall(memory), IO: stall(io)}
}

// HostPressure describes that of the whole host.
func HostPressure(cpu, memory, io *cgroup.Pressure) *Pressure {
	return pressure("host", cpu, memory, io)
}

func stall(p *cgroup.Pressure) *Stall {
	if p == nil {
		return nil
	}
	return &Stall{Some: p.Some.Avg10, Full: p.Full.Avg10}
}
