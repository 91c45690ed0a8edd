package cgroup

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// setting is one value to write into a file of a group.
type setting struct {
	file, value string
	more        []string // further values for the same file: opening it takes four times as long as writing
	alt         *setting // written instead where the file does not exist
	optional    bool     // a missing file is no error
}

// String prints the setting for tests and errors.
func (s setting) String() string {
	text := s.file + " = " + strings.Join(append([]string{s.value}, s.more...), ", ")
	if s.alt != nil {
		text += " (or " + s.alt.String() + ")"
	}
	if s.optional {
		text += " (if there)"
	}
	return text
}

// plan is what has to be written for some resources: by hierarchy, in order.
type plan struct {
	settings map[int][]setting
	device   []bpfInstruction // the v2 device program, nil: none
}

// plan converts resources to settings. It decides only, and touches nothing.
func (h *Hierarchies) plan(res *specs.LinuxResources) (plan, error) {
	p := planner{h: h, plan: plan{settings: make(map[int][]setting)}}
	if res == nil {
		return p.plan, nil
	}
	p.memory(res.Memory)
	p.cpu(res.CPU)
	p.cpuset(res.CPU)
	if res.Pids != nil {
		p.pids(res.Pids)
	}
	p.devices(res.Devices)
	p.blockIO(res.BlockIO)
	p.hugetlb(res.HugepageLimits)
	p.network(res.Network)
	p.rdma(res.Rdma)
	p.unifiedFiles(res.Unified)
	return p.plan, p.err
}

// planner gathers settings; after the first error its methods do nothing that
// matters.
type planner struct {
	h    *Hierarchies
	plan plan
	err  error
}

func (p *planner) fail(format string, args ...any) {
	if p.err == nil {
		p.err = errs.New(errs.InvalidParameter, format, args...)
	}
}

// on adds settings for the controller in its v1 or its v2 words. An empty
// list asks for nothing; an empty list for one version only means that this
// version has no such limit.
func (p *planner) on(what, nameV1, nameV2 string, v1, v2 []setting) {
	if len(v1) == 0 && len(v2) == 0 {
		return
	}
	i, ok := p.h.find(nameV1, nameV2)
	if !ok {
		p.absent(what, nameV1, nameV2)
		return
	}
	list := v1
	if p.h.all[i].v2 {
		list = v2
	}
	p.plan.settings[i] = append(p.plan.settings[i], list...)
}

func (p *planner) absent(what, nameV1, nameV2 string) {
	name := nameV1
	if p.h.Version() == 2 && nameV2 != "" {
		name = nameV2
	}
	hint := "mount it with `mount -t cgroup -o " + name + "`, or enable it on the kernel command line with cgroup_enable=" + name
	if p.h.Version() == 2 {
		hint = "enable it on the kernel command line with cgroup_enable=" + name +
			", or have it delegated to this engine (systemd: Delegate=yes)"
	}
	p.fail("%s needs the cgroup controller %q, which this host does not have: leave the limit out, or %s", what, name, hint)
}

func (p *planner) memory(m *specs.LinuxMemory) {
	if m == nil {
		return
	}
	limit, swap, low := value(m.Limit), value(m.Swap), value(m.Reservation)
	if limit < -1 || swap < -1 || low < -1 {
		p.fail("invalid memory limit: negative values other than -1 mean nothing")
	}
	if limit > 0 && swap > 0 && swap < limit {
		p.fail("invalid memory limit: memory and swap together (%d bytes) must not be less than memory (%d bytes)", swap, limit)
	}
	var v1, v2 []setting
	// Unlimited (-1) is what a new group is anyway.
	if limit > 0 {
		v1 = append(v1, setting{file: "memory.limit_in_bytes", value: decimal(limit)})
		v2 = append(v2, setting{file: "memory.max", value: decimal(limit)})
	}
	if swap > 0 {
		v1 = append(v1, setting{file: "memory.memsw.limit_in_bytes", value: decimal(swap)})
		switch {
		case limit > 0: // v2 counts swap alone
			// Without swap in the kernel no swap at all is what it is.
			v2 = append(v2, setting{file: "memory.swap.max", value: decimal(swap - limit), optional: swap == limit})
		case limit == -1:
			v2 = append(v2, setting{file: "memory.swap.max", value: decimal(swap)})
		case p.controllerIsV2("memory", "memory"):
			p.fail("a limit on memory and swap together needs a memory limit too")
		}
	}
	if low > 0 {
		v1 = append(v1, setting{file: "memory.soft_limit_in_bytes", value: decimal(low)})
		v2 = append(v2, setting{file: "memory.low", value: decimal(low)})
	}
	p.on("a memory limit", "memory", "memory", v1, v2)
	// v2 has neither of these; Docker ignores them there, so do we.
	var only []setting
	if m.Swappiness != nil && *m.Swappiness != math.MaxUint64 { // -1: unset
		if *m.Swappiness > 100 {
			p.fail("invalid memory swappiness %d: it must be between 0 and 100", *m.Swappiness)
		}
		only = append(only, setting{file: "memory.swappiness", value: strconv.FormatUint(*m.Swappiness, 10)})
	}
	if m.DisableOOMKiller != nil && *m.DisableOOMKiller {
		only = append(only, setting{file: "memory.oom_control", value: "1"})
	}
	p.on("a memory setting", "memory", "memory", only, nil)
}

