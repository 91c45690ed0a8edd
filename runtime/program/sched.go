package program

import (
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Policies of sched_setattr(2), as linux/sched.h numbers them.
const (
	schedFIFO     = 1
	schedRR       = 2
	schedDeadline = 6
)

var (
	schedPolicies = [...]named{{0, "SCHED_OTHER"}, {schedFIFO, "SCHED_FIFO"}, {schedRR, "SCHED_RR"}, {3, "SCHED_BATCH"}, {4, "SCHED_ISO"},
		{5, "SCHED_IDLE"}, {schedDeadline, "SCHED_DEADLINE"}}
	schedFlags = [...]named{{unix.SCHED_FLAG_RESET_ON_FORK, "SCHED_FLAG_RESET_ON_FORK"}, {unix.SCHED_FLAG_RECLAIM, "SCHED_FLAG_RECLAIM"},
		{unix.SCHED_FLAG_DL_OVERRUN, "SCHED_FLAG_DL_OVERRUN"}, {unix.SCHED_FLAG_KEEP_POLICY, "SCHED_FLAG_KEEP_POLICY"},
		{unix.SCHED_FLAG_KEEP_PARAMS, "SCHED_FLAG_KEEP_PARAMS"}, {unix.SCHED_FLAG_UTIL_CLAMP_MIN, "SCHED_FLAG_UTIL_CLAMP_MIN"},
		{unix.SCHED_FLAG_UTIL_CLAMP_MAX, "SCHED_FLAG_UTIL_CLAMP_MAX"}}
	ioprioClasses = [...]named{{1, "IOPRIO_CLASS_RT"}, {2, "IOPRIO_CLASS_BE"}, {3, "IOPRIO_CLASS_IDLE"}}
)

// numbered finds what a name stands for.
func numbered(list []named, name string) (uint64, bool) {
	for _, n := range list {
		if n.name == name {
			return n.value, true
		}
	}
	return 0, false
}

// schedAttr returns struct sched_attr, 56 bytes since Linux 5.3.
func schedAttr(s *specs.Scheduler) ([]byte, error) {
	bad := func(format string, args ...any) ([]byte, error) {
		return nil, errs.New(errs.InvalidParameter, "process.scheduler: "+format, args...)
	}
	policy, ok := numbered(schedPolicies[:], string(s.Policy))
	switch {
	case s.Policy == "":
		return bad("the policy is missing")
	case !ok:
		return bad("unknown policy %q", s.Policy)
	case s.Nice < -20 || s.Nice > 19:
		return bad("the nice value %d is not between -20 and 19", s.Nice)
	case policy != schedFIFO && policy != schedRR && s.Priority != 0:
		return bad("%s takes no priority", s.Policy)
	case policy != schedDeadline && (s.Runtime != 0 || s.Deadline != 0 || s.Period != 0):
		return bad("%s takes no runtime, deadline or period", s.Policy)
	}
	var flags uint64
	for _, f := range s.Flags {
		bit, ok := numbered(schedFlags[:], string(f))
		if !ok {
			return bad("unknown flag %q", f)
		}
		flags |= bit
	}
	b := make([]byte, 56)
	put32(b, uint32(len(b)))
	put32(b[4:], uint32(policy))
	put64(b[8:], flags)
	put32(b[16:], uint32(s.Nice))
	put32(b[20:], uint32(s.Priority))
	put64(b[24:], s.Runtime)
	put64(b[32:], s.Deadline)
	put64(b[40:], s.Period)
	return b, nil
}

// schedule sets the process's scheduling policy.
func (c arrival) schedule() {
	s := c.process.Scheduler
	if s == nil {
		return
	}
	attr, err := schedAttr(s)
	if err != nil {
		c.fail(errs.KindOf(err), "%w", err)
		return
	}
	c.during("setting the scheduler " + string(s.Policy))
	c.call(unix.SYS_SCHED_SETATTR, "sched_setattr", nil, num(0), mem(c.block(Block{Data: attr, form: formWords})), num(0))
}

// schedulesLate reports whether the policy would not survive the fork to come:
// one with a deadline must not fork, one that resets on fork would be gone.
func (c arrival) schedulesLate() bool {
	s := c.process.Scheduler
	if s == nil || !c.p.Twice {
		return false
	}
	late := s.Policy == specs.SchedDeadline
	for _, f := range s.Flags {
		late = late || f == specs.SchedFlagResetOnFork
	}
	return late
}

// What ioprio_set(2) takes (linux/ioprio.h).
const (
	ioprioProcess = 1  // IOPRIO_WHO_PROCESS
	ioprioClass   = 13 // the class's shift
)

// ioPriority sets the process's priority among those that read and write.
func (c arrival) ioPriority() {
	p := c.process.IOPriority
	if p == nil {
		return
	}
	class, ok := numbered(ioprioClasses[:], string(p.Class))
	switch {
	case !ok:
		c.fail(errs.InvalidParameter, "process.ioPriority: unknown class %q", p.Class)
	case p.Priority < 0 || p.Priority > 7:
		c.fail(errs.InvalidParameter, "process.ioPriority: the priority %d is not between 0 and 7", p.Priority)
	}
	c.during("setting the I/O priority " + string(p.Class) + " " + strconv.Itoa(p.Priority))
	c.call(unix.SYS_IOPRIO_SET, "ioprio_set", nil, num(ioprioProcess), num(0), imm(class<<ioprioClass|uint64(p.Priority), formHex))
}

// stage is when an exec has which CPUs: before it joins the container's
// cgroup, and after.
type stage int

const (
	initialCPUs stage = iota
	finalCPUs
)

// affinity binds an exec to CPUs.
func (c arrival) affinity(at stage) {
	a := c.process.ExecCPUAffinity
	if a == nil {
		return
	}
	list := a.Initial
	if at == finalCPUs {
		list = a.Final
	}
	if list == "" {
		return
	}
	set, err := cpuSet(list)
	if err != nil {
		c.fail(errs.KindOf(err), "process.execCPUAffinity: %w", err)
		return
	}
	c.during("binding the process to CPUs " + list)
	c.call(unix.SYS_SCHED_SETAFFINITY, "sched_setaffinity", nil, num(0), num(len(set)), mem(c.block(Block{Data: set, form: formWords})))
}

// maxCPUs is more than Linux can be built for.
const maxCPUs = 1 << 14

// cpuSet reads a list such as "0-3,7" into a set of bits.
func cpuSet(list string) ([]byte, error) {
	bad := errs.New(errs.InvalidParameter, "%q is not a list of CPUs", list)
	var set [maxCPUs / 64]uint64
	last := 0
	for part := range strings.SplitSeq(list, ",") {
		from, to, ranged := strings.Cut(strings.TrimSpace(part), "-")
		if !ranged {
			to = from
		}
		a, err1 := strconv.ParseUint(from, 10, 16)
		b, err2 := strconv.ParseUint(to, 10, 16)
		if err1 != nil || err2 != nil || a > b || b >= maxCPUs {
			return nil, bad
		}
		for n := a; n <= b; n++ {
			set[n/64] |= 1 << (n % 64)
		}
		last = max(last, int(b))
	}
	out := make([]byte, 8*(last/64+1))
	for i := range len(out) / 8 {
		put64(out[8*i:], set[i])
	}
	return out, nil
}
