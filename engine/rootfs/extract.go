package rootfs

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
)

// ExtractOptions say what may become of files that are there, and whose the new
// ones are.
type ExtractOptions struct {
	// KeepKinds refuses to put a directory in the place of another file, or
	// another file in that of a directory.
	KeepKinds bool
	// Owner owns all that is extracted, in the container's ids; nil: who the
	// archive says.
	Owner *Owner
}

// Owner is a user and a group as the container knows them.
type Owner struct{ UID, GID int }

// extractor makes files of an archive below one directory.
//
// Whatever it makes belongs to its owner from the start: the thread takes the
// owner's ids before. Nothing is chowned or chmoded by its name, which the
// container could give to another file in between.
type extractor struct {
	ctx  context.Context
	root *Root
	opts ExtractOptions
	at   string  // the directory's path, for messages and for links that lead out of it
	open []level // the directories from there to the current one
	// escapes is set once the archive has made a link that leads out of the
	// directory. From then on no such link is followed: what it brought itself
	// must not decide where the rest goes.
	escapes bool
	who     owner
	buf     []byte
	dest    int // descriptor of the directory
}

// Extract makes files of the tar archive in content, below the directory at
// name. Links in that path are followed. In the archive's own names they are as
// long as they stay below it, or were there before. What fails leaves those
// entries that came before, and no part of the one that failed.
func (r *Root) Extract(ctx context.Context, content io.Reader, name string, o ExtractOptions) error {
	name = Clean(name)
	dest, err := r.open(name, unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOTDIR) {
		return errs.New(errs.InvalidParameter, "extraction point is not a directory: %s", printable(name))
	}
	if err != nil {
		return classify(name, err)
	}
	defer unix.Close(dest)
	if err := r.writable(dest); err != nil {
		return err
	}
	x := &extractor{ctx: ctx, root: r, opts: o, at: name, dest: dest, buf: make([]byte, holeSize)}
	return apart(func() error { return x.run(content) })
}

// writable refuses a place where nothing can be made, in Docker's words.
func (r *Root) writable(dest int) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(dest, &fs); err != nil {
		return errs.Wrap(errs.System, err)
	}
	if fs.Flags&unix.ST_RDONLY == 0 {
		return nil
	}
	here, err := mountOf(dest)
	if err != nil {
		return errs.Wrap(errs.System, err)
	}
	root, err := mountOf(int(r.dir.Fd()))
	if err != nil {
		return errs.Wrap(errs.System, err)
	}
	if here == root {
		return errs.New(errs.Forbidden, "container rootfs is marked read-only")
	}
	return errs.New(errs.Forbidden, "mounted volume is marked read-only")
}

// mountOf returns the number of the mount that a file was found on.
func mountOf(fd int) (uint64, error) {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st)
	return st.Mnt_id, err
}

func (x *extractor) run(content io.Reader) error {
	x.open = []level{{fd: x.dest}}
	defer func() { x.leave(1) }()
	tr := tar.NewReader(content)
	for {
		if x.ctx.Err() != nil {
			return context.Cause(x.ctx)
		}
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return x.unreadable(err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := x.entry(h, tr); err != nil {
			return err
		}
	}
}

// unreadable is a failure of the archive, or of who sends it.
func (x *extractor) unreadable(err error) error {
	if cause := context.Cause(x.ctx); cause != nil {
		return cause
	}
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errs.New(errs.InvalidParameter, "reading the archive: %w", err)
	}
	if errs.KindOf(err) == errs.Unknown {
		return errs.New(errs.InvalidParameter, "reading the archive: %w", err)
	}
	return err
}

func (x *extractor) entry(h *tar.Header, body io.Reader) error {
	steps, err := x.steps(h.Name)
	if err != nil {
		return err
	}
	if len(steps) == 0 { // the directory itself, which stays as it is
		if h.Typeflag == tar.TypeDir {
			return nil
		}
		return errs.New(errs.InvalidParameter, "cannot overwrite directory %q with non-directory %q", x.at, h.Name)
	}
	if err := x.enter(steps[:len(steps)-1]); err != nil {
		return err
	}
	return classify(h.Name, x.make(h, steps, body))
}

