package rootfs

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
)

// bufferSize is what is read and written at once.
const bufferSize = 256 << 10

// maxDepth is how many directories below each other are followed: each costs a
// descriptor while what is in it is copied. A path from the root cannot name
// more either (PATH_MAX), but a container may make them.
const maxDepth = 2048

// zeros is what a hole reads as.
var zeros [bufferSize]byte

// packer writes files to a tar archive.
type packer struct {
	ctx    context.Context
	tw     *tar.Writer
	ids    IDs
	log    *slog.Logger
	seen   map[inode]string  // by which name a file with several was written
	beyond func(n node) bool // a directory whose content is left out; nil: none
	buf    []byte
}

// inode tells files apart.
type inode struct{ dev, ino uint64 }

func newPacker(ctx context.Context, w io.Writer, ids IDs, log *slog.Logger) *packer {
	return &packer{ctx: ctx, tw: tar.NewWriter(w), ids: ids, log: log, seen: map[inode]string{}, buf: make([]byte, bufferSize)}
}

// tree writes what is in a directory, whose name in the archive is prefix: ""
// or one that ends in a slash.
func (p *packer) tree(d directory, prefix string, depth int) error {
	if depth > maxDepth {
		return errs.New(errs.InvalidParameter, "%s: more than %d directories below each other: copy a part of them", printable(prefix), maxDepth)
	}
	names, err := d.names()
	if err != nil {
		return classify(prefix, err)
	}
	for _, name := range names {
		if err := p.ctx.Err(); err != nil {
			return context.Cause(p.ctx)
		}
		n, err := d.look(name)
		if errors.Is(err, unix.ENOENT) { // it went while we were looking
			continue
		}
		if err != nil {
			return classify(prefix+name, err)
		}
		if err := p.one(d, name, prefix+name, n, depth); err != nil {
			return err
		}
	}
	return nil
}

// one writes a file of d, with all that is in it, and closes it.
func (p *packer) one(d directory, base, name string, n node, depth int) error {
	if !n.isDir() {
		defer n.close()
		return p.entry(name, n)
	}
	beyond := p.beyond != nil && p.beyond(n)
	if err := p.entry(name, n); err != nil || beyond {
		n.close()
		return err
	}
	sub, err := d.enter(base, n)
	if err != nil {
		return classify(name, err)
	}
	defer sub.close()
	return p.tree(sub, name+"/", depth+1)
}

// entry writes one file.
func (p *packer) entry(name string, n node) error {
	h := &tar.Header{Name: name, Mode: int64(n.st.Mode & 0o7777), ModTime: time.Unix(n.st.Mtim.Sec, 0), Format: tar.FormatPAX}
	h.Uid, h.Gid = p.ids.inside(n.st.Uid, n.st.Gid)
	switch n.kind() {
	case unix.S_IFSOCK:
		p.log.Debug("a socket is left out of an archive", "name", name)
		return nil
	case unix.S_IFDIR:
		h.Typeflag = tar.TypeDir
		if name != "/" {
			h.Name += "/"
		}
	case unix.S_IFREG:
		h.Typeflag = tar.TypeReg
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		target, err := readlink(n.fd)
		if err != nil {
			return classify(name, err)
		}
		h.Linkname = target
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if n.kind() == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(n.st.Rdev)), int64(unix.Minor(n.st.Rdev))
	}
	if !n.isDir() && n.st.Nlink > 1 {
		id := inode{n.st.Dev, n.st.Ino}
		if first, ok := p.seen[id]; ok {
			h.Typeflag, h.Linkname = tar.TypeLink, first
			return p.header(h)
		}
		p.seen[id] = name
	}
	if n.kind() == unix.S_IFREG || n.isDir() {
		var err error
		if h.PAXRecords, err = p.ids.xattrs(n.fd); err != nil {
			return classify(name, err)
		}
	}
	if h.Typeflag != tar.TypeReg {
		return p.header(h)
	}
	return p.file(h, n)
}

func (p *packer) header(h *tar.Header) error {
	if err := p.tw.WriteHeader(h); err != nil {
		return p.failed(h.Name, err)
	}
	return nil
}

// failed is an error of the archive's other end, or of a name that no archive
// can hold.
func (p *packer) failed(name string, err error) error {
	if cause := context.Cause(p.ctx); cause != nil {
		return cause
	}
	if errors.Is(err, tar.ErrHeader) {
		return errs.New(errs.InvalidParameter, "%s: %w", printable(name), err)
	}
	return err
}

