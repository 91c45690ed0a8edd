package shim

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"github.com/davit-engine/davit/runtime/spawn"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// fakeSpawn starts the process as a plain child, with no namespace, root
// filesystem or limit of its own.
func fakeSpawn(r *spawn.Request) (*process, error) {
	runtime.LockOSThread() // the child's PDEATHSIG is sent when this thread ends
	pidfd := -1
	attr := &os.ProcAttr{
		Dir: "/", Env: r.Spec.Process.Env, Files: []*os.File{r.Stdin, r.Stdout, r.Stderr},
		Sys: &syscall.SysProcAttr{PidFD: &pidfd, Pdeathsig: syscall.SIGKILL, Setsid: true},
	}
	var master, slave *os.File
	if r.Spec.Process.Terminal {
		var err error
		if master, slave, err = terminal(r.Spec.Process.ConsoleSize); err != nil {
			return nil, err
		}
		defer slave.Close()
		attr.Files = []*os.File{slave, slave, slave}
		attr.Sys.Setctty = true
	}
	if attr.Files[0] == nil {
		null, err := os.Open(os.DevNull)
		if err != nil {
			return nil, err
		}
		defer null.Close()
		attr.Files[0] = null
	}
	p, err := os.StartProcess(r.Spec.Process.Args[0], r.Spec.Process.Args, attr)
	if err != nil {
		e := &spawn.Error{ExitCode: 128}
		switch {
		case errors.Is(err, unix.ENOENT):
			e.ExitCode = 127
		case errors.Is(err, unix.EACCES):
			e.ExitCode = 126
		}
		return nil, fmt.Errorf("%w%w", err, e)
	}
	wait := func() (unix.WaitStatus, error) {
		state, err := p.Wait()
		if err != nil {
			return 0, err
		}
		return unix.WaitStatus(state.Sys().(syscall.WaitStatus)), nil
	}
	return &process{pid: p.Pid, pidfd: os.NewFile(uintptr(pidfd), "pidfd"), console: master, wait: wait}, nil
}

func terminal(size *specs.Box) (master, slave *os.File, err error) {
	if master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return nil, nil, err
	}
	var n int
	err = control(master, func(fd int) (err error) {
		if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		}
		if err == nil && size != nil {
			err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(size.Height), Col: uint16(size.Width)})
		}
		return err
	})
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		master.Close()
	}
	return master, slave, err
}

// fakeGroup is a cgroup that does nothing.
type fakeGroup struct{}

func (fakeGroup) Paths() map[string]string   { return map[string]string{"": "/nowhere"} }
func (fakeGroup) Tasks() ([]*os.File, error) { return nil, nil }
func (fakeGroup) Dir() (*os.File, error)     { return nil, nil }
func (fakeGroup) OOMKills() (uint64, error)  { return 0, nil }
func (fakeGroup) Signal(unix.Signal) error   { return nil }
func (fakeGroup) Kill() error                { return nil }
func (fakeGroup) Pids() ([]int, error)       { return nil, nil }
func (fakeGroup) Remove() error              { return nil }

func createFake(string, *specs.LinuxResources) (group, error) { return fakeGroup{}, nil }
