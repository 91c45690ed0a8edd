package spawn

import (
	"slices"
	"unsafe"

	"github.com/davit-engine/davit/runtime/program"
	"golang.org/x/sys/unix"
)

// instruction is a step in the form that the child runs: no pointers that the
// garbage collector knows, no slices.
type instruction struct {
	nr    uintptr
	args  [6]uintptr
	next  int32
	out   program.Reg
	op    program.Op
	inReg uint8 // bit i: args[i] is the number of a register
	catch [program.MaxCatch]program.Catch
}

// machine is a program ready to run. Everything it points to is kept alive by
// the fields behind.
type machine struct {
	code    *instruction
	regs    *uintptr
	scratch uintptr // the block program.Scratch
	report  int32   // socket for the result; -1: memory is shared, the result stays here
	foreign *foreign
	second  *borrowers // for a second child that shares memory too

	// Steps that are loops themselves. The linker makes sure that functions
	// which cannot grow their stack use less than 800 bytes; it counts anew
	// behind a variable, and a child has 16 KiB.
	walk    func(m *machine, root, name, flags uintptr) (uintptr, unix.Errno)
	copyAll func(m *machine, from, to uintptr) unix.Errno

	step  int32 // the step that runs, or failed
	errno int32 // of the failed step

	instructions []instruction
	registers    []uintptr
	memory       []byte
}

// foreign is a range of descriptors that are not the program's. A child that
// does not borrow memory may live for long before execve closes them, and
// must not keep another child's socket open. The last range ends at ^0.
type foreign struct{ first, last uint32 }

// foreigners are the ranges between the descriptors in use.
func foreigners(used []int) []foreign {
	used = slices.Clone(used)
	slices.Sort(used)
	var out []foreign
	next := 3
	for _, fd := range used {
		if fd > next {
			out = append(out, foreign{uint32(next), uint32(fd - 1)})
		}
		next = max(next, fd+1)
	}
	return append(out, foreign{uint32(next), ^uint32(0)})
}

// closeForeign closes them, in a child that does not borrow memory.
//
//go:norace
//go:nosplit
//go:nocheckptr
func (m *machine) closeForeign() {
	if m.report < 0 {
		return
	}
	for r := m.foreign; ; r = (*foreign)(unsafe.Add(unsafe.Pointer(r), unsafe.Sizeof(foreign{}))) {
		unix.RawSyscall(unix.SYS_CLOSE_RANGE, uintptr(r.first), uintptr(r.last), 0)
		if r.last == ^uint32(0) {
			return
		}
	}
}

// closeOthers closes all descriptors from first on but a, and b above it.
//
//go:norace
//go:nosplit
//go:nocheckptr
func closeOthers(first, a, b uintptr) unix.Errno {
	for _, r := range [...][2]uintptr{{first, a - 1}, {a + 1, b - 1}, {b + 1, 0xffffffff}} {
		if r[0] <= r[1] {
			if _, _, e := unix.RawSyscall(unix.SYS_CLOSE_RANGE, r[0], r[1], 0); e != 0 {
				return e
			}
		}
	}
	return 0
}

// openTries is how often a path is looked up again. The kernel gives up on one
// with ".." in it if anything on the machine was mounted or renamed meanwhile.
const openTries = 1000

// exitFailed is the exit status of a child that could not run its program to
// the end. Nobody sees it but Start.
const exitFailed = 125