func (p *planner) controllerIsV2(v1, v2 string) bool {
	i, ok := p.h.find(v1, v2)
	return ok && p.h.all[i].v2
}

// defaultPeriod is the kernel's scheduling period for quotas, in microseconds.
const defaultPeriod = 100000

func (p *planner) cpu(c *specs.LinuxCPU) {
	if c == nil {
		return
	}
	var v1, v2 []setting
	add1 := func(file, value string) { v1 = append(v1, setting{file: file, value: value}) }
	add2 := func(file, value string) { v2 = append(v2, setting{file: file, value: value}) }
	shares, quota, period := value(c.Shares), value(c.Quota), value(c.Period)
	if c.Idle != nil && *c.Idle != 0 {
		add1("cpu.idle", decimal(*c.Idle))
		add2("cpu.idle", decimal(*c.Idle))
	}
	if shares != 0 && shares != 1024 {
		// v1 would clamp silently.
		if v2 := p.controllerIsV2("cpu", "cpu"); !v2 && shares < 2 {
			p.fail("the minimum allowed cpu-shares is 2")
		} else if !v2 && shares > 262144 {
			p.fail("the maximum allowed cpu-shares is 262144")
		}
		add1("cpu.shares", strconv.FormatUint(shares, 10))
		add2("cpu.weight", strconv.FormatUint(weightOfShares(shares), 10))
	}
	if quota < -1 {
		p.fail("invalid CPU quota %d: negative values other than -1 mean nothing", quota)
	}
	if period != 0 && period != defaultPeriod {
		add1("cpu.cfs_period_us", strconv.FormatUint(period, 10))
	}
	if quota > 0 {
		add1("cpu.cfs_quota_us", decimal(quota))
	}
	if quota > 0 || (period != 0 && period != defaultPeriod) {
		limit := "max"
		if quota > 0 {
			limit = decimal(quota)
		}
		if period == 0 {
			period = defaultPeriod
		}
		add2("cpu.max", limit+" "+strconv.FormatUint(period, 10))
	}
	if burst := value(c.Burst); burst != 0 {
		add1("cpu.cfs_burst_us", strconv.FormatUint(burst, 10))
		add2("cpu.max.burst", strconv.FormatUint(burst, 10))
	}
	p.on("a CPU limit", "cpu", "cpu", v1, v2)

	var realtime []setting
	if v := value(c.RealtimePeriod); v != 0 {
		realtime = append(realtime, setting{file: "cpu.rt_period_us", value: strconv.FormatUint(v, 10)})
	}
	if v := value(c.RealtimeRuntime); v != 0 {
		realtime = append(realtime, setting{file: "cpu.rt_runtime_us", value: decimal(v)})
	}
	p.on("a real-time CPU budget", "cpu", "", realtime, nil)
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

func (p *planner) pids(l *specs.LinuxPids) {
	limit := value(l.Limit)
	if l.Limit == nil || limit < 0 {
		return // unlimited, as a new group is
	}
	// No process could join with 0; runc and crun write 1 as well.
	list := []setting{{file: "pids.max", value: decimal(max(limit, 1))}}
	p.on("a limit on processes", "pids", "pids", list, list)
}

func (p *planner) devices(list []specs.LinuxDeviceCgroup) {
	if len(list) == 0 {
		return
	}
	rules, err := deviceRules(list)
	if err != nil {
		p.fail("%w", err)
		return
	}
	if i, ok := p.h.find("devices", ""); ok {
		p.plan.settings[i] = append(p.plan.settings[i], rules.v1()...)
		return
	}
	if rules.allow && len(rules.exceptions) == 0 {
		return
	}
	if _, ok := p.h.unified(); !ok {
		p.absent("a list of devices", "devices", "")
		return
	}
	p.plan.device = rules.program()
}

func (p *planner) blockIO(b *specs.LinuxBlockIO) {
	if b == nil {
		return
	}
	var v1, v2 []setting
	if w := value(b.Weight); w != 0 {
		if w < 10 || w > 1000 {
			p.fail("invalid block I/O weight %d: it must be between 10 and 1000", w)
		}
		v1 = append(v1, weight("blkio.weight", "blkio.bfq.weight", uint64(w), uint64(w)))
		v2 = append(v2, weight("io.bfq.weight", "io.weight", uint64(w), ioWeight(w)))
	}
	for _, d := range b.WeightDevice {
		if d.Weight == nil {
			continue
		}
		dev := device(d.Major, d.Minor) + " "
		old := strconv.FormatUint(uint64(*d.Weight), 10)
		v1 = append(v1, setting{file: "blkio.weight_device", value: dev + old,
			alt: &setting{file: "blkio.bfq.weight_device", value: dev + old}})
		v2 = append(v2, setting{file: "io.bfq.weight", value: dev + old,
			alt: &setting{file: "io.weight", value: dev + strconv.FormatUint(ioWeight(*d.Weight), 10)}})
	}
	throttle := func(list []specs.LinuxThrottleDevice, file, key string) {
		for _, d := range list {
			dev, rate := device(d.Major, d.Minor), strconv.FormatUint(d.Rate, 10)
			v1 = append(v1, setting{file: file, value: dev + " " + rate})
			if d.Rate == 0 { // no limit; v2 refuses 0
				rate = "max"
			}
			v2 = append(v2, setting{file: "io.max", value: dev + " " + key + "=" + rate})
		}
	}
	throttle(b.ThrottleReadBpsDevice, "blkio.throttle.read_bps_device", "rbps")
	throttle(b.ThrottleWriteBpsDevice, "blkio.throttle.write_bps_device", "wbps")
	throttle(b.ThrottleReadIOPSDevice, "blkio.throttle.read_iops_device", "riops")
	throttle(b.ThrottleWriteIOPSDevice, "blkio.throttle.write_iops_device", "wiops")
	p.on("a block I/O limit", "blkio", "io", v1, v2)
}

func weight(file, alt string, w, altWeight uint64) setting {
	return setting{file: file, value: strconv.FormatUint(w, 10),
		alt: &setting{file: alt, value: strconv.FormatUint(altWeight, 10)}}
}

func (p *planner) hugetlb(list []specs.LinuxHugepageLimit) {
	for _, l := range list {
		if strings.ContainsAny(l.Pagesize, "/\n\x00") {
			p.fail("invalid huge page size %q", l.Pagesize)
		}
		limit, prefix := strconv.FormatUint(l.Limit, 10), "hugetlb."+l.Pagesize
		p.on("a huge page limit", "hugetlb", "hugetlb",
			[]setting{{file: prefix + ".limit_in_bytes", value: limit},
				{file: prefix + ".rsvd.limit_in_bytes", value: limit, optional: true}},
			[]setting{{file: prefix + ".max", value: limit},
				{file: prefix + ".rsvd.max", value: limit, optional: true}})
	}
}

func (p *planner) network(n *specs.LinuxNetwork) {
	if n == nil {
		return
	}
	if n.ClassID != nil {
		p.on("a network class", "net_cls", "",
			[]setting{{file: "net_cls.classid", value: strconv.FormatUint(uint64(*n.ClassID), 10)}}, nil)
	}
	for _, prio := range n.Priorities {
		p.on("a network priority", "net_prio", "",
			[]setting{{file: "net_prio.ifpriomap", value: prio.Name + " " + strconv.FormatUint(uint64(prio.Priority), 10)}}, nil)
	}
}

func (p *planner) rdma(limits map[string]specs.LinuxRdma) {
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		v := name
		if l := limits[name].HcaHandles; l != nil {
			v += " hca_handle=" + strconv.FormatUint(uint64(*l), 10)
		}
		if l := limits[name].HcaObjects; l != nil {
			v += " hca_object=" + strconv.FormatUint(uint64(*l), 10)
		}
		list := []setting{{file: "rdma.max", value: v}}
		p.on("an RDMA limit", "rdma", "rdma", list, list)
	}
}

