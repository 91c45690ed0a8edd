package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"strings"
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

// level is an open directory, and what it gets when everything is in it.
type level struct {
	name  string
	fd    int // O_PATH
	mtime *time.Time
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
	x := &extractor{ctx: ctx, root: r, opts: o, at: name, dest: dest, buf: make([]byte, bufferSize)}
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

// steps splits a name in an archive into the names from the directory on.
func (x *extractor) steps(name string) ([]string, error) {
	clean := path.Clean(strings.TrimLeft(name, "/"))
	switch {
	case clean == "..", strings.HasPrefix(clean, "../"):
		return nil, errs.New(errs.InvalidParameter, "%s is outside of %s", printable(name), printable(x.at))
	case clean == ".":
		return nil, nil
	case strings.ContainsRune(clean, 0):
		return nil, errs.New(errs.InvalidParameter, "%q is no name of a file", name)
	}
	steps := strings.Split(clean, "/")
	if len(steps) > maxDepth {
		return nil, errs.New(errs.InvalidParameter, "%s: more than %d directories below each other", printable(name[:256]), maxDepth)
	}
	return steps, nil
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
	switch {
	case errors.Is(err, unix.ENOENT):
		there.fd = -1
	case err != nil:
		return err
	default:
		defer there.close()
		if h.Typeflag == tar.TypeDir && there.isDir() {
			return x.merge(h, there)
		}
		if done, err := x.replace(h, dir, name, there, body); done || err != nil {
			return err
		}
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

// leadsOut reports whether a link, that many directories below the one that is
// extracted to, leads out of that.
func leadsOut(depth int, target string) bool {
	if strings.HasPrefix(target, "/") {
		return true
	}
	for _, step := range strings.Split(target, "/") {
		switch step {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return true
			}
		default:
			depth++
		}
	}
	return false
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

// remove removes a file with all that is in it, but EBUSY if something is
// mounted there. The kernel would not refuse: to it this is not the namespace
// that the mounts are in, and it would take them off.
func remove(dir int, name string, n node, depth int) error {
	if here, err := mountOf(dir); err != nil {
		return err
	} else if there, err := mountOf(n.fd); err != nil {
		return err
	} else if here != there {
		return unix.EBUSY
	}
	if !n.isDir() {
		return unix.Unlinkat(dir, name, 0)
	}
	if depth > maxDepth {
		return unix.ENAMETOOLONG
	}
	d := directory{fds: []int{n.fd}}
	names, err := d.names()
	if err != nil {
		return err
	}
	for _, sub := range names {
		inner, err := d.look(sub)
		if err == nil {
			err = remove(n.fd, sub, inner, depth+1)
			inner.close()
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
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

// file makes a regular file. What cannot be made whole is removed.
func (x *extractor) file(h *tar.Header, dir int, name string, mode uint32, body io.Reader) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	made := node{fd: fd}
	if made.st, err = stat(fd); err == nil {
		err = x.regroup(made)
	}
	if err == nil {
		err = x.fill(f, h.Size, body)
	}
	if err == nil {
		err = x.dress(fd, h, mode, false)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = unix.Unlinkat(dir, name, 0)
	}
	return err
}

// overwrite writes an entry's content into a file that has to stay the one it
// is.
func (x *extractor) overwrite(h *tar.Header, there node, body io.Reader) error {
	fd, err := unix.Open(self(there.fd), unix.O_WRONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), h.Name)
	defer f.Close()
	return x.fill(f, h.Size, body)
}

// fill writes a file's content. Long runs of zeros become holes.
func (x *extractor) fill(f *os.File, size int64, body io.Reader) error {
	var at, unchecked int64
	for at < size {
		if x.ctx.Err() != nil {
			return context.Cause(x.ctx)
		}
		n, err := io.ReadFull(body, x.buf[:min(int64(len(x.buf)), size-at)])
		if err != nil {
			return x.unreadable(err)
		}
		block := x.buf[:n]
		if n < len(x.buf) || !bytes.Equal(block, zeros[:n]) {
			if _, err := f.WriteAt(block, at); err != nil {
				return err
			}
			if unchecked += int64(n); unchecked >= 64*bufferSize {
				unchecked = 0
				if err := roomLeft(int(f.Fd())); err != nil {
					return err
				}
			}
		}
		at += int64(n)
	}
	return f.Truncate(size)
}

// roomLeft refuses to fill a disk to the last byte: the engine's own records
// have to find room.
func roomLeft(fd int) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return nil
	}
	if reserve := min(fs.Blocks/100, uint64(32<<20/max(fs.Bsize, 1))); fs.Blocks > 0 && fs.Bavail < reserve {
		return unix.ENOSPC
	}
	return nil
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

// enter opens the directories that lead to an entry, as far as they are not
// open yet. Missing ones are made; they belong to root.
func (x *extractor) enter(steps []string) error {
	same := 0
	for same < len(steps) && same+1 < len(x.open) && x.open[same+1].name == steps[same] {
		same++
	}
	x.leave(same + 1)
	for i := same; i < len(steps); i++ {
		fd, err := x.step(steps[:i+1])
		if err != nil {
			return classify(strings.Join(steps[:i+1], "/"), err)
		}
		x.open = append(x.open, level{name: steps[i], fd: fd})
	}
	return nil
}

// step opens the last of steps, whose others are open.
func (x *extractor) step(steps []string) (int, error) {
	dir, name := x.open[len(x.open)-1].fd, steps[len(steps)-1]
	const plain = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS
	for made := false; ; made = true {
		fd, err := openAt(dir, name, unix.O_PATH|unix.O_DIRECTORY, plain)
		switch {
		case errors.Is(err, unix.ENOENT) && !made:
			uid, gid, err := x.root.ids.outside(0, 0)
			if err != nil {
				return -1, err
			}
			if err := x.who.become(uid, gid); err != nil {
				return -1, err
			}
			if err := unix.Mkdirat(dir, name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
				return -1, err
			}
		case errors.Is(err, unix.ELOOP):
			return x.resolve(steps)
		default:
			return fd, err
		}
	}
}

// resolve opens the directory that steps lead to, through links.
func (x *extractor) resolve(steps []string) (int, error) {
	name := strings.Join(steps, "/")
	if x.at == "/" { // there is nothing that a link could lead out to
		return x.root.open(name, unix.O_DIRECTORY)
	}
	fd, err := openAt(x.dest, name, unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_MAGICLINKS)
	if !errors.Is(err, unix.EXDEV) {
		return fd, err
	}
	if x.escapes {
		return -1, errs.New(errs.InvalidParameter, "%s leads out of %s, and the archive has links that do: remove the link, or extract in two steps", printable(name), printable(x.at))
	}
	return x.root.open(path.Join(x.at, name), unix.O_DIRECTORY)
}

// leave closes all but the first n of the open directories.
func (x *extractor) leave(n int) {
	for len(x.open) > n {
		l := x.open[len(x.open)-1]
		x.open = x.open[:len(x.open)-1]
		if l.mtime != nil {
			stamp := unix.NsecToTimespec(l.mtime.UnixNano())
			_ = futimens(l.fd, []unix.Timespec{stamp, stamp}) // the entry's own try would have failed before
		}
		_ = unix.Close(l.fd)
	}
}

// later sets a directory's time again once everything is in it, as far as that
// follows at once: so archives are written.
func (x *extractor) later(h *tar.Header) error {
	steps, err := x.steps(h.Name)
	if err != nil {
		return err
	}
	if err := x.enter(steps); err != nil {
		return err
	}
	if t := h.ModTime; !t.IsZero() && t.Unix() >= 0 && len(x.open) > 1 {
		x.open[len(x.open)-1].mtime = &t
	}
	return nil
}
