package engine

import (
	"os/exec"
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/system"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/wire"
)

// Runtime is another OCI runtime, by its command line.
type Runtime struct {
	Path    string // of the program, or its name in PATH
	Args    []string
	Options map[string]any // as configured, for info
	Type    string         // as configured, for info
	Unfit   string         // not empty: why it cannot be used
}

// runtimeName is the runtime of the engine's own.
const runtimeName = "davit"

// ownRuntimes are other names for it, which scripts written for Docker use,
// unless one of them was configured.
var ownRuntimes = []string{runtimeName, "davit-runtime", "runc", "io.containerd.runc.v2"}

// runtimes are the engine's own runtime and the others that were configured.
type runtimes struct {
	shim      string // path of the engine's own
	others    map[string]Runtime
	preferred string // the name of the runtime of a container that does not say
}

func newRuntimes(c *Config) *runtimes {
	r := &runtimes{c.ShimPath, c.Runtimes, c.DefaultRuntime}
	if r.preferred == "" {
		r.preferred = runtimeName
	}
	return r
}

// find finds a runtime by its name; nil is the engine's own. Error:
// InvalidParameter with Docker's words for a name that nobody configured.
func (rs *runtimes) find(name string) (*Runtime, error) {
	if name == "" {
		name = rs.preferred
	}
	if r, ok := rs.others[name]; ok {
		if r.Unfit != "" {
			return nil, errs.New(errs.InvalidParameter, "runtime %s: %s", name, r.Unfit)
		}
		return &r, nil
	}
	if slices.Contains(ownRuntimes, name) {
		return nil, nil
	}
	return nil, errs.New(errs.InvalidParameter, "unknown or invalid runtime name: %s", name)
}

// settleRuntime checks the runtime that a container asks for. Another runtime
// than the engine's own has the host's ids: how files of an image get others is
// the engine's own affair.
func (d *drafter) settleRuntime(_ *container.Config, h *container.HostConfig) error {
	r, err := d.runtimes.find(h.Runtime)
	if err != nil || r == nil {
		return err
	}
	switch {
	case h.UsernsMode == "":
		h.UsernsMode = "host"
	case !h.UsernsMode.IsHost():
		return errs.New(errs.InvalidParameter, "conflicting options: --userns %s and --runtime %s: only Davit's own runtime makes user namespaces: use --userns host", h.UsernsMode, h.Runtime)
	}
	return nil
}

// foreign is what the shim has to know of a runtime that is not the engine's
// own; nil for that.
func (rs *runtimes) foreign(name string) (*wire.Runtime, error) {
	r, err := rs.find(name)
	if err != nil || r == nil {
		return nil, err
	}
	path, err := exec.LookPath(r.Path)
	if err != nil {
		return nil, errs.New(errs.InvalidParameter, "runtime %s cannot be run: %w: correct its path in the engine's configuration (runtimes)", name, err)
	}
	return &wire.Runtime{Name: name, Path: path, Args: r.Args}, nil
}

// info lists the runtimes.
func (rs *runtimes) info() map[string]system.RuntimeWithStatus {
	list := map[string]system.RuntimeWithStatus{runtimeName: {Runtime: system.Runtime{Path: rs.shim}}}
	for name, r := range rs.others {
		list[name] = system.RuntimeWithStatus{Runtime: system.Runtime{Path: r.Path, Args: r.Args, Type: r.Type, Options: r.Options}}
	}
	return list
}
