package oci

import (
	"errors"
	"io"
	"os"
	"strconv"
	"syscall"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

// self is this program, as a container's process is born from it.
const self = "/proc/self/exe"

// seal executes this program once more from where nobody can write to it,
// unless it is such a place already. A container's first process can execute
// what it was born from by the name of /proc/self/exe; another one can open
// that, wait until nothing runs it, and write to it (CVE-2019-5736). On success
// it does not return.
func seal() error {
	if !writable() {
		return nil
	}
	f, err := readOnlyMount()
	if errors.Is(err, unix.EPERM) {
		f, err = sealedCopy()
	}
	if err == nil {
		err = syscall.Exec("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), os.Args, os.Environ())
	}
	return errs.New(errs.System, "keeping this program safe from its containers: %w", err)
}

// writable reports whether this user could write to the program.
func writable() bool {
	if err := unix.Faccessat(unix.AT_FDCWD, self, unix.W_OK, unix.AT_EACCESS); err != nil {
		return false // EROFS of the read-only mount; EACCES where others own it
	}
	f, err := os.Open(self)
	if err != nil {
		return true
	}
	defer f.Close()
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	return err != nil || seals&unix.F_SEAL_WRITE == 0
}

// readOnlyMount is the program by way of a read-only mount in no mount table.
func readOnlyMount() (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, self, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, &os.PathError{Op: "open_tree", Path: self, Err: err}
	}
	f := os.NewFile(uintptr(fd), self)
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "mount_setattr", Path: self, Err: err}
	}
	return f, nil
}

// sealedCopy is the program in memory, for who may not mount.
func sealedCopy() (*os.File, error) {
	fd, err := unix.MemfdCreate(Name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), self)
	from, err := os.Open(self)
	if err == nil {
		defer from.Close()
		_, err = io.Copy(f, from)
	}
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
