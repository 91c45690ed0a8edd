package volume

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
)

// needsMount reports whether something is mounted on the volume's data.
func (v *entry) needsMount() bool {
	_, ok := v.Options["type"]
	return ok
}

// Mount makes the volume's data ready for user, who runs from now on, and
// returns where it is. Whoever needs it first mounts what its options say.
func (s *Store) Mount(name, user string) (path string, err error) {
	v, err := s.find(name)
	if err != nil {
		return "", err
	}
	v.turn.Lock()
	defer v.turn.Unlock()
	if err := s.mount(v); err != nil {
		return "", err
	}
	v.mounted[user] = true
	v.size.forget()
	return v.data(), nil
}

// mount is Mount for the holder of v's turn.
func (s *Store) mount(v *entry) error {
	if s.isGone(v) {
		return noSuch(v.Name)
	}
	if !v.needsMount() || len(v.mounted) > 0 {
		return nil
	}
	there, err := mounted(v.data())
	if err != nil || there { // by an engine that was killed
		return err
	}
	f, err := readMount(v.Options)
	if err == nil {
		err = f.resolve(func(host string) (*net.IPAddr, error) { return net.ResolveIPAddr("ip", host) })
	}
	if err == nil {
		err = f.mount(v.data())
	}
	if err != nil {
		kind := errs.KindOf(err)
		if kind == errs.Unknown {
			kind = errs.System
		}
		return errs.New(kind, "error while mounting volume '%s': failed to mount local volume: %w", v.data(), err)
	}
	return nil
}

// Unmount takes Mount back; the last one unmounts.
func (s *Store) Unmount(name, user string) error {
	v, err := s.find(name)
	if err != nil {
		return nil
	}
	v.turn.Lock()
	defer v.turn.Unlock()
	v.size.forget()
	delete(v.mounted, user)
	return v.unmount()
}

// unmount unmounts the data for the holder of v's turn, if nobody needs it.
func (v *entry) unmount() error {
	if !v.needsMount() || len(v.mounted) > 0 {
		return nil
	}
	return unmountAll(v.data())
}

// Adopt says that user, who has been running since before this store was
// opened, needs the volume mounted. It mounts nothing.
func (s *Store) Adopt(name, user string) {
	v, err := s.find(name)
	if err != nil {
		return
	}
	v.turn.Lock()
	defer v.turn.Unlock()
	v.mounted[user] = true
}

// Settle unmounts what nobody needs any more, after everybody who runs was
// adopted.
func (s *Store) Settle() {
	for _, f := range s.List(func(f *Found) bool { return f.Options["type"] != "" }) {
		v, err := s.find(f.Name)
		if err != nil {
			continue
		}
		v.turn.Lock()
		if err := v.unmount(); err != nil {
			s.log.Error("unmounting a volume that nobody uses", "volume", v.Name, "error", err)
		}
		v.turn.Unlock()
	}
}

// unmountAll unmounts all that is mounted on path.
func unmountAll(path string) error {
	for {
		there, err := mounted(path)
		if err != nil || !there {
			return err
		}
		err = unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EBUSY) { // somebody of the host looks into it
			err = unix.Unmount(path, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
		}
		if err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmounting %s: %w", path, err)
		}
	}
}

// mounted reports whether something is mounted on path. It does not ask a
// server that may not answer.
func mounted(path string) (bool, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT|unix.AT_STATX_DONT_SYNC, 0, &st); err != nil {
		return false, fmt.Errorf("looking at %s: %w", path, err)
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// mount makes the filesystem and attaches it to path, in one step.
func (f *filesystem) mount(path string) error {
	tree, err := f.open()
	if err != nil {
		return fmt.Errorf("mount %s:%s: %w", hideSecrets(f.device), path, err)
	}
	defer unix.Close(tree)
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount %s:%s: %w", hideSecrets(f.device), path, err)
	}
	return nil
}

