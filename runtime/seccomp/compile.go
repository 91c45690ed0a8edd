// Package seccomp turns an OCI seccomp profile into a classic BPF program, and
// resolves Docker's default profile and profiles in Docker's JSON format.
//
// It owns the tables of system call numbers and the meaning of a profile. It
// must not know who loads the program, and it caches nothing: equal input
// gives equal bytes, so that callers can keep them by profile and capabilities.
//
// The program dispatches on the architecture and then searches ranges of call
// numbers:
//
//	ld arch
//	x86_64?  --no--> i386?  --no--> ret KILL_THREAD
//	   |yes             |yes
//	ld nr            ld nr
//	binary search    binary search     jge 257 ... jge 41 ... ret ALLOW
//	   |                                             \ ... conditions on arguments, ret
//	   +-- numbers from 0x40000000 on are x32's
//
// A profile means what it means to runc with libseccomp:
//   - The native architecture is always included, foreign ones the kernel
//     cannot run are left out; a call from an architecture that the profile
//     does not list ends its thread.
//   - Names that are not known are skipped; rules whose action is the default
//     are too. A rule without conditions overrides those with conditions for
//     the same call, before or after it; among conditions the first match wins.
//     Several conditions of a rule must all hold, unless two of them look at
//     the same argument: then each counts as a rule of its own.
//   - Where the default is to refuse, calls above the highest one that the
//     profile names give ENOSYS instead: they are newer than the profile, and
//     programs try something older then. (The highest in the profile, not in the
//     tables: a profile of 2018 must not refuse what a library of today only
//     tries.)
//   - 32-bit registers are compared by their lower half.
//
// It differs from libseccomp on purpose where that library is unsafe or
// behind: arguments that the kernel takes as 32-bit integers are compared by
// their lower half on 64-bit machines too (see narrow); x32 registers, which
// have 64 bits, are compared whole where libseccomp looks at the lower half;
// conditions of overlapping rules with different actions are tried in the
// profile's order, not in that of libseccomp's tree (which gets several
// comparisons by order of one argument wrong); a rule with conditions for a
// call that i386 multiplexes says nothing of the multiplexer, whose arguments
// are not the call's; calls newer than the installed libseccomp are known.
//
// All functions may be called from several goroutines at once.
package seccomp

