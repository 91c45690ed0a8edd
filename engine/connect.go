package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	apinet "github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network"
	"github.com/davit-engine/davit/network/shape"
	"github.com/davit-engine/davit/runtime/wire"
)

// joiner puts containers on networks and takes them off, also while they run.
//
// The record goes before: an engine that is killed in between finds there what
// was asked for, and does what is missing.
type joiner struct {
	*core
	pruning sync.Mutex // one prune of networks at a time; locked by TryLock only
}

// Connect puts a container on one more network: at once if it runs, else when
// it starts. Errors: NotFound for either, Forbidden where it is on that network
// already, InvalidParameter for settings, and for containers that are on the
// host's network, another container's or none.
func (n *Networks) Connect(ctx context.Context, ref, container string, settings *apinet.EndpointSettings) error {
	if settings == nil {
		settings = &apinet.EndpointSettings{}
	}
	return n.table.owning(ctx, container, func(ctx context.Context, c *ctr) error {
		found, err := n.nets.find(ref)
		if err != nil {
			return err
		}
		return n.connect(ctx, c, found, settings)
	})
}

// Disconnect takes a container off a network. Errors: NotFound for either,
// System where it is not on it. force makes no difference: nothing is left of a
// container that is gone.
func (n *Networks) Disconnect(ctx context.Context, ref, container string, force bool) error {
	err := n.table.owning(ctx, container, func(ctx context.Context, c *ctr) error {
		found, err := n.nets.find(ref)
		if err != nil && !force {
			return err
		}
		if err != nil {
			found = apinet.Network{Name: ref}
		}
		return n.disconnect(ctx, c, &found)
	})
	if force && errs.Is(err, errs.NotFound) && n.table.exact(container) == nil {
		return errs.New(errs.NotFound, "endpoint %s not found", container)
	}
	return err
}

// connect is Connect for the owner of c.
func (j *joiner) connect(ctx context.Context, c *ctr, n apinet.Network, settings *apinet.EndpointSettings) error {
	before := c.snapshot()
	if err := canMove(&before); err != nil {
		return err
	}
	if err := validateEndpoint(&n, settings); err != nil {
		return err
	}
	now, err := withNetwork(&before, &n, settings)
	if err != nil {
		return err
	}
	r := c.current()
	if r != nil && endpointOn(&before, n.ID) != nil {
		return errs.New(errs.Forbidden, "endpoint with name %s already exists in network %s", before.Name, n.Name)
	}
	if err := j.commit(c, now, true); err != nil || r == nil {
		return err
	}
	if err := j.join(ctx, c, r, membership{n, settings}); err != nil {
		rec := c.snapshot()
		rec.NetworkingConfig = before.NetworkingConfig
		if e := j.commit(c, &rec, true); e != nil {
			j.log.Error("recording that a container did not come to a network", "container", c.id, "network", n.Name, "error", e)
		}
		return err
	}
	return nil
}

// disconnect is Disconnect for the owner of c.
func (j *joiner) disconnect(ctx context.Context, c *ctr, n *apinet.Network) error {
	before := c.snapshot()
	if err := canMove(&before); err != nil {
		return err
	}
	r := c.current()
	if r != nil && n.Name == networkHost && before.HostConfig.NetworkMode.IsHost() {
		return errs.New(errs.InvalidParameter, "cannot disconnect container from host network - container was created in host network mode")
	}
	if !attached(&before, n.Name) {
		the := ""
		if r == nil {
			the = "the " // as Docker has it
		}
		return errs.New(errs.System, "container %s is not connected to %snetwork %s", c.id, the, n.Name)
	}
	now := before
	now.NetworkingConfig = withoutNetwork(&before, n.Name)
	if err := j.commit(c, &now, true); err != nil || r == nil {
		return err
	}
	return j.leave(ctx, c, r, n)
}

// canMove refuses containers that are about to go.
func canMove(rec *record.Container) error {
	switch rec.State.Status {
	case container.StateRemoving, container.StateDead:
		return errs.New(errs.Forbidden, "Container %s is marked for removal and cannot be connected or disconnected to the network", rec.ID)
	}
	return nil
}