// open makes the filesystem, detached.
func (f *filesystem) open() (int, error) {
	if f.bind {
		flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
		if f.recursive {
			flags |= unix.AT_RECURSIVE
		}
		tree, err := unix.OpenTree(unix.AT_FDCWD, f.device, flags)
		if err != nil {
			return -1, err
		}
		// Tied to the source both ways, unmounting the volume would unmount what
		// is below the source too.
		err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Propagation: unix.MS_SLAVE})
		if err == nil && f.attributes != 0 {
			err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: f.attributes})
		}
		if err != nil {
			_ = unix.Close(tree)
			return -1, err
		}
		return tree, nil
	}
	fs, err := unix.Fsopen(f.kind, unix.FSOPEN_CLOEXEC)
	if errors.Is(err, unix.ENODEV) {
		return -1, errs.New(errs.InvalidParameter, "the kernel has no file system %q", f.kind)
	}
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	if f.device != "" {
		if err := unix.FsconfigSetString(fs, "source", f.device); err != nil {
			return -1, explain(fs, "source", err)
		}
	}
	for _, flag := range f.flags {
		if err := unix.FsconfigSetFlag(fs, flag); err != nil {
			return -1, explain(fs, flag, err)
		}
	}
	for _, o := range f.data {
		var err error
		if o[1] == noValue {
			err = unix.FsconfigSetFlag(fs, o[0])
		} else {
			err = unix.FsconfigSetString(fs, o[0], o[1])
		}
		if err != nil {
			return -1, explain(fs, o[0], err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, explain(fs, "", err)
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, int(f.attributes))
}

// explain adds what the filesystem itself says.
func explain(fs int, option string, err error) error {
	if option != "" {
		err = fmt.Errorf("option %q: %w", option, err)
	}
	buf := make([]byte, 1024)
	for {
		n, rerr := unix.Read(fs, buf)
		if rerr != nil || n <= 0 {
			return err
		}
		if kind, text, ok := strings.Cut(strings.TrimSpace(string(buf[:n])), " "); ok && kind == "e" {
			err = fmt.Errorf("%w (%s)", err, text)
		}
	}
}

// Fill gives the volume its first content, if it has none: put writes it into
// the directory, whose owner and mode it may set as well. Others see all of it
// or nothing, unless they use the volume at the same time.
func (s *Store) Fill(name, user string, put func(dir *os.File) error) error {
	v, err := s.find(name)
	if err != nil {
		return err
	}
	v.turn.Lock()
	defer v.turn.Unlock()
	if err := s.mount(v); err != nil {
		return err
	}
	if v.needsMount() {
		defer func() {
			if err := v.unmount(); err != nil {
				s.log.Error("unmounting a volume", "volume", v.Name, "error", err)
			}
		}()
	}
	data, err := os.Open(v.data())
	if err != nil {
		return fmt.Errorf("looking at the volume's content: %w", err)
	}
	defer data.Close()
	if names, _ := data.Readdirnames(1); len(names) > 0 {
		return nil
	}
	v.size.forget()
	if v.needsMount() || len(v.mounted) > 0 {
		return put(data)
	}
	return v.fillAside(put)
}

// fillAside fills another directory and puts it in the place of the empty one.
func (v *entry) fillAside(put func(dir *os.File) error) (err error) {
	aside := v.path + "/" + fillDir
	if err := remove(aside); err != nil {
		return err
	}
	if err := os.Mkdir(aside, 0o755); err != nil {
		return fmt.Errorf("filling the volume: %w", err)
	}
	defer func() {
		if err != nil {
			_ = remove(aside)
		}
	}()
	dir, err := os.Open(aside)
	if err != nil {
		return fmt.Errorf("filling the volume: %w", err)
	}
	defer dir.Close()
	if err := put(dir); err != nil {
		return err
	}
	err = unix.Rename(aside, v.data())                                 // os.Rename refuses directories
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) { // somebody of the host was faster
		return remove(aside)
	}
	return err
}

func (s *Store) isGone(v *entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return v.gone
}
