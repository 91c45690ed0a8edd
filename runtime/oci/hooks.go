package oci

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/hook"
	"github.com/opencontainers/runtime-spec/specs-go"
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
		inside := hook.Inside{Pid: c.Pid}
		if kind == &startContainer {
			inside.As = b.spec.Process
		}
		if inside.PidFD, err = c.process(); err != nil {
			return err
		}
		err = inside.Run(context.Background(), one, state)
		inside.PidFD.Close()
		if err != nil {
			return fmt.Errorf("%s hook %d: %w", kind.name, n, err)
		}
	}
	return nil
}
