package shim

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/program"
	"golang.org/x/sys/unix"
)

// privately calls do on a thread with a mount namespace of its own, which ends
// with it: what is mounted there nobody else sees but the programs that do
// starts. They keep it.
func privately(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			// The first thread does not end: another one has to.
			defer runtime.UnlockOSThread()
			done <- privately(do)
			return
		}
		err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, "")
		}
		if err != nil {
			done <- errs.New(errs.System, "making a mount namespace: %w", err)
			return
		}
		done <- do()
	}()
	return <-done
}

// mountRoot mounts the container's root filesystem at dir.
func mountRoot(root program.Root, dir string) error {
	o := root.Overlay
	switch {
	case root.IDMap:
		return errs.New(errs.NotImplemented, "other runtimes cannot be given a root filesystem with mapped owners: use --userns host")
	case o == nil:
		if err := unix.Mount(root.Dir, dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return errs.New(errs.System, "binding %s: %w", root.Dir, err)
		}
		return nil
	}
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return errs.New(errs.System, "opening an overlay: %w", err)
	}
	defer unix.Close(fs)
	err = setLayers(fs, o)
	if err == nil {
		err = unix.FsconfigCreate(fs)
	}
	if err != nil {
		return errs.New(errs.System, "making the overlay: %w", err)
	}
	m, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(m)
		err = unix.MoveMount(m, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH)
	}
	if err != nil {
		return errs.New(errs.System, "mounting the overlay: %w", err)
	}
	return nil
}

// treePath is where mount number i of those that are given lies in a bundle.
func treePath(bundle string, i int) string { return bundle + "/tree" + strconv.Itoa(i) }

// attachTree attaches a detached mount at path, which is made.
func attachTree(tree *os.File, path string) error {
	info, err := tree.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = os.Mkdir(path, 0o700)
	default:
		err = os.WriteFile(path, nil, 0o600)
	}
	if err == nil {
		err = unix.MoveMount(int(tree.Fd()), "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH)
	}
	if err != nil {
		return errs.New(errs.System, "attaching a mount: %w", err)
	}
	return nil
}

func setLayers(fs int, o *program.Overlay) error {
	err := error(nil)
	for _, l := range o.Lower {
		if err = unix.FsconfigSetString(fs, "lowerdir+", l); err != nil {
			break
		}
	}
	if errors.Is(err, unix.EINVAL) { // before Linux 6.5
		escape := strings.NewReplacer(`\`, `\\`, ":", `\:`)
		list := make([]string, len(o.Lower))
		for i, l := range o.Lower {
			list[i] = escape.Replace(l)
		}
		err = unix.FsconfigSetString(fs, "lowerdir", strings.Join(list, ":"))
	}
	if err != nil || o.Upper == "" {
		return err
	}
	for key, value := range map[string]string{"upperdir": o.Upper, "workdir": o.Work} {
		if err := unix.FsconfigSetString(fs, key, value); err != nil {
			return err
		}
	}
	for _, option := range o.Options {
		key, value, _ := strings.Cut(option, "=")
		if err := unix.FsconfigSetString(fs, key, value); err != nil {
			return err
		}
	}
	if o.Volatile {
		return unix.FsconfigSetFlag(fs, "volatile")
	}
	return nil
}

// consoleSocket is the name of the socket that takes a terminal's master.
const consoleSocket = "console.sock"

// listenConsole makes that socket in dir.
func listenConsole(dir *os.File) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("making the socket for a terminal: %w", err)
	}
	l := os.NewFile(uintptr(fd), consoleSocket)
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), consoleSocket)})
	if err == nil {
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("making the socket for a terminal: %w", err)
	}
	return l, nil
}

// acceptConsole takes the terminal's master, which a runtime has sent when its
// command has ended.
func acceptConsole(l *os.File) (master *os.File, err error) {
	err = control(l, func(fd int) error {
		c, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		if err != nil {
			return err
		}
		defer unix.Close(c)
		text, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
		_, n, _, _, err := unix.Recvmsg(c, text, oob, unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			return err
		}
		messages, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil || len(messages) != 1 {
			return unix.EBADMSG
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			return unix.EBADMSG
		}
		master = os.NewFile(uintptr(fds[0]), "/dev/ptmx")
		return unix.SetNonblock(fds[0], true)
	})
	if err != nil {
		return nil, fmt.Errorf("taking the terminal: %w", err)
	}
	return master, nil
}
