// Package rootfs reads and changes the files of containers from outside: for
// cp, export, diff and commit.
//
// It owns how a path inside a container is resolved, how files become a tar
// archive and an archive becomes files, and how layers compare. A [Root] is a
// root filesystem as its container sees it, with everything that is mounted in
// it; [Mount] makes one of a container that does not run. [Layers] are the same
// files as they lie on disk, without mounts.
//
// What a container holds is hostile. Each path is resolved by the kernel with
// the container's root as the root, so that no link and no exchange of names,
// at whatever moment, leads out of it. Each file is opened without being
// touched (O_PATH), looked at, and only then opened for real: no device, FIFO
// or socket ever is. Nothing in a container is executed, loaded or asked.
//
// Archives are streams in both directions. What is held in memory is one
// buffer, the names in the directories on the way from the root to the current
// file, and the names of files that have several.
//
// The package knows nothing of engines, HTTP or records. Its values may be used
// by many goroutines at once, but for Close.
package rootfs

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
)

// Root is the root filesystem of a container.
type Root struct {
	dir *os.File // O_PATH
	ids IDs
	log *slog.Logger
}

// New returns the root filesystem at dir, which stays the caller's. ids are
// those of the user namespace whose files show as the host's; log is told what
// an archive leaves out.
func New(dir *os.File, ids IDs, log *slog.Logger) *Root { return &Root{dir, ids, log} }

// inRoot resolves a path as a process with that root would, but for the links
// in /proc that lead anywhere.
const inRoot = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS

// openAt opens a path below dir. The kernel gives up with EAGAIN when names
// change while it goes a ".." up.
func openAt(dir int, name string, flags int, resolve uint64) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags) | unix.O_CLOEXEC, Resolve: resolve}
	for tries := 0; ; tries++ {
		fd, err := unix.Openat2(dir, name, &how)
		if (err == unix.EAGAIN || err == unix.EINTR) && tries < 1000 {
			runtime.Gosched()
			continue
		}
		return fd, err
	}
}

// open opens what is at a path of the container's, O_PATH.
func (r *Root) open(name string, flags int) (int, error) {
	return openAt(int(r.dir.Fd()), name, flags|unix.O_PATH, inRoot)
}

// Clean makes a path absolute and clean, and keeps the trailing slash or dot
// that says that a directory is meant.
func Clean(name string) string {
	clean := path.Join("/", name)
	if base := path.Base(name); name != "" && base == "." && clean != "/." {
		clean = strings.TrimSuffix(clean, "/") + "/."
	}
	if strings.HasSuffix(name, "/") && !strings.HasSuffix(clean, "/") {
		clean += "/"
	}
	return clean
}

// Stat describes what is at a path. A link at its end is not followed, unless a
// slash or a dot comes after it; LinkTarget says where it leads in the end.
func (r *Root) Stat(name string) (container.PathStat, error) {
	name = Clean(name)
	fd, err := r.open(name, unix.O_NOFOLLOW)
	if err != nil {
		return container.PathStat{}, classify(name, err)
	}
	defer unix.Close(fd)
	st, err := stat(fd)
	if err != nil {
		return container.PathStat{}, classify(name, err)
	}
	out := container.PathStat{Name: path.Base(name), Size: st.Size, Mode: fileMode(st.Mode), Mtime: time.Unix(st.Mtim.Unix()).UTC()}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		out.LinkTarget = r.follow(name)
	}
	return out, nil
}

// maxLinks is how many symbolic links a path may cross, as in the kernel.
const maxLinks = 40

// follow returns where a path leads, as text: every link on the way replaced by
// its target, as far as there is something at the path.
func (r *Root) follow(name string) string {
	todo, at := split(name), []string{}
	for links := 0; len(todo) > 0; {
		next := todo[0]
		todo = todo[1:]
		switch next {
		case "", ".":
			continue
		case "..":
			at = at[:max(0, len(at)-1)]
			continue
		}
		at = append(at, next)
		target, err := r.readlink("/" + strings.Join(at, "/"))
		if err != nil {
			continue
		}
		if links++; links > maxLinks {
			break
		}
		todo = append(split(target), todo...)
		at = at[:len(at)-1]
		if strings.HasPrefix(target, "/") {
			at = at[:0]
		}
	}
	return "/" + strings.Join(at, "/")
}

func (r *Root) readlink(name string) (string, error) {
	fd, err := r.open(name, unix.O_NOFOLLOW)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return readlink(fd)
}

// readlink reads the link that a descriptor stands for; EINVAL for what is no
// link.
func readlink(fd int) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err == unix.ENOENT { // the kernel's way to say that it is no link
		err = unix.EINVAL
	}
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func split(name string) []string { return strings.Split(name, "/") }

func stat(fd int) (st unix.Stat_t, err error) {
	err = unix.Fstatat(fd, "", &st, unix.AT_EMPTY_PATH)
	return st, err
}

// self is a path to what a descriptor stands for, for system calls that take no
// O_PATH descriptor.
func self(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// fileMode is a mode of the kernel's in Go's terms, in which Docker's clients
// expect it.
func fileMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		m |= fs.ModeDir
	case unix.S_IFLNK:
		m |= fs.ModeSymlink
	case unix.S_IFIFO:
		m |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		m |= fs.ModeSocket
	case unix.S_IFBLK:
		m |= fs.ModeDevice
	case unix.S_IFCHR:
		m |= fs.ModeDevice | fs.ModeCharDevice
	}
	for bit, flag := range map[uint32]fs.FileMode{unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky} {
		if mode&bit != 0 {
			m |= flag
		}
	}
	return m
}

// classify gives a failure at a path its kind and says where it was.
func classify(name string, err error) error {
	if err == nil || errs.KindOf(err) != errs.Unknown {
		return err
	}
	kind := errs.System
	switch {
	case errors.Is(err, unix.ENOENT):
		kind = errs.NotFound
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENAMETOOLONG), errors.Is(err, unix.ELOOP), errors.Is(err, unix.EISDIR),
		errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOVERFLOW), errors.Is(err, unix.EFBIG), errors.Is(err, unix.EXDEV):
		kind = errs.InvalidParameter
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		kind = errs.Forbidden
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		kind = errs.Exhausted
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.ETXTBSY), errors.Is(err, unix.EAGAIN):
		kind = errs.Conflict
	}
	return errs.New(kind, "%s: %w", printable(name), err)
}

// printable quotes a name that would do something to a terminal.
func printable(name string) string {
	for _, r := range name {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			quoted, _ := json.Marshal(name)
			return string(quoted)
		}
	}
	return name
}
