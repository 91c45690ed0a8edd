package archive

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Packed is a source that becomes a tar archive when it is written or read, once.
type Packed struct {
	source Info
	name   string
	pipe   *io.PipeReader // nil until it is read
}

// Pack returns a source as a tar archive, in which it is called name; "" is its
// own. It has to be closed.
func Pack(source Info, name string) *Packed {
	if name == "" {
		name = source.Name()
	}
	return &Packed{source: source, name: name}
}

// WriteTo implements io.WriterTo: nothing is between the files and w.
func (p *Packed) WriteTo(w io.Writer) (int64, error) {
	counted := &counter{Writer: w}
	k := packer{tw: tar.NewWriter(counted), seen: map[[2]uint64]string{}, buf: make([]byte, pieceSize)}
	err := k.pack(p.source, p.name)
	if err == nil {
		err = k.tw.Close()
	}
	return counted.n, err
}

type counter struct {
	io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.n += int64(n)
	return n, err
}

// Read implements io.Reader.
func (p *Packed) Read(b []byte) (int, error) {
	if p.pipe == nil {
		r, w := io.Pipe()
		p.pipe = r
		go func() {
			_, err := p.WriteTo(w)
			_ = w.CloseWithError(err)
		}()
	}
	return p.pipe.Read(b)
}

// Close implements io.Closer.
func (p *Packed) Close() error {
	if p.pipe != nil {
		return p.pipe.Close()
	}
	return nil
}

type packer struct {
	tw   *tar.Writer
	seen map[[2]uint64]string // by which name a file with several was written
	buf  []byte
}

func (p *packer) pack(source Info, name string) error {
	root := filepath.Join(Split(source.Path))
	return filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if path != root && errors.Is(err, fs.ErrNotExist) { // it went while we were looking
			return nil
		}
		if err != nil {
			return err
		}
		inner, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		entry := name
		switch {
		case inner != "." && name == "/":
			entry = "/" + inner
		case inner != ".":
			entry = name + "/" + inner
		}
		if err = p.entry(path, entry); path != root && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

func (p *packer) entry(path, name string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	h := &tar.Header{
		Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid), ModTime: time.Unix(st.Mtim.Sec, 0), Format: tar.FormatPAX,
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		return nil
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, strings.TrimSuffix(name, "/")+"/"
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(uint64(st.Rdev))), int64(unix.Minor(uint64(st.Rdev)))
	default:
		h.Typeflag = tar.TypeReg
	}
	if h.Typeflag != tar.TypeDir && st.Nlink > 1 {
		id := [2]uint64{uint64(st.Dev), st.Ino}
		if first, ok := p.seen[id]; ok {
			h.Typeflag, h.Linkname = tar.TypeLink, first
			return p.tw.WriteHeader(h)
		}
		p.seen[id] = name
	}
	if h.Typeflag != tar.TypeReg {
		return p.tw.WriteHeader(h)
	}
	return p.file(path, h)
}

func (p *packer) file(path string, h *tar.Header) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	h.Size = st.Size()
	for _, name := range attributes {
		if value := getAttribute(f, name); value != "" {
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.PAXRecords[paxXattr+name] = value
		}
	}
	if err := p.tw.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{p.tw}, struct{ io.Reader }{io.LimitReader(f, h.Size)}, p.buf)
	if err == nil && n < h.Size { // it became shorter, and its size has been said
		clear(p.buf)
		for ; n < h.Size && err == nil; n += int64(len(p.buf)) {
			_, err = p.tw.Write(p.buf[:min(int64(len(p.buf)), h.Size-n)])
		}
	}
	return err
}

// paxXattr begins the tar record of an extended attribute.
const paxXattr = "SCHILY.xattr."

// attributes are those that go along with a file.
var attributes = [...]string{"security.capability"}

func getAttribute(f *os.File, name string) string {
	var buf [256]byte
	n, err := unix.Fgetxattr(int(f.Fd()), name, buf[:])
	if err != nil {
		return ""
	}
	return string(buf[:n])
}
