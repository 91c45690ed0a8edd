package spawn

import (
	"unsafe"

	"github.com/davit-engine/davit/runtime/program"
	"golang.org/x/sys/unix"
)

const (
	pathMax  = unix.PathMax
	maxLinks = 40
)

// path opens name below the directory root, and creates what is missing:
// directories, and last a directory or a regular file. Symbolic links are
// followed as if root were "/", dangling ones too.
//
// It walks component by component. Each is looked at from a descriptor of its
// directory, which was opened from root through no link at all; so whoever
// exchanges components meanwhile gets an error, and never leads it outside.
//
//	scratch            +pathMax              +2*pathMax
//	| done: "a/b\0"    | ...  rest: "c/d\0"  | link target |
//
//go:norace
//go:nosplit
//go:nocheckptr
func (m *machine) path(root, name, flags uintptr) (uintptr, unix.Errno) {
	done, rest, link := m.scratch, m.scratch+pathMax, m.scratch+2*pathMax
	n := length(name)
	if n >= pathMax-1 {
		return 0, unix.ENAMETOOLONG
	}
	end := rest + pathMax - 1 // rest is filled from its end, so that link targets go in front
	put(end, 0)
	rest = end - n
	move(rest, name, n)
	var used uintptr // length of done
	put(done, 0)
	links := 0
	for {
		for at(rest) == '/' {
			rest++
		}
		if at(rest) == 0 {
			return openBelow(root, done, used, unix.O_PATH|unix.O_CLOEXEC|onlyDir(flags))
		}
		c := rest // the component: n bytes at c
		for at(rest) != 0 && at(rest) != '/' {
			rest++
		}
		n = rest - c
		last := true
		for p := rest; at(p) != 0; p++ {
			if at(p) != '/' {
				last = false
			}
		}
		if n == 1 && at(c) == '.' {
			continue
		}
		if n == 2 && at(c) == '.' && at(c+1) == '.' {
			for used > 0 {
				used--
				if at(done+used) == '/' {
					break
				}
			}
			put(done+used, 0)
			continue
		}
		dir, e := openBelow(root, done, used, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
		if e != 0 {
			return 0, e
		}
		if used+n+2 > pathMax {
			closeFD(dir)
			return 0, unix.ENAMETOOLONG
		}
		base := done + used
		if used > 0 {
			put(base, '/')
			base++
		}
		move(base, c, n)
		put(base+n, 0)
		size, _, e := unix.RawSyscall6(unix.SYS_READLINKAT, dir, base, link, pathMax, 0, 0)
		if e == unix.ENOENT {
			if last && flags&program.PathDir == 0 {
				_, _, e = unix.RawSyscall6(unix.SYS_MKNODAT, dir, base, unix.S_IFREG|0o644, 0, 0, 0)
			} else {
				_, _, e = unix.RawSyscall(unix.SYS_MKDIRAT, dir, base, 0o755)
			}
			if e == 0 || e == unix.EEXIST {
				e = unix.EINVAL // it is no link
			}
		}
		closeFD(dir)
		if e == unix.EINVAL {
			used = base + n - done
			continue
		}
		put(done+used, 0)
		if e != 0 {
			return 0, e
		}
		links++
		if flags&program.PathNoLinks != 0 || links > maxLinks || size == 0 {
			return 0, unix.ELOOP
		}
		if rest-size <= m.scratch+pathMax || size >= pathMax {
			return 0, unix.ENAMETOOLONG
		}
		rest -= size // over the component: rest begins with "/" or is at its end
		move(rest, link, size)
		if at(rest) == '/' {
			used = 0
			put(done, 0)
		}
	}
}

//go:norace
//go:nosplit
func onlyDir(flags uintptr) uint64 {
	if flags&program.PathDir != 0 {
		return unix.O_DIRECTORY
	}
	return 0
}

// openBelow opens n bytes of path below root, and follows no link.
//
//go:norace
//go:nosplit
//go:nocheckptr
func openBelow(root, path, n uintptr, flags uint64) (uintptr, unix.Errno) {
	how := unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	dot := uint16('.')
	if n == 0 {
		path = uintptr(unsafe.Pointer(&dot))
	}
	r, _, e := unix.RawSyscall6(unix.SYS_OPENAT2, root, path, uintptr(unsafe.Pointer(&how)), unsafe.Sizeof(how), 0, 0)
	return r, e
}

//go:norace
//go:nosplit
func closeFD(fd uintptr) { unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0) }

//go:norace
//go:nosplit
//go:nocheckptr
func at(p uintptr) byte { return *(*byte)(pointer(p)) }

//go:norace
//go:nosplit
//go:nocheckptr
func put(p uintptr, b byte) { *(*byte)(pointer(p)) = b }

// move copies n bytes; the areas do not overlap.
//
//go:norace
//go:nosplit
//go:nocheckptr
func move(to, from, n uintptr) {
	for k := uintptr(0); k < n; k++ {
		put(to+k, at(from+k))
	}
}

//go:norace
//go:nosplit
//go:nocheckptr
func length(p uintptr) uintptr {
	n := uintptr(0)
	for at(p+n) != 0 {
		n++
	}
	return n
}
