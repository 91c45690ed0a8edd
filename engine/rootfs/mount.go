package rootfs

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/engine/tree"
	"github.com/davit-engine/davit/errs"
)

// Mounts says what the root filesystem of a container that does not run is made
// of.
type Mounts struct {
	Lower       []string // directories, topmost first
	Upper, Work string
	Options     []string // further ones of overlayfs, KEY=VALUE
	ReadOnly    bool
	Binds       []Bind // in the order in which they are made
}

// Bind is something that is mounted in a container beside its root filesystem.
type Bind struct {
	Source    string   // file or directory of the host
	Subpath   string   // the part of it that is meant; links in it do not lead out of Source
	Lower     []string // in place of Source: layers of an image
	Target    string   // in the container
	ReadOnly  bool
	Recursive bool // with what is mounted below Source
}

// Mount makes the root filesystem of a container that does not run, in a mount
// namespace that has nothing else in it and no process: the host's mount table
// does not show it, and it is gone when both files that hold it are closed.
// Nobody else may mount the same upper directory meanwhile.
//
// Missing places for mounts are made, as at a start. What is to be mounted and
// is not there is left out.
func Mount(m Mounts) (root, namespace *os.File, err error) {
	err = apart(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return errs.New(errs.System, "making a mount namespace: %w", err)
		}
		if namespace, err = os.Open("/proc/thread-self/ns/mnt"); err != nil {
			return errs.New(errs.System, "holding a mount namespace: %w", err)
		}
		defer func() {
			if err != nil {
				_ = namespace.Close()
			}
		}()
		// What the host unmounts goes here too; nothing comes from here to there.
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
			return errs.New(errs.System, "parting from the host's mounts: %w", err)
		}
		top, err := overlay(m)
		if err != nil {
			return err
		}
		defer unix.Close(top)
		trees, err := openBinds(m.Binds)
		if err != nil {
			return err
		}
		defer closeTrees(trees)
		if err := enterRoot(top); err != nil {
			return err
		}
		for i, b := range m.Binds {
			if trees[i] < 0 {
				continue
			}
			if err := attach(top, trees[i], b); err != nil {
				return err
			}
		}
		if m.ReadOnly {
			if err := unix.MountSetattr(top, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
				return errs.New(errs.System, "making the root filesystem read-only: %w", err)
			}
		}
		fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		root = os.NewFile(uintptr(fd), "/")
		return errs.Wrap(errs.System, err)
	})
	return root, namespace, err
}

// overlay mounts layers on each other, attached to nothing that anybody sees.
func overlay(m Mounts) (int, error) {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, errs.New(errs.System, "mounting overlay: %w", err)
	}
	defer unix.Close(fs)
	set := func(key, dir string) error {
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return errs.New(errs.System, "opening layer %s: %w", dir, err)
		}
		defer unix.Close(fd)
		return unix.FsconfigSetFd(fs, key, fd)
	}
	for _, dir := range m.Lower {
		err := set("lowerdir+", dir)
		if errors.Is(err, unix.EINVAL) { // before Linux 6.13: by name only
			return overlayByName(m)
		}
		if err != nil {
			return -1, errs.New(errs.System, "adding layer %s: %w", dir, err)
		}
	}
	if err := errors.Join(set("upperdir", m.Upper), set("workdir", m.Work)); err != nil {
		return -1, errs.New(errs.System, "adding layer %s: %w", m.Upper, err)
	}
	for _, option := range m.Options {
		key, value, _ := strings.Cut(option, "=")
		if err := unix.FsconfigSetString(fs, key, value); err != nil {
			return -1, errs.New(errs.System, "setting %s: %w", option, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, errs.New(errs.System, "mounting overlay on %s: %w", m.Upper, err)
	}
	top, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return -1, errs.New(errs.System, "mounting overlay: %w", err)
	}
	return top, nil
}

