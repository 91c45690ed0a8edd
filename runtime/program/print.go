package program

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// form says how an argument or a block is printed.
type form uint8

const (
	formDecimal form = iota
	formFD
	formHex
	formOctal
	formErrno
	formID
	formDev
	formMode
	formText
	formVector
	formScratch
	formWords
	formCaps
	formGroups
	formBPF
	formPoll
	formMessage
	formTell
	formMask
	formHow
	formAttrs
	// The rest are sets of flags, or names of one value.
	formOpen
	formResolve
	formClone
	formAttr
	formMS
	formPropagation
	formTree
	formMove
	formAt
	formPath
	formPrctl
	formFsconfig
	formIoctl
)

type named struct {
	value uint64
	name  string
}

// flagNames says what the bits of a form are called; nil if it is no set of bits.
func flagNames(f form) []named {
	switch f {
	case formOpen:
		return []named{{unix.O_RDWR, "O_RDWR"}, {unix.O_WRONLY, "O_WRONLY"}, {unix.O_PATH, "O_PATH"}, {unix.O_DIRECTORY, "O_DIRECTORY"},
			{unix.O_NOFOLLOW, "O_NOFOLLOW"}, {unix.O_NOCTTY, "O_NOCTTY"}, {unix.O_CLOEXEC, "O_CLOEXEC"}}
	case formResolve:
		return []named{{unix.RESOLVE_IN_ROOT, "IN_ROOT"}, {unix.RESOLVE_NO_MAGICLINKS, "NO_MAGICLINKS"}, {unix.RESOLVE_NO_SYMLINKS, "NO_SYMLINKS"},
			{unix.RESOLVE_NO_XDEV, "NO_XDEV"}, {unix.RESOLVE_BENEATH, "BENEATH"}}
	case formClone:
		return []named{{unix.CLONE_NEWNS, "NEWNS"}, {unix.CLONE_NEWPID, "NEWPID"}, {unix.CLONE_NEWIPC, "NEWIPC"}, {unix.CLONE_NEWUTS, "NEWUTS"},
			{unix.CLONE_NEWNET, "NEWNET"}, {unix.CLONE_NEWCGROUP, "NEWCGROUP"}, {unix.CLONE_NEWUSER, "NEWUSER"}, {unix.CLONE_NEWTIME, "NEWTIME"}}
	case formAttr:
		return []named{{attrRO, "RDONLY"}, {unix.MOUNT_ATTR_IDMAP, "IDMAP"}, {unix.MOUNT_ATTR_NOSUID, "NOSUID"}, {unix.MOUNT_ATTR_NODEV, "NODEV"}, {unix.MOUNT_ATTR_NOEXEC, "NOEXEC"},
			{attrAtime, "ATIME"}, {unix.MOUNT_ATTR_NOATIME, "NOATIME"}, {unix.MOUNT_ATTR_STRICTATIME, "STRICTATIME"},
			{unix.MOUNT_ATTR_NODIRATIME, "NODIRATIME"}, {unix.MOUNT_ATTR_NOSYMFOLLOW, "NOSYMFOLLOW"}}
	case formMS:
		return []named{{unix.MS_REC, "MS_REC"}, {unix.MS_SLAVE, "MS_SLAVE"}, {unix.MS_RDONLY, "MS_RDONLY"}, {unix.MS_NOSUID, "MS_NOSUID"},
			{unix.MS_NODEV, "MS_NODEV"}, {unix.MS_NOEXEC, "MS_NOEXEC"}}
	case formPropagation:
		return []named{{unix.MS_SHARED, "SHARED"}, {unix.MS_SLAVE, "SLAVE"}, {unix.MS_PRIVATE, "PRIVATE"}, {unix.MS_UNBINDABLE, "UNBINDABLE"}}
	case formTree:
		return []named{{unix.OPEN_TREE_CLONE, "OPEN_TREE_CLONE"}, {unix.OPEN_TREE_CLOEXEC, "OPEN_TREE_CLOEXEC"}, {unix.AT_RECURSIVE, "AT_RECURSIVE"},
			{unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"}}
	case formMove:
		return []named{{unix.MOVE_MOUNT_F_EMPTY_PATH, "F_EMPTY_PATH"}, {unix.MOVE_MOUNT_T_EMPTY_PATH, "T_EMPTY_PATH"}}
	case formAt:
		return []named{{unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"}, {unix.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"}, {unix.AT_EACCESS, "AT_EACCESS"}}
	case formPath:
		return []named{{PathDir, "dir"}, {PathNoLinks, "nolinks"}}
	case formMode:
		return []named{{unix.S_IFBLK, "S_IFBLK"}, {unix.S_IFREG, "S_IFREG"}, {unix.S_IFCHR, "S_IFCHR"}, {unix.S_IFIFO, "S_IFIFO"}}
	}
	return nil
}

// valueNames says what single values of a form are called.
func valueNames(f form) []named {
	switch f {
	case formPrctl:
		return []named{{unix.PR_SET_PDEATHSIG, "PR_SET_PDEATHSIG"}, {unix.PR_SET_DUMPABLE, "PR_SET_DUMPABLE"},
			{unix.PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS"}, {unix.PR_CAPBSET_DROP, "PR_CAPBSET_DROP"}, {unix.PR_SET_KEEPCAPS, "PR_SET_KEEPCAPS"}, {unix.PR_SET_SECUREBITS, "PR_SET_SECUREBITS"}, {unix.PR_CAP_AMBIENT, "PR_CAP_AMBIENT"}}
	case formFsconfig:
		return []named{{unix.FSCONFIG_SET_FLAG, "SET_FLAG"}, {unix.FSCONFIG_SET_STRING, "SET_STRING"}, {unix.FSCONFIG_SET_FD, "SET_FD"}, {unix.FSCONFIG_CMD_CREATE, "CMD_CREATE"}, {unix.FSCONFIG_CMD_RECONFIGURE, "CMD_RECONFIGURE"}}
	case formIoctl:
		return []named{{unix.TIOCSPTLCK, "TIOCSPTLCK"}, {unix.TIOCGPTPEER, "TIOCGPTPEER"}, {unix.TIOCSWINSZ, "TIOCSWINSZ"}, {unix.TIOCSCTTY, "TIOCSCTTY"}, {unix.SIOCSIFFLAGS, "SIOCSIFFLAGS"}}
	case formPath:
		return []named{{0, "file"}}
	}
	return nil
}

// callNames are the system calls that programs use.
var callNames = [...]named{
	{unix.SYS_OPENAT2, "openat2"}, {unix.SYS_OPENAT, "openat"}, {unix.SYS_CLOSE, "close"}, {unix.SYS_MKDIRAT, "mkdirat"},
	{unix.SYS_MKNODAT, "mknodat"}, {unix.SYS_SYMLINKAT, "symlinkat"}, {unix.SYS_WRITE, "write"}, {unix.SYS_PRCTL, "prctl"},
	{unix.SYS_SETNS, "setns"}, {unix.SYS_UNSHARE, "unshare"}, {unix.SYS_FSOPEN, "fsopen"}, {unix.SYS_FSCONFIG, "fsconfig"},
	{unix.SYS_FSMOUNT, "fsmount"}, {unix.SYS_OPEN_TREE, "open_tree"}, {unix.SYS_MOVE_MOUNT, "move_mount"},
	{unix.SYS_MOUNT_SETATTR, "mount_setattr"}, {unix.SYS_STATX, "statx"}, {unix.SYS_SETSID, "setsid"}, {unix.SYS_KEYCTL, "keyctl"},
	{unix.SYS_UMASK, "umask"}, {unix.SYS_MOUNT, "mount"}, {unix.SYS_CHDIR, "chdir"}, {unix.SYS_FCHDIR, "fchdir"},
	{unix.SYS_PIVOT_ROOT, "pivot_root"}, {unix.SYS_UMOUNT2, "umount2"}, {unix.SYS_FSTATFS, "fstatfs"},
	{unix.SYS_FACCESSAT, "faccessat"}, {unix.SYS_UNLINKAT, "unlinkat"}, {unix.SYS_FCHOWNAT, "fchownat"},
	{unix.SYS_FCHOWN, "fchown"}, {unix.SYS_IOCTL, "ioctl"}, {unix.SYS_SENDMSG, "sendmsg"}, {unix.SYS_SETHOSTNAME, "sethostname"},
	{unix.SYS_SETDOMAINNAME, "setdomainname"}, {unix.SYS_PRLIMIT64, "prlimit64"}, {unix.SYS_GETCWD, "getcwd"},
	{unix.SYS_CAPSET, "capset"}, {unix.SYS_PPOLL, "ppoll"}, {unix.SYS_SETGROUPS, "setgroups"}, {unix.SYS_SETGID, "setgid"},
	{unix.SYS_SETUID, "setuid"}, {unix.SYS_SECCOMP, "seccomp"}, {unix.SYS_DUP3, "dup3"}, {unix.SYS_CLOSE_RANGE, "close_range"},
	{unix.SYS_EXECVE, "execve"}, {unix.SYS_READ, "read"}, {unix.SYS_CHROOT, "chroot"}, {unix.SYS_FACCESSAT2, "faccessat2"},
	{unix.SYS_EXIT_GROUP, "exit_group"}, {unix.SYS_SCHED_SETATTR, "sched_setattr"}, {unix.SYS_SCHED_SETAFFINITY, "sched_setaffinity"},
	{unix.SYS_IOPRIO_SET, "ioprio_set"}, {unix.SYS_FSPICK, "fspick"}, {unix.SYS_FCHMODAT, "fchmodat"},
	{unix.SYS_PERSONALITY, "personality"}, {unix.SYS_SET_MEMPOLICY, "set_mempolicy"}, {unix.SYS_SOCKET, "socket"}, {unix.SYS_SETFSUID, "setfsuid"}, {unix.SYS_SETFSGID, "setfsgid"},
}

// tellNames are the messages to the caller.
var tellNames = [...]named{{1<<32 + TellCreated, "created"}, {1<<32 + TellReady, "ready"}, {1<<32 + TellListener, "listener"}}

// name finds what v is called.
func name(list []named, v uint64) (string, bool) {
	for _, n := range list {
		if n.value == v {
			return n.name, true
		}
	}
	return "", false
}

var opNames = [...]string{OpPath: "path", OpTest: "test", OpStore: "store", OpFail: "fail", OpClose: "close_others", OpLoad: "load", OpCopy: "copy", OpSignals: "signals", OpClone: "clone"}

var needNames = [...]string{NeedTree: "tree", NeedNamespace: "namespace", NeedPidNS: "pid namespace", NeedNetNS: "network namespace",
	NeedCaller: "pidfd of the caller", NeedStdio: "standard stream", NeedConsole: "console socket", NeedCgroup: "cgroup's tasks",
	NeedSync: "socket to the caller", NeedHold: "file to wait at", NeedPreserved: "preserved file",
	NeedTarget: "pidfd of the container", NeedRoot: "root of the container", NeedTimeNS: "time namespace of the container",
	NeedUserNS: "user namespace", NeedIDMap: "user namespace for a mount", NeedGiven: "given tree"}

// String returns the program as text, one step a line.
func (p *Program) String() string {
	var s strings.Builder
	for i, n := range p.Needs {
		fmt.Fprintf(&s, "needs r%d = %s", i, needNames[n.Kind])
		switch n.Kind {
		case NeedUserNS, NeedIDMap:
			if n.Path != "" {
				fmt.Fprintf(&s, " %q", n.Path)
			}
			if len(n.UIDs)+len(n.GIDs) > 0 {
				fmt.Fprintf(&s, " uids %s gids %s", idMaps(n.UIDs), idMaps(n.GIDs))
			}
		case NeedTree, NeedNamespace, NeedPidNS:
			fmt.Fprintf(&s, " %q", n.Path)
		case NeedStdio, NeedCgroup, NeedPreserved, NeedGiven:
			fmt.Fprintf(&s, " %d", n.Index)
		}
		if n.Recursive {
			s.WriteString(" recursive")
		}
		s.WriteByte('\n')
	}
	fmt.Fprintf(&s, "clone %s\n", flags(formClone, p.Clone))
	targets := map[int]bool{}
	for i := range p.Steps {
		targets[int(p.Steps[i].Next)] = true
		for _, c := range p.Steps[i].Catch {
			targets[int(c.To)] = true
		}
	}
	delete(targets, 0)
	context := int32(0)
	for i := range p.Steps {
		st := &p.Steps[i]
		if st.Context != context && st.Op != OpStore && st.Op != OpJump {
			if context = st.Context; context != 0 {
				fmt.Fprintf(&s, "# %s\n", p.Contexts[context])
			} else {
				s.WriteString("#\n")
			}
		}
		mark := ' '
		if targets[i] {
			mark = ':'
		}
		fmt.Fprintf(&s, "%4d%c %s\n", i, mark, p.step(st))
	}
	return s.String()
}

// idMaps prints the maps of a user namespace: its first id, the host's, how many.
func idMaps(list []specs.LinuxIDMapping) string {
	var s []string
	for _, m := range list {
		s = append(s, fmt.Sprintf("%d:%d:%d", m.ContainerID, m.HostID, m.Size))
	}
	return "[" + strings.Join(s, " ") + "]"
}

// step prints one step.
func (p *Program) step(st *Step) string {
	if st.Op == OpJump {
		return "goto " + strconv.Itoa(int(st.Next))
	}
	var s strings.Builder
	if st.Out != None {
		fmt.Fprintf(&s, "r%d = ", st.Out)
	}
	if called, ok := name(callNames[:], uint64(st.Nr)); st.Op == OpCall && ok {
		s.WriteString(called)
	} else if st.Op == OpCall {
		fmt.Fprintf(&s, "syscall %d", st.Nr)
	} else {
		s.WriteString(opNames[st.Op])
	}
	s.WriteByte('(')
	for i, a := range st.Args[:st.N] {
		if i > 0 {
			s.WriteString(", ")
		}
		s.WriteString(p.arg(a))
	}
	s.WriteByte(')')
	if st.Next != 0 {
		fmt.Fprintf(&s, "  goto %d", st.Next)
	}
	for _, c := range st.Catch {
		if c.To == 0 {
			continue
		}
		what := "any error"
		if c.Errno != AnyErrno {
			what = unix.ErrnoName(unix.Errno(c.Errno))
		}
		fmt.Fprintf(&s, "  %s: %d", what, c.To)
	}
	if st.Message != 0 {
		fmt.Fprintf(&s, "  # %s", p.Messages[st.Message])
	}
	return s.String()
}

func (p *Program) arg(a Arg) string {
	switch a.Kind {
	case InReg:
		return "r" + strconv.FormatUint(a.Val, 10)
	case Mem:
		s := p.Blocks[a.Val].print(p, int(a.Val))
		if a.Off > 0 {
			s += "+" + strconv.Itoa(int(a.Off))
		}
		return s
	}
	switch a.form {
	case formFD:
		return "AT_FDCWD"
	case formHex:
		return fmt.Sprintf("%#x", a.Val)
	case formOctal:
		return fmt.Sprintf("%#o", a.Val)
	case formErrno:
		return unix.ErrnoName(unix.Errno(a.Val))
	case formID:
		if a.Val == unchanged {
			return "-1"
		}
	case formDev:
		return fmt.Sprintf("%d:%d", unix.Major(a.Val), unix.Minor(a.Val))
	case formMode:
		s := ""
		if kind := a.Val & unix.S_IFMT; kind != 0 {
			for _, f := range flagNames(formMode) {
				if f.value == kind {
					s = f.name + "|"
				}
			}
		}
		return s + fmt.Sprintf("%#o", a.Val&^uint64(unix.S_IFMT))
	}
	if called, ok := name(valueNames(a.form), a.Val); ok {
		return called
	}
	if flagNames(a.form) != nil {
		return flags(a.form, a.Val)
	}
	return strconv.FormatUint(a.Val, 10)
}

// flags prints a set of bits; what has no name is printed as a number.
func flags(f form, v uint64) string {
	var names []string
	for _, n := range flagNames(f) {
		if n.value != 0 && v&n.value == n.value {
			names = append(names, n.name)
			v &^= n.value
		}
	}
	if v != 0 || len(names) == 0 {
		names = append(names, fmt.Sprintf("%#x", v))
	}
	return strings.Join(names, "|")
}

func (k *Block) print(p *Program, index int) string {
	word := func(i int) uint64 { return get64(k.Data[8*i:]) }
	switch k.form {
	case formText:
		return strconv.Quote(k.Text)
	case formVector:
		list := make([]string, len(k.Refs))
		for i, r := range k.Refs {
			list[i] = strconv.Quote(p.Blocks[r.Block].Text)
		}
		return "[" + strings.Join(list, " ") + "]"
	case formScratch:
		return "scratch"
	case formHow:
		return "{" + flags(formOpen, word(0)) + ", " + flags(formResolve, word(2)) + "}"
	case formAttrs:
		var list []string
		for i, name := range []string{"set", "clear", "propagation"} {
			if v := word(i); v != 0 {
				f := formAttr
				if name == "propagation" {
					f = formPropagation
				}
				list = append(list, name+" "+flags(f, v))
			}
		}
		return "{" + strings.Join(list, ", ") + "}"
	case formBPF:
		return fmt.Sprintf("filter%d", index)
	case formPoll:
		return fmt.Sprintf("pollfd%d", index)
	case formMask:
		return maskText(k.Data)
	case formTell:
		called, _ := name(tellNames[:], get64(k.Data)&0xffffffff)
		return called
	case formMessage:
		return fmt.Sprintf("message%d", index)
	}
	// Words of 4 or 8 bytes.
	width := 8
	if k.form == formCaps || k.form == formGroups {
		width = 4
	}
	var list []string
	for piece := range slices.Chunk(k.Data, width) {
		if width == 4 {
			v := uint64(get32(piece))
			if k.form == formCaps {
				list = append(list, fmt.Sprintf("%#x", v))
				continue
			}
			list = append(list, strconv.FormatUint(v, 10))
			continue
		}
		list = append(list, strconv.FormatUint(get64(piece), 10))
	}
	return "{" + strings.Join(list, " ") + "}"
}