// file writes a regular file.
func (p *packer) file(h *tar.Header, n node) error {
	// By way of /proc it is the same file that was looked at, whatever its name
	// stands for by now.
	fd, err := unix.Open(self(n.fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return classify(h.Name, err)
	}
	f := os.NewFile(uintptr(fd), path.Base(h.Name))
	defer f.Close()
	if n.st.Size == 0 || n.st.Size == 4096 && n.st.Blocks == 0 {
		made, ok, err := generated(fd)
		if err != nil {
			return classify(h.Name, err)
		}
		if ok {
			h.Size = int64(len(made))
			if err := p.header(h); err != nil {
				return err
			}
			_, err = p.tw.Write(made)
			return p.failed(h.Name, err)
		}
	}
	h.Size = n.st.Size
	if err := p.header(h); err != nil {
		return err
	}
	if n.st.Blocks*512 < n.st.Size {
		return p.sparse(h.Name, fd, h.Size)
	}
	return p.data(h.Name, fd, 0, h.Size)
}

// maxGenerated bounds what is read of a file that the kernel makes up.
const maxGenerated = 1 << 20

// generated reads a file of procfs or sysfs, whose size says nothing.
func generated(fd int) (content []byte, ok bool, err error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return nil, false, err
	}
	if !fromKernel(fs.Type) {
		return nil, false, nil
	}
	buf := make([]byte, 0, 4096)
	for len(buf) < maxGenerated {
		if len(buf) == cap(buf) {
			buf = append(buf, make([]byte, len(buf))...)[:len(buf)]
		}
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 { // much there cannot be read, or not now
			break
		}
		buf = buf[:len(buf)+n]
	}
	return buf, true, nil
}

// fromKernel reports whether a file system's files are the kernel's own, made
// when they are read.
func fromKernel(magic int64) bool {
	switch uint32(magic) {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC,
		unix.SECURITYFS_MAGIC, unix.BPF_FS_MAGIC, unix.EFIVARFS_MAGIC, unix.DEVPTS_SUPER_MAGIC:
		return true
	}
	return false
}

// sparse writes a file that has holes, without reading these from anywhere.
func (p *packer) sparse(name string, fd int, size int64) error {
	for at := int64(0); at < size; {
		data, err := unix.Seek(fd, at, unix.SEEK_DATA)
		switch {
		case errors.Is(err, unix.ENXIO):
			data = size
		case err != nil: // the file system does not know
			return p.data(name, fd, at, size)
		}
		data = min(data, size)
		if err := p.hole(name, data-at); err != nil {
			return err
		}
		if data == size {
			return nil
		}
		hole, err := unix.Seek(fd, data, unix.SEEK_HOLE)
		if err != nil {
			hole = size
		}
		hole = min(hole, size)
		if err := p.data(name, fd, data, hole); err != nil {
			return err
		}
		at = hole
	}
	return nil
}

// data writes a file's bytes between two places. If it became shorter meanwhile
// the rest is zeros: the size has been said.
func (p *packer) data(name string, fd int, from, to int64) error {
	for at := from; at < to; {
		if p.ctx.Err() != nil {
			return context.Cause(p.ctx)
		}
		n, err := unix.Pread(fd, p.buf[:min(int64(len(p.buf)), to-at)], at)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return classify(name, err)
		case n == 0:
			return p.hole(name, to-at)
		}
		if _, err := p.tw.Write(p.buf[:n]); err != nil {
			return p.failed(name, err)
		}
		at += int64(n)
	}
	return nil
}

func (p *packer) hole(name string, n int64) error {
	for n > 0 {
		if p.ctx.Err() != nil {
			return context.Cause(p.ctx)
		}
		part := min(n, int64(len(zeros)))
		if _, err := p.tw.Write(zeros[:part]); err != nil {
			return p.failed(name, err)
		}
		n -= part
	}
	return nil
}

// Archive writes what is at a path as a tar archive, its last element as the
// name of the archive's first. A link at the end is archived as one, unless a
// slash or a dot comes after it. Of a directory that the kernel makes up, such
// as /proc, the content is left out unless the path leads there.
func (r *Root) Archive(ctx context.Context, w io.Writer, name string) error {
	name = Clean(name)
	fd, err := r.open(name, unix.O_NOFOLLOW)
	if err != nil {
		return classify(name, err)
	}
	n := node{fd: fd}
	if n.st, err = stat(fd); err != nil {
		n.close()
		return classify(name, err)
	}
	p := newPacker(ctx, w, r.ids, r.log)
	p.beyond = r.beyond(n.st.Dev)
	if err := p.top(path.Base(name), n); err != nil {
		return err
	}
	return p.failed(name, p.tw.Close())
}

// top writes what an archive was asked for. The root has no name: what is in it
// stands in the archive by its absolute path.
func (p *packer) top(base string, n node) error {
	if base != "/" || !n.isDir() {
		return p.one(directory{fds: nil}, base, base, n, 0)
	}
	d := directory{fds: []int{n.fd}}
	defer d.close()
	if err := p.entry("/", n); err != nil {
		return err
	}
	return p.tree(d, "/", 0)
}

// beyond says which directories, seen from the file system dev, hold nothing that is the container's.
func (r *Root) beyond(dev uint64) func(node) bool {
	mounted := map[inode]bool{} // the places where the runtime mounts the kernel's
	for _, dir := range []string{"/dev", "/proc", "/sys"} {
		if fd, err := r.open(dir, unix.O_NOFOLLOW); err == nil {
			if st, err := stat(fd); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
				mounted[inode{st.Dev, st.Ino}] = true
			}
			_ = unix.Close(fd)
		}
	}
	return func(n node) bool {
		if n.st.Dev == dev {
			return false
		}
		if mounted[inode{n.st.Dev, n.st.Ino}] {
			return true
		}
		var fs unix.Statfs_t
		return unix.Fstatfs(n.fd, &fs) == nil && fromKernel(fs.Type)
	}
}
