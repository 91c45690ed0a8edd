// Package layers looks into a container's root filesystem without mounting it.
//
// It reads a stack of overlay directories as the kernel would show it merged:
// upper layers hide lower ones, whiteouts and opaque directories included.
// Each step of a path is opened below the directory before it and never
// through a link, so nothing that an image holds leads out of it. The package
// never writes to a layer, and keeps no state.
package layers

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links a path may cross, as in the kernel.
const maxLinks = 40

// ReadFile returns the content of the regular file at path in the stack,
// topmost layer first. A file over limit bytes, or one that is not regular,
// is an error; a missing one is fs.ErrNotExist.
func ReadFile(stack []string, path string, limit int64) ([]byte, error) {
	f, err := open(stack, path)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s in the image is not a regular file", path)
	case info.Size() > limit:
		return nil, fmt.Errorf("%s in the image is %d bytes long, more than %d", path, info.Size(), limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// dir is a merged directory: the descriptors of it in each layer that has a
// part in it, topmost first.
type dir []int

func (d dir) close() {
	for _, fd := range d {
		_ = unix.Close(fd)
	}
}

func open(stack []string, path string) (*os.File, error) {
	d, file, err := resolve(stack, path, true)
	if err == nil && file == nil {
		d.close()
		err = unix.EISDIR
	}
	return file, err
}

// resolve finds what is at path, across symbolic links: a directory or, if
// files are wanted, a file.
func resolve(stack []string, path string, files bool) (dir, *os.File, error) {
	parts := split(path)
	for range maxLinks {
		d, file, at, link, err := walk(stack, parts, files)
		if err != nil || link == "" {
			return d, file, err
		}
		var base []string
		if !strings.HasPrefix(link, "/") {
			base = parts[:at]
		}
		parts = clean(slices.Concat(base, strings.Split(link, "/"), parts[at+1:]))
	}
	return nil, nil, unix.ELOOP
}

// walk follows parts from the root. It ends at a directory or a file, or at
// the symbolic link that parts[at] names.
func walk(stack, parts []string, files bool) (d dir, file *os.File, at int, link string, err error) {
	d, err = openStack(stack)
	if err != nil {
		return nil, nil, 0, "", err
	}
	for i, name := range parts {
		next, file, link, err := d.step(name, files && i == len(parts)-1)
		d.close()
		if err != nil || file != nil || link != "" {
			return nil, file, i, link, err
		}
		d = next
	}
	return d, nil, 0, "", nil
}

func openStack(stack []string) (dir, error) {
	var d dir
	for _, l := range stack {
		fd, err := unix.Open(l, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			d.close()
			return nil, fmt.Errorf("opening layer %s: %w", l, err)
		}
		d = append(d, fd)
	}
	return d, nil
}

// step looks name up in d: it yields a directory, a file if it is the last
// step, or the target of a symbolic link.
func (d dir) step(name string, last bool) (next dir, file *os.File, link string, err error) {
	parent, st, next, err := d.find(name)
	switch {
	case err != nil:
		return nil, nil, "", err
	case len(next) > 0:
		return next, nil, "", nil
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		link, err := readLink(parent, name)
		return nil, nil, link, err
	case !last:
		return nil, nil, "", unix.ENOTDIR
	}
	// O_NONBLOCK: a FIFO in the image must not hold us up.
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, "", err
	}
	return nil, os.NewFile(uintptr(fd), name), "", nil
}

// find looks name up in d: what it is, and in which of d it lies. Of a
// directory it opens the parts, topmost first.
func (d dir) find(name string) (parent int, st unix.Stat_t, next dir, err error) {
	defer func() {
		if err != nil {
			next.close()
		}
	}()
	parent = -1
	for _, at := range d {
		var here unix.Stat_t
		err := unix.Fstatat(at, name, &here, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return -1, st, next, err
		}
		kind := here.Mode & unix.S_IFMT
		if whiteout := kind == unix.S_IFCHR && here.Rdev == 0; whiteout || (len(next) > 0 && kind != unix.S_IFDIR) {
			break
		}
		if parent < 0 {
			parent, st = at, here
		}
		if kind != unix.S_IFDIR {
			break
		}
		fd, err := unix.Openat(at, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, st, next, err
		}
		next = append(next, fd)
		if opaque(fd) {
			break
		}
	}
	if parent < 0 {
		return -1, st, nil, unix.ENOENT
	}
	return parent, st, next, nil
}

func readLink(parent int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(parent, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// opaque says whether the directory hides the layers below it. The
// descriptor is O_PATH, which has no attributes of its own.
func opaque(fd int) bool {
	var buf [1]byte
	n, err := unix.Getxattr(fmt.Sprintf("/proc/self/fd/%d", fd), "trusted.overlay.opaque", buf[:])
	return err == nil && n == 1 && buf[0] == 'y'
}

func split(path string) []string { return clean(strings.Split(path, "/")) }

// clean drops empty steps and takes ".." steps back; the root is its own
// parent.
func clean(parts []string) []string {
	out := make([]string, 0, len(parts))
	for _, p := range parts {
		switch {
		case p == "" || p == ".":
		case p != "..":
			out = append(out, p)
		case len(out) > 0:
			out = out[:len(out)-1]
		}
	}
	return out
}