// overlayByName is overlay for older kernels. The options have to fit a page:
// hence names from the directory that the layers have in common. The mount
// covers its own first directory, which the overlay does not mind, and is
// taken off from there.
func overlayByName(m Mounts) (int, error) {
	all := append(append([]string{}, m.Lower...), m.Upper, m.Work)
	base := common(all)
	short := func(dir string) string {
		name, err := filepath.Rel(base, dir)
		if err != nil {
			name = dir
		}
		return strings.NewReplacer(`\`, `\\`, ",", `\,`, ":", `\:`).Replace(name)
	}
	names := make([]string, len(m.Lower))
	for i, dir := range m.Lower {
		names[i] = short(dir)
	}
	options := strings.Join(append([]string{"lowerdir=" + strings.Join(names, ":"), "upperdir=" + short(m.Upper), "workdir=" + short(m.Work)}, m.Options...), ",")
	if len(options) >= 4096 {
		return -1, errs.New(errs.System, "mounting overlay: the names of %d layers do not fit the options of a mount", len(m.Lower))
	}
	if err := unix.Chdir(base); err != nil {
		return -1, errs.New(errs.System, "entering %s: %w", base, err)
	}
	if err := unix.Mount("overlay", all[0], "overlay", 0, options); err != nil {
		return -1, errs.New(errs.System, "mounting overlay on %s: %w", m.Upper, err)
	}
	top, err := unix.OpenTree(unix.AT_FDCWD, all[0], unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, errs.New(errs.System, "detaching the overlay: %w", err)
	}
	if err := unix.Unmount(all[0], unix.MNT_DETACH); err != nil {
		unix.Close(top)
		return -1, errs.New(errs.System, "detaching the overlay: %w", err)
	}
	return top, nil
}

// common is the directory that all of dirs lie in.
func common(dirs []string) string {
	base := path.Dir(path.Clean(dirs[0]))
	for _, dir := range dirs[1:] {
		for base != "/" && !strings.HasPrefix(path.Clean(dir), base+"/") {
			base = path.Dir(base)
		}
	}
	return base
}

// openBinds opens what is to be mounted, while the host's names still mean
// what they do; -1 for what is not there.
func openBinds(binds []Bind) (trees []int, err error) {
	for _, b := range binds {
		fd, err := openBind(b)
		if errors.Is(err, unix.ENOENT) {
			fd, err = -1, nil
		}
		if err != nil {
			closeTrees(trees)
			return nil, classify(b.Source, err)
		}
		trees = append(trees, fd)
	}
	return trees, nil
}

func openBind(b Bind) (int, error) {
	if len(b.Lower) == 0 && b.Subpath == "" {
		flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
		if b.Recursive {
			flags |= unix.AT_RECURSIVE
		}
		return unix.OpenTree(unix.AT_FDCWD, b.Source, flags)
	}
	var f *os.File
	var err error
	if len(b.Lower) > 0 {
		f, err = tree.Layers(b.Lower, b.Subpath, nil)
	} else {
		f, err = tree.Below(b.Source, b.Subpath)
	}
	if err != nil {
		return -1, err
	}
	defer f.Close()
	return unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
}

func closeTrees(trees []int) {
	for _, fd := range trees {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// enterRoot makes the overlay the thread's root, and the only mount of its
// namespace.
func enterRoot(top int) error {
	if err := unix.MoveMount(top, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return errs.New(errs.System, "attaching the root filesystem: %w", err)
	}
	for _, step := range []func() error{
		func() error { return unix.Fchdir(top) },
		func() error { return unix.PivotRoot(".", ".") },
		func() error { return unix.Unmount(".", unix.MNT_DETACH) },
		func() error { return unix.Chdir("/") },
	} {
		if err := step(); err != nil {
			return errs.New(errs.System, "entering the root filesystem: %w", err)
		}
	}
	return nil
}

// attach attaches a detached mount in the container.
func attach(root, mnt int, b Bind) error {
	st, err := stat(mnt)
	if err != nil {
		return classify(b.Target, err)
	}
	target, err := place(root, b.Target, st.Mode&unix.S_IFMT == unix.S_IFDIR)
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.ENOTDIR) {
		return nil // no place for it: the start will say so
	}
	if err != nil {
		return classify(b.Target, err)
	}
	defer unix.Close(target)
	if b.ReadOnly {
		at := uint(unix.AT_EMPTY_PATH)
		if b.Recursive {
			at |= unix.AT_RECURSIVE
		}
		if err := unix.MountSetattr(mnt, "", at, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
			return classify(b.Target, err)
		}
	}
	err = unix.MoveMount(mnt, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if errors.Is(err, unix.ENOTDIR) { // a file in the image where a directory is to be, or the other way
		return nil
	}
	return classify(b.Target, err)
}

// place opens the place for a mount, and makes it if there is none.
func place(root int, target string, isDir bool) (int, error) {
	fd, err := openAt(root, target, unix.O_PATH, inRoot)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	parent, name := path.Split(path.Clean(target))
	if name == "" || name == "/" {
		return -1, unix.ENOENT
	}
	dir, err := place(root, parent, true)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	if isDir {
		err = unix.Mkdirat(dir, name, 0o755)
	} else {
		err = unix.Mknodat(dir, name, unix.S_IFREG|0o644, 0)
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, err
	}
	return openAt(dir, name, unix.O_PATH|unix.O_NOFOLLOW, unix.RESOLVE_BENEATH)
}