// withNetwork is a container's record with one more network.
func withNetwork(rec *record.Container, n *apinet.Network, settings *apinet.EndpointSettings) (*record.Container, error) {
	if record.ForeignNet(rec.HostConfig.NetworkMode) {
		return nil, errs.New(errs.InvalidParameter, "container sharing network namespace with another container or host cannot be connected to any other network")
	}
	if n.ConfigOnly {
		return nil, errs.New(errs.Forbidden, "cannot create endpoint on configuration-only network %s", n.Name)
	}
	if n.Name == networkHost && !rec.HostConfig.NetworkMode.IsHost() {
		return nil, errs.New(errs.InvalidParameter, "cannot connect container to host network - container must be created in host network mode")
	}
	on := map[string]*apinet.EndpointSettings{n.Name: settings}
	for _, m := range rec.Memberships() {
		if err := together(m.Network, n.Name); err != nil {
			return nil, err
		}
		if m.Network != n.Name {
			on[m.Network] = m.Settings
		}
	}
	now := *rec
	now.NetworkingConfig = &apinet.NetworkingConfig{EndpointsConfig: on}
	return &now, nil
}

// withoutNetwork is what remains of a container's networks without one.
func withoutNetwork(rec *record.Container, name string) *apinet.NetworkingConfig {
	on := map[string]*apinet.EndpointSettings{}
	for _, m := range rec.Memberships() {
		if m.Network != name {
			on[m.Network] = m.Settings
		}
	}
	if len(on) == 0 {
		return record.Detach()
	}
	return &apinet.NetworkingConfig{EndpointsConfig: on}
}

// join gives a container that runs an endpoint, for its owner. The record has
// the network already.
func (j *joiner) join(ctx context.Context, c *ctr, r *run, m membership) (err error) {
	if m.network.Driver == "null" || m.network.Driver == "host" {
		return nil
	}
	ns, err := r.netNS()
	if err != nil {
		return err
	}
	defer ns.Close()
	rec := c.snapshot()
	p, err := j.cfg.Network.Connect(ctx, ns, rec.Endpoints, m.wish())
	if err != nil {
		return err
	}
	var undo undo
	defer undo.unless(&err)
	before := rec.Endpoints
	undo.add(func() {
		if err := j.cfg.Network.Disconnect(ctx, ns, p, before); err != nil {
			j.log.Error("taking back a container's place on a network", "container", c.id, "network", m.network.Name, "error", err)
		}
	})
	p.Names = m.names(&rec)
	parameters, err := interfaceSysctls(m.settings, p.Interface)
	if err != nil {
		return err
	}
	if err := network.SetParameters(ns, parameters); err != nil {
		return err
	}
	rec.Endpoints = append(slices.Clip(before), p)
	undo.add(func() {
		without := rec
		without.Endpoints = before
		if err := j.naming.left(&without, p); err != nil {
			j.log.Error("taking back a container's names", "container", c.id, "network", m.network.Name, "error", err)
		}
	})
	if err := j.naming.joined(ctx, r, ns, &rec, p); err != nil {
		return err
	}
	if err := j.nets.note(&rec); err != nil {
		return err
	}
	c.replace(&rec)
	if err := j.persist(c, false); err != nil {
		j.log.Error("recording a container's place on a network", "container", c.id, "error", err)
	}
	j.nets.tellParents(&rec)
	j.nets.publish(&m.network, events.ActionConnect, map[string]string{"container": c.id})
	j.moved(ctx, c)
	return nil
}

// moved publishes the ports of a container that runs on the network that has its
// default route by now.
func (j *joiner) moved(ctx context.Context, c *ctr) {
	if err := j.ports.settle(ctx, c); err != nil {
		j.log.Error("publishing a container's ports on another network", "container", c.id, "error", err)
	}
}

// leave takes a container's endpoint on a network away while it runs, for its
// owner. The record has the network no more.
func (j *joiner) leave(ctx context.Context, c *ctr, r *run, n *apinet.Network) error {
	rec := c.snapshot()
	if p := endpointOn(&rec, n.ID); p != nil {
		ns, err := r.netNS()
		if err != nil {
			j.log.Warn("a container leaves a network that cannot be entered", "container", c.id, "network", n.Name, "error", err)
		} else {
			defer ns.Close()
		}
		gone := *p
		rec.Endpoints = slices.DeleteFunc(slices.Clone(rec.Endpoints), func(o network.Endpoint) bool { return o.ID == gone.ID })
		c.replace(&rec)
		if err := j.naming.left(&rec, gone); err != nil {
			j.log.Error("taking back a container's names", "container", c.id, "network", n.Name, "error", err)
		}
		if err := j.ports.letGo(ctx, r, gone.Ports); err != nil {
			j.log.Error("taking back a container's ports", "container", c.id, "network", n.Name, "error", err)
		}
		err = j.nets.note(&rec)
		if e := j.cfg.Network.Disconnect(ctx, ns, gone, rec.Endpoints); err == nil {
			err = e
		}
		if e := j.persist(c, false); err == nil {
			err = e
		}
		if err != nil {
			return fmt.Errorf("taking container %s off network %s: %w", rec.Name, n.Name, err)
		}
		if len(gone.Ports) > 0 {
			j.moved(ctx, c)
		}
	}
	if n.ID != "" { // else it is gone itself
		j.nets.publish(n, events.ActionDisconnect, map[string]string{"container": c.id})
	}
	return nil
}