// unifiedFiles takes v2 file names and values as they are.
func (p *planner) unifiedFiles(values map[string]string) {
	for _, file := range slices.Sorted(maps.Keys(values)) {
		controller, _, dotted := strings.Cut(file, ".")
		if !dotted || strings.ContainsAny(file, "/\x00") {
			p.fail("invalid unified resource %q: it must be a file name such as memory.high", file)
			return
		}
		i, ok := p.h.unified()
		if !ok || (controller != "cgroup" && !slices.Contains(p.h.all[i].controllers, controller)) {
			p.fail("unified resource %q needs the cgroup v2 controller %q, which this host does not have", file, controller)
			return
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(values[file], "\n"), "\n") {
			p.plan.settings[i] = append(p.plan.settings[i], setting{file: file, value: line})
		}
	}
}

// apply writes the plan into c, whose directories are in h's order.
func (h *Hierarchies) apply(p plan, c *Cgroup) error {
	for i, d := range c.dirs {
		if err := applySettings(h.fs, d, p.settings[i]); err != nil {
			return err
		}
		if d.v2 && p.device != nil {
			if err := attachDeviceProgram(d.path, p.device); err != nil {
				return errs.New(errs.System, "limiting the cgroup's devices: %w", err)
			}
		}
	}
	return nil
}

