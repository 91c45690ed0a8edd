// Package usage owns the arithmetic of `stats`: from what the engine counts to
// what people read, figures and little curves.
//
// It does no input or output and keeps nothing but a History, which belongs to
// one goroutine at a time.
package usage

import "github.com/moby/moby/api/types/container"

// Figures are what is shown of one sample.
type Figures struct {
	CPU                 float64 // percent of one processor
	Memory, MemoryLimit float64 // bytes; cached files that nobody uses are left out
	NetRx, NetTx        float64 // bytes since the start
	BlockRead           float64 // bytes since the start
	BlockWrite          float64
	PIDs                uint64
}

// New reads a sample, as Docker's client does.
func New(s *container.StatsResponse) Figures {
	f := Figures{CPU: cpu(s), Memory: memory(&s.MemoryStats), MemoryLimit: float64(s.MemoryStats.Limit), PIDs: s.PidsStats.Current}
	for _, n := range s.Networks {
		f.NetRx += float64(n.RxBytes)
		f.NetTx += float64(n.TxBytes)
	}
	for _, e := range s.BlkioStats.IoServiceBytesRecursive {
		if e.Op == "" {
			continue
		}
		switch e.Op[0] {
		case 'r', 'R':
			f.BlockRead += float64(e.Value)
		case 'w', 'W':
			f.BlockWrite += float64(e.Value)
		}
	}
	return f
}

// MemoryPercent is the share of the limit, 0 where there is none.
func (f Figures) MemoryPercent() float64 {
	if f.MemoryLimit == 0 {
		return 0
	}
	return f.Memory / f.MemoryLimit * 100
}

// cpu is the container's share of what all processors did since the sample
// before, where all of one processor is 100.
func cpu(s *container.StatsResponse) float64 {
	used := float64(s.CPUStats.CPUUsage.TotalUsage) - float64(s.PreCPUStats.CPUUsage.TotalUsage)
	all := float64(s.CPUStats.SystemUsage) - float64(s.PreCPUStats.SystemUsage)
	processors := float64(s.CPUStats.OnlineCPUs)
	if processors == 0 {
		processors = float64(len(s.CPUStats.CPUUsage.PercpuUsage)) // engines before API 1.27
	}
	if used <= 0 || all <= 0 {
		return 0
	}
	return used / all * processors * 100
}

// memory leaves out cached files that were not used lately: the kernel drops
// them as soon as it needs the room. v1 counts those of groups inside apart.
func memory(m *container.MemoryStats) float64 {
	for _, key := range []string{"total_inactive_file", "inactive_file"} {
		if v, ok := m.Stats[key]; ok {
			if v < m.Usage {
				return float64(m.Usage - v)
			}
			break
		}
	}
	return float64(m.Usage)
}
