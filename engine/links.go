package engine

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/engine/etc"
	"github.com/davit-engine/davit/engine/link"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network"
)

// links finds the containers that h is linked to, at its creation. On networks
// that users have made links are a matter of names there. The texts are
// Docker's.
func (d *drafter) links(h *container.HostConfig) (list []record.Link, warnings []string, err error) {
	if container.NetworkMode(record.ModeOf(h)).IsUserDefined() {
		return nil, nil, nil
	}
	for _, text := range h.Links {
		name, alias, err := link.Parse(text)
		if err != nil {
			return nil, nil, err
		}
		child, err := d.lookup(name)
		for err == nil && child.snapshot().HostConfig.NetworkMode.IsContainer() {
			name = child.snapshot().HostConfig.NetworkMode.ConnectedContainer()
			child, err = d.lookup(name)
		}
		if err != nil {
			return nil, nil, errs.New(errs.InvalidParameter, "could not get container for %s: %w", name, err)
		}
		switch {
		case child.snapshot().HostConfig.NetworkMode.IsHost():
			return nil, nil, errs.New(errs.InvalidParameter, "conflicting options: host type networking can't be used with links. This would result in undefined behavior")
		case slices.ContainsFunc(list, func(l record.Link) bool { return l.Alias == alias }):
			warnings = append(warnings, fmt.Sprintf("error registering link to %s, as alias %s, ignoring: name is reserved", name, alias))
			continue
		}
		list = append(list, record.Link{Alias: alias, ID: child.id})
	}
	return list, warnings, nil
}

// lookup is table.find with an error that does not say that something was not
// found: clients would take the image for it.
func (d *drafter) lookup(name string) (*ctr, error) {
	c, err := d.table.find(name)
	return c, errs.Wrap(errs.InvalidParameter, err)
}

// linked is a container that another one is linked to, as it is now.
type linked struct {
	name  string // PARENT/ALIAS, with a slash before
	alias string
	rec   record.Container

	address netip.Addr // on the default bridge; of those that are reachable
}

// linkedTo lists what a container is linked to and that still exists.
func (t *table) linkedTo(rec *record.Container) []linked {
	var list []linked
	for _, l := range rec.Links {
		if c, err := t.find(l.ID); err == nil {
			list = append(list, linked{name: "/" + rec.Name + "/" + l.Alias, alias: l.Alias, rec: c.snapshot()})
		}
	}
	return list
}

// onDefault is the container's endpoint on the default bridge, nil if it has
// none.
func (n *nets) onDefault(rec *record.Container) *network.Endpoint {
	return endpointOn(rec, n.id(networkBridge))
}

// reachable is linkedTo for a container that is about to start on the default
// bridge: all of them must run there too.
func (l *launcher) reachable(rec *record.Container) ([]linked, error) {
	if len(rec.Links) == 0 || !attached(rec, networkBridge) {
		return nil, nil
	}
	list := l.table.linkedTo(rec)
	for i := range list {
		to := &list[i]
		if !attached(&to.rec, networkBridge) {
			return nil, errs.New(errs.Conflict, "Cannot link to /%s, as it does not belong to the default network", to.rec.Name)
		}
		on := l.nets.onDefault(&to.rec)
		if !to.rec.State.Running() || on == nil {
			return nil, errs.New(errs.Conflict, "Cannot link to a non running container: /%s AS %s: start %[1]s first", to.rec.Name, to.name)
		}
		to.address = on.Address4.Addr()
	}
	return list, nil
}

// attached reports whether a container is to be on the network of this name.
func attached(rec *record.Container, name string) bool {
	return slices.ContainsFunc(rec.Memberships(), func(a record.Membership) bool { return a.Network == name })
}

// linkHosts are the lines of /etc/hosts for what a container is linked to.
func (l *launcher) linkHosts(rec *record.Container) (lines []etc.Host, err error) {
	list, err := l.reachable(rec)
	for _, to := range list {
		lines = append(lines, etc.Host{Address: to.address, Names: link.Hosts(to.alias, to.rec.Config.Hostname, to.rec.Name)})
	}
	return lines, err
}

