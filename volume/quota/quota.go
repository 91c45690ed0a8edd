// Package quota limits how much a directory may hold, by a project quota of its
// file system: xfs mounted with pquota, or ext4 with the features project and
// quota, mounted with prjquota.
//
// It keeps no state: which project ids are in use is the file system's
// knowledge, so engines and others that share it do not get in each other's
// way. It knows nothing of what the directories are for.
package quota

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
)

// Ids that are given lie here, out of the way of those that people give by
// hand, counting from 1.
const (
	firstProject = 0x4400_0000
	projects     = 0x0100_0000
)

// From linux/fs.h, linux/quota.h and linux/dqblk_xfs.h.
const (
	fsGetXattr    = 0x801c581f // FS_IOC_FSGETXATTR
	fsSetXattr    = 0x401c5820 // FS_IOC_FSSETXATTR
	flagInherit   = 0x200      // FS_XFLAG_PROJINHERIT
	projectQuota  = 2          // PRJQUOTA
	getQuota      = 0x800007   // Q_GETQUOTA
	setQuota      = 0x800008   // Q_SETQUOTA
	getState      = 0x5808     // Q_XGETQSTATV
	stateEnforced = 1 << 5     // FS_QUOTA_PDQ_ENFD
	validLimits   = 1          // QIF_BLIMITS
	quotaBlock    = 1024       // QIF_DQBLKSIZE
)

// attributes is struct fsxattr.
type attributes struct {
	flags, extent, extents, project, cow uint32
	_                                    [8]byte
}

// limits is struct if_dqblk. Space is in bytes, limits are in blocks.
type limits struct {
	hard, soft, space           uint64
	inodeHard, inodeSoft, inode uint64
	btime, itime                uint64
	valid                       uint32
	_                           uint32
}

// Limit makes the directories, which are empty and lie on one file system, and
// all that will be in them one project that holds at most size bytes, rounded
// up to KiB, and returns its id. NotImplemented where the file system can not.
func Limit(dirs []string, size uint64) (uint32, error) {
	top, err := os.Open(dirs[0])
	if err != nil {
		return 0, err
	}
	defer top.Close()
	if !enforced(top) {
		return 0, unsupported(dirs[0])
	}
	id, err := free(top)
	if err != nil {
		return 0, err
	}
	for _, dir := range dirs {
		if err := assign(dir, id); err != nil {
			return 0, fmt.Errorf("giving %s to a project: %w", dir, err)
		}
	}
	if err := set(top, id, size); err != nil {
		return 0, err
	}
	return id, nil
}

// Check fails as Limit would for directories below dir.
func Check(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if !enforced(f) {
		return unsupported(dir)
	}
	return nil
}

// Clear takes a project's limit away, when its directories are gone. dir is
// any on the same file system.
func Clear(dir string, id uint32) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return set(f, id, 0)
}

// Usage returns how many bytes a project holds and may hold at most.
func Usage(dir string, id uint32) (used, limit uint64, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	l, err := get(f, id)
	return l.space, l.hard * quotaBlock, err
}

func unsupported(dir string) error {
	var fs unix.Statfs_t
	kind := "its file system"
	if unix.Statfs(dir, &fs) == nil {
		switch fs.Type {
		case unix.EXT4_SUPER_MAGIC:
			kind = "this ext4"
		case unix.XFS_SUPER_MAGIC:
			kind = "this xfs"
		case unix.BTRFS_SUPER_MAGIC:
			kind = "btrfs"
		case unix.TMPFS_MAGIC:
			kind = "tmpfs"
		case unix.OVERLAYFS_SUPER_MAGIC:
			kind = "overlayfs"
		}
	}
	return errs.New(errs.NotImplemented, "%s keeps no project quotas for %s: xfs mounted with 'pquota' would do, or ext4 made with 'mkfs.ext4 -O quota,project' and mounted with 'prjquota'", kind, dir)
}

// enforced asks whether limits of projects hold on the file system of f.
func enforced(f *os.File) bool {
	var state [256]byte // struct fs_quota_statv, and room to spare
	state[0] = 1        // FS_QSTATV_VERSION1
	if quotactl(f, getState, 0, unsafe.Pointer(&state)) != nil {
		return false
	}
	flags := *(*uint16)(unsafe.Pointer(&state[2]))
	return flags&stateEnforced != 0
}

// free finds an id that nobody uses.
func free(f *os.File) (uint32, error) {
	for range 100 {
		id := firstProject + rand.Uint32N(projects)
		l, err := get(f, id)
		switch {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESRCH):
			return id, nil
		case err != nil:
			return 0, err
		case l.space|l.hard|l.soft|l.inode|l.inodeHard|l.inodeSoft == 0:
			return id, nil
		}
	}
	return 0, errs.New(errs.Exhausted, "no project id is free on the file system of %s", f.Name())
}

// assign gives a directory to a project, with all that will be made in it.
func assign(dir string, id uint32) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	var a attributes
	if err := ioctl(f, fsGetXattr, &a); err != nil {
		return err
	}
	a.project, a.flags = id, a.flags|flagInherit
	return ioctl(f, fsSetXattr, &a)
}

func get(f *os.File, id uint32) (l limits, err error) {
	if err = quotactl(f, getQuota, id, unsafe.Pointer(&l)); err != nil {
		err = fmt.Errorf("reading a project's quota: %w", err)
	}
	return l, err
}

func set(f *os.File, id uint32, size uint64) error {
	blocks := (size + quotaBlock - 1) / quotaBlock
	l := limits{hard: blocks, soft: blocks, valid: validLimits}
	if err := quotactl(f, setQuota, id, unsafe.Pointer(&l)); err != nil {
		return fmt.Errorf("setting a project's quota: %w", err)
	}
	return nil
}

func ioctl(f *os.File, request uintptr, a *attributes) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(a))); e != 0 {
		return e
	}
	return nil
}

// quotactl is quotactl_fd(2), which needs no path of a block device (Linux
// 5.14).
func quotactl(f *os.File, command uintptr, id uint32, arg unsafe.Pointer) error {
	if _, _, e := unix.Syscall6(unix.SYS_QUOTACTL_FD, f.Fd(), command<<8|projectQuota, uintptr(id), uintptr(arg), 0, 0); e != 0 {
		return e
	}
	return nil
}
