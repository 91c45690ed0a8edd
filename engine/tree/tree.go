// Package tree makes detached mounts: of a part of a directory, and of an
// image's layers laid over each other. Each is a descriptor that the mount
// lasts as long as, and that a container's mount is made of; nothing appears
// in the host's mount table, and nothing is left when the engine is killed.
//
// Paths are looked up once, from a descriptor and never out of where they
// begin, and what was found is what is mounted: whoever can write there
// cannot put a link in the place of a directory in between. The package keeps
// no state and does not know what containers are.
package tree

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
)

// Below mounts subpath of the directory root, with what is mounted below it. A
// subpath that is not there, or leads out of root through symbolic links, is
// an InvalidParameter.
func Below(root, subpath string) (*os.File, error) {
	top, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", root, err)
	}
	defer unix.Close(top)
	return below(top, root, subpath)
}

func below(top int, root, subpath string) (*os.File, error) {
	at, err := unix.Openat2(top, subpath, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS})
	switch {
	case errors.Is(err, unix.EXDEV):
		return nil, errs.New(errs.InvalidParameter, "cannot access path %s/%s: it leads out of %s", root, subpath, root)
	case err != nil:
		return nil, errs.New(errs.InvalidParameter, "cannot access path %s/%s: %w", root, subpath, err)
	}
	defer unix.Close(at)
	return file(unix.OpenTree(at, "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE))
}

func file(fd int, err error) (*os.File, error) {
	if err != nil {
		return nil, fmt.Errorf("detaching a mount: %w", err)
	}
	return os.NewFile(uintptr(fd), "mount"), nil
}

// Map shows the owners of a mount's files as the user namespace has them;
// recursive: of what is mounted below it too.
func Map(tree, userns *os.File, recursive bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return unix.MountSetattr(int(tree.Fd()), "", flags, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns.Fd())})
}

// Layers mounts directories over each other, topmost first, read-only; of the
// result only subpath, if that is not empty. With userns the layers show the
// owners of their files as that has them (Linux 5.19).
func Layers(lower []string, subpath string, userns *os.File) (*os.File, error) {
	// A thread of its own gets a mount namespace that nobody else is in, where
	// the layers are attached for a moment: an overlay takes detached ones from
	// Linux 6.15 on only, and gives no part of itself before it is attached.
	var tree *os.File
	var err error
	onThread(func() { tree, err = attached(lower, subpath, userns) })
	return tree, err
}

// onThread runs f on a thread that ends with it, and with it what it has
// unshared.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() { // that one does not end, and /proc/self is what it sees
			onThread(f)
			runtime.UnlockOSThread()
			return
		}
		f() // not unlocked
	}()
	<-done
}

func attached(lower []string, subpath string, userns *os.File) (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return nil, fmt.Errorf("making a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return nil, fmt.Errorf("making the host's mounts unreachable: %w", err)
	}
	var layers []int
	defer func() {
		for _, fd := range layers {
			_ = unix.Close(fd)
		}
	}()
	for _, dir := range lower {
		fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return nil, fmt.Errorf("opening layer %s: %w", dir, err)
		}
		layers = append(layers, fd)
		if userns == nil {
			continue
		}
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns.Fd())}); err != nil {
			return nil, fmt.Errorf("idmapping layer %s, which its file system has to allow: %w", dir, err)
		}
	}
	// A place for them, over whatever /proc is: it is there in any case.
	if err := unix.Mount("tmpfs", "/proc", "tmpfs", 0, "mode=0700,size=64k"); err != nil {
		return nil, fmt.Errorf("making a place for layers: %w", err)
	}
	if err := unix.Chdir("/proc"); err != nil {
		return nil, err
	}
	// Two empty ones, so that there are the two layers that an overlay has at
	// least.
	names := make([]string, 0, len(lower)+2)
	for i := range len(lower) + 2 {
		name := strconv.Itoa(i)
		if err := unix.Mkdir(name, 0o755); err != nil {
			return nil, fmt.Errorf("making a place for a layer: %w", err)
		}
		if i < len(layers) {
			if err := unix.MoveMount(layers[i], "", unix.AT_FDCWD, name, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
				return nil, fmt.Errorf("attaching layer %s: %w", lower[i], err)
			}
		}
		names = append(names, name)
	}
	if err := unix.Mkdir("m", 0o755); err != nil {
		return nil, fmt.Errorf("making a mount point: %w", err)
	}
	if err := unix.Mount("overlay", "m", "overlay", unix.MS_RDONLY, "lowerdir="+strings.Join(names, ":")); err != nil {
		return nil, fmt.Errorf("mounting %d layers: %w", len(lower), err)
	}
	top, err := unix.Open("m", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(top)
	if subpath == "" {
		return file(unix.OpenTree(top, "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC))
	}
	return below(top, "the image", subpath)
}