// linkVariables are what Docker up to 28 told of linked containers; none unless
// the engine was told to go on with it.
func (l *launcher) linkVariables(rec *record.Container) ([]string, error) {
	if !l.cfg.LinkVariables {
		return nil, nil
	}
	list, err := l.reachable(rec)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, to := range list {
		out = append(out, link.Variables(to.name, to.address, to.rec.Config.ExposedPorts, to.rec.Config.Env)...)
	}
	return out, nil
}

// tellParents gives those that are linked to a container which has just come
// to the default bridge its new address.
func (n *nets) tellParents(rec *record.Container) {
	parents := n.table.linking()
	if len(parents) == 0 {
		return
	}
	on := n.onDefault(rec)
	if on == nil {
		return
	}
	for _, c := range parents {
		parent := c.snapshot()
		for _, to := range parent.Links {
			if to.ID != rec.ID || n.onDefault(&parent) == nil {
				continue
			}
			if err := n.hostsFiles.rewrite(parent.ID, to.Alias, on.Address4.Addr()); err != nil {
				n.log.Error("telling a linked container's address", "container", parent.ID, "alias", to.Alias, "error", err)
			}
		}
	}
}

// hostsFiles changes the hosts files of running containers.
type hostsFiles struct {
	store *record.Store
	mu    sync.Mutex // held while a file is changed; nothing is locked under it
}

// rewrite gives alias another address in a container's /etc/hosts, or none.
func (h *hostsFiles) rewrite(id, alias string, a netip.Addr) error {
	return h.change(id, func(text []byte) []byte {
		text, _ = link.Rewrite(text, alias, a)
		return text
	})
}

// maxHosts is the largest /etc/hosts, in bytes, that is read here: the container
// may have written anything into it.
const maxHosts = 1 << 20

// change changes a container's /etc/hosts: in place, as the file is mounted.
func (h *hostsFiles) change(id string, do func([]byte) []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	path := filepath.Join(h.store.Dir(id), record.Hosts)
	if info, err := os.Stat(path); err == nil && info.Size() > maxHosts {
		return errs.New(errs.Conflict, "the container's /etc/hosts has %d bytes: make it shorter than %d first", info.Size(), maxHosts)
	}
	old, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the container's %s: %w", record.Hosts, err)
	}
	text := do(slices.Clip(old))
	if bytes.Equal(text, old) {
		return nil
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return fmt.Errorf("writing the container's %s: %w", record.Hosts, err)
	}
	return nil
}

// names lists a container's names as ps shows them: its own, and those that
// others have for it.
func (l *lister) names(rec *record.Container, parents []*ctr) []string {
	names := []string{"/" + rec.Name}
	for _, c := range parents {
		parent := c.snapshot()
		for _, to := range parent.Links {
			if to.ID == rec.ID {
				names = append(names, "/"+parent.Name+"/"+to.Alias)
			}
		}
	}
	slices.Sort(names[1:])
	return names
}

// shownLinks are a container's links as inspect shows them.
func (t *table) shownLinks(rec *record.Container) []string {
	var out []string
	for _, to := range t.linkedTo(rec) {
		out = append(out, "/"+to.rec.Name+":"+to.name)
	}
	return out
}

// unlink removes a link by its name, PARENT/ALIAS.
func (e *Engine) unlink(ctx context.Context, ref string) error {
	name := strings.TrimPrefix(ref, "/")
	parentName, alias, ok := strings.Cut(name, "/")
	if !ok {
		return errs.New(errs.Conflict, "Conflict, cannot remove the default link name of the container")
	}
	parent, err := e.table.find(parentName)
	if err != nil {
		return errs.New(errs.NotFound, "Cannot get parent /%s for link name /%s", parentName, name)
	}
	return e.table.owning(ctx, parent.id, func(_ context.Context, c *ctr) error {
		rec := c.snapshot()
		kept := slices.DeleteFunc(slices.Clone(rec.Links), func(l record.Link) bool { return l.Alias == alias })
		if len(kept) == len(rec.Links) {
			return noSuchContainer(ref)
		}
		before := rec
		rec.Links = kept
		c.replace(&rec)
		if err := e.keeper.persist(c, true); err != nil {
			c.replace(&before)
			return err
		}
		if e.nets.onDefault(&rec) != nil {
			return e.hostsFiles.rewrite(rec.ID, alias, netip.Addr{})
		}
		return nil
	})
}
