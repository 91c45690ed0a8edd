package program

import (
	"math/bits"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Names of set_mempolicy(2) and personality(2), as linux/mempolicy.h and
// linux/personality.h number them.
var (
	memoryModes = [...]named{{0, string(specs.MpolDefault)}, {1, string(specs.MpolPreferred)}, {2, string(specs.MpolBind)}, {3, string(specs.MpolInterleave)},
		{4, string(specs.MpolLocal)}, {5, string(specs.MpolPreferredMany)}, {6, string(specs.MpolWeightedInterleave)}}
	memoryFlags = [...]named{{1 << 13, string(specs.MpolFNumaBalancing)}, {1 << 14, string(specs.MpolFRelativeNodes)}, {1 << 15, string(specs.MpolFStaticNodes)}}

	personalities = [...]named{{0, string(specs.PerLinux)}, {8, string(specs.PerLinux32)}}
)

// maxNodes is how many NUMA nodes a mask can name: as many as any kernel has.
const maxNodes = 1024

// personality sets what kind of system the process sees.
func (c arrival) personality(p *specs.LinuxPersonality) {
	if p == nil {
		return
	}
	domain, ok := numbered(personalities[:], string(p.Domain))
	switch {
	case !ok:
		c.fail(errs.InvalidParameter, "linux.personality: unknown domain %q", p.Domain)
	case len(p.Flags) > 0:
		c.fail(errs.InvalidParameter, "linux.personality: there are no flags, such as %q", p.Flags[0])
	}
	c.during("")
	c.call(unix.SYS_PERSONALITY, "setting the personality "+string(p.Domain), nil, imm(domain, formHex))
}

// memoryPolicy says from which NUMA nodes the process gets memory.
func (c arrival) memoryPolicy(p *specs.LinuxMemoryPolicy) {
	if p == nil {
		return
	}
	mode, ok := numbered(memoryModes[:], string(p.Mode))
	if !ok {
		c.fail(errs.InvalidParameter, "linux.memoryPolicy: unknown mode %q", p.Mode)
	}
	for _, f := range p.Flags {
		bit, ok := numbered(memoryFlags[:], string(f))
		if !ok {
			c.fail(errs.InvalidParameter, "linux.memoryPolicy: unknown flag %q", f)
		}
		mode |= bit
	}
	c.during("setting the memory policy " + string(p.Mode))
	if p.Nodes == "" {
		c.call(unix.SYS_SET_MEMPOLICY, "set_mempolicy", nil, imm(mode, formHex), num(0), num(0))
		return
	}
	mask, err := nodeMask(p.Nodes)
	if err != nil {
		c.fail(errs.InvalidParameter, "linux.memoryPolicy: %w", err)
	}
	// The kernel takes one bit less than it is told of.
	c.call(unix.SYS_SET_MEMPOLICY, "set_mempolicy", nil, imm(mode, formHex), mem(c.block(Block{Data: mask, form: formMask})), num(8*len(mask)+1))
}

// nodeMask reads "0-3,7" as a mask of 64-bit words.
func nodeMask(list string) ([]byte, error) {
	mask := make([]byte, maxNodes/8)
	used := 0
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		first, err := strconv.ParseUint(from, 10, 32)
		last := first
		if err == nil && isRange {
			last, err = strconv.ParseUint(to, 10, 32)
		}
		if err != nil || last < first || last >= maxNodes {
			return mask, errs.New(errs.InvalidParameter, "%q is no list of nodes below %d", list, maxNodes)
		}
		for n := int(first); n <= int(last); n++ {
			word := mask[n/64*8:]
			put64(word, get64(word)|1<<(n%64))
		}
		used = max(used, int(last)/64+1)
	}
	return mask[:used*8], nil
}

// maskText prints what nodeMask reads.
func maskText(mask []byte) string {
	var nodes []string
	for i := 0; i < len(mask); i += 8 {
		for w := get64(mask[i:]); w != 0; w &= w - 1 {
			nodes = append(nodes, itoa(i*8+bits.TrailingZeros64(w)))
		}
	}
	return "{" + strings.Join(nodes, " ") + "}"
}
