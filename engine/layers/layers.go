// Package layers looks into a container's root filesystem without mounting it.
//
// It reads a stack of overlay directories as the kernel would show it merged:
// upper layers hide lower ones, whiteouts and opaque directories included.
// Each step of a path is opened below the directory before it and never
// through a link, so nothing that an image holds leads out of it. The package
// only reads, and keeps no state.
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
	parts := split(path)
	for range maxLinks {
		file, at, link, err := walk(stack, parts)
		if err != nil || file != nil {
			return file, err
		}
		var base []string
		if !strings.HasPrefix(link, "/") {
			base = parts[:at]
		}
		parts = clean(slices.Concat(base, strings.Split(link, "/"), parts[at+1:]))
	}
	return nil, unix.ELOOP
}

// walk follows parts from the root. It ends at a file, or at the symbolic
// link that parts[at] names.
func walk(stack, parts []string) (file *os.File, at int, link string, err error) {
	d, err := openStack(stack)
	if err != nil {
		return nil, 0, "", err
	}
	for i, name := range parts {
		next, file, link, err := d.step(name, i == len(parts)-1)
		d.close()
		if err != nil || file != nil || link != "" {
			return file, i, link, err
		}
		d = next
	}
	d.close()
	return nil, 0, "", unix.EISDIR
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
	defer func() {
		if err != nil {
			next.close()
		}
	}()
	for _, parent := range d {
		var st unix.Stat_t
		err := unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return next, nil, "", err
		}
		kind := st.Mode & unix.S_IFMT
		if whiteout := kind == unix.S_IFCHR && st.Rdev == 0; whiteout || (len(next) > 0 && kind != unix.S_IFDIR) {
			break
		}
		switch kind {
		case unix.S_IFDIR:
			fd, err := unix.Openat(parent, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			if err != nil {
				return next, nil, "", err
			}
			next = append(next, fd)
			if opaque(fd) {
				return next, nil, "", nil
			}
			continue
		case unix.S_IFLNK:
			buf := make([]byte, unix.PathMax)
			n, err := unix.Readlinkat(parent, name, buf)
			if err != nil {
				return nil, nil, "", err
			}
			return nil, nil, string(buf[:n]), nil
		}
		if !last {
			return nil, nil, "", unix.ENOTDIR
		}
		// O_NONBLOCK: a FIFO in the image must not hold us up.
		fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, nil, "", err
		}
		return nil, os.NewFile(uintptr(fd), name), "", nil
	}
	if len(next) == 0 {
		return nil, nil, "", unix.ENOENT
	}
	return next, nil, "", nil
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
