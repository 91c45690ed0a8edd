package spawn

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxDepth is how deep copyTree goes. It takes two descriptors a level.
const maxDepth = 128

// level is a directory that copyTree will come back to.
type level struct {
	from, to int32
	after    int64 // where to go on reading
}

// Where struct statx has things.
const (
	statxUID   = 20
	statxGID   = 24
	statxMode  = 28
	statxATime = 64
	statxMTime = 112
	statxMajor = 128
	statxMinor = 132
)

// copyTree copies all that directory from holds into directory to, which
// nobody else can reach yet. Symbolic links are copied as such. Owners, modes
// and the files' times are kept; extended attributes and hard links are not.
//
//	scratch   +4096   +4352       +4608    +8192
//	| entries | statx | timespecs | levels | link target |
//
//go:norace
//go:nosplit
//go:nocheckptr
func (m *machine) copyTree(from, to uintptr) unix.Errno {
	entries, stat := m.scratch, m.scratch+pathMax
	levels, link := stat+512, m.scratch+2*pathMax
	depth := uintptr(0)
	for {
		n, _, e := unix.RawSyscall(unix.SYS_GETDENTS64, from, entries, pathMax)
		if e != 0 {
			return e
		}
		if n == 0 {
			if depth == 0 {
				return 0
			}
			closeFD(from)
			closeFD(to)
			depth--
			l := (*level)(pointer(levels + depth*unsafe.Sizeof(level{})))
			from, to = uintptr(l.from), uintptr(l.to)
			if _, _, e := unix.RawSyscall(unix.SYS_LSEEK, from, uintptr(l.after), 0); e != 0 {
				return e
			}
			continue
		}
		for p := entries; p < entries+n; {
			name, after := p+19, load(p+8, 8)
			p += load(p+16, 2)
			if at(name) == '.' && (at(name+1) == 0 || at(name+1) == '.' && at(name+2) == 0) {
				continue
			}
			if _, _, e = unix.RawSyscall6(unix.SYS_STATX, from, name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, stat, 0); e != 0 {
				return e
			}
			kind := load(stat+statxMode, 2) & unix.S_IFMT
			if kind == unix.S_IFREG {
				e = copyFile(from, to, name, link)
			} else {
				e = makeEntry(from, to, name, stat, link)
			}
			if e == 0 {
				e = dress(to, name, stat)
			}
			if e != 0 {
				return e
			}
			if kind != unix.S_IFDIR {
				continue
			}
			if depth == maxDepth {
				return unix.ELOOP
			}
			*(*level)(pointer(levels + depth*unsafe.Sizeof(level{}))) = level{int32(from), int32(to), int64(after)}
			depth++
			const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
			if from, _, e = unix.RawSyscall6(unix.SYS_OPENAT, from, name, flags, 0, 0, 0); e != 0 {
				return e
			}
			if to, _, e = unix.RawSyscall6(unix.SYS_OPENAT, to, name, flags, 0, 0, 0); e != 0 {
				return e
			}
			break // the rest of entries is read again
		}
	}
}

// makeEntry makes what is no regular file: an empty directory, a symbolic
// link, a device, a FIFO, a socket.
//
//go:norace
//go:nosplit
//go:nocheckptr
func makeEntry(from, to, name, stat, link uintptr) (e unix.Errno) {
	mode := load(stat+statxMode, 2)
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		_, _, e = unix.RawSyscall(unix.SYS_MKDIRAT, to, name, 0o700)
	case unix.S_IFLNK:
		var n uintptr
		if n, _, e = unix.RawSyscall6(unix.SYS_READLINKAT, from, name, link, pathMax-1, 0, 0); e == 0 {
			put(link+n, 0)
			_, _, e = unix.RawSyscall(unix.SYS_SYMLINKAT, link, to, name)
		}
	default:
		major, minor := load(stat+statxMajor, 4), load(stat+statxMinor, 4)
		_, _, e = unix.RawSyscall6(unix.SYS_MKNODAT, to, name, mode, minor&0xff|major<<8|(minor&^0xff)<<12, 0, 0)
	}
	return e
}

// dress gives a copy the owner, mode and times of stat.
//
//go:norace
//go:nosplit
//go:nocheckptr
func dress(to, name, stat uintptr) unix.Errno {
	mode := load(stat+statxMode, 2)
	_, _, e := unix.RawSyscall6(unix.SYS_FCHOWNAT, to, name, load(stat+statxUID, 4), load(stat+statxGID, 4), unix.AT_SYMLINK_NOFOLLOW, 0)
	if e == 0 && mode&unix.S_IFMT != unix.S_IFLNK {
		_, _, e = unix.RawSyscall(unix.SYS_FCHMODAT, to, name, mode&0o7777)
	}
	if e != 0 {
		return e
	}
	times := (*[4]uint64)(pointer(stat + 256))
	times[0], times[1] = uint64(load(stat+statxATime, 8)), uint64(load(stat+statxATime+8, 4))
	times[2], times[3] = uint64(load(stat+statxMTime, 8)), uint64(load(stat+statxMTime+8, 4))
	_, _, e = unix.RawSyscall6(unix.SYS_UTIMENSAT, to, name, stat+256, unix.AT_SYMLINK_NOFOLLOW, 0, 0)
	return e
}

// copyFile copies a regular file's content. What the name has become in the
// meantime is not read if it is something else.
//
//go:norace
//go:nosplit
//go:nocheckptr
func copyFile(from, to, name, scratch uintptr) unix.Errno {
	in, _, e := unix.RawSyscall6(unix.SYS_OPENAT, from, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0, 0, 0)
	if e != 0 {
		return e
	}
	put(scratch, 0)
	if _, _, e = unix.RawSyscall6(unix.SYS_STATX, in, scratch, unix.AT_EMPTY_PATH, unix.STATX_TYPE, scratch+8, 0); e != 0 {
		return e
	}
	if load(scratch+8+statxMode, 2)&unix.S_IFMT != unix.S_IFREG {
		return unix.ESTALE
	}
	out, _, e := unix.RawSyscall6(unix.SYS_OPENAT, to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600, 0, 0)
	for n := uintptr(1); n > 0 && e == 0; {
		n, _, e = unix.RawSyscall6(unix.SYS_SENDFILE, out, in, 0, 1<<30, 0, 0)
	}
	closeFD(in)
	closeFD(out)
	return e
}
