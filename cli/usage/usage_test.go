package usage

import (
	"math"
	"testing"

	"github.com/moby/moby/api/types/container"
)

func TestCPU(t *testing.T) {
	for _, c := range []struct {
		name                 string
		used, before         uint64
		system, systemBefore uint64
		online               uint32
		perCPU               int
		want                 float64
	}{
		{"one of two processors", 1e9, 0, 2e9, 0, 2, 0, 100},
		{"all of two", 5e9, 3e9, 10e9, 8e9, 2, 0, 200},
		{"a quarter", 250e6, 0, 1e9, 0, 1, 0, 25},
		{"old engine", 1e9, 0, 4e9, 0, 0, 4, 100},
		{"nothing used", 3e9, 3e9, 2e9, 1e9, 2, 0, 0},
		{"restarted: less than before", 1e9, 3e9, 2e9, 1e9, 2, 0, 0},
		{"no time passed", 2e9, 1e9, 1e9, 1e9, 2, 0, 0},
		{"no processors known", 2e9, 1e9, 2e9, 1e9, 0, 0, 0},
	} {
		s := &container.StatsResponse{}
		s.CPUStats = container.CPUStats{CPUUsage: container.CPUUsage{TotalUsage: c.used, PercpuUsage: make([]uint64, c.perCPU)}, SystemUsage: c.system, OnlineCPUs: c.online}
		s.PreCPUStats = container.CPUStats{CPUUsage: container.CPUUsage{TotalUsage: c.before}, SystemUsage: c.systemBefore}
		if got := New(s).CPU; math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestMemory(t *testing.T) {
	for _, c := range []struct {
		name  string
		usage uint64
		stats map[string]uint64
		want  float64
	}{
		{"v1", 1000, map[string]uint64{"total_inactive_file": 300, "inactive_file": 100}, 700},
		{"v2", 1000, map[string]uint64{"inactive_file": 100}, 900},
		{"v1, more than all", 1000, map[string]uint64{"total_inactive_file": 3000, "inactive_file": 100}, 1000},
		{"v2, more than all", 1000, map[string]uint64{"inactive_file": 1000}, 1000},
		{"unknown", 1000, nil, 1000},
	} {
		s := &container.StatsResponse{MemoryStats: container.MemoryStats{Usage: c.usage, Stats: c.stats, Limit: 2000}}
		f := New(s)
		if f.Memory != c.want || f.MemoryPercent() != c.want/20 {
			t.Errorf("%s: %v (%v%%), want %v", c.name, f.Memory, f.MemoryPercent(), c.want)
		}
	}
	if got := (Figures{Memory: 5}).MemoryPercent(); got != 0 {
		t.Errorf("without a limit: %v", got)
	}
}

func TestSums(t *testing.T) {
	f := New(&container.StatsResponse{
		PidsStats: container.PidsStats{Current: 7},
		Networks:  map[string]container.NetworkStats{"eth0": {RxBytes: 1, TxBytes: 2}, "eth1": {RxBytes: 10, TxBytes: 20}},
		BlkioStats: container.BlkioStats{IoServiceBytesRecursive: []container.BlkioStatEntry{
			{Op: "Read", Value: 1}, {Op: "read", Value: 2}, {Op: "Write", Value: 4}, {Op: "write", Value: 8}, {Op: "Total", Value: 99}, {Value: 99},
		}},
	})
	if want := (Figures{NetRx: 11, NetTx: 22, BlockRead: 3, BlockWrite: 12, PIDs: 7}); f != want {
		t.Errorf("got %+v, want %+v", f, want)
	}
}

func TestCurve(t *testing.T) {
	for _, c := range []struct {
		values []float64
		width  int
		top    float64
		want   string
	}{
		{nil, 3, 1, "   "},
		{[]float64{0, 0.01, 50, 99, 100, 200}, 8, 100, "   ▁▅███"},
		{[]float64{1, 2, 3, 4}, 2, 4, "▇█"},
		{[]float64{1, 2}, 3, 0, "   "},
		{[]float64{1}, 0, 1, ""},
	} {
		h := NewHistory(100)
		for _, v := range c.values {
			h.Add(v)
		}
		if got := h.Curve(c.width, c.top); got != c.want {
			t.Errorf("%v: %q, want %q", c.values, got, c.want)
		}
	}
	h := NewHistory(3)
	for v := range 10 {
		h.Add(float64(9 - v))
	}
	if got := h.Curve(5, 8); got != "  ▃▂ " || h.Peak() != 2 {
		t.Errorf("%q, peak %v", got, h.Peak())
	}
}
