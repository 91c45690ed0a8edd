package cgroup

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// files is the part of a cgroup file system that this package uses. Errors
// wrap the errno and name the path; values are without a trailing newline.
type files interface {
	mkdir(path string) error
	rmdir(path string) error
	read(path string) (string, error)
	write(path string, values ...string) error // each value by a call of its own
	children(path string) ([]string, error)    // names of subdirectories
	names(path string) ([]string, error)       // names of files
	chown(path string, uid, gid int) error
	writable(path string) error // as the effective user
}

// kernel is the real thing.
type kernel struct{}

func (kernel) mkdir(path string) error { return pathError("mkdir", path, unix.Mkdir(path, 0o755)) }
func (kernel) rmdir(path string) error { return pathError("rmdir", path, unix.Rmdir(path)) }

func (kernel) chown(path string, uid, gid int) error {
	return pathError("chown", path, unix.Lchown(path, uid, gid))
}

func (kernel) writable(path string) error {
	return pathError("access", path, unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS))
}

func (kernel) write(path string, values ...string) error {
	fd, err := open(path, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, value := range values {
		// The kernel takes each call as a whole value.
		_, err := unix.Write(fd, []byte(value))
		for err == unix.EINTR {
			_, err = unix.Write(fd, []byte(value))
		}
		if err != nil {
			return fmt.Errorf("writing %q to %s: %w", value, path, err)
		}
	}
	return nil
}

func (kernel) read(path string) (string, error) {
	fd, err := open(path, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	buf := make([]byte, 0, 512)
	for {
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", pathError("read", path, err)
		}
		if n == 0 {
			return strings.TrimSuffix(string(buf), "\n"), nil
		}
		if buf = buf[:len(buf)+n]; len(buf) == cap(buf) {
			buf = slices.Grow(buf, cap(buf))
		}
	}
}

func (kernel) children(path string) ([]string, error) { return list(path, true) }
func (kernel) names(path string) ([]string, error)    { return list(path, false) }

func list(path string, directories bool) ([]string, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() == directories {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func open(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, pathError("open", path, err)
		}
	}
}

func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: path, Err: err}
}
