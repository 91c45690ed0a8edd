package seccomp

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// data is the kernel's struct seccomp_data.
type data struct {
	number, arch uint32
	args         [6]uint64
}

func (d data) word(offset uint32) uint32 {
	switch {
	case offset == offsetNumber:
		return d.number
	case offset == offsetArch:
		return d.arch
	case offset >= offsetArgs && offset < offsetArgs+48 && offset%4 == 0:
		return uint32(d.args[(offset-offsetArgs)/8] >> (offset % 8 * 8))
	}
	panic(fmt.Sprintf("load at offset %d", offset))
}

func decode(code []byte) []instruction {
	out := make([]instruction, 0, len(code)/8)
	for ; len(code) >= 8; code = code[8:] {
		out = append(out, instruction{binary.NativeEndian.Uint16(code), code[2], code[3], binary.NativeEndian.Uint32(code[4:])})
	}
	return out
}

// interpret runs a filter and returns its result and how many instructions it took.
func interpret(code []instruction, d data) (ret uint32, steps int, err error) {
	var a uint32
	jump := func(in instruction, yes bool) int {
		if yes {
			return int(in.jt)
		}
		return int(in.jf)
	}
	for pc := 0; pc < len(code); pc++ {
		in := code[pc]
		steps++
		switch in.code {
		case opLoad:
			a = d.word(in.k)
		case opAnd:
			a &= in.k
		case jumpAlways:
			pc += int(in.k)
		case jumpEqual:
			pc += jump(in, a == in.k)
		case jumpGreater:
			pc += jump(in, a > in.k)
		case jumpAtLeast:
			pc += jump(in, a >= in.k)
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			pc += jump(in, a&in.k != 0)
		case opReturn:
			return in.k, steps, nil
		default:
			return 0, steps, fmt.Errorf("unknown instruction %#x at %d", in.code, pc)
		}
	}
	return 0, steps, fmt.Errorf("ran off the end")
}

// evaluate says what a profile means for a call, straight from the profile. It
// returns as well whether rules with different actions matched.
func evaluate(p *specs.LinuxSeccomp, goarch string, d data) (ret uint32, contested bool) {
	var column = -1
	half := false
	for i, m := range family(goarch) {
		if m.audit == d.arch && (i == 0 || slices.Contains(p.Architectures, m.arch)) {
			column, half = m.column, m.half
		}
	}
	fallback, _ := action(p.DefaultAction, p.DefaultErrnoRet)
	if column == amd64 && d.number >= x32Bit {
		switch {
		case slices.Contains(p.Architectures, specs.ArchX32):
			column = x32
		case d.number == 1<<32-1:
			return fallback, false
		default:
			column = -1
		}
	}
	if column < 0 {
		return unix.SECCOMP_RET_KILL_THREAD, false
	}
	x86 := goarch == "amd64" || goarch == "386"
	highest := int64(-1)
	var conditional, unconditional []uint32
	named := false
	for _, s := range p.Syscalls {
		ret, _ := action(s.Action, s.ErrnoRet)
		for _, name := range s.Names {
			c, ok := lookup(name)
			if !ok {
				continue
			}
			if n := int64(c.number[column]); n > highest && (n < firstPrivate || n >= x32Bit) {
				highest = n
			}
			if ret == fallback {
				continue
			}
			if c.number[column] >= 0 && uint32(c.number[column]) == d.number {
				named = true
				counts := map[uint]int{}
				hits, splits, always := 0, false, 0
				for _, a := range s.Args {
					counts[a.Index]++
					splits = splits || counts[a.Index] > 1
					half := half || narrow(name)>>a.Index&1 != 0
					if a.Op == specs.OpMaskedEqual && (a.Value == 0 || half && uint32(a.Value) == 0) {
						always++
					}
					if compare(a, d.args[a.Index], half) {
						hits++
					}
				}
				switch {
				case always == len(s.Args), splits && always > 0:
					unconditional = append(unconditional, ret)
				case hits == len(s.Args), splits && hits > 0:
					conditional = append(conditional, ret)
				}
			}
			if by, value := multiplexer(name); x86 && column == i386 && by != "" && len(s.Args) == 0 {
				c, _ := lookup(by)
				if uint32(c.number[i386]) == d.number && uint32(d.args[0]) == uint32(value) {
					conditional = append(conditional, ret)
				}
			}
		}
	}
	switch {
	case len(unconditional) > 0:
		return unconditional[0], false
	case len(conditional) > 0:
		return conditional[0], slices.ContainsFunc(conditional, func(r uint32) bool { return r != conditional[0] })
	case !named && highest >= 0 && int64(d.number) > highest && !slices.Contains([]specs.LinuxSeccompAction{specs.ActAllow, specs.ActLog, specs.ActTrace}, p.DefaultAction):
		return unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS), false
	}
	return fallback, false
}

func compare(a specs.LinuxSeccompArg, arg uint64, half bool) bool {
	value, two := a.Value, a.ValueTwo
	if half {
		arg, value, two = arg&0xffffffff, value&0xffffffff, two&0xffffffff
	}
	switch a.Op {
	case specs.OpNotEqual:
		return arg != value
	case specs.OpLessThan:
		return arg < value
	case specs.OpLessEqual:
		return arg <= value
	case specs.OpEqualTo:
		return arg == value
	case specs.OpGreaterEqual:
		return arg >= value
	case specs.OpGreaterThan:
		return arg > value
	case specs.OpMaskedEqual:
		return arg&value == two&value
	}
	panic(a.Op)
}
