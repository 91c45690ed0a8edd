package systemd

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/cgroup"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// patience is how long systemd may take for what a group's methods ask of it.
const patience = 30 * time.Second

// Group is a control group that systemd keeps as a scope.
type Group struct {
	*cgroup.Cgroup
	manager     Manager
	unit        Unit
	placeholder *placeholder // nil if the group was opened
}

// Options say more about a scope to be made.
type Options struct {
	Description string            // for people; empty: the unit's name
	Group       []cgroup.Option   // Delegate, Rootless
	Rootless    bool              // no list of devices is told to systemd
	Annotations map[string]string // the container's; those that name a property of the scope are followed
}

// Create makes the scope u, with the limits in res, which may be nil. The
// caller calls Release once a process is in the group. A scope of that name
// that is there is of kind errs.Conflict, a systemd that does not run of kind
// errs.Unavailable. On error nothing is left.
func (m Manager) Create(ctx context.Context, h *cgroup.Hierarchies, u Unit, res *specs.LinuxResources, o Options) (_ *Group, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if m.user && h.Version() != 2 {
		return nil, errs.New(errs.NotImplemented, "a user's systemd delegates cgroups on cgroup v2 alone: leave --systemd-cgroup out")
	}
	settings, err := h.Settings(res)
	if err != nil {
		return nil, err
	}
	asked, err := annotated(o.Annotations)
	if err != nil {
		return nil, err
	}
	conn, err := m.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	limits, err := properties(settings, conn.version, func(string) string { return "" })
	if err != nil {
		return nil, err
	}
	if res != nil && res.Pids != nil && res.Pids.Limit != nil && *res.Pids.Limit < 0 {
		limits = append(limits, number("TasksMax", infinity)) // systemd has a limit of its own for who says nothing
	}
	if res != nil && !o.Rootless {
		devices, err := devices(res.Devices)
		if err != nil {
			return nil, err
		}
		limits = append(limits, devices...)
	}
	g := &Group{manager: m, unit: u}
	if g.placeholder, err = newPlaceholder(); err != nil {
		return nil, errs.New(errs.System, "making a placeholder for systemd unit %s: %w", u.Name, err)
	}
	started := false
	defer func() {
		if err != nil {
			g.Release()
			if started {
				_ = conn.stop(ctx, u.Name)
			}
		}
	}()
	list := slices.Concat(founding(u, cmp.Or(o.Description, u.Name), g.placeholder.pid, h.Version() == 2), asked, limits)
	if policy := oomPolicy(settings); policy != "" {
		list = append(list, text("OOMPolicy", policy))
	}
	if err := conn.start(ctx, u.Name, list); err != nil {
		return nil, err
	}
	started = true
	path, err := conn.place(ctx, u.Name)
	if err != nil {
		return nil, err
	}
	g.Cgroup, err = h.Create(path, res, append([]cgroup.Option{cgroup.Adopt()}, o.Group...)...)
	return g, err
}

// founding returns the properties of any container's scope. Accounting for all
// makes systemd enable the controllers.
func founding(u Unit, description string, pid int, v2 bool) []property {
	io := "BlockIOAccounting"
	if v2 {
		io = "IOAccounting"
	}
	return []property{
		text("Description", description), text("Slice", u.Slice), boolean("Delegate", true), pids(pid),
		boolean("MemoryAccounting", true), boolean("CPUAccounting", true), boolean(io, true), boolean("TasksAccounting", true),
		// Without this, systemd ends the container early at shutdown.
		boolean("DefaultDependencies", false),
	}
}

// oomPolicy returns what systemd shall do about processes killed for want of
// memory: it can be said at the start only.
func oomPolicy(settings []cgroup.Setting) string {
	for _, s := range settings {
		if s.File == "memory.oom.group" {
			return map[string]string{"0": "continue", "1": "kill"}[s.Value]
		}
	}
	return ""
}

func devices(list []specs.LinuxDeviceCgroup) ([]property, error) {
	if len(list) == 0 {
		return nil, nil
	}
	rules, every, err := cgroup.Devices(list)
	if err != nil {
		return nil, err
	}
	return deviceProperties(rules, every, readFile("/proc/devices")), nil
}

// Open returns the group of a scope that [Manager.Create] made, whose
// directories are paths. Nothing is read or asked.
func (m Manager) Open(u Unit, paths map[string]string) *Group {
	return &Group{Cgroup: cgroup.Open(paths), manager: m, unit: u}
}

// Unit returns the scope's name and slice, for Open.
func (g *Group) Unit() Unit { return g.unit }

// Release ends the placeholder; a scope without other processes goes with it.
// It is needed once, after the group got its first process; more calls do
// nothing.
func (g *Group) Release() {
	if g.placeholder != nil {
		g.placeholder.end()
	}
}

// Update is as [cgroup.Cgroup.Update]; systemd is told first.
func (g *Group) Update(res *specs.LinuxResources) (err error) {
	settings, err := g.Settings(res)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := g.manager.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	list, err := properties(settings, conn.version, func(file string) string { return readFile(g.Paths()["cpu"] + "/" + file) })
	if err != nil {
		return err
	}
	if res != nil && len(res.Devices) > 0 {
		devices, err := devices(res.Devices)
		if err != nil {
			return err
		}
		list = append(list, devices...)
		thaw, err := g.still(ctx)
		if err != nil {
			return err
		}
		defer thaw()
	}
	if len(list) > 0 {
		if err := conn.set(ctx, g.unit.Name, list); err != nil {
			return err
		}
	}
	return g.Cgroup.Update(res)
}

// still freezes a v1 group whose devices change: systemd writes the list anew,
// and for a moment none is allowed.
func (g *Group) still(ctx context.Context) (thaw func(), err error) {
	if g.Paths()["devices"] == "" {
		return func() {}, nil
	}
	if frozen, err := g.Frozen(); err != nil || frozen {
		return func() {}, err
	}
	return func() { _ = g.Thaw() }, g.Freeze(ctx)
}

// Remove stops the scope and removes what is left of the group. A systemd that
// does not run any more is no error.
func (g *Group) Remove() error {
	g.Release()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := g.manager.dial(ctx)
	switch {
	case err == nil:
		defer conn.Close()
		if err := conn.stop(ctx, g.unit.Name); err != nil {
			return err
		}
	case !errs.Is(err, errs.Unavailable):
		return err
	}
	return g.Cgroup.Remove()
}
