package spawn

import (
	"os"
	"slices"
	"strconv"

	"github.com/davit-engine/davit/runtime/namespace"
	"github.com/davit-engine/davit/runtime/program"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// inputs are the descriptors that a program needs.
type inputs struct {
	fds     []int        // of program.Needs
	own     []int        // those to close again
	target  *ExecRequest // what an exec's program needs besides
	pidNS   int          // or -1
	console int          // our end of the console socket, or -1
	sync    int          // our end of the child's socket, or -1
	report  int          // the child's end, or -1
	lowest  int          // that a descriptor may have
	theirs  []int        // those that only the child may hold, once it is there
}

// open opens what p needs. The caller closes in, whatever the result.
func (in *inputs) open(p *program.Program, r *Request) error {
	in.pidNS, in.console, in.sync, in.report, in.lowest = -1, -1, -1, -1, p.LowFD
	stdio := [3]*os.File{r.Stdin, r.Stdout, r.Stderr}
	for _, n := range p.Needs {
		fd, doing, err := -1, "opening "+n.Path, error(nil)
		switch n.Kind {
		case program.NeedTree:
			flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
			if n.Recursive {
				flags |= unix.AT_RECURSIVE
			}
			fd, err = in.keep(unix.OpenTree(unix.AT_FDCWD, n.Path, flags))
		case program.NeedUserNS:
			switch {
			case r.UserNS != nil:
				doing = "using the user namespace"
				fd, err = in.above(r.UserNS)
			case n.Path != "":
				fd, err = in.keep(unix.Open(n.Path, unix.O_RDONLY|unix.O_CLOEXEC, 0))
			default:
				doing = ""
				fd, err = in.userNS(n)
			}
		case program.NeedIDMap:
			doing = ""
			fd, err = in.userNS(n)
		case program.NeedNamespace, program.NeedPidNS:
			fd, err = in.keep(unix.Open(n.Path, unix.O_RDONLY|unix.O_CLOEXEC, 0))
			if err == nil && n.Kind == program.NeedPidNS {
				in.pidNS = fd
			}
		case program.NeedNetNS:
			doing = "using the network namespace"
			fd, err = in.above(r.NetNS)
		case program.NeedCaller:
			doing = "opening a pidfd"
			fd, err = in.keep(unix.PidfdOpen(os.Getpid(), 0))
		case program.NeedStdio:
			doing = "using standard stream " + strconv.Itoa(n.Index)
			fd, err = in.stream(stdio[n.Index], r.hostUID())
		case program.NeedConsole:
			doing = "creating a socket"
			in.console, fd, err = in.pair()
		case program.NeedSync:
			doing = "creating a socket"
			in.sync, fd, err = in.pair()
			in.report = fd
		case program.NeedHold:
			doing = "using the file to wait at"
			if fd, err = in.above(r.Hold); err == nil {
				err = unix.SetNonblock(fd, false)
			}
		case program.NeedGiven:
			doing = "using the mount for " + r.Trees[n.Index].Target
			fd, err = in.above(r.Trees[n.Index].File)
		case program.NeedPreserved:
			doing = "using preserved file " + strconv.Itoa(n.Index)
			fd, err = in.above(r.PreserveFDs[n.Index])
		case program.NeedCgroup:
			doing = "using a cgroup's tasks file"
			fd, err = in.above(r.CgroupTasks[n.Index])
		case program.NeedTarget:
			doing = "using the container's pidfd"
			fd, err = in.above(in.target.PidFD)
		case program.NeedTimeNS:
			doing = "opening the container's time namespace"
			fd, err = in.keep(unix.Open("/proc/"+strconv.Itoa(in.target.Pid)+"/ns/time", unix.O_RDONLY|unix.O_CLOEXEC, 0))
		case program.NeedRoot:
			doing = "opening the container's root"
			fd, err = in.keep(unix.Open("/proc/"+strconv.Itoa(in.target.Pid)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0))
		}
		if err != nil {
			return failed(n.Context, doing, err)
		}
		in.fds = append(in.fds, fd)
	}
	return nil
}

// userNS makes a user namespace.
func (in *inputs) userNS(n program.Need) (int, error) {
	f, err := namespace.User(n.UIDs, n.GIDs)
	if err != nil {
		return -1, err
	}
	defer f.Close()
	return in.keep(unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3))
}

