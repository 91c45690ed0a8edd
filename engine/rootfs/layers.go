package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
)

// Layers are the files of a root filesystem as they lie on disk: the
// container's own layer and those of its image. They are read where they lie,
// so it makes no difference whether the container runs; what it changes
// meanwhile may be seen or not.
type Layers struct {
	Upper string   // the container's own
	Lower []string // the image's, topmost first
	Log   *slog.Logger
}

// Names in a layer's archive that stand for no file (OCI image spec,
// layer.md).
const (
	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
)

// Export writes all files as a tar archive. Where something is mounted in the
// container, the archive has what lies below.
func (l Layers) Export(ctx context.Context, w io.Writer) error {
	root, err := openLayers(append([]string{l.Upper}, l.Lower...))
	if err != nil {
		return errs.Wrap(errs.System, err)
	}
	defer root.close()
	p := newPacker(ctx, w, IDs{}, l.Log)
	if err := p.tree(root, "", 0); err != nil {
		return err
	}
	return p.failed("", p.tw.Close())
}

// Diff writes what the container changed as the archive of a layer: new and
// changed files, and whiteouts for those that it removed. Files whose names
// would stand for a removal cannot be in a layer and are left out.
func (l Layers) Diff(ctx context.Context, w io.Writer) error {
	p := newPacker(ctx, w, IDs{}, l.Log)
	d := differ{packer: p}
	if err := l.compare(ctx, &d); err != nil {
		return err
	}
	return p.failed("", p.tw.Close())
}

// Changes lists what the container changed, sorted by path.
func (l Layers) Changes(ctx context.Context) ([]container.FilesystemChange, error) {
	var list lister
	if err := l.compare(ctx, &list); err != nil {
		return nil, err
	}
	slices.SortFunc(list.changes, func(a, b container.FilesystemChange) int { return strings.Compare(a.Path, b.Path) })
	return list.changes, nil
}

// visitor is told of what is in a container's own layer.
type visitor interface {
	// file is told of a file, and of what it hides: nil for nothing.
	file(name string, n node, hidden *node) error
	// gone is told of a name that the image has and the container has not.
	gone(name string) error
	// cleared is told that nothing is left of the image's directory that n
	// hides: names are those that are in it no more.
	cleared(name string, n node, names []string) error
	// left is told that all in a directory has been seen.
	left(name string) error
}

// compare walks the container's own layer with the image's beside it.
func (l Layers) compare(ctx context.Context, v visitor) error {
	upper, err := openLayers([]string{l.Upper})
	if err != nil {
		return errs.Wrap(errs.System, err)
	}
	defer upper.close()
	lower, err := openLayers(l.Lower)
	if err != nil {
		return errs.Wrap(errs.System, err)
	}
	defer lower.close()
	return compare(ctx, v, "", upper.fds[0], lower, 0)
}

