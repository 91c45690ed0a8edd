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

// rawVfork is a system call of two arguments that may return twice on the
// same stack.
//
//go:noescape
func rawVfork(trap, a1, a2 uintptr) (r1, err uintptr)

// cloneArgs is struct clone_args of clone3(2), up to cgroup (Linux 5.7).
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
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
	beforeFork()
	pid, errno = forkChild(a, m)
	afterFork()
	runtime.KeepAlive(m)
	return pid, errno
}

// forkChild is the frame that parent and child share. As in package syscall,
// the parent leaves it at once and the child never does.
//
//go:noinline
//go:norace
//go:nosplit
//go:nocheckptr
func forkChild(a *cloneArgs, m *machine) (pid int, errno unix.Errno) {
	r, e := rawVfork(unix.SYS_CLONE3, uintptr(unsafe.Pointer(a)), unsafe.Sizeof(*a))
	if e != 0 || r != 0 {
		return int(r), unix.Errno(e)
	}
	afterForkInChild()
	m.run()
	for {
		unix.RawSyscall(unix.SYS_EXIT, 253, 0, 0)
	}
}
