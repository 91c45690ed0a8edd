package cgroup

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestStatsInTheKernel(t *testing.T) {
	for name, keep := range kinds() {
		t.Run(name, func(t *testing.T) {
			h := real(t, keep)
			res := &specs.LinuxResources{}
			if h.Has("memory") {
				res.Memory = &specs.LinuxMemory{Limit: ptr[int64](64 << 20)}
			}
			if h.Has("cpu") {
				res.CPU = &specs.LinuxCPU{Quota: ptr[int64](5000), Period: ptr[uint64](10000)}
			}
			if h.Has("pids") {
				res.Pids = &specs.LinuxPids{Limit: ptr[int64](12)}
			}
			c := mustCreate(t, h, parent(t, h)+"/stats", res)
			file := t.TempDir() + "/file"
			cmd := run(t, c, `head -c 3000000 /dev/zero > `+file+`; while :; do :; done`)
			defer func() { _ = c.Kill(); _ = cmd.Wait() }()
			var s *Stats
			eventually(t, "usage", func() bool {
				var err error
				if s, err = Open(c.Paths()).Stats(); err != nil {
					t.Fatal(err)
				}
				return (!h.Has("cpu") || s.CPU.ThrottledTime > 0) && (!h.Has("memory") || s.Memory.Cache > 2900000) && s.CPU.User+s.CPU.System > 60e6 &&
					s.Pids.Current < 2 // head has ended
			})
			if h.Has("cpu") && (s.CPU.Periods == 0 || s.CPU.ThrottledPeriods == 0) {
				t.Errorf("CPU: %+v", s.CPU)
			}
			if total, parts := s.CPU.Total, s.CPU.User+s.CPU.System; total > 10e9 || parts > total+total/2+1e8 || total > parts+parts/2+1e8 { // v1 counts the parts in ticks
				t.Errorf("CPU time: %d in all, %d user and system", total, parts)
			}
			if m := s.Memory; h.Has("memory") && (m.Limit != 64<<20 || m.Usage == 0 || m.Max < m.Usage || m.WithSwap.Usage < m.Usage || m.WithSwap.Limit != Unlimited) {
				t.Errorf("memory: %+v", m.Amount)
			}
			if p := s.Pids; h.Has("pids") && (p.Current != 1 || p.Limit != 12) {
				t.Errorf("pids: %+v", p)
			}
			if d, ok := c.unified(); ok {
				if _, err := os.Stat(d.path + "/cpu.pressure"); err == nil && (s.CPU.Pressure == nil || s.Memory.Pressure == nil) {
					t.Error("no pressure")
				}
				if h.Has("hugetlb") && s.Hugetlb["2MB"].Limit != Unlimited {
					t.Errorf("huge pages: %+v", s.Hugetlb)
				}
			}
			if err := c.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := c.Remove(); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Stats(); !errs.Is(err, errs.NotFound) {
				t.Errorf("a group that is gone: %v", err)
			}
		})
	}
}

func TestStatsOfV2(t *testing.T) {
	f, h := newFakeV2("cpu", "memory", "pids", "io", "hugetlb", "rdma")
	c, err := h.Create("/one", nil)
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		"memory.current": "5000", "memory.peak": "6000", "memory.max": "8000", "memory.events": "low 0\nmax 4\noom 2\noom_kill 1",
		"memory.swap.current": "100", "memory.swap.max": "300", "memory.swap.events": "max 9", "memory.stat": "anon 7\nfile 8\nkernel 9",
		"cpu.stat":     "usage_usec 9\nuser_usec 5\nsystem_usec 4\nnr_periods 3\nnr_throttled 2\nthrottled_usec 7\nnr_bursts 1\nburst_usec 6",
		"pids.current": "3", "pids.max": "max",
		"io.stat":             "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n7:0",
		"hugetlb.2MB.current": "2", "hugetlb.2MB.max": "4", "hugetlb.2MB.events": "max 5",
		"rdma.current": "mlx5_1 hca_handle=2 hca_object=3", "rdma.max": "mlx5_1 hca_handle=4 hca_object=max",
		"cpu.pressure": "some avg10=1.50 avg60=0.25 avg300=0.00 total=42\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7",
	} {
		f.groups["/cg/one"][file] = text
	}
	got, err := c.Stats()
	if err != nil {
		t.Fatal(err)
	}
	want := &Stats{
		Memory: MemoryStats{Amount: Amount{Usage: 5000, Max: 6000, Limit: 8000, Failures: 4},
			Swap: Amount{Usage: 100, Limit: 300, Failures: 9}, WithSwap: Amount{Usage: 5100, Limit: 8300}, Kernel: Amount{Usage: 9},
			Cache: 8, OOMs: 2, OOMKills: 1, Stat: map[string]uint64{"anon": 7, "file": 8, "kernel": 9}},
		CPU: CPUStats{Total: 9000, User: 5000, System: 4000, Periods: 3, ThrottledPeriods: 2, ThrottledTime: 7000, Bursts: 1, BurstTime: 6000,
			Pressure: &Pressure{Some: Stall{1.5, 0.25, 0, 42}, Full: Stall{Total: 7}}},
		Pids: PidsStats{Current: 3, Limit: Unlimited},
		BlockIO: BlockIOStats{Bytes: []BlockIOEntry{{8, 16, "read", 1}, {8, 16, "write", 2}, {8, 16, "discard", 5}},
			Operations: []BlockIOEntry{{8, 16, "read", 3}, {8, 16, "write", 4}, {8, 16, "discard", 6}}},
		Hugetlb: map[string]Amount{"2MB": {Usage: 2, Limit: 4, Failures: 5}},
		RDMA:    map[string]RDMAStats{"mlx5_1": {Handles: 2, HandleLimit: 4, Objects: 3, ObjectLimit: Unlimited}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestBlkioLines(t *testing.T) {
	got := parseBlkio("8:0 Read 4096\n8:0 Total 4096\nTotal 4096\nx:1 Read 2\n")
	if want := []BlockIOEntry{{8, 0, "read", 4096}, {8, 0, "total", 4096}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}

// What the kernel says is taken as it comes, whatever it is.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"8:16 rbytes=1 wbytes=2 rios=3", "8:0 Read 4096", "some avg10=0.1 total=4", "c 1:3 rwm\nb *:* m", "a *:* rwm"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parseIOStat(text)
		parseBlkio(text)
		parsePressure(text)
		if r, ok := parseDevices(text); ok && !r.allow {
			var lines []string
			for _, e := range r.exceptions {
				lines = append(lines, e.String())
			}
			again, ok := parseDevices(strings.Join(lines, "\n"))
			if !ok || !reflect.DeepEqual(again, r) {
				t.Errorf("%q: %v, then %v", text, r, again)
			}
		}
	})
}

func BenchmarkStats(b *testing.B) {
	h := real(b, all)
	c, err := h.Create(parent(b, h)+"/stats", nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Remove() })
	opened := Open(c.Paths())
	for b.Loop() {
		if _, err := opened.Stats(); err != nil {
			b.Fatal(err)
		}
	}
}