// applySettings writes settings in order. Values of one controller can depend
// on each other (a quota on its period, memory on memory+swap, both on the
// parent's): what the kernel refuses as invalid is tried once more after the rest.
func applySettings(fs files, d directory, list []setting) error {
	var refused []setting
	for _, s := range list {
		err := applySetting(fs, d, s)
		switch {
		case errors.Is(err, unix.EINVAL) && len(list) > 1:
			refused = append(refused, s)
		case err != nil:
			return err
		}
	}
	for _, s := range refused {
		if err := applySetting(fs, d, s); err != nil {
			return err
		}
	}
	return nil
}

func applySetting(fs files, d directory, s setting) error {
	err := fs.write(d.path+"/"+s.file, append([]string{s.value}, s.more...)...)
	if errors.Is(err, unix.ENOENT) {
		switch {
		case s.alt != nil:
			return applySetting(fs, d, *s.alt)
		case s.optional:
			return nil
		case strings.Contains(s.file, "memsw") || s.file == "memory.swap.max":
			return errs.New(errs.InvalidParameter,
				"limiting swap: this kernel does not count it: start it with swapaccount=1, or leave the swap limit out: %w", err)
		case d.v2:
			return errs.New(errs.InvalidParameter, "limiting the cgroup: %s is not there: %s: %w", s.file, reason(s.file), err)
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOENT):
		return errs.New(errs.InvalidParameter, "limiting the cgroup: %w", err)
	case errors.Is(err, unix.EBUSY) && s.file == "memory.limit_in_bytes":
		return errs.New(errs.InvalidParameter, "limiting the cgroup: the memory limit is below what is in use: %w", err)
	}
	return errs.New(errs.System, "limiting the cgroup: %w", err)
}

// reason says why a file of a v2 group can be missing and what to do about it.
func reason(file string) string {
	controller, _, _ := strings.Cut(file, ".")
	return fmt.Sprintf("either this kernel is too old for it, or the controller %q could not be enabled because a parent "+
		"cgroup has processes of its own (move them to a child cgroup) or lacks delegation (systemd: Delegate=yes)", controller)
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

// ioWeight converts a blkio weight (10 to 1000) to io.weight (1 to 10000).
func ioWeight(w uint16) uint64 {
	return 1 + (uint64(max(w, 10))-10)*9999/990
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

func device(major, minor int64) string { return decimal(major) + ":" + decimal(minor) }
