package engine

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/engine/spec"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/wire"
)

// userIn resolves a user and further groups in a running container as its files
// are now, whoever has changed them.
func userIn(r *run, name string, groups []string) (spec.User, error) {
	root, err := rootOf(r)
	if err != nil {
		return spec.User{}, err
	}
	defer unix.Close(root)
	return findUser(name, groups, func(path string) ([]byte, error) { return readBelow(root, path, maxUserFile) })
}

// rootOf opens the root directory that the container's first process has.
func rootOf(r *run) (int, error) {
	root, err := unix.Open("/proc/"+strconv.Itoa(r.state.Pid)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		var start uint64
		if start, err = wire.StartTime(r.state.Pid); err == nil && start == r.state.PidStart {
			return root, nil
		}
		unix.Close(root)
	}
	return -1, errs.New(errs.Conflict, "container %s is not running", r.state.ID)
}

// readBelow reads a regular file of a container, who may have put anything in
// its place: nothing that is not one is opened for reading.
func readBelow(root int, path string, limit int64) ([]byte, error) {
	fd, err := unix.Openat2(root, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fmt.Errorf("%s in the container is not a regular file", path)
	case st.Size > limit:
		return nil, fmt.Errorf("%s in the container is %d bytes long, more than %d", path, st.Size, limit)
	}
	f, err := os.Open("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}
