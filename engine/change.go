package engine

import (
	"context"
	"errors"
	"os"
	"reflect"
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/dialect"
	"github.com/davit-engine/davit/engine/change"
	"github.com/davit-engine/davit/engine/mountpoint"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network/shape"
	"github.com/davit-engine/davit/runtime/cgroup"
)

// Changes changes containers that exist.
type Changes struct {
	*launcher
	drafter *drafter
}

// Changes returns the verbs that change settings of containers.
func (e *Engine) Changes() *Changes { return &Changes{e.launcher, e.drafter} }

// Change changes settings of a container: at once where the kernel can, else by
// ending its process and starting another around the same writable layer, with
// the same ID, name and log. With dry it only says what that would be. On an
// error nothing has changed; a process that was ended for it runs again.
func (g *Changes) Change(ctx context.Context, ref string, wish *dialect.Change, dry bool) (dialect.Plan, error) {
	c, err := g.table.find(ref)
	if err != nil {
		return dialect.Plan{}, err
	}
	if wish.Resources != nil {
		if err := validateUpdate(&container.UpdateConfig{Resources: *wish.Resources}); err != nil {
			return dialect.Plan{}, err
		}
	}
	return g.change(ctx, c, wish, dry)
}

// change is Change for anybody.
func (g *Changes) change(ctx context.Context, c *ctr, wish *dialect.Change, dry bool) (dialect.Plan, error) {
	var plan *dialect.Plan
	for {
		if err := c.own(ctx); err != nil {
			return dialect.Plan{}, err
		}
		out, err := g.draft(ctx, c, wish)
		if err == nil && plan == nil {
			plan = &out.Plan // for those that follow, the process has ended
		}
		if err == nil && !dry && !out.Plan.Restarts {
			err = g.carryOut(context.WithoutCancel(ctx), c, wish, out, plan.Restarts)
		}
		if err == nil && !dry && out.Plan.Restarts {
			err = g.resume(c, true)
		}
		c.disown()
		switch {
		case err != nil:
			return dialect.Plan{}, err
		case dry:
			return *plan, nil
		case !out.Plan.Restarts:
			plan.Done = true
			return *plan, nil
		}
		// A client that goes away now must not leave it ended.
		if err := g.stopToStart(context.WithoutCancel(ctx), c, StopOptions{}); err != nil {
			return dialect.Plan{}, err
		}
	}
}

// draft makes the settings that the container would have, and checks them, for
// its owner.
func (g *Changes) draft(ctx context.Context, c *ctr, wish *dialect.Change) (*change.Outcome, error) {
	rec := c.snapshot()
	switch rec.State.Status {
	case container.StateRemoving, container.StateDead:
		return nil, errs.New(errs.Conflict, `container is marked for removal and cannot be "update"`)
	}
	wish, err := g.byName(wish)
	if err != nil {
		return nil, err
	}
	out, err := change.Make(&rec, g.imageEnv(ctx, &rec, wish), wish)
	if err != nil {
		return nil, err
	}
	g.drafter.settle(out.HostConfig)
	g.drafter.nameHost(out.Config, out.HostConfig, c.id)
	if !change.Deep(wish) {
		return out, nil
	}
	origin := out.Origin
	if origin == nil {
		origin = &record.Origin{Engine: []string{"Hostname"}}
	}
	config, host := origin.Asked(out.Config, out.HostConfig)
	request := container.CreateRequest{Config: config, HostConfig: host, NetworkingConfig: out.Networking}
	warnings, err := g.drafter.validate(request)
	if err != nil {
		return nil, err
	}
	if len(wish.Annotations) > 0 {
		if err := g.usher.check(rec.Name, request); err != nil {
			return nil, err
		}
	}
	if err := g.canMount(ctx, out.Mounted); err != nil {
		return nil, err
	}
	out.Plan.Warnings = append(out.Plan.Warnings, warnings...)
	return out, nil
}

// byName is a wish whose networks go by their names. All of those that are
// joined must exist, which a creation leaves to the start.
func (g *Changes) byName(wish *dialect.Change) (*dialect.Change, error) {
	if len(wish.Networks) == 0 {
		return wish, nil
	}
	named := *wish
	named.Networks = make(map[string]*network.EndpointSettings, len(wish.Networks))
	for ref, settings := range wish.Networks {
		name, err := g.networkName(ref)
		if err != nil && settings != nil {
			return nil, err
		}
		named.Networks[name] = settings
	}
	return &named, nil
}

// networkName is the name of a network that a container can be on, or else the
// reference itself, with why it cannot.
func (g *Changes) networkName(ref string) (string, error) {
	m := container.NetworkMode(ref)
	path, foreign := record.NetNS(m)
	switch {
	case m.IsContainer():
		_, err := g.table.find(m.ConnectedContainer())
		return ref, err
	case foreign:
		f, err := openNetNS(path)
		if err == nil {
			err = f.Close()
		}
		return ref, err
	case ref == "" || !m.IsUserDefined():
		return ref, nil
	}
	n, err := g.nets.find(ref)
	switch {
	case err != nil:
		return ref, err
	case n.ConfigOnly:
		return n.Name, errs.New(errs.Forbidden, "cannot create endpoint on configuration-only network %s", n.Name)
	}
	return n.Name, nil
}

