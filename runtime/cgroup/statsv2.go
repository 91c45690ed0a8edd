package cgroup

import (
	"strconv"
	"strings"
)

// v2 reads what the controllers of the v2 group count. On hybrid hosts, where
// most are on v1, it leaves those alone.
func (r *statReader) v2(dir string, s *Stats) {
	controllers := strings.Fields(r.text(dir + "/cgroup.controllers"))
	for _, name := range controllers {
		switch name {
		case "memory":
			r.memoryV2(dir, &s.Memory)
		case "pids":
			s.Pids = PidsStats{Current: r.number(dir + "/pids.current"), Limit: r.number(dir + "/pids.max")}
		case "io":
			s.BlockIO.Bytes, s.BlockIO.Operations = parseIOStat(r.text(dir + "/io.stat"))
		case "hugetlb":
			for _, size := range r.pageSizes(dir, ".max") {
				if s.Hugetlb == nil {
					s.Hugetlb = make(map[string]Amount)
				}
				prefix := dir + "/hugetlb." + size
				s.Hugetlb[size] = Amount{Usage: r.number(prefix + ".current"), Limit: r.number(prefix + ".max"),
					Failures: r.fields(prefix + ".events")["max"]}
			}
		case "rdma":
			s.RDMA = r.rdma(dir)
		}
	}
	// Time is counted without a controller too. A zero total is that of a
	// hybrid host, where v1 has it.
	stat := r.fields(dir + "/cpu.stat")
	if s.CPU.Total == 0 {
		s.CPU.Total, s.CPU.User, s.CPU.System = 1000*stat["usage_usec"], 1000*stat["user_usec"], 1000*stat["system_usec"]
	}
	if stat["nr_periods"] > 0 {
		s.CPU.Periods, s.CPU.ThrottledPeriods, s.CPU.ThrottledTime = stat["nr_periods"], stat["nr_throttled"], 1000*stat["throttled_usec"]
		s.CPU.Bursts, s.CPU.BurstTime = stat["nr_bursts"], 1000*stat["burst_usec"]
	}
	s.CPU.Pressure = r.pressure(dir + "/cpu.pressure")
	s.Memory.Pressure = r.pressure(dir + "/memory.pressure")
	s.BlockIO.Pressure = r.pressure(dir + "/io.pressure")
}

func (r *statReader) memoryV2(dir string, m *MemoryStats) {
	events := r.fields(dir + "/memory.events")
	m.Amount = Amount{Usage: r.number(dir + "/memory.current"), Max: r.number(dir + "/memory.peak"),
		Limit: r.number(dir + "/memory.max"), Failures: events["max"]}
	m.OOMs = events["oom"]
	m.Swap = Amount{Usage: r.number(dir + "/memory.swap.current"), Max: r.number(dir + "/memory.swap.peak"),
		Limit: r.number(dir + "/memory.swap.max"), Failures: r.fields(dir + "/memory.swap.events")["max"]}
	m.WithSwap = Amount{Usage: m.Usage + m.Swap.Usage, Limit: Unlimited}
	if m.Limit != Unlimited && m.Swap.Limit != Unlimited {
		m.WithSwap.Limit = m.Limit + m.Swap.Limit
	}
	m.Stat = r.fields(dir + "/memory.stat")
	m.Cache, m.Kernel.Usage = m.Stat["file"], m.Stat["kernel"]
}

// parseIOStat reads lines such as
// "8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0".
func parseIOStat(text string) (bytes, operations []BlockIOEntry) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		major, minor, ok := parseDevice(f[0])
		if !ok {
			continue
		}
		for _, pair := range f[1:] {
			key, v, _ := strings.Cut(pair, "=")
			n, err := strconv.ParseUint(v, 10, 64)
			if err != nil || key == "" {
				continue
			}
			e := BlockIOEntry{Major: major, Minor: minor, Value: n}
			switch key[0] {
			case 'r':
				e.Operation = "read"
			case 'w':
				e.Operation = "write"
			case 'd':
				e.Operation = "discard"
			}
			switch key[1:] {
			case "bytes":
				bytes = append(bytes, e)
			case "ios":
				operations = append(operations, e)
			}
		}
	}
	return bytes, operations
}
