package rootfs

import (
	"archive/tar"
	"errors"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
)

// level is an open directory, and what it gets when everything is in it.
type level struct {
	name  string
	fd    int // O_PATH
	mtime *time.Time
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
