package cgroup

import (
	"strconv"
	"strings"
)

// v1 reads what one controller counts.
func (r *statReader) v1(controller, dir string, s *Stats) {
	switch controller {
	case "memory":
		r.memoryV1(dir, &s.Memory)
	case "cpuacct":
		r.cpuacctV1(dir, &s.CPU)
	case "cpu":
		stat := r.fields(dir + "/cpu.stat")
		s.CPU.Periods, s.CPU.ThrottledPeriods, s.CPU.ThrottledTime = stat["nr_periods"], stat["nr_throttled"], stat["throttled_time"]
		s.CPU.Bursts, s.CPU.BurstTime = stat["nr_bursts"], stat["burst_time"]
	case "pids":
		s.Pids = PidsStats{Current: r.number(dir + "/pids.current"), Limit: r.number(dir + "/pids.max")}
	case "blkio":
		s.BlockIO.Bytes = r.blkio(dir, "io_service_bytes_recursive")
		s.BlockIO.Operations = r.blkio(dir, "io_serviced_recursive")
	case "hugetlb":
		for _, size := range r.pageSizes(dir, ".limit_in_bytes") {
			if s.Hugetlb == nil {
				s.Hugetlb = make(map[string]Amount)
			}
			s.Hugetlb[size] = r.amountV1(dir + "/hugetlb." + size)
		}
	case "rdma":
		s.RDMA = r.rdma(dir)
	}
}

func (r *statReader) amountV1(prefix string) Amount {
	return Amount{
		Usage: r.number(prefix + ".usage_in_bytes"), Max: r.number(prefix + ".max_usage_in_bytes"),
		Limit: r.number(prefix + ".limit_in_bytes"), Failures: r.number(prefix + ".failcnt"),
	}
}

func (r *statReader) memoryV1(dir string, m *MemoryStats) {
	m.Amount = r.amountV1(dir + "/memory")
	m.WithSwap = r.amountV1(dir + "/memory.memsw")
	m.Kernel = r.amountV1(dir + "/memory.kmem")
	m.KernelTCP = r.amountV1(dir + "/memory.kmem.tcp")
	m.Stat = r.fields(dir + "/memory.stat")
	m.Cache = m.Stat["cache"]
	m.Swap.Usage = m.Stat["total_swap"]
	m.Unkillable = r.fields(dir + "/memory.oom_control")["oom_kill_disable"] == 1
}

func (r *statReader) cpuacctV1(dir string, c *CPUStats) {
	c.Total = r.number(dir + "/cpuacct.usage")
	for n := range strings.FieldsSeq(r.text(dir + "/cpuacct.usage_percpu")) {
		v, _ := strconv.ParseUint(n, 10, 64)
		c.PerCPU = append(c.PerCPU, v)
	}
	// "cpu user system", then a line for each CPU. Finer than cpuacct.stat,
	// which counts clock ticks.
	for line := range strings.Lines(r.text(dir + "/cpuacct.usage_all")) {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] == "cpu" {
			continue
		}
		user, _ := strconv.ParseUint(f[1], 10, 64)
		system, _ := strconv.ParseUint(f[2], 10, 64)
		c.User, c.System = c.User+user, c.System+system
		c.PerCPUUser, c.PerCPUSystem = append(c.PerCPUUser, user), append(c.PerCPUSystem, system)
	}
}

// blkio reads a file of the scheduler BFQ, which knows more, or if that counted
// nothing, the one of the throttling layer.
func (r *statReader) blkio(dir, file string) []BlockIOEntry {
	if list := parseBlkio(r.text(dir + "/blkio.bfq." + file)); len(list) > 0 {
		return list
	}
	return parseBlkio(r.text(dir + "/blkio.throttle." + file))
}

// parseBlkio reads lines such as "8:0 Read 4096"; the last, "Total 4096", sums
// up the devices.
func parseBlkio(text string) (list []BlockIOEntry) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		major, minor, ok := parseDevice(f[0])
		n, err := strconv.ParseUint(f[2], 10, 64)
		if ok && err == nil {
			list = append(list, BlockIOEntry{Major: major, Minor: minor, Operation: strings.ToLower(f[1]), Value: n})
		}
	}
	return list
}

func parseDevice(s string) (major, minor uint64, ok bool) {
	a, b, found := strings.Cut(s, ":")
	major, err1 := strconv.ParseUint(a, 10, 32)
	minor, err2 := strconv.ParseUint(b, 10, 32)
	return major, minor, found && err1 == nil && err2 == nil
}