// pair makes a socket that keeps messages apart: our end and the child's.
func (in *inputs) pair() (ours, theirs int, err error) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, err
	}
	in.own = append(in.own, p[0])
	if theirs, err = raise(p[1], in.lowest); err != nil {
		unix.Close(p[1])
		return -1, -1, err
	}
	if theirs != p[1] {
		unix.Close(p[1])
	}
	in.theirs = append(in.theirs, theirs)
	return p[0], theirs, nil
}

// forked gives up the child's ends of sockets, so that its death is seen.
func (in *inputs) forked() {
	for _, fd := range in.theirs {
		unix.Close(fd)
	}
	in.theirs = nil
}

func (in *inputs) close() {
	in.forked()
	for _, fd := range in.own {
		unix.Close(fd)
	}
	in.own = nil
}

// keep registers a new descriptor for close.
func (in *inputs) keep(fd int, err error) (int, error) {
	if err != nil {
		return -1, err
	}
	in.own = append(in.own, fd)
	return in.raise(fd)
}

// raise returns fd, or a copy of it that is not in the way of the container's
// own descriptors.
func (in *inputs) raise(fd int) (int, error) {
	high, err := raise(fd, in.lowest)
	if err == nil && high != fd {
		in.own = append(in.own, high)
	}
	return high, err
}

func raise(fd, lowest int) (int, error) {
	if fd >= lowest {
		return fd, nil
	}
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, lowest)
}

// above is raise for a file.
func (in *inputs) above(f *os.File) (int, error) {
	fd, err := descriptor(f)
	if err != nil {
		return -1, err
	}
	return in.raise(fd)
}

// descriptor returns a file's descriptor and leaves its mode alone.
func descriptor(f *os.File) (int, error) {
	if f == nil {
		return -1, unix.EBADF
	}
	c, err := f.SyscallConn()
	if err != nil {
		return -1, unix.EBADF
	}
	fd := -1
	if err := c.Control(func(p uintptr) { fd = int(p) }); err != nil {
		return -1, unix.EBADF
	}
	return fd, nil
}

// stream prepares a standard stream. Go makes pipes non-blocking, which
// programs do not expect; and a user other than root may want to open
// /dev/stdout, which looks at the owner (moby/moby#31243).
func (in *inputs) stream(f *os.File, uid int) (int, error) {
	if f == nil {
		return in.keep(unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0))
	}
	fd, err := descriptor(f)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, err
	}
	if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFIFO || kind == unix.S_IFSOCK {
		if err := unix.SetNonblock(fd, false); err != nil {
			return -1, err
		}
		if uid >= 0 && uid != int(st.Uid) {
			// Not every socket or pipe can be given away; then it stays as it is.
			_ = unix.Fchown(fd, uid, -1)
		}
	}
	return in.raise(fd)
}

// hostUID is the container's user as the host knows it; -1: nobody.
func (r *Request) hostUID() int {
	uid := r.Spec.Process.User.UID
	l := r.Spec.Linux
	if l == nil {
		l = &specs.Linux{}
	}
	users := r.UserNS != nil || slices.ContainsFunc(l.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace })
	if !users {
		return int(uid)
	}
	for _, m := range l.UIDMappings {
		if uid >= m.ContainerID && uid-m.ContainerID < m.Size {
			return int(m.HostID + uid - m.ContainerID)
		}
	}
	return -1
}

// receive takes the terminal's master from the console socket. The child has
// sent it before execve.
func receive(fd int) (*os.File, error) {
	buf, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(fd, buf, oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil, unix.EBADMSG
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, unix.EBADMSG
	}
	if err := unix.SetNonblock(fds[0], true); err != nil { // so that reads can be given up
		unix.Close(fds[0])
		return nil, err
	}
	return os.NewFile(uintptr(fds[0]), "/dev/ptmx"), nil
}