// compare compares the directory upper of the container's own layer with the
// image's, which may have none.
func compare(ctx context.Context, v visitor, prefix string, upper int, lower directory, depth int) error {
	if depth > maxDepth {
		return errs.New(errs.InvalidParameter, "%s: more than %d directories below each other", printable(prefix), maxDepth)
	}
	names, err := directory{fds: []int{upper}}.names()
	if err != nil {
		return classify(prefix, err)
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := lookAt(upper, name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err == nil {
			err = compareOne(ctx, v, prefix+name, name, n, lower, depth)
			n.close()
		}
		if err != nil {
			return classify(prefix+name, err)
		}
	}
	return nil
}

func compareOne(ctx context.Context, v visitor, path, name string, n node, lower directory, depth int) error {
	var hidden *node
	switch below, err := lower.look(name); {
	case err == nil:
		hidden = &below
		defer func() {
			if hidden != nil {
				hidden.close()
			}
		}()
	case !errors.Is(err, unix.ENOENT):
		return err
	}
	if n.isWhiteout() {
		if hidden == nil {
			return nil
		}
		return v.gone(path)
	}
	if err := v.file(path, n, hidden); err != nil {
		return err
	}
	if hidden == nil || !hidden.isDir() {
		if !n.isDir() {
			return nil
		}
		if err := compare(ctx, v, path+"/", n.fd, directory{}, depth+1); err != nil {
			return err
		}
		return v.left(path)
	}
	below, err := lower.enter(name, *hidden)
	hidden = nil // it is below's now
	if err != nil {
		return err
	}
	defer below.close()
	if !n.isDir() || opaque(n.fd) {
		lost, err := missing(n, below)
		if err != nil {
			return err
		}
		if err := v.cleared(path, n, lost); err != nil {
			return err
		}
	}
	if !n.isDir() {
		return nil
	}
	if err := compare(ctx, v, path+"/", n.fd, below, depth+1); err != nil {
		return err
	}
	return v.left(path)
}

// missing lists what is in the image's directory and not in the container's,
// which hides it. What is a whiteout there is told of by itself.
func missing(n node, below directory) ([]string, error) {
	names, err := below.names()
	if err != nil {
		return nil, err
	}
	lost := names[:0]
	for _, name := range names {
		if n.isDir() {
			if here, err := lookAt(n.fd, name); err == nil {
				here.close()
				continue
			}
		}
		if there, err := below.look(name); err == nil {
			there.close()
			lost = append(lost, name)
		}
	}
	return lost, nil
}

// differ writes changes as a layer.
type differ struct{ *packer }

func (d *differ) file(name string, n node, _ *node) error {
	if base := name[strings.LastIndexByte(name, '/')+1:]; strings.HasPrefix(base, whiteoutPrefix) {
		d.log.Warn("a file is left out of an image: in a layer its name would remove another one", "name", name)
		return nil
	}
	return d.entry(name, n)
}

func (d *differ) gone(name string) error {
	at := strings.LastIndexByte(name, '/') + 1
	return d.header(&tar.Header{Typeflag: tar.TypeReg, Name: name[:at] + whiteoutPrefix + name[at:], Format: tar.FormatPAX})
}

func (d *differ) cleared(name string, n node, names []string) error {
	if !n.isDir() || len(names) == 0 {
		return nil
	}
	return d.header(&tar.Header{Typeflag: tar.TypeReg, Name: name + "/" + opaqueName, Format: tar.FormatPAX})
}

func (d *differ) left(string) error { return nil }

// lister lists changes.
type lister struct {
	changes []container.FilesystemChange
	dirs    []mark // the directories that lead to the current file, unless they are listed themselves
}

// mark is how many changes there were when a directory was entered.
type mark struct {
	name   string
	before int
}

func (l *lister) add(kind container.ChangeType, name string) {
	l.changes = append(l.changes, container.FilesystemChange{Kind: kind, Path: "/" + name})
}

func (l *lister) file(name string, n node, hidden *node) error {
	if n.isDir() {
		defer func() { l.dirs = append(l.dirs, mark{name, len(l.changes)}) }()
	}
	if hidden == nil {
		l.add(container.ChangeAdd, name)
		return nil
	}
	same, err := unchanged(n, *hidden)
	if err == nil && !same {
		l.add(container.ChangeModify, name)
	}
	return err
}

func (l *lister) gone(name string) error {
	l.add(container.ChangeDelete, name)
	return nil
}

func (l *lister) cleared(name string, _ node, names []string) error {
	for _, n := range names {
		l.add(container.ChangeDelete, name+"/"+n)
	}
	return nil
}

// left adds a directory in which something has changed, as Docker does.
func (l *lister) left(name string) error {
	m := l.dirs[len(l.dirs)-1]
	l.dirs = l.dirs[:len(l.dirs)-1]
	listed := m.before > 0 && slices.ContainsFunc(l.changes[m.before-1:m.before], func(c container.FilesystemChange) bool { return c.Path == "/"+name })
	if len(l.changes) > m.before && !listed {
		l.add(container.ChangeModify, name)
	}
	return nil
}

// unchanged reports whether a file in the container's layer is as the image
// has it: opening a file for writing copies it up without changing it. The
// contents are not looked at.
func unchanged(a, b node) (bool, error) {
	if a.st.Mode != b.st.Mode || a.st.Uid != b.st.Uid || a.st.Gid != b.st.Gid || a.st.Rdev != b.st.Rdev {
		return false, nil
	}
	if !a.isDir() && (a.st.Size != b.st.Size || a.st.Mtim != b.st.Mtim) {
		return false, nil
	}
	caps := func(n node) ([]byte, error) {
		v, err := getXattr(self(n.fd), capability)
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
			return nil, nil
		}
		return v, err
	}
	if a.kind() != unix.S_IFREG {
		return true, nil
	}
	x, err := caps(a)
	if err != nil {
		return false, err
	}
	y, err := caps(b)
	return bytes.Equal(x, y), err
}