// imageEnv returns the variables of the container's image, if a change looks
// at them. Where the image is gone, so is what they matter for.
func (g *Changes) imageEnv(ctx context.Context, rec *record.Container, wish *dialect.Change) []string {
	if len(wish.Env) == 0 || rec.Image.Manifest == nil {
		return nil
	}
	img, err := g.cfg.Images.GetManifest(ctx, ocispec.Descriptor{Digest: digest.Digest(rec.Image.ID)}, *rec.Image.Manifest)
	if err != nil {
		return nil
	}
	return img.Config.Config.Env
}

// carryOut makes an outcome true, for the owner of c, which does not run where
// that needs a start. start says that it is to run afterwards.
func (g *Changes) carryOut(ctx context.Context, c *ctr, wish *dialect.Change, out *change.Outcome, start bool) error {
	before := c.snapshot()
	var undo undo
	err := g.apply(ctx, c, wish, out, &undo)
	if err == nil && start {
		g.reviver.settle(c)
		err = g.start(ctx, c)
	}
	if err != nil {
		undo.unless(&err)
		if start {
			err = g.startAgain(ctx, c, err)
		}
		return err
	}
	rec := c.snapshot()
	if r := c.current(); wish.Healthcheck != nil && !start && rec.State.Status == container.StateRunning {
		g.checker.rest(c, r)
		g.checker.begin(c, r, true)
	}
	held := holds(&rec)
	for i := range before.Mounts {
		if old := &before.Mounts[i]; !slices.ContainsFunc(held, func(m record.Mount) bool { return sameSource(&m, old) }) {
			g.mounts.letGo(c.id, old)
		}
	}
	if p := wish.RestartPolicy; p != nil && p.IsNone() {
		g.reviver.giveUp(c)
	}
	g.publish(&rec, events.ActionUpdate, nil)
	return nil
}

// apply tells the kernel, gets what is to be mounted, and writes the record. How
// to take that back it adds to taken.
func (g *Changes) apply(ctx context.Context, c *ctr, wish *dialect.Change, out *change.Outcome, taken *undo) error {
	taken.add(func() { // last of all: by the record as it is then
		if err := g.ports.settle(ctx, c); err != nil {
			g.log.Error("publishing a container's ports as before", "container", c.id, "error", err)
		}
	})
	if r := c.current(); r != nil && wish.Resources != nil {
		restore, err := relimit(r, &c.snapshot().HostConfig.Resources, &out.HostConfig.Resources, wish.Resources)
		if err != nil {
			return err
		}
		taken.add(func() {
			if err := restore(); err != nil {
				g.log.Error("putting a container's limits back", "container", c.id, "error", err)
			}
		})
	}
	before, now := c.snapshot(), c.snapshot()
	if err := g.remount(ctx, &now, out, taken); err != nil {
		return err
	}
	now.Config, now.HostConfig, now.NetworkingConfig, now.Origin = out.Config, out.HostConfig, out.Networking, out.Origin
	c.replace(&now)
	taken.add(func() {
		rec := c.snapshot() // whose state is another by now
		rec.Config, rec.HostConfig, rec.NetworkingConfig, rec.Origin, rec.Mounts = before.Config, before.HostConfig, before.NetworkingConfig, before.Origin, before.Mounts
		c.replace(&rec)
		if err := g.persist(c, true); err != nil {
			g.log.Error("recording that a container has its old settings again", "container", c.id, "error", err)
		}
	})
	if err := g.persist(c, true); err != nil {
		return err
	}
	if err := g.moveNetworks(ctx, c, &before, taken); err != nil {
		return err
	}
	return g.ports.settle(ctx, c)
}

// moveNetworks takes a container that runs off the networks that its record has
// no more, and puts it on those that it has now. How to take that back it adds
// to taken.
func (g *Changes) moveNetworks(ctx context.Context, c *ctr, before *record.Container, taken *undo) error {
	r, now := c.current(), c.snapshot()
	if r == nil || reflect.DeepEqual(before.NetworkingConfig, now.NetworkingConfig) {
		return nil
	}
	old, err := g.nets.memberships(before)
	if err != nil {
		return err
	}
	list, err := g.nets.memberships(&now)
	if err != nil {
		return err
	}
	missing := func(from []membership) func(membership) bool {
		return func(m membership) bool {
			return !slices.ContainsFunc(from, func(o membership) bool { return o.network.ID == m.network.ID && m.samePlace(o) })
		}
	}
	leaves := missing(list)
	for _, m := range old {
		if !leaves(m) {
			continue
		}
		if err := g.joiner.leave(ctx, c, r, &m.network); err != nil {
			return err
		}
		taken.add(func() {
			if err := g.joiner.join(ctx, c, r, m); err != nil {
				g.log.Error("putting a container back on a network", "container", c.id, "network", m.network.Name, "error", err)
			}
		})
	}
	comes := missing(old)
	for _, m := range list {
		if !comes(m) {
			continue
		}
		if err := g.joiner.join(ctx, c, r, m); err != nil {
			return err
		}
		taken.add(func() {
			if err := g.joiner.leave(ctx, c, r, &m.network); err != nil {
				g.log.Error("taking a container off a network again", "container", c.id, "network", m.network.Name, "error", err)
			}
		})
	}
	return g.changeRates(&now, old, list, taken)
}

