package engine

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// sealed is a program that is executed by a mount of its own, a read-only one.
//
// A container's first process is born from its shim, and can execute what it
// was born from by the name of /proc/self/exe (as a command, or behind the #!
// of a script). Another process of the container can then open that
// executable, wait until nothing runs it, and write to it (CVE-2019-5736).
// Opened by way of this mount it cannot be written to, whatever the
// filesystem that it lies on allows, and nobody in a container can change the
// mount: it is in no mount table.
type sealed struct {
	mount *os.File
	err   error
}

// seal makes the mount. Its error is that of path.
func seal(path string) *sealed {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return &sealed{err: &os.PathError{Op: "open_tree", Path: path, Err: err}}
	}
	err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV})
	if err != nil {
		unix.Close(fd)
		return &sealed{err: fmt.Errorf("making a mount of %s read-only: %w", path, err)}
	}
	return &sealed{mount: os.NewFile(uintptr(fd), path)}
}

// path is what to execute. It holds for this process and its children.
func (s *sealed) path() (string, error) {
	if s.err != nil {
		return "", s.err
	}
	return "/proc/self/fd/" + strconv.Itoa(int(s.mount.Fd())), nil
}

func (s *sealed) close() {
	if s.mount != nil {
		s.mount.Close()
	}
}
