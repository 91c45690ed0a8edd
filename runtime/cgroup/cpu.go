package cgroup

import (
	"cmp"
	"errors"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// defaultPeriod is the kernel's scheduling period for quotas, in microseconds.
const defaultPeriod = 100000

// defaultRealtimePeriod is the same for real-time processes.
const defaultRealtimePeriod = 1000000

func (p *planner) cpu(c *specs.LinuxCPU) {
	if c == nil {
		return
	}
	var v1, v2 []setting
	add := func(list *[]setting, file, value string) { *list = append(*list, setting{file: file, value: value}) }
	shares, quota, period := value(c.Shares), value(c.Quota), value(c.Period)
	if c.Idle != nil && (*c.Idle != 0 || p.changes()) {
		add(&v1, "cpu.idle", decimal(*c.Idle))
		add(&v2, "cpu.idle", decimal(*c.Idle))
	}
	// The kernel keeps the weight of an idle group as small as can be, and
	// refuses another one.
	if shares != 0 && (shares != 1024 || p.changes()) && value(c.Idle) != 1 {
		// v1 would clamp silently.
		if v2 := p.controllerIsV2("cpu", "cpu"); !v2 && shares < 2 {
			p.fail("the minimum allowed cpu-shares is 2")
		} else if !v2 && shares > 262144 {
			p.fail("the maximum allowed cpu-shares is 262144")
		}
		add(&v1, "cpu.shares", strconv.FormatUint(shares, 10))
		add(&v2, "cpu.weight", strconv.FormatUint(weightOfShares(shares), 10))
	}
	if quota < -1 {
		p.fail("invalid CPU quota %d: negative values other than -1 mean nothing", quota)
	}
	if period == defaultPeriod && !p.changes() {
		period = 0
	}
	limited := quota > 0 || quota == -1 && p.changes()
	if period != 0 {
		add(&v1, "cpu.cfs_period_us", strconv.FormatUint(period, 10))
	}
	if limited {
		add(&v1, "cpu.cfs_quota_us", decimal(quota))
	}
	if limited || period != 0 {
		add(&v2, "cpu.max", p.cpuMax(limited, quota, period))
	}
	if burst := value(c.Burst); burst != 0 || c.Burst != nil && p.changes() {
		add(&v1, "cpu.cfs_burst_us", strconv.FormatUint(burst, 10))
		add(&v2, "cpu.max.burst", strconv.FormatUint(burst, 10))
	}
	p.on("a CPU limit", "cpu", "cpu", v1, v2)
	p.realtime(c)
}

// cpuMax returns the value of cpu.max for what is asked for: a quota, a
// period, or both. What is not asked for stays.
func (p *planner) cpuMax(limited bool, quota int64, period uint64) string {
	limit, every := "max", strconv.Itoa(defaultPeriod)
	if now := strings.Fields(p.now("cpu.max")); len(now) == 2 {
		limit, every = now[0], now[1]
	}
	if limited {
		limit = orMax(quota)
	}
	if period != 0 {
		every = strconv.FormatUint(period, 10)
	}
	return limit + " " + every
}

func (p *planner) realtime(c *specs.LinuxCPU) {
	var list []setting
	if v := value(c.RealtimePeriod); v != 0 {
		list = append(list, setting{file: "cpu.rt_period_us", value: strconv.FormatUint(v, 10)})
	}
	if v := value(c.RealtimeRuntime); v != 0 {
		list = append(list, setting{file: "cpu.rt_runtime_us", value: decimal(v)})
		if v > 0 {
			p.plan.realtime = float64(v) / float64(cmp.Or(value(c.RealtimePeriod), defaultRealtimePeriod))
		}
	}
	p.on("a real-time CPU budget", "cpu", "", list, nil)
}

// grantRealtime raises the share of real time that the groups above dir have,
// from the top down, to what their children have and share more: the kernel
// gives a new group none, and a child no more than its parent has left. The
// root, which is the host's to set, stays as it is.
func grantRealtime(fs files, dir string, share float64) error {
	parent := filepath.Dir(dir)
	if _, err := fs.read(filepath.Dir(parent) + "/cpu.rt_runtime_us"); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil // parent is the root
		}
		return err
	}
	if err := grantRealtime(fs, parent, share); err != nil {
		return err
	}
	names, err := fs.children(parent)
	if err != nil {
		return err
	}
	for _, name := range names {
		runtime, period, err := realtimeOf(fs, parent+"/"+name)
		if err != nil {
			return err
		}
		share += runtime / period
	}
	runtime, period, err := realtimeOf(fs, parent)
	if err != nil {
		return err
	}
	if want := math.Ceil(share * period); runtime < want {
		return fs.write(parent+"/cpu.rt_runtime_us", strconv.FormatFloat(want, 'f', 0, 64))
	}
	return nil
}

// realtimeOf returns the runtime and the period of a v1 group, in microseconds.
func realtimeOf(fs files, dir string) (runtime, period float64, err error) {
	for file, v := range map[string]*float64{"/cpu.rt_runtime_us": &runtime, "/cpu.rt_period_us": &period} {
		text, err := fs.read(dir + file)
		if err != nil {
			return 0, 0, err
		}
		if *v, err = strconv.ParseFloat(text, 64); err != nil {
			return 0, 0, err
		}
	}
	return runtime, max(period, 1), nil
}

func (p *planner) cpuset(c *specs.LinuxCPU) {
	if c == nil {
		return
	}
	var list []setting
	if c.Cpus != "" {
		list = append(list, setting{file: "cpuset.cpus", value: c.Cpus})
	}
	if c.Mems != "" {
		list = append(list, setting{file: "cpuset.mems", value: c.Mems})
	}
	p.on("a CPU set", "cpuset", "cpuset", list, list)
}

// weightOfShares converts v1 CPU shares (2 to 262144, default 1024) to a v2
// weight (1 to 10000, default 100). The curve goes through minimum, default
// and maximum of both, as in runc since 1.3.2 and crun since 1.23.
func weightOfShares(shares uint64) uint64 {
	switch {
	case shares <= 2:
		return 1
	case shares >= 262144:
		return 10000
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}
