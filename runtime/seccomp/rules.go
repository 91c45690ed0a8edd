package seccomp

import (
	"cmp"
	"math"
	"slices"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// rule is what happens to a call if all its conditions hold.
type rule struct {
	ret        uint32
	conditions []condition
}

// condition is a comparison of one argument.
type condition struct {
	index       uint32
	op          specs.LinuxSeccompOperator
	value, mask uint64 // mask counts for SCMP_CMP_MASKED_EQ only
	narrow      bool   // the kernel looks at the lower half only
}

// always reports whether the rule's conditions, if it has any, hold for all
// arguments: a mask of nothing equals nothing.
func (r *rule) always(half bool) bool {
	for _, c := range r.conditions {
		mask := c.mask
		if half || c.narrow {
			mask &= math.MaxUint32
		}
		if c.op != specs.OpMaskedEqual || mask != 0 {
			return false
		}
	}
	return true
}

// entry is a rule for a call number.
type entry struct {
	number uint32
	order  uint32 // in the profile
	rule   *rule
}

// collection is a profile by architecture.
type collection struct {
	wanted   [columns]bool
	entries  [columns][]entry // by number, then in the profile's order
	last     [columns]int64   // the highest number that the profile names, -1: none
	fallback uint32           // the default action
	beyond   uint32           // the action above last
}

// collect resolves the names and actions of a profile.
func collect(p *specs.LinuxSeccomp, machines []machine, withX32 bool) (*collection, error) {
	c := &collection{}
	for _, m := range machines {
		c.wanted[m.column] = true
		c.wanted[x32] = c.wanted[x32] || withX32 && m.column == amd64
	}
	for i, wanted := range c.wanted {
		if wanted {
			c.entries[i] = make([]entry, 0, 512)
		}
	}
	var err error
	if c.fallback, err = action(p.DefaultAction, p.DefaultErrnoRet); err != nil {
		return nil, err
	}
	switch p.DefaultAction {
	case specs.ActAllow, specs.ActLog, specs.ActTrace: // a tracer can answer for itself
		c.beyond = c.fallback
	default:
		c.beyond = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	}
	for i := range c.last {
		c.last[i] = -1
	}
	for i := range p.Syscalls {
		s := &p.Syscalls[i]
		ret, err := action(s.Action, s.ErrnoRet)
		if err != nil {
			return nil, errs.New(errs.KindOf(err), "%w (rule %d of the profile, for %q)", err, i+1, s.Names)
		}
		if err := checkConditions(s.Args); err != nil {
			return nil, errs.New(errs.InvalidParameter, "%w (rule %d of the profile, for %q)", err, i+1, s.Names)
		}
		plain := []rule{{ret: ret}} // shared by all names without conditions
		for _, name := range s.Names {
			rules := plain
			if len(s.Args) > 0 {
				rules = makeRules(ret, s.Args, narrow(name))
			}
			c.add(name, rules)
		}
	}
	for i := range c.entries {
		slices.SortFunc(c.entries[i], func(a, b entry) int {
			return cmp.Compare(uint64(a.number)<<32|uint64(a.order), uint64(b.number)<<32|uint64(b.order))
		})
	}
	return c, nil
}

// add adds rules, which have one action, for a name on all architectures.
func (c *collection) add(name string, rules []rule) {
	call, ok := lookup(name)
	if !ok {
		return
	}
	for col, number := range call.number {
		if number >= 0 && number < firstPrivate || number >= x32Bit {
			c.last[col] = max(c.last[col], int64(number))
		}
	}
	ret := rules[0].ret
	if ret == c.fallback {
		return
	}
	for col, number := range call.number {
		if number < 0 || !c.wanted[col] {
			continue
		}
		for i := range rules {
			c.append(col, number, &rules[i])
		}
	}
	if !c.wanted[i386] || len(rules[0].conditions) > 0 {
		return
	}
	if by, value := multiplexer(name); by != "" {
		call, _ := lookup(by)
		c.append(i386, call.number[i386], &rule{ret: ret, conditions: []condition{{index: 0, op: specs.OpEqualTo, value: value}}})
	}
}

func (c *collection) append(column int, number int32, r *rule) {
	c.entries[column] = append(c.entries[column], entry{uint32(number), uint32(len(c.entries[column])), r})
}

// makeRules splits conditions that look at one argument twice, as runc does.
func makeRules(ret uint32, args []specs.LinuxSeccompArg, narrow uint8) []rule {
	conditions := make([]condition, len(args))
	var seen uint8
	split := false
	for i, a := range args {
		conditions[i] = condition{index: uint32(a.Index), op: a.Op, value: a.Value, mask: math.MaxUint64, narrow: narrow>>a.Index&1 != 0}
		if a.Op == specs.OpMaskedEqual {
			conditions[i].mask, conditions[i].value = a.Value, a.ValueTwo&a.Value
		}
		split = split || seen>>a.Index&1 != 0
		seen |= 1 << a.Index
	}
	if !split {
		return []rule{{ret, conditions}}
	}
	rules := make([]rule, len(conditions))
	for i := range conditions {
		rules[i] = rule{ret, conditions[i : i+1]}
	}
	return rules
}

func checkConditions(args []specs.LinuxSeccompArg) error {
	for _, a := range args {
		if a.Index > 5 {
			return errs.New(errs.InvalidParameter, "seccomp: a system call has no argument %d", a.Index)
		}
		switch a.Op {
		case specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual, specs.OpGreaterThan,
			specs.OpMaskedEqual:
		default:
			return errs.New(errs.InvalidParameter, "seccomp: unknown operator %q", a.Op)
		}
	}
	return nil
}

// span is a range of call numbers, from one number to the next span's, that
// are treated alike: rules are tried in order, then ret is the result.
type span struct {
	from  uint32
	ret   uint32
	rules []*rule
}

// spans returns what happens to each call number of a machine.
func (c *collection) spans(m machine, withX32 bool) []span {
	var list []span
	list = c.appendColumn(list, m.column, 0, m.half)
	if m.column != amd64 {
		return list
	}
	if withX32 {
		return c.appendColumn(list, x32, x32Bit, false)
	}
	// As a foreign architecture; but -1 is a call that a tracer has cancelled.
	return appendSpans(list, span{from: x32Bit, ret: unix.SECCOMP_RET_KILL_THREAD}, span{from: math.MaxUint32, ret: c.fallback})
}

// appendColumn appends the spans of an architecture, which start at first.
func (c *collection) appendColumn(list []span, column int, first uint32, half bool) []span {
	next := first // the first number that list says nothing of
	end := int64(math.MaxInt64)
	if c.last[column] >= 0 {
		end = c.last[column] + 1
	}
	gap := func(to int64) { // numbers from next to before to, which no rule names
		if int64(next) < min(to, end) {
			list = appendSpans(list, span{from: next, ret: c.fallback})
		}
		if beyond := max(int64(next), end); beyond < to {
			list = appendSpans(list, span{from: uint32(beyond), ret: c.beyond})
		}
	}
	for e := c.entries[column]; len(e) > 0; {
		n := 1
		for n < len(e) && e[n].number == e[0].number {
			n++
		}
		gap(int64(e[0].number))
		list = appendSpans(list, c.decide(e[:n], half))
		next, e = e[0].number+1, e[n:]
	}
	gap(math.MaxUint32 + 1)
	return list
}

// decide returns the span of one call with rules.
func (c *collection) decide(entries []entry, half bool) span {
	s := span{from: entries[0].number, ret: c.fallback}
	for _, e := range entries {
		if e.rule.always(half) {
			return span{from: s.from, ret: e.rule.ret}
		}
		s.rules = append(s.rules, e.rule)
	}
	return s
}

// appendSpans appends spans and merges equal neighbours.
func appendSpans(list []span, more ...span) []span {
	for _, s := range more {
		if n := len(list); n > 0 && len(s.rules) == 0 && len(list[n-1].rules) == 0 && list[n-1].ret == s.ret {
			continue
		}
		list = append(list, s)
	}
	return list
}

// Where a jump inside a rule goes before it is resolved.
const (
	onward = iota // to the next instruction
	holds         // to the end of the condition
	fails         // to the end of the rule
)

// step is an instruction with the targets of its branches.
type step struct {
	instruction
	yes, no int
}

// instructions returns the code of a rule: it falls through where a condition
// does not hold.
func (r *rule) instructions(half bool) []instruction {
	var code []step
	var ends []int // for each step the index at which its condition ends
	for _, c := range r.conditions {
		code = append(code, c.steps(half)...)
		for len(ends) < len(code) {
			ends = append(ends, len(code))
		}
	}
	out := make([]instruction, 0, len(code)+1)
	for i, s := range code {
		distance := func(target int) uint8 {
			switch target {
			case holds:
				return uint8(ends[i] - i - 1)
			case fails:
				return uint8(len(code) + 1 - i - 1) // past the result; at most 6 conditions of 5 steps
			}
			return 0
		}
		s.jt, s.jf = distance(s.yes), distance(s.no)
		out = append(out, s.instruction)
	}
	return append(out, result(r.ret))
}

// steps returns the code of a condition: it goes on at its end if it holds.
func (c condition) steps(half bool) []step {
	low, high := uint32(c.value), uint32(c.value>>32)
	offset := offsetArgs + 8*c.index // of the lower half: all our machines are little endian
	loadLow, loadHigh := step{instruction: load(offset)}, step{instruction: load(offset + 4)}
	test := func(code uint16, k uint32, yes, no int) step {
		return step{instruction{code: code, k: k}, yes, no}
	}
	if c.op == specs.OpMaskedEqual {
		var list []step
		if m := uint32(c.mask >> 32); m != 0 && !half && !c.narrow {
			list = append(list, loadHigh, step{instruction: instruction{code: opAnd, k: m}}, test(jumpEqual, high, onward, fails))
		}
		if m := uint32(c.mask); m != 0 {
			list = append(list, loadLow, step{instruction: instruction{code: opAnd, k: m}}, test(jumpEqual, low, onward, fails))
		}
		return list
	}
	var upper, lower []step
	switch c.op {
	case specs.OpEqualTo:
		upper = []step{test(jumpEqual, high, onward, fails)}
		lower = []step{test(jumpEqual, low, onward, fails)}
	case specs.OpNotEqual:
		upper = []step{test(jumpEqual, high, onward, holds)}
		lower = []step{test(jumpEqual, low, fails, onward)}
	case specs.OpGreaterThan:
		upper = []step{test(jumpGreater, high, holds, onward), test(jumpEqual, high, onward, fails)}
		lower = []step{test(jumpGreater, low, onward, fails)}
	case specs.OpGreaterEqual:
		upper = []step{test(jumpGreater, high, holds, onward), test(jumpEqual, high, onward, fails)}
		lower = []step{test(jumpAtLeast, low, onward, fails)}
	case specs.OpLessThan:
		upper = []step{test(jumpGreater, high, fails, onward), test(jumpEqual, high, onward, holds)}
		lower = []step{test(jumpAtLeast, low, fails, onward)}
	case specs.OpLessEqual:
		upper = []step{test(jumpGreater, high, fails, onward), test(jumpEqual, high, onward, holds)}
		lower = []step{test(jumpGreater, low, fails, onward)}
	}
	if half || c.narrow {
		return append([]step{loadLow}, lower...)
	}
	return append(append(append([]step{loadHigh}, upper...), loadLow), lower...)
}
