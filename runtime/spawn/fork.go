package spawn

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What package syscall does around a fork; gVisor and others use it by name
// as well, so Go keeps it (go.dev/issue/67401).

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

// rawClone is clone3. The child begins at entry with the argument m, on the
// stack that args name, and never returns.
func rawClone(args, size, m, entry uintptr) (r1, err uintptr)

// entries are the addresses of firstChild and secondChild, for rawClone.
func entries() (first, second uintptr)

// cloneArgs is struct clone_args of clone3(2), up to cgroup (Linux 5.7).
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// stackSize is enough for functions that do not grow their stack: those of a
// child use less than 2 KiB all together.
const stackSize = 16 << 10

// on gives the child a stack of its own. One on the caller's stack would have
// little room, and overwrite it if the caller goes on before it has ended.
func (a *cloneArgs) on(stack []byte) {
	a.stack, a.stackSize = uint64(uintptr(unsafe.Pointer(&stack[0]))), uint64(len(stack))
}

// fork clones the process; the child runs m and never returns. The calling
// goroutine must be locked to its thread.
//
// With CLONE_VM (and CLONE_VFORK, without which it is not allowed here) the
// child borrows this process's memory while this thread waits: no page tables
// are copied, and the child leaves its result in m. The kernel's OOM killer
// spares a borrower, so a small memory limit cannot hit this process. A child
// that becomes another user makes the memory undumpable, which is welcome.
func fork(a *cloneArgs, m *machine) (pid int, errno unix.Errno) {
	stack := make([]byte, stackSize)
	a.on(stack)
	entry, _ := entries()
	beforeFork()
	r, e := rawClone(uintptr(unsafe.Pointer(a)), unsafe.Sizeof(*a), uintptr(unsafe.Pointer(m)), entry)
	afterFork()
	runtime.KeepAlive(m)
	runtime.KeepAlive(stack)
	return int(r), unix.Errno(e)
}

// firstChild is where the child begins.
//
//go:norace
//go:nosplit
//go:nocheckptr
//lint:ignore U1000 the assembly calls it
func firstChild(m *machine) {
	afterForkInChild()
	m.closeForeign()
	m.run(0)
}

// borrowers is what a second child takes that borrows memory as the first one
// does. Should the first be killed meanwhile, this process goes on beside the
// second, whose number it knows.
//
//	this process        first                  second
//	  | vfork ----------> |                      |
//	  | (waits)           | vfork -------------> | pid is set before it begins
//	  |                   | (waits)              | execve, or end
//	  |                   | done = 1, end        |
//	  v
type borrowers struct {
	args  cloneArgs
	entry uintptr
	pid   int32 // of the second, from the kernel
	done  int32 // the second has given memory back
	stack []byte
}

func newBorrowers() *borrowers {
	b := &borrowers{stack: make([]byte, stackSize)}
	_, b.entry = entries()
	b.args = cloneArgs{flags: unix.CLONE_PARENT | unix.CLONE_PARENT_SETTID | unix.CLONE_VM | unix.CLONE_VFORK, parentTID: uint64(uintptr(unsafe.Pointer(&b.pid)))}
	b.args.on(b.stack)
	return b
}

// secondChild is where the second child begins: with the step after the one
// that has made it.
//
//go:norace
//go:nosplit
//go:nocheckptr
//lint:ignore U1000 the assembly calls it
func secondChild(m *machine) {
	m.run((*instruction)(unsafe.Add(unsafe.Pointer(m.code), uintptr(m.step)*unsafe.Sizeof(instruction{}))).next)
}
