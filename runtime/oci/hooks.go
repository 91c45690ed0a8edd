package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/hook"
	"github.com/davit-engine/davit/runtime/program"
	"github.com/davit-engine/davit/runtime/spawn"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// hookKind is a moment at which hooks run.
type hookKind struct {
	name string
	list func(*specs.Hooks) []specs.Hook
}

// of returns the hooks of a kind; h may be nil.
func (k *hookKind) of(h *specs.Hooks) []specs.Hook {
	if h == nil {
		return nil
	}
	return k.list(h)
}

// The kinds, in the order of a container's life.
var (
	prestart        = hookKind{"prestart", func(h *specs.Hooks) []specs.Hook { return h.Prestart }} //lint:ignore SA1019 deprecated, and still in use
	createRuntime   = hookKind{"createRuntime", func(h *specs.Hooks) []specs.Hook { return h.CreateRuntime }}
	createContainer = hookKind{"createContainer", func(h *specs.Hooks) []specs.Hook { return h.CreateContainer }}
	startContainer  = hookKind{"startContainer", func(h *specs.Hooks) []specs.Hook { return h.StartContainer }}
	poststart       = hookKind{"poststart", func(h *specs.Hooks) []specs.Hook { return h.Poststart }}
	poststop        = hookKind{"poststop", func(h *specs.Hooks) []specs.Hook { return h.Poststop }}

	hookKinds = [...]*hookKind{&prestart, &createRuntime, &createContainer, &startContainer, &poststart, &poststop}
)

// duringCreate reports whether there are hooks for which create has to stop.
func duringCreate(h *specs.Hooks) bool {
	return len(prestart.of(h))+len(createRuntime.of(h))+len(createContainer.of(h)) > 0
}

// runHooks runs the hooks of a kind in the caller's namespaces, up to the
// first that fails.
func (c *container) runHooks(h *specs.Hooks, kind *hookKind, status specs.ContainerState) error {
	for n, one := range kind.of(h) {
		state, err := json.Marshal(c.oci(status))
		if err != nil {
			return errs.Wrap(errs.System, err)
		}
		if err := hook.Run(context.Background(), one, state); err != nil {
			return fmt.Errorf("%s hook %d: %w", kind.name, n, err)
		}
	}
	return nil
}

// runHooksInside runs hooks of a kind inside the container: as its own user
// once the root is entered (startContainer), and before as the container's
// root, with the paths of the host (createContainer).
func (c *container) runHooksInside(b *bundle, kind *hookKind, status specs.ContainerState) error {
	for n, one := range kind.of(b.spec.Hooks) {
		state, err := json.Marshal(c.oci(status))
		if err != nil {
			return errs.Wrap(errs.System, err)
		}
		p := &specs.Process{Cwd: "/", Capabilities: everyCapability()}
		if kind == &startContainer {
			p.User, p.Cwd, p.Capabilities, p.NoNewPrivileges = b.spec.Process.User, b.spec.Process.Cwd, b.spec.Process.Capabilities, b.spec.Process.NoNewPrivileges
		}
		p.Args, p.Env = one.Args, one.Env
		if len(p.Args) == 0 {
			p.Args = []string{one.Path}
		}
		if err := c.runInside(one, p, state, kind == &createContainer); err != nil {
			return fmt.Errorf("%s hook %d: %w", kind.name, n, err)
		}
	}
	return nil
}

func everyCapability() *specs.LinuxCapabilities {
	all := program.Capabilities()
	return &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
}

// runInside is hook.Run for a hook in the container.
func (c *container) runInside(h specs.Hook, p *specs.Process, state []byte, hostRoot bool) error {
	ctx, cancel := hook.Deadline(context.Background(), h)
	defer cancel()
	pidfd, err := c.process()
	if err != nil {
		return err
	}
	defer pidfd.Close()
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
	process, err := spawn.Exec(&spawn.ExecRequest{PidFD: pidfd, Pid: c.Pid, File: h.Path, Process: p, Stdin: stdin, Stdout: theirs, Stderr: theirs, HostRoot: hostRoot})
	theirs.Close()
	if err != nil {
		return err
	}
	defer process.PidFD.Close()
	stop := context.AfterFunc(ctx, func() { _ = unix.PidfdSendSignal(int(process.PidFD.Fd()), unix.SIGKILL, nil, 0) })
	defer stop()
	var said hook.Tail
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
	return hook.Failed(ctx, h, err, &said)
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
