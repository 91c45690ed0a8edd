package layers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// IsDir tells what is at path in the stack: fs.ErrNotExist for nothing,
// ENOTDIR for something that is no directory.
func IsDir(stack []string, path string) error {
	d, _, err := resolve(stack, path, false)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	d.close()
	return nil
}

// Copy copies the directory at path, as the stack shows it merged, into the
// directory to, which takes its owner, mode, times and attributes as well.
// Hard links stay links of each other, and holes in files stay holes. Nothing
// in to is written over, and what is at work there meanwhile cannot lead the
// copy out of it. A missing directory is fs.ErrNotExist.
func Copy(ctx context.Context, stack []string, path string, to *os.File) error {
	top, _, err := resolve(stack, path, false)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer top.close()
	c := copier{ctx: ctx, top: top, to: int(to.Fd()), links: map[inode]string{}}
	if err := c.all(); err != nil {
		return fmt.Errorf("copying %s of the image: %w", path, err)
	}
	return nil
}

// copier is one copy. It holds few descriptors however deep the tree is: each
// directory is looked up anew.
type copier struct {
	ctx   context.Context
	top   dir
	to    int
	dirs  []string // relative to top, parents first
	links map[inode]string
}

// inode is a file with several names.
type inode struct{ device, number uint64 }

func (c *copier) all() error {
	c.dirs = []string{"."}
	for i := 0; i < len(c.dirs); i++ {
		if err := c.directory(c.dirs[i]); err != nil {
			return at(c.dirs[i], err)
		}
	}
	// From the deepest on, since what is made in a directory changes its time.
	for i := len(c.dirs) - 1; i >= 0; i-- {
		if err := c.finish(c.dirs[i]); err != nil {
			return at(c.dirs[i], err)
		}
	}
	return nil
}

// at says where an error was met.
func at(name string, err error) error {
	var known *fs.PathError
	if errors.As(err, &known) {
		return err
	}
	return &fs.PathError{Op: "copy", Path: name, Err: err}
}

// from opens the merged directory rel.
func (c *copier) from(rel string) (dir, error) {
	var d dir
	for _, fd := range c.top {
		own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			d.close()
			return nil, err
		}
		d = append(d, own)
	}
	for _, name := range split(rel) {
		_, _, next, err := d.find(name)
		d.close()
		if err == nil && next == nil {
			err = unix.ENOTDIR
		}
		if err != nil {
			return nil, err
		}
		d = next
	}
	return d, nil
}

// into opens the directory rel of the copy.
func (c *copier) into(rel string) (int, error) {
	return unix.Openat2(c.to, rel, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	})
}

// directory copies what is in rel, of directories the names only.
func (c *copier) directory(rel string) error {
	d, err := c.from(rel)
	if err != nil {
		return err
	}
	defer d.close()
	to, err := c.into(rel)
	if err != nil {
		return err
	}
	defer unix.Close(to)
	seen := map[string]bool{}
	for _, part := range d {
		names, err := list(part)
		if err != nil {
			return err
		}
		for _, name := range names {
			if seen[name] {
				continue
			}
			seen[name] = true
			if err := c.ctx.Err(); err != nil {
				return err
			}
			if err := c.entry(d, to, rel, name); err != nil {
				return at(path.Join(rel, name), err)
			}
		}
	}
	return nil
}

// list reads the names in a directory that is open as a path only.
func list(part int) ([]string, error) {
	fd, err := unix.Openat(part, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), ".")
	defer f.Close()
	return f.Readdirnames(-1)
}

