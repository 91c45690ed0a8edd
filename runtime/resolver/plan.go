package resolver

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Plan is what one container's resolver goes by. The engine writes it as JSON
// into a file, and renames a new one over it when the container is connected
// to another network.
type Plan struct {
	Networks []Network `json:"networks,omitempty"` // in the order in which they are looked at
	Links    []Link    `json:"links,omitempty"`    // names that this container alone has for others

	// Who is asked for all other names: Servers, from the container's network
	// namespace, or, if there are none, those of the file Host (the host's
	// resolv.conf), from the host's. Without either nobody is.
	Servers []netip.Addr `json:"servers,omitempty"`
	Host    string       `json:"host,omitempty"`

	// Undotted: addresses of a name without a dot are nobody else's to know, as
	// the user has said when a client is to search its domains first (ndots).
	Undotted bool `json:"undotted,omitempty"`
}

// Network is one whose names the container can ask for, also with .NAME behind
// them.
type Network struct {
	Name  string `json:"name"`
	Names string `json:"names"` // path of its names file
}

// Link gives a container one more name.
type Link struct {
	Alias string `json:"alias"`
	Name  string `json:"name"` // by which the names file knows it
}

// planFile holds what is in the file of a plan until that is another.
type planFile struct {
	path string

	mu   sync.Mutex
	plan *Plan       // guarded by mu; not changed once it is here
	of   unix.Stat_t // guarded by mu; what the file was
}

// get returns the plan as it is now, and the last one that was good if the
// file is not.
func (f *planFile) get() *Plan {
	f.mu.Lock()
	defer f.mu.Unlock()
	var now unix.Stat_t
	if err := unix.Stat(f.path, &now); err != nil || f.plan != nil && now.Ino == f.of.Ino && now.Size == f.of.Size && now.Mtim == f.of.Mtim {
		return f.last()
	}
	text, err := os.ReadFile(f.path)
	if err != nil {
		return f.last()
	}
	p := new(Plan)
	if json.Unmarshal(text, p) != nil {
		return f.last()
	}
	f.plan, f.of = p, now
	return p
}

func (f *planFile) last() *Plan {
	if f.plan == nil {
		return new(Plan)
	}
	return f.plan
}

// Text is what the file of a plan holds.
func (p *Plan) Text() ([]byte, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encoding a resolver's plan: %w", err)
	}
	return append(text, '\n'), nil
}

// lookup finds the addresses of a name. A name that is known may have none of
// the family that is asked for: that is an answer too.
func (p *Plan) lookup(name string) (list []netip.Addr, known bool) {
	if name == "" {
		return nil, false
	}
	for i := range p.Networks {
		n := &p.Networks[i]
		if list, known = n.lookup(p.Links, name); known {
			return list, true
		}
		if short, ok := n.cut(name); ok {
			if list, known = n.lookup(p.Links, short); known {
				return list, true
			}
		}
	}
	return nil, false
}

func (n *Network) lookup(links []Link, name string) (list []netip.Addr, known bool) {
	for _, l := range links {
		if strings.EqualFold(l.Alias, name) {
			if list, known = find(list, n.Names, strings.ToLower(l.Name)); known {
				return list, true
			}
		}
	}
	return find(nil, n.Names, name)
}

// cut takes the network's own name off the end of a name.
func (n *Network) cut(name string) (string, bool) {
	at := len(name) - len(n.Name) - 1
	if n.Name == "" || at <= 0 || name[at] != '.' || !strings.EqualFold(name[at+1:], n.Name) {
		return "", false
	}
	return name[:at], true
}

// reverse finds the full name of an address, "" for none.
func (p *Plan) reverse(a netip.Addr) string {
	for i := range p.Networks {
		if name := nameOf(p.Networks[i].Names, a.String()); name != "" {
			return name + "." + p.Networks[i].Name
		}
	}
	return ""
}