// run executes the program in the child, from step i on. It must not allocate,
// grow the stack, or call anything that does.
//
//go:norace
//go:nosplit
//go:nocheckptr
func (m *machine) run(i int32) {
	for {
		o := (*instruction)(unsafe.Add(unsafe.Pointer(m.code), uintptr(i)*unsafe.Sizeof(instruction{})))
		m.step = i
		a := o.args
		if o.inReg != 0 {
			for k := uintptr(0); k < 6; k++ {
				if o.inReg&(1<<k) != 0 {
					p := (*uintptr)(unsafe.Add(unsafe.Pointer(&a), k*8))
					*p = *m.reg(*p)
				}
			}
		}
		var r uintptr
		var e unix.Errno
		switch o.op {
		case program.OpCall:
			r, _, e = unix.RawSyscall6(o.nr, a[0], a[1], a[2], a[3], a[4], a[5])
			for k := 0; e == unix.EAGAIN && o.nr == unix.SYS_OPENAT2 && k < openTries; k++ {
				r, _, e = unix.RawSyscall6(o.nr, a[0], a[1], a[2], a[3], a[4], a[5])
			}
		case program.OpPath:
			r, e = m.walk(m, a[0], a[1], a[2])
		case program.OpTest:
			if load(a[0], a[1])&a[2] != a[3] {
				e = unix.Errno(a[4])
			}
		case program.OpStore:
			*(*int32)(pointer(a[0])) = int32(a[1])
		case program.OpFail:
			e = unix.Errno(a[0])
		case program.OpLoad:
			r = load(a[0], a[1])
		case program.OpCopy:
			e = m.copyAll(m, a[0], a[1])
		case program.OpClose:
			e = closeOthers(a[0], min(a[1], a[2]), max(a[1], a[2]))
		case program.OpSignals:
			resetSignals(m.scratch)
		case program.OpClone:
			e = m.cloneSibling()
		}
		if e == 0 {
			if o.out >= 0 {
				*m.reg(uintptr(o.out)) = r
			}
			i = o.next
			continue
		}
		to := int32(-1)
		for k := uintptr(0); k < program.MaxCatch; k++ {
			c := (*program.Catch)(unsafe.Add(unsafe.Pointer(&o.catch), k*unsafe.Sizeof(program.Catch{})))
			if c.To > 0 && (c.Errno == program.AnyErrno || c.Errno == int16(e)) {
				to = int32(c.To)
				break
			}
		}
		if to < 0 {
			m.fail(int32(e))
		}
		i = to
	}
}

//go:norace
//go:nosplit
//go:nocheckptr
func (m *machine) reg(n uintptr) *uintptr {
	return (*uintptr)(unsafe.Add(unsafe.Pointer(m.regs), n*8))
}

// cloneSibling makes a process that has the same parent as this one, and a
// copy of its memory or the same memory. The program goes on there; here the
// caller is told the number, and the process ends.
//
//go:norace
//go:nosplit
//go:nocheckptr
func (m *machine) cloneSibling() unix.Errno {
	if b := m.second; b != nil {
		if _, e := rawClone(uintptr(unsafe.Pointer(&b.args)), unsafe.Sizeof(b.args), uintptr(unsafe.Pointer(m)), b.entry); e != 0 {
			return unix.Errno(e)
		}
		b.done = 1
	} else {
		pid, _, e := unix.RawSyscall6(unix.SYS_CLONE, unix.CLONE_PARENT, 0, 0, 0, 0, 0)
		if e != 0 || pid == 0 {
			return e
		}
		born := [2]int32{program.TellBorn, int32(pid)}
		unix.RawSyscall(unix.SYS_WRITE, uintptr(m.report), uintptr(unsafe.Pointer(&born)), unsafe.Sizeof(born))
	}
	for {
		unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
	}
}

// fail leaves the result and ends the child.
//
//go:norace
//go:nosplit
//go:nocheckptr
func (m *machine) fail(e int32) {
	m.errno = e
	if m.report >= 0 {
		unix.RawSyscall(unix.SYS_WRITE, uintptr(m.report), uintptr(unsafe.Pointer(&m.step)), 8)
	}
	for {
		unix.RawSyscall(unix.SYS_EXIT, exitFailed, 0, 0)
	}
}

//go:norace
//go:nosplit
//go:nocheckptr
func load(p, width uintptr) uintptr {
	switch width {
	case 1:
		return uintptr(*(*uint8)(pointer(p)))
	case 2:
		return uintptr(*(*uint16)(pointer(p)))
	case 4:
		return uintptr(*(*uint32)(pointer(p)))
	}
	return uintptr(*(*uint64)(pointer(p)))
}

// resetSignals gives each signal its default action, the ignored ones too,
// and unblocks all: a container must not inherit what its supervisor ignores.
//
//go:norace
//go:nosplit
//go:nocheckptr
func resetSignals(zeros uintptr) {
	for k := uintptr(0); k < 64; k += 8 {
		*(*uint64)(pointer(zeros + k)) = 0 // an empty struct sigaction, and an empty set
	}
	for s := uintptr(1); s <= 64; s++ {
		unix.RawSyscall6(unix.SYS_RT_SIGACTION, s, zeros, 0, 8, 0, 0)
	}
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, zeros, 0, 8, 0, 0)
}

// pointer turns an address inside a machine's memory back into a pointer.
//
//go:norace
//go:nosplit
//go:nocheckptr
func pointer(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }
