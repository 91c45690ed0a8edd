package cgroup

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// plan converts resources to the settings of a new group. It decides only,
// and touches nothing.
func (h *Hierarchies) plan(res *specs.LinuxResources) (plan, error) {
	p := planner{h: h, plan: plan{settings: make(map[int][]setting)}}
	return p.all(res)
}

func (p *planner) all(res *specs.LinuxResources) (plan, error) {
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
	h     *Hierarchies
	group *Cgroup // whose values change; nil: a new one, which holds the defaults
	plan  plan
	err   error
}

// changes reports whether a group is changed that may hold anything by now, so
// that defaults have to be written as well.
func (p *planner) changes() bool { return p.group != nil }

// now returns what a file of the changing v2 group holds, empty if none.
func (p *planner) now(file string) string {
	if p.group == nil {
		return ""
	}
	d, ok := p.group.unified()
	if !ok {
		return ""
	}
	text, err := p.group.fs.read(d.path + "/" + file)
	if err != nil {
		return ""
	}
	return text
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
	p.add(i, what, list...)
}

func (p *planner) add(i int, what string, list ...setting) {
	for _, s := range list {
		s.what = what
		p.plan.settings[i] = append(p.plan.settings[i], s)
	}
}

func (p *planner) absent(what, nameV1, nameV2 string) {
	name := nameV1
	if p.h.Version() == 2 && nameV2 != "" {
		name = nameV2
	}
	if p.changes() {
		p.fail("%s needs the cgroup controller %q, in which the container has no group", what, name)
	}
	hint := "mount it with `mount -t cgroup -o " + name + "`, or enable it on the kernel command line with cgroup_enable=" + name
	if p.h.Version() == 2 {
		hint = "enable it on the kernel command line with cgroup_enable=" + name +
			", or have it delegated to this engine (systemd: Delegate=yes)"
	}
	p.fail("%s needs the cgroup controller %q, which this host does not have: leave the limit out, or %s", what, name, hint)
}

func (p *planner) controllerIsV2(v1, v2 string) bool {
	i, ok := p.h.find(v1, v2)
	return ok && p.h.all[i].v2
}

func (p *planner) pids(l *specs.LinuxPids) {
	if l.Limit == nil || *l.Limit < 0 && !p.changes() {
		return // unlimited, as a new group is
	}
	limit := orMax(*l.Limit)
	if *l.Limit == 0 {
		// The first process could not be born into a group of none. One is the
		// same limit for it: it has no children.
		limit = "1"
	}
	list := []setting{{file: "pids.max", value: limit}}
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
		list := rules.v1()
		if p.changes() {
			list = p.deviceChange(i, rules)
		}
		p.add(i, "a list of devices", list...)
		return
	}
	if rules.allow && len(rules.exceptions) == 0 && !p.changes() {
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
	if w := value(b.LeafWeight); w != 0 {
		p.leafWeight("blkio.leaf_weight", "", w)
	}
	for _, d := range b.WeightDevice {
		dev := device(d.Major, d.Minor) + " "
		if d.LeafWeight != nil {
			p.leafWeight("blkio.leaf_weight_device", dev, *d.LeafWeight)
		}
		if d.Weight == nil {
			continue
		}
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

// leafWeight asks for a weight of processes beside child groups, which only
// the CFQ scheduler of kernels before 5.0 knew.
func (p *planner) leafWeight(file, dev string, w uint16) {
	if p.controllerIsV2("blkio", "io") {
		p.fail("a block I/O leaf weight needs cgroup v1: leave leafWeight out")
		return
	}
	p.on("a block I/O leaf weight", "blkio", "", []setting{{file: file, value: dev + strconv.FormatUint(uint64(w), 10)}}, nil)
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
			p.add(i, "a unified resource", setting{file: file, value: line})
		}
	}
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