// make makes what an entry describes in the current directory.
func (x *extractor) make(h *tar.Header, steps []string, body io.Reader) error {
	dir, name := x.open[len(x.open)-1].fd, steps[len(steps)-1]
	there, err := lookAt(dir, name)
	if err == nil {
		var done bool
		if h.Typeflag == tar.TypeDir && there.isDir() {
			done, err = true, x.merge(h, there)
		} else {
			done, err = x.replace(h, dir, name, there, body)
		}
		// A file that was removed takes its space until nobody has it open.
		there.close()
		if done || err != nil {
			return err
		}
	} else if !errors.Is(err, unix.ENOENT) {
		return err
	}
	if err := x.become(h); err != nil {
		return err
	}
	mode := uint32(h.Mode & 0o7777)
	switch h.Typeflag {
	case tar.TypeDir:
		return x.mkdir(h, dir, name, mode)
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return x.file(h, dir, name, mode, body)
	case tar.TypeLink:
		return x.link(h, dir, name)
	case tar.TypeSymlink:
		x.escapes = x.escapes || leadsOut(len(steps)-1, h.Linkname)
		if err := unix.Symlinkat(h.Linkname, dir, name); err != nil {
			return err
		}
	case tar.TypeFifo:
		if err := unix.Mknodat(dir, name, mode&0o777|unix.S_IFIFO, 0); err != nil {
			return err
		}
	case tar.TypeChar, tar.TypeBlock:
		if x.root.ids.mapped() {
			return errs.New(errs.Forbidden, "%s is a device, which a container in a user namespace cannot have", printable(h.Name))
		}
		kind := uint32(unix.S_IFCHR)
		if h.Typeflag == tar.TypeBlock {
			kind = unix.S_IFBLK
		}
		if err := unix.Mknodat(dir, name, mode&0o777|kind, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)))); err != nil {
			return err
		}
	default:
		return errs.New(errs.InvalidParameter, "%s: unhandled tar header type %d", printable(h.Name), h.Typeflag)
	}
	made, err := lookAt(dir, name)
	if err != nil {
		return err
	}
	defer made.close()
	if err := x.regroup(made); err != nil {
		return err
	}
	times := timesOf(h)
	err = unix.UtimesNanoAt(made.fd, "", times, unix.AT_EMPTY_PATH)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // before Linux 5.8: not with an empty path
		err = unix.UtimesNanoAt(dir, name, times, unix.AT_SYMLINK_NOFOLLOW)
	}
	return err
}

// replace makes room for an entry where another file is. done says that the
// entry is in its place already.
func (x *extractor) replace(h *tar.Header, dir int, name string, there node, body io.Reader) (done bool, err error) {
	if x.opts.KeepKinds {
		switch {
		case there.isDir():
			return false, errs.New(errs.InvalidParameter, "cannot overwrite directory %q with non-directory %q", path.Join(x.at, h.Name), x.at)
		case h.Typeflag == tar.TypeDir:
			return false, errs.New(errs.InvalidParameter, "cannot overwrite non-directory %q with directory %q", path.Join(x.at, h.Name), x.at)
		}
	}
	if h.Typeflag == tar.TypeLink {
		// The file itself under its own name would be gone before it is linked to.
		if same, err := x.linksTo(h, there); same || err != nil {
			return same, err
		}
	}
	err = remove(dir, name, there, 0)
	if errors.Is(err, unix.EBUSY) && there.kind() == unix.S_IFREG && (h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeGNUSparse) {
		// A file that is a mount of its own, such as /etc/hosts, takes the content.
		return true, x.overwrite(h, there, body)
	}
	return false, err
}

