package engine

import (
	"context"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
)

// table finds containers by ID and by name.
type table struct {
	mu    sync.RWMutex
	byID  map[string]*ctr   // guarded by mu
	names map[string]string // name -> ID, also of containers being created; guarded by mu
	links map[string]*ctr   // those that are linked to others, by their own ID; guarded by mu
}

func newTable() *table {
	return &table{byID: map[string]*ctr{}, names: map[string]string{}, links: map[string]*ctr{}}
}

// add enters a container whose name was reserved.
func (t *table) add(rec *record.Container) *ctr {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := newCtr(rec)
	t.byID[rec.ID] = c
	if len(rec.Links) > 0 {
		t.links[rec.ID] = c
	}
	return c
}

// drop takes a container and its name out.
func (t *table) drop(rec *record.Container) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, rec.ID)
	delete(t.links, rec.ID)
	if t.names[rec.Name] == rec.ID {
		delete(t.names, rec.Name)
	}
}

// linking lists the containers that are linked to others, of which there are
// few if any.
func (t *table) linking() []*ctr {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if len(t.links) == 0 {
		return nil
	}
	return slices.Collect(maps.Values(t.links))
}

// byLinkLocked looks a container up by the name PARENT/ALIAS of a link.
func (t *table) byLinkLocked(name string) *ctr {
	parent, alias, ok := strings.Cut(name, "/")
	if !ok {
		return nil
	}
	p := t.links[t.names[parent]]
	if p == nil {
		return nil
	}
	for _, l := range p.snapshot().Links {
		if l.Alias == alias {
			return t.byID[l.ID]
		}
	}
	return nil
}

// find looks a container up by full ID, then by name, then by the name that
// another container has for it, then by a prefix of its ID that no other
// container has.
func (t *table) find(ref string) (*ctr, error) {
	name := strings.TrimPrefix(ref, "/")
	if name == "" {
		return nil, errs.New(errs.InvalidParameter, "container name or ID is empty")
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if c := t.byID[name]; c != nil {
		return c, nil
	}
	if c := t.byID[t.names[name]]; c != nil {
		return c, nil
	}
	if c := t.byLinkLocked(name); c != nil {
		return c, nil
	}
	var found *ctr
	for id, c := range t.byID {
		if !strings.HasPrefix(id, name) {
			continue
		}
		if found != nil {
			return nil, errs.New(errs.InvalidParameter, "multiple IDs found with provided prefix: %s", name)
		}
		found = c
	}
	if found == nil {
		return nil, noSuchContainer(ref)
	}
	return found, nil
}

// owning calls do for a container as its owner. A client that goes away once
// the container is owned changes nothing.
func (t *table) owning(ctx context.Context, ref string, do func(context.Context, *ctr) error) error {
	c, err := t.find(ref)
	if err != nil {
		return err
	}
	if err := c.own(ctx); err != nil {
		return err
	}
	defer c.disown()
	return do(context.WithoutCancel(ctx), c)
}

// exact looks a container up by its name or full ID; nil if there is none.
func (t *table) exact(ref string) *ctr {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if c := t.byID[t.names[ref]]; c != nil {
		return c
	}
	return t.byID[ref]
}

// unknown reports whether no container, not even one that is being created, has
// this ID.
func (t *table) unknown(id string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.byID[id] != nil {
		return false
	}
	for _, holder := range t.names {
		if holder == id {
			return false
		}
	}
	return true
}

// each calls look with the record of every container, in no order. It must not
// call the table.
func (t *table) each(look func(*record.Container)) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, c := range t.byID {
		c.mu.Lock()
		rec := c.rec
		c.mu.Unlock()
		look(rec)
	}
}

// all lists the containers, newest first.
func (t *table) all() []*ctr {
	t.mu.RLock()
	defer t.mu.RUnlock()
	list := make([]*ctr, 0, len(t.byID))
	for _, c := range t.byID {
		list = append(list, c)
	}
	sort.Slice(list, func(i, j int) bool {
		a, b := list[i], list[j]
		if !a.created.Equal(b.created) {
			return a.created.After(b.created)
		}
		return a.id < b.id
	})
	return list
}

// reserve takes name, or chooses a free one, for container id.
func (t *table) reserve(name, id string) (string, error) {
	if name != "" {
		if err := validName(name); err != nil {
			return "", err
		}
		name = strings.TrimPrefix(name, "/")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if name == "" {
		name = randomName(func(n string) bool { _, taken := t.names[n]; return taken })
	}
	if holder, taken := t.names[name]; taken {
		return "", errs.New(errs.Conflict, "Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", "/"+name, holder)
	}
	t.names[name] = id
	return name, nil
}

func (t *table) release(name, id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.names[name] == id {
		delete(t.names, name)
	}
}
