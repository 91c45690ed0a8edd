package cgroup

import (
	"math"
	"strconv"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// memory plans the limits on memory. Kernel, KernelTCP and UseHierarchy mean
// nothing to kernels of today and are passed over, as in runc.
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
	if limit > 0 && value(m.CheckBeforeUpdate) {
		p.roomBelow(limit)
	}
	var v1, v2 []setting
	// Unlimited is what a new group is anyway.
	if limit > 0 || limit == -1 && p.changes() {
		v1 = append(v1, setting{file: "memory.limit_in_bytes", value: decimal(limit)})
		v2 = append(v2, setting{file: "memory.max", value: orMax(limit)})
	}
	switch {
	case swap > 0:
		v1 = append(v1, setting{file: "memory.memsw.limit_in_bytes", value: decimal(swap)})
		if p.controllerIsV2("memory", "memory") {
			v2 = append(v2, p.swapAlone(limit, swap))
		}
	case p.changes() && (swap == -1 || limit == -1):
		// No limit on memory leaves none on memory with swap: v1 insists on it.
		v1 = append(v1, setting{file: "memory.memsw.limit_in_bytes", value: "-1", optional: swap == 0})
		v2 = append(v2, setting{file: "memory.swap.max", value: "max", optional: true})
	}
	if low > 0 || low == -1 && p.changes() {
		v1 = append(v1, setting{file: "memory.soft_limit_in_bytes", value: decimal(low)})
		v2 = append(v2, setting{file: "memory.low", value: decimal(max(low, 0))})
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
	if off := m.DisableOOMKiller; off != nil && (*off || p.changes()) {
		only = append(only, setting{file: "memory.oom_control", value: map[bool]string{true: "1", false: "0"}[*off]})
	}
	p.on("a memory setting", "memory", "memory", only, nil)
}

// swapAlone converts a limit on memory and swap together to v2, which counts
// swap by itself. Where the memory limit stays, the group's own is taken.
func (p *planner) swapAlone(limit, swap int64) setting {
	switch limit {
	case -1:
		return setting{file: "memory.swap.max", value: decimal(swap)}
	case 0:
		var err error
		if limit, err = strconv.ParseInt(p.now("memory.max"), 10, 64); err != nil {
			p.fail("a limit on memory and swap together needs a memory limit too")
		} else if swap < limit {
			p.fail("invalid memory limit: memory and swap together (%d bytes) must not be less than memory (%d bytes)", swap, limit)
		}
	}
	// Without swap in the kernel no swap at all is what it is.
	return setting{file: "memory.swap.max", value: decimal(swap - limit), optional: swap == limit}
}

// roomBelow refuses a limit that is less than what is in use. v1 refuses it by
// itself; v2 would kill processes until it fits.
func (p *planner) roomBelow(limit int64) {
	if !p.changes() || !p.controllerIsV2("memory", "memory") {
		return
	}
	used, err := strconv.ParseInt(p.now("memory.current"), 10, 64)
	if err == nil && used > limit && p.err == nil {
		p.err = errs.New(errs.Conflict, "the memory limit (%d bytes) is below what is in use (%d bytes)", limit, used)
	}
}

// orMax prints a limit for v2.
func orMax(n int64) string {
	if n < 0 {
		return "max"
	}
	return decimal(n)
}
