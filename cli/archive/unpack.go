package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Options say what of an archive's files is kept.
type Options struct {
	Owners bool // whose they are; else they are the caller's
}

// Extract makes files of an archive that the copy of source to path needs.
func Extract(content io.Reader, source Info, path string, o Options) error {
	destination, err := Destination(path)
	if err != nil {
		return err
	}
	dir, name, err := Plan(source, destination)
	if err != nil {
		return err
	}
	if name != "" {
		rebased := Rebase(content, source.Name(), name)
		defer rebased.Close()
		content = rebased
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	x := extractor{root: root, dir: dir, opts: o, buf: make([]byte, pieceSize)}
	return x.run(tar.NewReader(content))
}

// extractor makes files below a directory, which os.Root holds it to.
type extractor struct {
	root *os.Root
	dir  string
	opts Options
	dirs []dirTime // the directories that lead to the current file
	buf  []byte
}

// dirTime is the time that a directory gets when everything is in it.
type dirTime struct {
	name  string
	mtime time.Time
}

func (x *extractor) run(tr *tar.Reader) error {
	for {
		h, err := tr.Next()
		if err == io.EOF {
			x.finish("")
			return nil
		}
		if err != nil {
			return err
		}
		if err := x.entry(h, tr); err != nil {
			return err
		}
	}
}

// inside cleans a name; one that leads out of the directory is an error.
func (x *extractor) inside(name string) (string, error) {
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", fmt.Errorf("%q is outside of %q", name, x.dir)
	}
	return clean, nil
}

func (x *extractor) entry(h *tar.Header, body io.Reader) error {
	name, err := x.inside(h.Name)
	if err != nil {
		return err
	}
	x.finish(name)
	if name == "." {
		if h.Typeflag == tar.TypeDir || h.Typeflag == tar.TypeXGlobalHeader {
			return nil
		}
		return fmt.Errorf("cannot overwrite directory %q with non-directory %q", x.dir, h.Name)
	}
	if parent := path.Dir(name); parent != "." {
		if err := x.root.MkdirAll(parent, 0o755); err != nil {
			return err
		}
	}
	merged, err := x.makeRoom(h, name)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if !merged {
			err = x.root.Mkdir(name, 0o700)
		}
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return x.file(h, name, body)
	case tar.TypeSymlink:
		err = x.root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		var target string
		if target, err = x.inside(h.Linkname); err != nil {
			return fmt.Errorf("invalid hardlink %q -> %q", h.Name, h.Linkname)
		}
		return x.root.Link(target, name)
	case tar.TypeFifo, tar.TypeChar, tar.TypeBlock:
		err = x.node(h, name)
	case tar.TypeXGlobalHeader:
		return nil
	default:
		return fmt.Errorf("%q: unhandled tar header type %d", h.Name, h.Typeflag)
	}
	if err != nil {
		return err
	}
	return x.dress(h, name)
}

// makeRoom removes what an entry takes the place of. Directories and other
// files do not take each other's. merged says that the directory is there.
func (x *extractor) makeRoom(h *tar.Header, name string) (merged bool, err error) {
	st, err := x.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case st.IsDir() && h.Typeflag == tar.TypeDir:
		return true, nil
	case st.IsDir():
		return false, fmt.Errorf("cannot overwrite directory %q with non-directory %q", filepath.Join(x.dir, name), x.dir)
	case h.Typeflag == tar.TypeDir:
		return false, fmt.Errorf("cannot overwrite non-directory %q with directory %q", filepath.Join(x.dir, name), x.dir)
	}
	return false, x.root.Remove(name)
}

// zeros is compared with to find what may be a hole.
var zeros [pieceSize]byte

// file makes a regular file. Long runs of zeros become holes, and what cannot
// be made whole is removed.
func (x *extractor) file(h *tar.Header, name string, body io.Reader) error {
	f, err := x.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err = x.fill(f, h.Size, body); err == nil && x.opts.Owners {
		err = f.Chown(h.Uid, h.Gid)
	}
	if err == nil {
		err = f.Chmod(h.FileInfo().Mode())
	}
	for _, name := range attributes {
		if value, ok := h.PAXRecords[paxXattr+name]; ok && err == nil {
			_ = unix.Fsetxattr(int(f.Fd()), name, []byte(value), 0) // for root, where the file system has them
		}
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = x.root.Remove(name)
		return err
	}
	return x.root.Chtimes(name, h.ModTime, h.ModTime)
}

func (x *extractor) fill(f *os.File, size int64, body io.Reader) error {
	for at := int64(0); at < size; {
		n, err := io.ReadFull(body, x.buf[:min(int64(len(x.buf)), size-at)])
		if err != nil {
			return err
		}
		if n < len(x.buf) || !bytes.Equal(x.buf, zeros[:]) {
			if _, err := f.WriteAt(x.buf[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
	}
	return f.Truncate(size)
}

// node makes a FIFO or a device.
func (x *extractor) node(h *tar.Header, name string) error {
	dir, err := x.root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	kind := map[byte]uint32{tar.TypeFifo: unix.S_IFIFO, tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK}[h.Typeflag]
	number := unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
	if err := unix.Mknodat(int(dir.Fd()), path.Base(name), kind|0o600, int(number)); err != nil {
		return &fs.PathError{Op: "mknod", Path: name, Err: err}
	}
	return nil
}

// dress gives what is no regular file its owner, mode and time.
func (x *extractor) dress(h *tar.Header, name string) error {
	if x.opts.Owners {
		if err := x.root.Lchown(name, h.Uid, h.Gid); err != nil {
			return err
		}
	}
	if h.Typeflag == tar.TypeSymlink { // has no mode, and no time that anybody looks at
		return nil
	}
	if err := x.root.Chmod(name, h.FileInfo().Mode()); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		x.dirs = append(x.dirs, dirTime{name, h.ModTime})
		return nil
	}
	return x.root.Chtimes(name, h.ModTime, h.ModTime)
}

// finish sets the times of the directories that a name is not in any more.
func (x *extractor) finish(name string) {
	for len(x.dirs) > 0 {
		d := x.dirs[len(x.dirs)-1]
		if strings.HasPrefix(name, d.name+"/") {
			return
		}
		x.dirs = x.dirs[:len(x.dirs)-1]
		_ = x.root.Chtimes(d.name, d.mtime, d.mtime) // it is only a time
	}
}