func (c *copier) entry(d dir, to int, rel, name string) error {
	parent, st, next, err := d.find(name)
	if errors.Is(err, unix.ENOENT) {
		return nil // a whiteout
	}
	if err != nil {
		return err
	}
	if next != nil {
		next.close()
		c.dirs = append(c.dirs, path.Join(rel, name))
		return unix.Mkdirat(to, name, 0o700)
	}
	id := inode{st.Dev, st.Ino}
	if st.Nlink > 1 {
		if first, ok := c.links[id]; ok {
			return c.link(first, to, name)
		}
		c.links[id] = path.Join(rel, name)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return c.regular(parent, to, name, &st)
	case unix.S_IFLNK:
		target, err := readLink(parent, name)
		if err != nil {
			return err
		}
		if err := unix.Symlinkat(target, to, name); err != nil {
			return err
		}
		if err := unix.Fchownat(to, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		return unix.UtimesNanoAt(to, name, times(&st), unix.AT_SYMLINK_NOFOLLOW)
	}
	if err := unix.Mknodat(to, name, st.Mode, int(st.Rdev)); err != nil {
		return err
	}
	return finishNode(parent, to, name, &st)
}

func (c *copier) link(first string, to int, name string) error {
	parent, err := c.into(path.Dir(first))
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	return unix.Linkat(parent, path.Base(first), to, name, 0)
}

func (c *copier) regular(parent, to int, name string, st *unix.Stat_t) error {
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	in := os.NewFile(uintptr(fd), name)
	defer in.Close()
	fd, err = unix.Openat(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(fd), name)
	defer out.Close()
	if err := c.content(in, out, st.Size); err != nil {
		return err
	}
	return dress(int(in.Fd()), int(out.Fd()), st)
}

// chunk is how much is copied before somebody is asked whether to go on.
const chunk = 64 << 20

// content copies what is in a file, without its holes.
func (c *copier) content(in, out *os.File, size int64) error {
	for off := int64(0); off < size; {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		begin, err := in.Seek(off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // a hole to the end
		}
		if err != nil {
			return err
		}
		end, err := in.Seek(begin, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		end = min(end, begin+chunk)
		if _, err := in.Seek(begin, io.SeekStart); err != nil {
			return err
		}
		if _, err := out.Seek(begin, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.CopyN(out, in, end-begin); err != nil {
			return err
		}
		off = end
	}
	return out.Truncate(size)
}

// finish gives a directory what its source has beside its content.
func (c *copier) finish(rel string) error {
	d, err := c.from(rel)
	if err != nil {
		return err
	}
	defer d.close()
	from, err := unix.Openat(d[0], ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	to, err := c.into(rel)
	if err != nil {
		return err
	}
	defer unix.Close(to)
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	return dress(from, to, &st)
}

// finishNode does so for a file that must not be opened: a device, a FIFO.
func finishNode(parent, to int, name string, st *unix.Stat_t) error {
	fd, err := unix.Openat(to, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var now unix.Stat_t
	if err := unix.Fstat(fd, &now); err != nil {
		return err
	}
	if now.Mode&unix.S_IFMT != st.Mode&unix.S_IFMT || now.Rdev != st.Rdev {
		return unix.ESTALE // somebody has put another in its place
	}
	if err := unix.Fchownat(fd, "", int(st.Uid), int(st.Gid), unix.AT_EMPTY_PATH); err != nil {
		return err
	}
	self := fmt.Sprintf("/proc/self/fd/%d", fd)
	if err := unix.Chmod(self, st.Mode&0o7777); err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, self, times(st), 0)
}

// dress gives an open file or directory the owner, attributes, mode and times
// of another. A change of owner would take set-user-ID bits and capabilities
// away, so it comes first.
func dress(from, to int, st *unix.Stat_t) error {
	if err := unix.Fchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := copyAttributes(from, to); err != nil {
		return err
	}
	if err := unix.Fchmod(to, st.Mode&0o7777); err != nil {
		return err
	}
	ts := times(st)
	return unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", to), ts, 0)
}

func times(st *unix.Stat_t) []unix.Timespec { return []unix.Timespec{st.Atim, st.Mtim} }

// copyAttributes copies extended attributes, but for the overlay's own and
// those that the file system of the copy does not know.
func copyAttributes(from, to int) error {
	size, err := unix.Flistxattr(from, nil)
	if errors.Is(err, unix.ENOTSUP) || err == nil && size == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	buf := make([]byte, size)
	if size, err = unix.Flistxattr(from, buf); err != nil {
		return err
	}
	for _, name := range strings.Split(strings.TrimSuffix(string(buf[:size]), "\x00"), "\x00") {
		if name == "" || strings.HasPrefix(name, "trusted.overlay.") {
			continue
		}
		n, err := unix.Fgetxattr(from, name, nil)
		if err != nil {
			return err
		}
		value := make([]byte, n)
		if n, err = unix.Fgetxattr(from, name, value); err != nil {
			return err
		}
		if err := unix.Fsetxattr(to, name, value[:n], 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("setting attribute %s: %w", name, err)
		}
	}
	return nil
}
