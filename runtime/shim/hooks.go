package shim

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/hook"
	"github.com/davit-engine/davit/runtime/spawn"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// hooks are those of a container's spec, which descriptions of devices (CDI)
// put there. Most containers have none, and a nil *hooks.
type hooks struct {
	list        *specs.Hooks
	id          string
	dir         string // where the container's record lies
	annotations map[string]string
}

// newHooks returns the spec's hooks, and refuses those that are not run.
func newHooks(spec *specs.Spec, id, dir string) (*hooks, error) {
	list := spec.Hooks
	if list == nil {
		return nil, nil
	}
	if len(list.StartContainer) > 0 {
		return nil, errs.New(errs.NotImplemented, "hook %s: startContainer hooks are not run: have the device's description use createContainer", list.StartContainer[0].Path)
	}
	for _, kind := range [][]specs.Hook{prestart(list), list.CreateRuntime, list.CreateContainer, list.Poststart, list.Poststop} {
		for _, one := range kind {
			if err := hook.Check(one); err != nil {
				return nil, err
			}
		}
	}
	return &hooks{list: list, id: id, dir: dir, annotations: spec.Annotations}, nil
}

// prepare has the request stop for the hooks that run when the namespaces are
// there and the root is not entered yet.
func (h *hooks) prepare(r *spawn.Request) {
	if h == nil {
		return
	}
	list := h.list
	if len(prestart(list))+len(list.CreateRuntime)+len(list.CreateContainer) == 0 {
		return
	}
	r.Created = func(pid int) error {
		if err := h.run("prestart", prestart(list), pid, specs.StateCreating); err != nil {
			return err
		}
		if err := h.run("createRuntime", list.CreateRuntime, pid, specs.StateCreating); err != nil {
			return err
		}
		return h.inside(list.CreateContainer, pid)
	}
}

// started runs the hooks that follow the start.
func (h *hooks) started(pid int) error {
	if h == nil {
		return nil
	}
	return h.run("poststart", h.list.Poststart, pid, specs.StateRunning)
}

// stopped runs the hooks that follow the end, all of them.
func (h *hooks) stopped() error {
	if h == nil {
		return nil
	}
	var failed error
	for _, one := range h.list.Poststop {
		if err := h.run("poststop", []specs.Hook{one}, 0, specs.StateStopped); err != nil && failed == nil {
			failed = err
		}
	}
	return failed
}

// run runs hooks in the shim's namespaces, up to the first that fails.
func (h *hooks) run(kind string, list []specs.Hook, pid int, status specs.ContainerState) error {
	for n, one := range list {
		if err := hook.Run(context.Background(), one, h.state(pid, status)); err != nil {
			return fmt.Errorf("%s hook %d: %w", kind, n, err)
		}
	}
	return nil
}

// inside runs createContainer hooks.
func (h *hooks) inside(list []specs.Hook, pid int) error {
	if len(list) == 0 {
		return nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return errs.New(errs.System, "opening the container's process: %w", err)
	}
	in := hook.Inside{Pid: pid, PidFD: os.NewFile(uintptr(fd), "pidfd")}
	defer in.PidFD.Close()
	for n, one := range list {
		if err := in.Run(context.Background(), one, h.state(pid, specs.StateCreating)); err != nil {
			return fmt.Errorf("createContainer hook %d: %w", n, err)
		}
	}
	return nil
}

// state is what a hook reads. Its bundle is the container's directory, which
// holds no config.json: this runtime needs none.
func (h *hooks) state(pid int, status specs.ContainerState) []byte {
	b, err := json.Marshal(specs.State{
		Version: specs.Version, ID: h.id, Status: status, Pid: pid, Bundle: h.dir, Annotations: h.annotations,
	})
	if err != nil { // strings and numbers: there is nothing that cannot be encoded
		return nil
	}
	return b
}

func prestart(list *specs.Hooks) []specs.Hook {
	//lint:ignore SA1019 deprecated, and still in use
	return list.Prestart
}