// netNS opens the network namespace of a run. Conflict if it has ended.
func (r *run) netNS() (*os.File, error) {
	f, err := os.Open(netNSPath(r.state.Pid))
	if err == nil {
		// The number may have passed to another process before it was opened, but
		// not after.
		if start, e := wire.StartTime(r.state.Pid); e == nil && start == r.state.PidStart {
			return f, nil
		}
		f.Close()
	}
	return nil, errs.New(errs.Conflict, "the container has just ended")
}

// netNSPath is where the network namespace of a process can be opened.
func netNSPath(pid int) string { return fmt.Sprintf("/proc/%d/ns/net", pid) }

// rejoin makes a container that this engine found running be on the networks
// that its record says: an engine that was killed may have recorded what was
// asked for and not have done it.
func (j *joiner) rejoin(ctx context.Context, c *ctr) {
	if c.own(ctx) != nil {
		return
	}
	defer c.disown()
	r, rec := c.current(), c.snapshot()
	if r == nil || rec.HostConfig.NetworkMode.IsHost() || record.ForeignNet(rec.HostConfig.NetworkMode) {
		return
	}
	list, err := j.nets.memberships(&rec)
	if err != nil {
		j.log.Error("a running container's network is not there", "container", c.id, "error", err)
		return
	}
	for _, p := range slices.Clone(rec.Endpoints) {
		if slices.ContainsFunc(list, func(m membership) bool { return m.network.ID == p.Network }) {
			continue
		}
		if n, err := j.nets.find(p.Network); err == nil {
			j.caughtUp("a container has left a network as it was asked to", c, &n, j.leave(ctx, c, r, &n))
		}
	}
	for _, m := range list {
		if endpointOn(&rec, m.network.ID) == nil && len(wishes([]membership{m})) > 0 {
			j.caughtUp("a container has come to a network as it was asked to", c, &m.network, j.join(ctx, c, r, m))
		} else if p := endpointOn(&rec, m.network.ID); p != nil {
			j.keepRate(c, *p, m)
		}
	}
	if rec = c.snapshot(); j.ports.concerns(&rec) {
		if err := j.ports.recall(ctx, c, r); err != nil {
			j.log.Error("looking after the published ports of a container", "container", c.id, "error", err)
		}
	}
}

// caughtUp tells the log what rejoin has done, or could not do.
func (j *joiner) caughtUp(what string, c *ctr, n *apinet.Network, err error) {
	if err != nil {
		j.log.Error("doing what an earlier engine was asked to: "+what, "container", c.id, "network", n.Name, "error", err)
		return
	}
	j.log.Info(what, "container", c.id, "network", n.Name)
}

// keepRate gives a place on a network the bandwidth that the record says: an
// engine that was killed may have recorded it and not have told the kernel.
func (j *joiner) keepRate(c *ctr, p network.Endpoint, m membership) {
	want, err := shape.Of(m.network.Options, m.settings.DriverOpts)
	if err != nil || p.HostVeth == "" {
		return
	}
	if is, err := j.cfg.Network.Rates.Read(p); err != nil || is.Is(want) {
		return
	}
	err = j.cfg.Network.Rates.Set(p, m.settings.DriverOpts)
	j.log.Info("a container gets the bandwidth that was asked for", "container", c.id, "network", m.network.Name, "rate", want, "error", err)
}

// renamed gives a container that runs its new name on its networks, for its
// owner.
func (j *joiner) renamed(c *ctr) {
	rec := c.snapshot()
	if len(rec.Endpoints) == 0 {
		return
	}
	list, err := j.nets.memberships(&rec)
	if err != nil {
		j.log.Error("giving a container its new name on its networks", "container", c.id, "error", err)
		return
	}
	rec.Endpoints = named(&rec, list, slices.Clone(rec.Endpoints))
	if err := errors.Join(j.nets.note(&rec), j.naming.enter(rec.Endpoints...)); err != nil {
		j.log.Error("giving a container its new name on its networks", "container", c.id, "error", err)
	}
	c.replace(&rec)
	if err := j.persist(c, false); err != nil {
		j.log.Error("recording a container's new name on its networks", "container", c.id, "error", err)
	}
}
