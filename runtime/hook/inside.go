package hook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/program"
	"github.com/davit-engine/davit/runtime/spawn"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Inside runs hooks in the namespaces of a container, whose first process is
// not the user's command yet.
type Inside struct {
	Pid   int      // of the first process
	PidFD *os.File // the same; stays the caller's
	// As is the container's process, whose user and rights hooks run with once the
	// root is entered (startContainer). nil: as the container's root with the paths
	// of the host, as before that (createContainer).
	As *specs.Process
}

// Run is as the function Run.
func (i Inside) Run(ctx context.Context, h specs.Hook, state []byte) error {
	ctx, cancel := Deadline(ctx, h)
	defer cancel()
	stdin, err := filled(state)
	if err != nil {
		return err
	}
	defer stdin.Close()
	output, theirs, err := os.Pipe()
	if err != nil {
		return errs.Wrap(errs.System, err)
	}
	defer output.Close()
	process, err := spawn.Exec(&spawn.ExecRequest{
		PidFD: i.PidFD, Pid: i.Pid, File: h.Path, Process: i.process(h), Stdin: stdin, Stdout: theirs, Stderr: theirs, HostRoot: i.As == nil,
	})
	theirs.Close()
	if err != nil {
		return err
	}
	defer process.PidFD.Close()
	stop := context.AfterFunc(ctx, func() { _ = unix.PidfdSendSignal(int(process.PidFD.Fd()), unix.SIGKILL, nil, 0) })
	defer stop()
	var said Tail
	read := make(chan struct{})
	go func() {
		_, _ = io.Copy(&said, output)
		close(read)
	}()
	status, err := process.Wait()
	if err == nil {
		err = ended(status)
	}
	if err != nil { // what it left running may hold its output open: wait for that only where it is quoted
		select {
		case <-read:
		case <-ctx.Done():
		}
	}
	output.Close()
	<-read
	return Failed(ctx, h, err, &said)
}

func (i Inside) process(h specs.Hook) *specs.Process {
	p := &specs.Process{Cwd: "/", Args: h.Args, Env: h.Env}
	if len(p.Args) == 0 {
		p.Args = []string{h.Path}
	}
	if i.As != nil {
		p.User, p.Cwd, p.Capabilities, p.NoNewPrivileges = i.As.User, i.As.Cwd, i.As.Capabilities, i.As.NoNewPrivileges
		return p
	}
	all := program.Capabilities()
	p.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
	return p
}

// ended is how a process ended, as an error.
func ended(s unix.WaitStatus) error {
	switch {
	case s.Signaled():
		return fmt.Errorf("killed by %s", unix.SignalName(s.Signal()))
	case s.ExitStatus() != 0:
		return fmt.Errorf("exit status %d", s.ExitStatus())
	}
	return nil
}

// filled returns a file in memory that holds text, at its start.
func filled(text []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("state", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, errs.New(errs.System, "making a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "state")
	_, err = f.Write(text)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(errs.Wrap(errs.System, err), f.Close())
	}
	return f, nil
}
