// Package seal keeps a program's file out of the reach of containers.
//
// A container's first process is born from its runtime, and can execute what it
// was born from by the name of /proc/self/exe: as a command, or behind the #!
// of a script. Another process of the container can then open that executable,
// wait until nothing runs it, and write to it (CVE-2019-5736). A runtime that
// was executed from a file of this package cannot be written to in this way.
//
// The package owns the two ways to make such a file and knows nothing of who
// executes it. It keeps no state.
package seal

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Mount opens a file by a mount of its own, a read-only one: what is opened by
// way of it cannot be written to, whatever the filesystem that it lies on
// allows, and nobody in a container can change the mount, since it is in no
// mount table. It needs CAP_SYS_ADMIN, and Linux 5.12.
func Mount(path string) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, &os.PathError{Op: "open_tree", Path: path, Err: err}
	}
	err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV})
	if err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "mount_setattr", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// Copy copies a file into memory and lets nobody change the copy, its owner
// included.
func Copy(path string) (_ *os.File, err error) {
	from, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	fd, err := unix.MemfdCreate("sealed", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), path)
	if _, err = io.Copy(f, from); err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("copying %s into memory: %w", path, err)
	}
	return f, nil
}

// Writable reports whether this process's user could write to a file: not if it
// was opened by one of the above, nor if it belongs to others.
func Writable(path string) bool {
	if err := unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS); err != nil {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return true
	}
	defer f.Close()
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	return err != nil || seals&unix.F_SEAL_WRITE == 0
}
