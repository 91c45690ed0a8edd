package rootfs

import (
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// node is a file as it was found: an O_PATH descriptor, and what it stands for.
type node struct {
	fd    int
	st    unix.Stat_t
	layer int // which of a merged directory's layers it was found in
}

func (n node) kind() uint32 { return n.st.Mode & unix.S_IFMT }

func (n node) isDir() bool { return n.kind() == unix.S_IFDIR }

// isWhiteout reports whether the file stands for none, in a layer of overlayfs.
func (n node) isWhiteout() bool { return n.kind() == unix.S_IFCHR && n.st.Rdev == 0 }

func (n node) close() { _ = unix.Close(n.fd) }

// directory is one that is being read: as it shows in a mounted file system,
// or merged from layers, topmost first.
type directory struct {
	fds    []int // O_PATH; their owner closes them
	merged bool  // whiteouts and opaque directories have their meaning
}

func (d directory) close() {
	for _, fd := range d.fds {
		_ = unix.Close(fd)
	}
}

// names lists what is in the directory, sorted. In a merged one a name may
// stand for nothing.
func (d directory) names() ([]string, error) {
	var all []string
	for _, fd := range d.fds {
		readable, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		f := os.NewFile(uintptr(readable), ".")
		names, err := f.Readdirnames(-1)
		_ = f.Close()
		if err != nil {
			return nil, err
		}
		all = append(all, names...)
	}
	slices.Sort(all)
	if len(d.fds) > 1 {
		all = slices.Compact(all)
	}
	return all, nil
}

// look finds a name; ENOENT where there is none.
func (d directory) look(name string) (node, error) {
	for i, fd := range d.fds {
		n, err := lookAt(fd, name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return node{}, err
		}
		if d.merged && n.isWhiteout() {
			n.close()
			break
		}
		n.layer = i
		return n, nil
	}
	return node{}, unix.ENOENT
}

func lookAt(dir int, name string) (n node, err error) {
	if n.fd, err = unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err != nil {
		return node{}, err
	}
	if n.st, err = stat(n.fd); err != nil {
		n.close()
		return node{}, err
	}
	return n, nil
}

// enter returns the directory called name, which n is. It takes n over.
func (d directory) enter(name string, n node) (directory, error) {
	sub := directory{[]int{n.fd}, d.merged}
	for i := n.layer + 1; d.merged && i < len(d.fds) && !opaque(sub.fds[len(sub.fds)-1]); i++ {
		below, err := lookAt(d.fds[i], name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			sub.close()
			return directory{}, err
		}
		if !below.isDir() { // a whiteout, or a file that is hidden
			below.close()
			break
		}
		sub.fds = append(sub.fds, below.fd)
	}
	return sub, nil
}

// opaque reports whether a layer's directory hides those below it.
func opaque(fd int) bool {
	v, err := getXattr(self(fd), "trusted.overlay.opaque")
	return err == nil && string(v) == "y"
}

// openLayers opens a stack of layers, topmost first.
func openLayers(dirs []string) (directory, error) {
	d := directory{merged: true}
	for _, dir := range dirs {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			d.close()
			return directory{}, &os.PathError{Op: "opening layer", Path: dir, Err: err}
		}
		d.fds = append(d.fds, fd)
	}
	return d, nil
}