// changeRates gives a container that runs another bandwidth where it was on a
// network already. How to take that back it adds to taken.
func (g *Changes) changeRates(rec *record.Container, old, list []membership, taken *undo) error {
	for _, m := range list {
		i := slices.IndexFunc(old, func(o membership) bool { return o.network.ID == m.network.ID && m.samePlace(o) })
		if i < 0 || old[i].settings.DriverOpts[shape.Option] == m.settings.DriverOpts[shape.Option] {
			continue
		}
		p, before := endpointOn(rec, m.network.ID), old[i].settings.DriverOpts
		if p == nil {
			continue
		}
		if err := g.cfg.Network.Rates.Set(*p, m.settings.DriverOpts); err != nil {
			return err
		}
		taken.add(func() {
			if err := g.cfg.Network.Rates.Set(*p, before); err != nil {
				g.log.Error("giving a container its bandwidth back", "container", rec.ID, "network", m.network.Name, "error", err)
			}
		})
	}
	return nil
}

// remount settles what rec has mounted after a change.
func (g *Changes) remount(ctx context.Context, rec *record.Container, out *change.Outcome, taken *undo) error {
	if len(out.Unmounted)+len(out.Mounted) == 0 {
		return nil
	}
	kept := slices.DeleteFunc(slices.Clone(rec.Mounts), func(m record.Mount) bool { return slices.Contains(out.Unmounted, m.Destination) })
	before := holds(rec)
	taken.add(func() { // where what is new lets go of the same volume or image as what was there
		for i := range before {
			if err := g.mounts.hold(ctx, rec.ID, &before[i]); err != nil {
				g.log.Error("holding what a container mounts", "container", rec.ID, "destination", before[i].Destination, "error", err)
			}
		}
	})
	added := *rec
	added.Config, added.HostConfig, added.Mounts = &container.Config{}, &container.HostConfig{Mounts: out.Mounted}, nil
	if err := g.mounts.settle(ctx, &added, taken); err != nil {
		return err
	}
	rec.Mounts = append(kept, added.Mounts...)
	return nil
}

// canMount checks before a process is ended what settle would find after it.
func (g *Changes) canMount(ctx context.Context, mounts []mount.Mount) error {
	wanted, err := mountpoint.Parse(&container.Config{}, &container.HostConfig{Mounts: mounts}, nil)
	if err != nil {
		return err
	}
	for i := range wanted {
		switch w := &wanted[i]; w.Type {
		case mount.TypeBind:
			err = checkSource(&w.Mount)
		case mount.TypeImage:
			_, err = g.cfg.Images.Get(ctx, w.Name, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// holds are a container's mounts and, as if it were one, its own image.
func holds(rec *record.Container) []record.Mount {
	return append(slices.Clone(rec.Mounts), record.Mount{Type: mount.TypeImage, Source: rec.Image.ID, Image: &rec.Image})
}

// sameSource reports whether two mounts hold the same volume or image.
func sameSource(a, b *record.Mount) bool {
	if a.Image != nil && b.Image != nil && a.Image.Manifest != nil && b.Image.Manifest != nil {
		return a.Image.Manifest.Digest == b.Image.Manifest.Digest
	}
	return a.Type == b.Type && a.Name == b.Name && a.Source == b.Source
}

// startAgain starts a container that was ended to be changed with its old
// settings, and says so beside why.
func (g *Changes) startAgain(ctx context.Context, c *ctr, why error) error {
	g.reviver.settle(c)
	name := c.snapshot().Name
	if err := g.start(ctx, c); err != nil && !errs.Is(err, errs.NotModified) {
		if err := g.resume(c, false); err != nil {
			g.log.Error("recording that a container does not start", "container", c.id, "error", err)
		}
		return errs.New(errs.KindOf(why), "container %s starts neither with the new settings nor with its old ones (%v): %w", name, err, why)
	}
	return errs.New(errs.KindOf(why), "container %s does not start with the new settings and runs with its old ones again: %w", name, why)
}

// relimit tells the kernel what changes for a process. The process may have
// ended by now, its end not recorded yet: then there is nothing to tell.
func relimit(r *run, old, now, wish *container.Resources) (undo func() error, err error) {
	w := change.Cleared(old, wish)
	blocks, err := blockDevices(&container.HostConfig{Resources: w})
	if err != nil {
		return nil, err
	}
	undo, err = cgroup.Open(r.state.Cgroup).Change(change.Kernel(now, &w, blocks))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		for _, dir := range r.state.Cgroup {
			if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
				return func() error { return nil }, nil
			}
		}
	}
	return undo, err
}