import (
	"encoding/binary"
	"runtime"
	"slices"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxInstructions is the kernel's limit for a program (BPF_MAXINSNS).
const maxInstructions = 4096

// Offsets in struct seccomp_data.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

// Compile turns a profile into a classic BPF program (struct sock_filter in
// host byte order, 8 bytes an instruction) and the flags for seccomp(2). They
// hold SECCOMP_FILTER_FLAG_NEW_LISTENER if the profile leaves calls to a
// listener (SCMP_ACT_NOTIFY): seccomp(2) then returns a descriptor that one
// must serve. A nil profile gives no program. Errors are of kind
// errs.InvalidParameter for what a profile cannot say, errs.NotImplemented on
// an architecture that has no table.
func Compile(p *specs.LinuxSeccomp) (bpf []byte, flags uint32, err error) {
	return compile(p, runtime.GOARCH)
}

func compile(p *specs.LinuxSeccomp, goarch string) ([]byte, uint32, error) {
	if p == nil {
		return nil, 0, nil
	}
	machines, withX32, err := selectMachines(p.Architectures, goarch)
	if err != nil {
		return nil, 0, err
	}
	notifies, err := checkNotify(p)
	if err != nil {
		return nil, 0, err
	}
	flags, err := parseFlags(p.Flags, notifies)
	if err != nil {
		return nil, 0, err
	}
	c, err := collect(p, machines, withX32)
	if err != nil {
		return nil, 0, err
	}
	b := &builder{code: make([]instruction, 0, 1024)}
	b.prepend(result(unix.SECCOMP_RET_KILL_THREAD))
	for _, m := range slices.Backward(machines) {
		end := len(b.code)
		b.search(c.spans(m, withX32), m.half)
		b.prepend(load(offsetNumber))
		b.skipUnless(jumpEqual, m.audit, len(b.code)-end)
	}
	b.prepend(load(offsetArch))
	if n := len(b.code); n > maxInstructions {
		return nil, 0, errs.New(errs.InvalidParameter,
			"the seccomp profile is too big: it takes %d instructions, the kernel allows %d: use fewer conditions on arguments",
			n, maxInstructions)
	}
	return b.encode(), flags, nil
}

// selectMachines returns which architectures the program serves.
func selectMachines(listed []specs.Arch, goarch string) (list []machine, withX32 bool, err error) {
	all := family(goarch)
	if all == nil {
		return nil, false, errs.New(errs.NotImplemented, "seccomp: no table of system calls for %s", goarch)
	}
	for _, a := range listed {
		if !slices.Contains(arches[:], a) {
			return nil, false, errs.New(errs.InvalidParameter, "seccomp: unknown architecture %q", a)
		}
	}
	for i, m := range all {
		if i == 0 || slices.Contains(listed, m.arch) {
			list = append(list, m)
		}
	}
	return list, slices.Contains(listed, specs.ArchX32), nil
}

// arches are the architectures of the OCI runtime spec. A kernel of ours runs
// those of its family (see family), and no program of the others.
var arches = [...]specs.Arch{specs.ArchX86, specs.ArchX86_64, specs.ArchX32, specs.ArchARM, specs.ArchAARCH64, specs.ArchMIPS, specs.ArchMIPS64,
	specs.ArchMIPS64N32, specs.ArchMIPSEL, specs.ArchMIPSEL64, specs.ArchMIPSEL64N32, specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE,
	specs.ArchS390, specs.ArchS390X, specs.ArchPARISC, specs.ArchPARISC64, specs.ArchRISCV64, specs.ArchLOONGARCH64, specs.ArchM68K,
	specs.ArchSH, specs.ArchSHEB}

// checkNotify reports whether a profile needs a listener. It cannot have one
// that write(2) waits for: before the listener's descriptor has been passed on
// the process writes where to find it.
func checkNotify(p *specs.LinuxSeccomp) (needed bool, err error) {
	if p.DefaultAction == specs.ActNotify {
		return false, errs.New(errs.InvalidParameter, "seccomp: %s cannot be the default action", specs.ActNotify)
	}
	for _, s := range p.Syscalls {
		if s.Action != specs.ActNotify {
			continue
		}
		needed = true
		if slices.Contains(s.Names, "write") {
			return false, errs.New(errs.InvalidParameter, "seccomp: %s cannot be used for the write syscall", specs.ActNotify)
		}
	}
	return needed, nil
}

// parseFlags returns the flags for seccomp(2). Without a list
// SECCOMP_FILTER_FLAG_SPEC_ALLOW is set, as runc does since 1.2: a container
// need not pay for a mitigation that it did not ask for.
func parseFlags(list []specs.LinuxSeccompFlag, notifies bool) (flags uint32, err error) {
	if notifies {
		flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	if list == nil {
		return flags | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, nil
	}
	for _, f := range list {
		switch f {
		case "SECCOMP_FILTER_FLAG_TSYNC": // the process has one thread
		case specs.LinuxSeccompFlagLog:
			flags |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			flags |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		case specs.LinuxSeccompFlagWaitKillableRecv: // the kernel refuses it without a listener, where it means nothing
			if notifies {
				flags |= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
			}
		default:
			return 0, errs.New(errs.InvalidParameter, "seccomp: unknown flag %q", f)
		}
	}
	return flags, nil
}

// action returns a SECCOMP_RET value.
func action(a specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	data := uint32(unix.EPERM)
	if errno != nil {
		// The kernel cuts larger ones down to MAX_ERRNO.
		if *errno > 4095 {
			return 0, errs.New(errs.InvalidParameter, "seccomp: errno %d is too large", *errno)
		}
		data = uint32(*errno)
	}
	switch a {
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO | data, nil
	case specs.ActTrace:
		return unix.SECCOMP_RET_TRACE | data, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActNotify:
		return unix.SECCOMP_RET_USER_NOTIF, nil
	}
	return 0, errs.New(errs.InvalidParameter, "seccomp: unknown action %q", a)
}

// instruction is the kernel's struct sock_filter.
type instruction struct {
	code   uint16
	jt, jf uint8
	k      uint32
}

const (
	jumpEqual   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jumpGreater = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	jumpAtLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	jumpAlways  = unix.BPF_JMP | unix.BPF_JA
	opLoad      = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	opAnd       = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	opReturn    = unix.BPF_RET | unix.BPF_K
)

func load(offset uint32) instruction { return instruction{code: opLoad, k: offset} }
func result(ret uint32) instruction  { return instruction{code: opReturn, k: ret} }

// builder writes a program from its end to its start, so that the distance of
// each jump, all of which go forward, is known when it is written.
type builder struct {
	code []instruction // in reverse
}

func (b *builder) prepend(in instruction) { b.code = append(b.code, in) }

// skipUnless jumps over the next n instructions unless the test holds. A
// conditional jump reaches 255 instructions; what is farther takes two.
func (b *builder) skipUnless(test uint16, k uint32, n int) {
	if n <= 255 {
		b.prepend(instruction{code: test, k: k, jf: uint8(n)})
		return
	}
	b.prepend(instruction{code: jumpAlways, k: uint32(n)})
	b.prepend(instruction{code: test, k: k, jt: 1})
}

// skipIf jumps over the next n instructions if the test holds.
func (b *builder) skipIf(test uint16, k uint32, n int) {
	if n <= 255 {
		b.prepend(instruction{code: test, k: k, jt: uint8(n)})
		return
	}
	b.prepend(instruction{code: jumpAlways, k: uint32(n)})
	b.prepend(instruction{code: test, k: k, jf: 1})
}

// search writes the binary search over spans, which are in order and cover
// all numbers.
func (b *builder) search(spans []span, half bool) {
	if len(spans) == 1 {
		b.prepend(result(spans[0].ret))
		for _, r := range slices.Backward(spans[0].rules) {
			for _, in := range slices.Backward(r.instructions(half)) {
				b.prepend(in)
			}
		}
		return
	}
	middle := len(spans) / 2
	b.search(spans[middle:], half)
	end := len(b.code)
	b.search(spans[:middle], half)
	b.skipIf(jumpAtLeast, spans[middle].from, len(b.code)-end)
}

// encode returns the program as struct sock_filter in host byte order.
func (b *builder) encode() []byte {
	out := make([]byte, 0, 8*len(b.code))
	for _, in := range slices.Backward(b.code) {
		out = binary.NativeEndian.AppendUint16(out, in.code)
		out = append(out, in.jt, in.jf)
		out = binary.NativeEndian.AppendUint32(out, in.k)
	}
	return out
}
