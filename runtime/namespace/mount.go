package namespace

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Mount returns a detached copy of the mount at dir, such as "/dev/shm", in the
// mount namespace of process pid. Nothing of that process's is executed, and no
// symbolic link is followed. It is an error if dir is not where a mount begins.
func Mount(pid int, dir string) (*os.File, error) {
	root, err := unix.Open(fmt.Sprintf("/proc/%d/root", pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the root of process %d: %w", pid, err)
	}
	defer unix.Close(root)
	at, err := unix.Openat2(root, dir[1:], &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, fmt.Errorf("opening %s of process %d: %w", dir, pid, err)
	}
	defer unix.Close(at)
	var st unix.Statx_t
	if err := unix.Statx(at, "", unix.AT_EMPTY_PATH, 0, &st); err != nil {
		return nil, fmt.Errorf("looking at %s of process %d: %w", dir, pid, err)
	}
	if st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return nil, fmt.Errorf("%s of process %d is not a mount", dir, pid)
	}
	ns, err := unix.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the mount namespace of process %d: %w", pid, err)
	}
	defer unix.Close(ns)
	tree := -1
	err = onThread(func() error {
		// A mount can be copied from within its namespace only. A thread enters it
		// that shares its root and working directory with no other.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		if err := unix.Setns(ns, unix.CLONE_NEWNS); err != nil {
			return err
		}
		tree, err = unix.OpenTree(at, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("copying the mount at %s of process %d: %w", dir, pid, err)
	}
	return os.NewFile(uintptr(tree), dir), nil
}

// onThread calls f on a thread that ends with it, so that f may change what the
// kernel keeps for each thread. It is never the first one of the process, which
// does not end, and which /proc/self shows.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			done <- onThread(f) // which cannot get this thread, as it is ours
			return
		}
		done <- f()
	}()
	return <-done
}
