package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
)

// errNeedsParents says that a layer cannot be extracted without a look at the
// layers below it.
var errNeedsParents = errors.New("layer depends on the layers below it")

// extraction is one layer on its way into a directory.
type extraction struct {
	desc ocispec.Descriptor // the blob
	diff digest.Digest      // what its tar must hash to
	dir  string
	// base marks the lowest layer. Any other one is extracted before the layers
	// below it are known, and fails with errNeedsParents where that is not
	// possible; parents then holds their directories, topmost first.
	base     bool
	parents  []string
	progress func(read int64) // bytes of the blob that were taken in; may be nil
	free     func() int64     // bytes that may still be written
}

// run extracts the layer and checks its digest.
func (x *extraction) run(ctx context.Context, blobs content.Provider) error {
	ra, err := blobs.ReaderAt(ctx, x.desc)
	if err != nil {
		return fmt.Errorf("opening layer %s: %w", x.desc.Digest, err)
	}
	defer ra.Close()
	in := &countReader{r: io.NewSectionReader(ra, 0, ra.Size()), tell: x.progress}
	plain, err := decompress(in)
	if err != nil {
		return fmt.Errorf("extracting layer %s: %w", x.desc.Digest, err)
	}
	defer plain.Close()

	digester := x.diff.Algorithm().Digester()
	tee := io.TeeReader(plain, digester.Hash())
	_, err = archive.Apply(ctx, x.dir, tee,
		archive.WithConvertWhiteout(archive.OverlayConvertWhiteout),
		archive.WithParents(x.parents),
		archive.WithFilter((&entryFilter{layer: x, dirs: map[string]struct{}{}}).accept))
	if err == nil {
		// What follows the archive's end counts for the digest.
		_, err = io.Copy(io.Discard, tee)
	}
	if err != nil {
		return fmt.Errorf("extracting layer %s: %w", x.desc.Digest, err)
	}
	if got := digester.Digest(); got != x.diff {
		return errs.New(errs.InvalidParameter, "layer %s has content %s, the image's config names %s", x.desc.Digest, got, x.diff)
	}
	return nil
}

// ApplyLayer extracts the archive of a layer into dir, which is empty, with
// whiteouts as overlayfs has them. parents are the layers below, topmost first.
// It reads r to its end.
func ApplyLayer(ctx context.Context, r io.Reader, dir string, parents []string) error {
	x := &extraction{dir: dir, parents: parents}
	_, err := archive.Apply(ctx, dir, r,
		archive.WithConvertWhiteout(archive.OverlayConvertWhiteout),
		archive.WithParents(parents),
		archive.WithFilter((&entryFilter{layer: x, dirs: map[string]struct{}{}}).accept))
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	if err != nil {
		return fmt.Errorf("extracting a layer: %w", err)
	}
	return nil
}

// entryFilter looks at each entry of a layer before it is extracted.
type entryFilter struct {
	layer *extraction
	dirs  map[string]struct{} // directories that the layer itself describes
}

func (f *entryFilter) accept(hdr *tar.Header) (bool, error) {
	// These attributes are overlayfs's own: a layer that could set them could
	// redirect a directory or bring hidden files back.
	for key := range hdr.PAXRecords {
		if strings.HasPrefix(key, "SCHILY.xattr.trusted.overlay.") || strings.HasPrefix(key, "SCHILY.xattr.user.overlay.") {
			delete(hdr.PAXRecords, key)
		}
	}
	if f.layer.free != nil && hdr.Size > f.layer.free() {
		return false, errs.New(errs.Exhausted, "file %q of %d bytes does not fit: %w", hdr.Name, hdr.Size, unix.ENOSPC)
	}
	if f.layer.base || f.layer.parents != nil {
		return true, nil
	}
	// A directory that the layer uses without describing it takes mode, owner and
	// attributes from below; a hard link may point to a file below. Most tools
	// write layers that have neither.
	name := path.Clean("/" + hdr.Name)
	if hdr.Typeflag == tar.TypeDir {
		f.dirs[name] = struct{}{}
	}
	if dir := path.Dir(name); dir != "/" {
		if _, ok := f.dirs[dir]; !ok {
			return false, errNeedsParents
		}
	}
	if hdr.Typeflag == tar.TypeLink && !existsIn(f.layer.dir, hdr.Linkname) {
		return false, errNeedsParents
	}
	return true, nil
}

// existsIn reports whether name is there below dir, with dir as the root.
func existsIn(dir, name string) bool {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// emptyDir removes what dir holds, but not dir.
func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("emptying layer directory: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(dir + "/" + e.Name()); err != nil {
			return fmt.Errorf("emptying layer directory: %w", err)
		}
	}
	return nil
}

type countReader struct {
	r    io.Reader
	n    int64
	tell func(int64)
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if c.tell != nil {
		c.tell(c.n)
	}
	return n, err
}

// Signatures at the start of a compressed file.
var (
	magicGzip  = []byte{0x1f, 0x8b}
	magicZstd  = []byte{0x28, 0xb5, 0x2f, 0xfd}
	magicXz    = []byte{0xfd, '7', 'z', 'X', 'Z', 0}
	magicBzip2 = []byte("BZh")
)

// Decompress undoes gzip, bzip2 or zstd, told by content and not by name;
// anything else passes as it is. Everything happens in this process, whatever
// programs there are: a decompressor that is looked up by name may be found in a
// place that somebody else fills (CVE-2026-41567).
func Decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 128<<10)
	head, err := br.Peek(len(magicXz))
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, magicXz):
		return nil, errXz
	case bytes.HasPrefix(head, magicBzip2):
		return io.NopCloser(bzip2.NewReader(br)), nil
	}
	return decompress(br)
}

var errXz = errs.New(errs.InvalidParameter, "archive is compressed with xz, which is not supported: use gzip or zstd")

// decompress undoes gzip or zstd, as layers are compressed; anything else
// passes as it is. Containerd's own function runs unpigz or igzip where it finds
// them.
func decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 128<<10)
	head, err := br.Peek(len(magicXz))
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, magicGzip):
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("reading gzip: %w", err)
		}
		return z, nil
	case bytes.HasPrefix(head, magicZstd):
		z, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, fmt.Errorf("reading zstd: %w", err)
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(br), nil
}
