// Package checkpoint tells criu what of a container is not its own, so that it
// can be written to files and made again from them.
//
//	running container         files                 new container
//	  mounts of the host ---> a name each --------> other mounts
//	  standard streams -----> descriptors.json ---> other pipes
//	  namespaces given -----> a name each --------> other namespaces
//	  the rest -------------> criu's --------------> the same
//
// What criu cannot make again is outside of the container: at a checkpoint it
// gets a name, and at restore something else takes its place. A mount's name
// is its mount point.
//
// The package reads /proc and makes mount points; it keeps no state, and does
// not know who runs the container. Its functions may be called by several
// goroutines at once, for different containers.
package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/criu"
	"github.com/davit-engine/davit/runtime/spawn"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// descriptorsName is the file among criu's in which restore finds what the
// standard streams were: a list of three names by which criu knows them.
const descriptorsName = "descriptors.json"

// Common sets what every dump and restore of a container has.
func Common(p *criu.Options) {
	p.Number(criu.LogLevel, criu.LogVerbose)
	p.Flag(criu.NotifyScripts, true)
	p.Flag(criu.OrphanPtsMaster, true)
	p.Flag(criu.ManageCgroups, true)
	p.Number(criu.EmptyNS, unix.CLONE_NEWNET)
	if _, err := exec.LookPath("iptables-restore"); err != nil {
		p.Number(criu.NetworkLock, criu.LockNFTables) // which criu is linked with
	}
}

// Describe tells criu what of a running container is not its own, and keeps the
// names of the streams for restore. pipes are those that Pipes gave at create.
func Describe(call *criu.Call, spec *specs.Spec, pid int, pipes []string) error {
	mounts, err := mountsOf(pid)
	if err != nil {
		return err
	}
	outside, err := outside(spec, mounts, pid)
	if err != nil {
		return err
	}
	for _, at := range outside {
		call.Options.Pair(criu.ExtMount, at, at)
	}
	names := streams(mounts, pid, pipes)
	for _, key := range names {
		if strings.HasPrefix(key, "file[") {
			call.Options.Text(criu.External, key)
		}
	}
	text, err := json.Marshal(names)
	if err == nil {
		err = os.WriteFile(filepath.Join(call.Images, descriptorsName), text, 0o600)
	}
	if err != nil {
		return errs.New(errs.System, "keeping the streams' names: %w", err)
	}
	return nil
}

// streams are criu's names of the standard streams that came from outside:
// pipes as they were at create, since the first process may have put others
// in their place, and files of the host.
func streams(mounts []mountPoint, pid int, pipes []string) []string {
	names := make([]string, 3)
	copy(names, pipes)
	for n := range names {
		if names[n] != "" {
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(fmt.Sprintf("/proc/%d/fd/%d", pid, n), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG && st.Rdev != unix.Mkdev(1, 3) {
			continue // closed; or a terminal or a socket, which criu knows
		}
		if id, ok := mountOf(pid, n); ok && !contains(mounts, id) {
			names[n] = fmt.Sprintf("file[%x:%x]", id, st.Ino)
		}
	}
	return names
}

// Pipes are criu's names of those of files that are pipes, whichever end they
// are; "" for others and for nil.
func Pipes(streams ...*os.File) []string {
	names := make([]string, len(streams))
	for n, f := range streams {
		if f == nil {
			continue
		}
		var st unix.Stat_t
		raw, err := f.SyscallConn() // Fd would make it blocking
		if err != nil {
			continue
		}
		_ = raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &st) })
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
			names[n] = fmt.Sprintf("pipe:[%d]", st.Ino)
		}
	}
	return names
}

// ReadStreams reads what Describe has kept.
func ReadStreams(dir string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(dir, descriptorsName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.NotFound, "%s holds no checkpoint: %w", dir, err)
	}
	var names []string
	if err == nil {
		err = json.Unmarshal(text, &names)
	}
	if err == nil && len(names) > 3 {
		err = fmt.Errorf("%d streams", len(names))
	}
	if err != nil {
		return nil, errs.New(errs.InvalidParameter, "reading the streams' names: %w", err)
	}
	return names, nil
}

// GiveStreams has criu put call.Streams in the places of those that ReadStreams
// gave. own is called for each that is a pipe.
func GiveStreams(call *criu.Call, names []string, own func(*os.File)) {
	for n, key := range names {
		switch {
		case strings.HasPrefix(key, "pipe:["):
			own(call.Streams[n])
			call.Options.Stream(key, n)
		case strings.HasPrefix(key, "file["):
			call.Options.Stream(key, n)
		}
	}
}

// GiveImages gives criu's files to the root of a user namespace, who is to read
// them at restore.
func GiveImages(dir string, l *specs.Linux) error {
	uid, gid := HostID(l.UIDMappings, 0), HostID(l.GIDMappings, 0)
	if uid < 0 || gid < 0 {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err == nil {
		err = os.Lchown(dir, uid, gid)
	}
	for _, e := range entries {
		err = errors.Join(err, os.Lchown(filepath.Join(dir, e.Name()), uid, gid))
	}
	return errs.Wrap(errs.System, err)
}

// HostID is what an id of the container is outside; -1: nobody.
func HostID(m []specs.LinuxIDMapping, id uint32) int {
	for _, r := range m {
		if id >= r.ContainerID && id-r.ContainerID < r.Size {
			return int(r.HostID + id - r.ContainerID)
		}
	}
	return -1
}

// Join puts criu into the container's groups, into which its children are born,
// and has it take them for those that were written down.
func Join(pid int, groups *spawn.Request, o *criu.Options) error {
	for _, tasks := range append(groups.CgroupTasks, groups.Resctrl...) {
		if _, err := fmt.Fprint(tasks, pid); err != nil {
			return errs.New(errs.System, "joining the control group: %w", err)
		}
	}
	if dir := groups.CgroupDir; dir != nil {
		if err := joinUnified(dir, pid); err != nil {
			return errs.New(errs.System, "joining the control group: %w", err)
		}
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return errs.Wrap(errs.System, err)
	}
	for line := range strings.Lines(string(b)) { // number:controllers:path
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) < 3 {
			continue
		}
		for controller := range strings.SplitSeq(f[1], ",") {
			o.Pair(criu.CgroupRoot, controller, f[2])
		}
	}
	return nil
}

func joinUnified(dir *os.File, pid int) error {
	raw, err := dir.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(at uintptr) {
		var fd int
		if fd, inner = unix.Openat(int(at), "cgroup.procs", unix.O_WRONLY|unix.O_CLOEXEC, 0); inner == nil {
			_, inner = unix.Write(fd, []byte(strconv.Itoa(pid)))
			unix.Close(fd)
		}
	})
	return errors.Join(err, inner)
}

// Apart gives the calling thread a mount namespace of its own, in which what it
// mounts is nobody else's. The thread must not be used for anything else.
func Apart() error {
	err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
	if err == nil {
		err = unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, "")
	}
	return err
}

// MakeReadonly makes a process's root filesystem read-only, which criu does to
// all other mounts. The thread that enters its mount namespace is given up.
func MakeReadonly(pid int) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid))
			if err != nil {
				return err
			}
			defer ns.Close()
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return os.NewSyscallError("unshare", err)
			}
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
				return os.NewSyscallError("setns", err)
			}
			return os.NewSyscallError("mount_setattr", unix.MountSetattr(unix.AT_FDCWD, "/", 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}))
		}()
	}()
	if err := <-done; err != nil {
		return errs.New(errs.System, "making the root filesystem read-only: %w", err)
	}
	return nil
}