// merge gives a directory that is there what the archive says of it.
func (x *extractor) merge(h *tar.Header, there node) error {
	fd, err := unix.Open(self(there.fd), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	uid, gid, err := x.owner(h)
	if err != nil {
		return err
	}
	if there.st.Uid != uid || there.st.Gid != gid {
		if err := unix.Fchown(fd, int(uid), int(gid)); err != nil {
			return err
		}
	}
	return x.dress(fd, h, uint32(h.Mode&0o7777), true)
}

// dress gives an open file of ours its mode, attributes and time. A directory
// gets its time again when everything is in it.
func (x *extractor) dress(fd int, h *tar.Header, mode uint32, isDir bool) error {
	if err := unix.Fchmod(fd, mode); err != nil {
		return err
	}
	if err := x.root.ids.setXattrs(fd, h.PAXRecords); err != nil {
		return err
	}
	times := timesOf(h)
	if err := unix.UtimesNanoAt(fd, "", times, unix.AT_EMPTY_PATH); err != nil {
		if err := futimens(fd, times); err != nil {
			return err
		}
	}
	if isDir {
		return x.later(h)
	}
	return nil
}

func futimens(fd int, times []unix.Timespec) error {
	return unix.UtimesNanoAt(unix.AT_FDCWD, self(fd), times, 0)
}

func timesOf(h *tar.Header) []unix.Timespec {
	stamp := func(t time.Time) unix.Timespec {
		if t.IsZero() || t.Unix() < 0 {
			return unix.Timespec{}
		}
		return unix.NsecToTimespec(t.UnixNano())
	}
	m := stamp(h.ModTime)
	if h.AccessTime.IsZero() {
		return []unix.Timespec{m, m}
	}
	return []unix.Timespec{stamp(h.AccessTime), m}
}

// mkdir makes a directory.
func (x *extractor) mkdir(h *tar.Header, dir int, name string, mode uint32) error {
	if err := unix.Mkdirat(dir, name, mode&0o777); err != nil {
		return err
	}
	fd, err := openAt(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	made := node{fd: fd}
	if made.st, err = stat(fd); err != nil {
		return err
	}
	if !made.isDir() || made.st.Uid != x.who.uid || made.st.Mode&0o777 != mode&0o777 {
		return errs.New(errs.Conflict, "it was changed while it was made")
	}
	if err := x.regroup(made); err != nil {
		return err
	}
	return x.dress(fd, h, mode, true)
}

// regroup corrects the group of a new file, which it has from its directory
// where that is set-group-ID.
func (x *extractor) regroup(made node) error {
	if made.st.Gid == x.who.gid {
		return nil
	}
	if made.st.Uid != x.who.uid || !made.isDir() && made.st.Nlink != 1 {
		return errs.New(errs.Conflict, "it was changed while it was made")
	}
	return unix.Fchownat(made.fd, "", -1, int(x.who.gid), unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW)
}

// source finds the file that a hard link in the archive is to.
func (x *extractor) source(h *tar.Header) (dir int, name string, done func(), err error) {
	steps, err := x.steps(h.Linkname)
	if err != nil || len(steps) == 0 {
		return 0, "", nil, errs.New(errs.InvalidParameter, "invalid hardlink %q -> %q", h.Name, h.Linkname)
	}
	if len(steps) == 1 {
		return x.dest, steps[0], func() {}, nil
	}
	fd, err := x.resolve(steps[:len(steps)-1])
	if err != nil {
		return 0, "", nil, err
	}
	return fd, steps[len(steps)-1], func() { _ = unix.Close(fd) }, nil
}

// linksTo reports whether a file is the one that a hard link is to.
func (x *extractor) linksTo(h *tar.Header, there node) (bool, error) {
	dir, name, done, err := x.source(h)
	if err != nil {
		return false, err
	}
	defer done()
	n, err := lookAt(dir, name)
	if errors.Is(err, unix.ENOENT) {
		return false, noTarget(h)
	}
	if err != nil {
		return false, err
	}
	defer n.close()
	return n.st.Ino == there.st.Ino && n.st.Dev == there.st.Dev, nil
}

func (x *extractor) link(h *tar.Header, dir int, name string) error {
	from, file, done, err := x.source(h)
	if err != nil {
		return err
	}
	defer done()
	err = unix.Linkat(from, file, dir, name, 0)
	if errors.Is(err, unix.ENOENT) {
		return noTarget(h)
	}
	return err
}

func noTarget(h *tar.Header) error {
	return errs.New(errs.InvalidParameter, "invalid hardlink %q -> %q: there is no such file", h.Name, h.Linkname)
}

// owner returns the host's ids of who an entry belongs to.
func (x *extractor) owner(h *tar.Header) (uid, gid uint32, err error) {
	if o := x.opts.Owner; o != nil {
		return x.root.ids.outside(o.UID, o.GID)
	}
	return x.root.ids.outside(h.Uid, h.Gid)
}

// become makes the thread's new files belong to an entry's owner.
func (x *extractor) become(h *tar.Header) error {
	uid, gid, err := x.owner(h)
	if err != nil {
		return err
	}
	return x.who.become(uid, gid)
}
