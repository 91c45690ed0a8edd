package stats

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/runtime/cgroup"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestNew compares samples with the JSON that Docker's clients read.
func TestNew(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	v1 := &cgroup.Stats{
		Memory: cgroup.MemoryStats{
			Amount: cgroup.Amount{Usage: 5000, Max: 6000, Limit: cgroup.Unlimited, Failures: 4},
			Stat:   map[string]uint64{"cache": 10, "total_inactive_file": 1000, "not_docker's": 1},
		},
		CPU:  cgroup.CPUStats{Total: 90, User: 50, System: 40, PerCPU: []uint64{60, 30}, Periods: 3, ThrottledPeriods: 2, ThrottledTime: 1},
		Pids: cgroup.PidsStats{Current: 3, Limit: cgroup.Unlimited},
		BlockIO: cgroup.BlockIOStats{
			Bytes:      []cgroup.BlockIOEntry{{Major: 8, Minor: 16, Operation: "read", Value: 7}, {Major: 8, Minor: 16, Operation: "total", Value: 7}},
			Operations: []cgroup.BlockIOEntry{},
		},
	}
	psi := &cgroup.Pressure{Some: cgroup.Stall{Avg10: 1.5}, Full: cgroup.Stall{Avg10: 0.5}}
	v2 := &cgroup.Stats{
		Memory: cgroup.MemoryStats{
			Amount: cgroup.Amount{Usage: 5000, Max: 6000, Limit: 8000, Failures: 9}, OOMs: 2,
			Stat: map[string]uint64{"anon": 10, "inactive_file": 1000, "swapcached": 1}, Pressure: psi,
		},
		CPU:     cgroup.CPUStats{Total: 90, User: 50, System: 40, Pressure: psi},
		Pids:    cgroup.PidsStats{Current: 3, Limit: 12},
		BlockIO: cgroup.BlockIOStats{Bytes: []cgroup.BlockIOEntry{{Major: 8, Minor: 16, Operation: "write", Value: 7}, {Major: 8, Minor: 16, Operation: "discard", Value: 7}}, Pressure: psi},
	}
	host := Host{Memory: 1 << 20, CPU: CPU{Nanoseconds: 1e9, Online: 2}, Pressure: &Pressure{Scope: "host", CPU: &Stall{Some: 3}}}
	unified := host
	unified.CgroupV2 = true
	networks := map[string]container.NetworkStats{"eth0": {RxBytes: 1, TxBytes: 2}}
	first := New("0123", "web", Counted{At: at, Group: v1, Networks: networks}, host)
	for name, s := range map[string]*Sample{
		"none": None("0123", "web"), "v1": first, "v2": New("0123", "web", Counted{At: at, Group: v2}, unified),
		"second": New("0123", "web", Counted{At: at.Add(time.Second), Group: v1}, host).After(first), "first": first.After(nil),
	} {
		text, err := json.MarshalIndent(s, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if name == "first" {
			name = "v1" // without one before it, the same
		}
		path := filepath.Join("testdata", name+".json")
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(text)+"\n" != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, text, want)
		}
	}
}

func TestAfterLeavesTheSampleAlone(t *testing.T) {
	a, b := None("1", "a"), None("1", "a")
	a.Read, a.CPUStats.OnlineCPUs = time.Unix(1, 0), 4
	if got := b.After(a); got == b || got.PreCPUStats.OnlineCPUs != 4 || !got.PreRead.Equal(a.Read) || b.PreCPUStats.OnlineCPUs != 0 {
		t.Errorf("got %+v, and the sample itself is %+v", got, b)
	}
}

func TestParseCPU(t *testing.T) {
	text := "cpu  10 1 5 100 2 3 4 1000 7 0\ncpu0 5 0 2 50 1 1 2 0 0 0\ncpu1 5 1 3 50 1 2 2 0 0 0\nintr 1 2 3\nctxt 5\n"
	if got, want := ParseCPU(text), (CPU{Nanoseconds: 125 * tick, Online: 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := ParseCPU("nonsense"); got != (CPU{}) {
		t.Errorf("got %+v", got)
	}
}

func TestParseNetworks(t *testing.T) {
	text := `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    1000      10    0    0    0     0          0         0     1000      10    0    0    0     0       0          0
  eth0:101 2 3 4 0 0 0 0 105 6 7 8 0 0 0 0
 sit0: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
`
	got := ParseNetworks(text)
	want := container.NetworkStats{RxBytes: 101, RxPackets: 2, RxErrors: 3, RxDropped: 4, TxBytes: 105, TxPackets: 6, TxErrors: 7, TxDropped: 8}
	if len(got) != 1 || got["eth0"] != want {
		t.Errorf("got %+v", got)
	}
	if ParseNetworks("") != nil {
		t.Error("no interface has to be no map, which JSON leaves out")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("cpu  10 1 5\ncpu0 1")
	f.Add(" eth0:1 2 3 4 5 6 7 8 9 10 11 12")
	f.Fuzz(func(_ *testing.T, text string) {
		ParseCPU(text)
		ParseNetworks(text)
	})
}
