package program

import (
	"strings"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

// One method for each system call that programs use. doing is for error texts.

func (b *builder) call(nr uint16, doing string, catch []Catch, args ...Arg) {
	s := b.add(OpCall, doing, args...)
	s.Nr = nr
	if copy(s.Catch[:], catch) < len(catch) {
		b.fail(errs.System, "%s: a step catches %d errors", doing, len(catch))
	}
}

// open is call for those that give a descriptor.
func (b *builder) open(nr uint16, out Reg, doing string, catch []Catch, args ...Arg) Reg {
	if out == None {
		out = b.reg()
	}
	b.call(nr, doing, catch, args...)
	b.p.Steps[len(b.p.Steps)-1].Out = out
	return out
}

// Resolution of paths of the container, and of paths that nobody else can
// have changed.
const (
	inRoot = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	direct = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS
)

func (b *builder) openat2(dir Arg, path string, flags, resolve uint64, doing string, catch ...Catch) Reg {
	return b.open(unix.SYS_OPENAT2, None, doing, catch, dir, b.text(path),
		b.how(formHow, flags|unix.O_CLOEXEC, 0, resolve), num(24))
}

func (b *builder) openat(dir Arg, path string, flags uint64, doing string, catch ...Catch) Reg {
	return b.open(unix.SYS_OPENAT, None, doing, catch, dir, b.text(path), imm(flags|unix.O_CLOEXEC, formOpen), num(0))
}

func (b *builder) close(r Reg) { b.call(unix.SYS_CLOSE, "closing", nil, fd(r)) }

func (b *builder) mkdirat(dir Arg, name string, mode uint32, doing string, catch ...Catch) {
	b.call(unix.SYS_MKDIRAT, doing, catch, dir, b.text(name), imm(uint64(mode), formMode))
}

func (b *builder) mknodat(dir Arg, name string, mode uint32, dev uint64, doing string, catch ...Catch) {
	b.call(unix.SYS_MKNODAT, doing, catch, dir, b.text(name), imm(uint64(mode), formMode), imm(dev, formDev))
}

func (b *builder) symlinkat(target string, dir Arg, name, doing string, catch ...Catch) {
	b.call(unix.SYS_SYMLINKAT, doing, catch, b.text(target), dir, b.text(name))
}

func (b *builder) write(r Reg, data, doing string, catch ...Catch) {
	b.call(unix.SYS_WRITE, doing, catch, fd(r), b.text(data), num(len(data)))
}

// put writes data to the file at path: open, write, close. catch is for open.
func (b *builder) put(dir Arg, path, data, doing string, catch ...Catch) {
	r := b.openat(dir, path, unix.O_WRONLY|unix.O_NOFOLLOW, doing, catch...)
	b.write(r, data, doing)
	b.close(r)
}

func (b *builder) prctl(option, a, c int, doing string, catch ...Catch) {
	b.call(unix.SYS_PRCTL, doing, catch, imm(uint64(option), formPrctl), num(a), num(c), num(0), num(0))
}

func (b *builder) setns(r Reg, flag int, doing string) {
	b.call(unix.SYS_SETNS, doing, nil, fd(r), imm(uint64(flag), formClone))
}

func (b *builder) unshare(flag int, doing string) {
	b.call(unix.SYS_UNSHARE, doing, nil, imm(uint64(flag), formClone))
}

// Mounts.

func (b *builder) fsopen(fstype string) Reg {
	return b.open(unix.SYS_FSOPEN, None, "opening filesystem type", nil, b.text(fstype), num(unix.FSOPEN_CLOEXEC))
}

// fsset sets an option of a filesystem; a nil value sets a flag.
func (b *builder) fsset(r Reg, key string, value *string) {
	if value == nil {
		b.call(unix.SYS_FSCONFIG, "setting option", nil, fd(r), imm(unix.FSCONFIG_SET_FLAG, formFsconfig), b.text(key), num(0), num(0))
		return
	}
	b.call(unix.SYS_FSCONFIG, "setting option", nil, fd(r), imm(unix.FSCONFIG_SET_STRING, formFsconfig), b.text(key), b.text(*value), num(0))
}

// options sets a filesystem's own options.
func (b *builder) options(r Reg, data []string) {
	for _, s := range data {
		if key, value, ok := strings.Cut(s, "="); ok {
			b.fsset(r, key, &value)
		} else {
			b.fsset(r, key, nil)
		}
	}
}

func (b *builder) fscreate(r Reg) {
	b.call(unix.SYS_FSCONFIG, "creating filesystem", nil, fd(r), imm(unix.FSCONFIG_CMD_CREATE, formFsconfig), num(0), num(0), num(0))
}

// fsmount makes a detached mount of the filesystem and closes r.
func (b *builder) fsmount(r Reg, attr uint64) Reg {
	m := b.open(unix.SYS_FSMOUNT, None, "creating mount", nil, fd(r), num(unix.FSMOUNT_CLOEXEC), imm(attr, formAttr))
	b.close(r)
	return m
}

// openTree makes a detached copy of the mount at a path of the host, with what
// is mounted below it if recursive.
func (b *builder) openTree(path string, recursive bool) Reg {
	flags := uint64(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return b.open(unix.SYS_OPEN_TREE, None, "opening "+path, nil, cwd, b.text(path), imm(flags, formTree))
}

// clone makes a detached copy of the mount at r.
func (b *builder) clone(r Reg, flags uint64, doing string) Reg {
	return b.open(unix.SYS_OPEN_TREE, None, doing, nil, fd(r), mem(b.empty),
		imm(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|flags, formTree))
}

// attach moves the detached mount m onto target.
func (b *builder) attach(m Reg, target Arg, path, doing string, catch ...Catch) {
	flags := uint64(unix.MOVE_MOUNT_F_EMPTY_PATH)
	if path == "" {
		flags |= unix.MOVE_MOUNT_T_EMPTY_PATH
	}
	b.call(unix.SYS_MOVE_MOUNT, doing, catch, fd(m), mem(b.empty), target, b.text(path), imm(flags, formMove))
}

// setattr changes the attributes of mount r, and of those below it if recursive.
func (b *builder) setattr(r Reg, set, clr, propagation uint64, recursive bool, doing string) {
	flags := uint64(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	b.call(unix.SYS_MOUNT_SETATTR, doing, nil, fd(r), mem(b.empty), imm(flags, formTree),
		b.how(formAttrs, set, clr, propagation, 0), num(32))
}

// Operations of the interpreter.

func (b *code) jump(l label) { b.add(OpJump, "").Next = ^int32(l) }

// path opens path below the root and makes what is missing of it.
func (b *builder) path(out Reg, path string, flags int, doing string, catch ...Catch) Reg {
	if out == None {
		out = b.reg()
	}
	s := b.add(OpPath, doing, fd(b.root), b.text(path), imm(uint64(flags), formPath))
	s.Out = out
	copy(s.Catch[:], catch)
	return out
}

// test compares width bytes of block; a difference is the given errno.
func (b *code) test(block, off, width int, mask, want uint64, e unix.Errno, doing string, catch ...Catch) {
	s := b.add(OpTest, doing, memAt(block, off), num(width), imm(mask, formHex), imm(want, formHex), imm(uint64(e), formErrno))
	copy(s.Catch[:], catch)
}

// load reads width bytes of block into a register.
func (b *code) load(block, off, width int) Reg {
	r := b.reg()
	b.add(OpLoad, "", memAt(block, off), num(width)).Out = r
	return r
}

func (b *code) store(block, off int, r Reg) { b.add(OpStore, "", memAt(block, off), fd(r)) }

// failing gives e, as a system call would.
func (b *code) failing(e unix.Errno, doing string) {
	b.add(OpFail, doing, imm(uint64(e), formErrno))
}

// refuse fails with the exact text.
func (b *code) refuse(e unix.Errno, text string) {
	b.message(b.add(OpFail, "", imm(uint64(e), formErrno)), text)
}

// statx of r itself, into the scratch block.
func (b *builder) statx(dir Arg, path string, doing string, catch ...Catch) {
	b.call(unix.SYS_STATX, doing, catch, dir, b.text(path),
		imm(unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW, formAt), num(unix.STATX_TYPE), mem(Scratch))
}

// statFile is statx of a path as execve would take it.
func (b *builder) statFile(path Arg, doing string, catch ...Catch) {
	b.call(unix.SYS_STATX, doing, catch, cwd, path, num(0), num(unix.STATX_TYPE), mem(Scratch))
}

// Where statx puts things.
const (
	statxMode  = 28  // 16 bits
	statxMajor = 128 // of the device that the file is: 32 bits
	statxMinor = 132
)
