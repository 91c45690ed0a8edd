package network

import (
	"sync"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network/ipam"
)

// directory holds the networks that containers can be on.
type directory struct {
	bridge *segment // the default bridge; nil if it is switched off

	mu       sync.RWMutex
	segments map[string]*segment // guarded by mu; by ID
}

// get returns the network of an ID, or of a name. Errors: NotFound,
// InvalidParameter for a default bridge that is switched off.
func (d *directory) get(ref string) (*segment, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if g := d.segments[ref]; g != nil {
		return g, nil
	}
	for _, g := range d.segments {
		if g.net.Name == ref {
			return g, nil
		}
	}
	if ref == "bridge" {
		return nil, errs.New(errs.InvalidParameter, "there is no default bridge (it is switched off by bridge none): use --network none or host, or take that setting out")
	}
	return nil, errs.New(errs.NotFound, "network %s not found", ref)
}

func (d *directory) add(g *segment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.segments[g.net.ID] = g
}

func (d *directory) drop(g *segment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.segments, g.net.ID)
}

func (d *directory) all() []*segment {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := make([]*segment, 0, len(d.segments))
	for _, g := range d.segments {
		all = append(all, g)
	}
	return all
}

// ranges lists those of the networks.
func (d *directory) ranges() []ipam.Taken {
	var all []ipam.Taken
	for _, g := range d.all() {
		if g.net.ConfigOnly {
			continue
		}
		for _, c := range g.net.IPAM.Config {
			all = append(all, ipam.Taken{Prefix: c.Subnet, By: "network " + g.net.Name})
		}
	}
	return all
}

// legs returns the endpoints whose networks there are.
func (d *directory) legs(es []Endpoint) []leg {
	var all []leg
	for _, e := range es {
		if g, err := d.get(e.Network); err == nil {
			all = append(all, legOf(e, g))
		}
	}
	return all
}
