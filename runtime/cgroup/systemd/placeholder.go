package systemd

import (
	"os"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// placeholder is a process that does nothing until it is let go: at the latest
// when this process ends.
type placeholder struct {
	pid  int
	word *os.File // closed: it ends
	once sync.Once
}

// newPlaceholder forks this process. The copy executes nothing: that would
// cost more, and need a program to be there.
func newPlaceholder() (*placeholder, error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	defer unix.Close(pipe[0])
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// No signal may find Go's handlers in a process that has none of Go's threads.
	var every, before unix.Sigset_t
	for i := range every.Val {
		every.Val[i] = ^every.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &every, &before); err != nil {
		_ = unix.Close(pipe[1])
		return nil, os.NewSyscallError("sigmask", err)
	}
	pid, errno := forkAndWait(uintptr(pipe[0]), uintptr(pipe[1]))
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil); err != nil {
		_ = unix.Close(pipe[1])
		return nil, os.NewSyscallError("sigmask", err)
	}
	if errno != 0 {
		_ = unix.Close(pipe[1])
		return nil, os.NewSyscallError("clone", errno)
	}
	return &placeholder{pid: int(pid), word: os.NewFile(uintptr(pipe[1]), "placeholder")}, nil
}

// forkAndWait returns in the parent only. The child has a copy of the memory
// and one thread, of which Go's runtime knows nothing: it makes system calls
// and does not grow the stack.
//
//go:nosplit
//go:norace
func forkAndWait(word, other uintptr) (pid uintptr, errno unix.Errno) {
	pid, _, errno = unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	var b byte
	_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, other, 0, 0)
	_, _, _ = unix.RawSyscall(unix.SYS_READ, word, uintptr(unsafe.Pointer(&b)), 1)
	for {
		_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

// end lets the process go and waits for its end.
func (p *placeholder) end() {
	p.once.Do(func() {
		_ = p.word.Close()
		for {
			if _, err := unix.Wait4(p.pid, nil, 0, nil); err != unix.EINTR {
				return
			}
		}
	})
}
