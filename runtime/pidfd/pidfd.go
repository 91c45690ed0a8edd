// Package pidfd waits for processes without a thread for each.
//
// It owns nothing, and knows nothing of what the processes are. Its functions
// may be called by several goroutines at once.
package pidfd

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Await returns when the process of a pidfd (Linux 5.3) has ended, and closes
// fd. It waits in the runtime's poller: wait4 would keep a thread, and for a
// while a processor of Go's, from others. A descriptor below zero, which older
// kernels give, is not waited for.
func Await(fd int) {
	if fd < 0 {
		return
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Read(func(fd uintptr) bool {
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(ready, 0)
		return n > 0 || err != nil && err != unix.EINTR
	})
}

// Ended reports whether the process has ended, and waits up to limit for that,
// with the calling thread. fd stays open.
func Ended(fd int, limit time.Duration) (bool, error) {
	for end := time.Now().Add(limit); ; {
		// Rounded up, so that no wait ends before its time and polls again at once.
		left := max(0, (time.Until(end)+time.Millisecond-1)/time.Millisecond)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left))
		if err == unix.EINTR && left > 0 {
			continue
		}
		return n > 0, err
	}
}
