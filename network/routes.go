package network

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// leg is an endpoint with what decides on routes.
type leg struct {
	Endpoint
	name   string // of the network
	traits traits
}

func legOf(e Endpoint, g *segment) leg { return leg{e, g.net.Name, g.traits} }

// gateway returns what the leg's default route of a family would go by, and
// whether it can have one. An invalid address means the interface itself.
func (l leg) gateway(v4 bool) (netip.Addr, bool) {
	gateway, has := l.Gateway6, l.Address6.IsValid()
	if v4 {
		gateway, has = l.Gateway4, l.Address4.IsValid()
	}
	return gateway, has && !l.traits.noRoute && (gateway.IsValid() || l.traits.direct)
}

// defaultLeg returns the ID of the endpoint that has the default route of a
// family: of those that can the first by precedence; "" if there is none.
func defaultLeg(legs []leg, v4 bool) string {
	able := slices.DeleteFunc(slices.Clone(legs), func(l leg) bool {
		_, can := l.gateway(v4)
		return !can
	})
	if len(able) == 0 {
		return ""
	}
	return slices.MinFunc(able, leg.precedence).ID
}

// precedence is negative where a comes before b for what only one can have: the
// higher priority, then the network whose name sorts first.
func (a leg) precedence(b leg) int {
	return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.name, b.name))
}

// addDefaults adds to b what the default routes need when the legs before
// become those after. indexes are those of interfaces, by endpoint; others are
// looked up in the thread's namespace.
func addDefaults(b *batch, before, after []leg, indexes map[string]int) error {
	for _, v4 := range []bool{true, false} {
		id := defaultLeg(after, v4)
		if id == "" || id == defaultLeg(before, v4) {
			continue
		}
		l := after[slices.IndexFunc(after, func(l leg) bool { return l.ID == id })]
		index := indexes[id]
		if index == 0 {
			var err error
			if index, err = indexHere(l.Interface); err != nil {
				return err
			}
			if index == 0 {
				continue // somebody in the container has removed it
			}
		}
		gateway, _ := l.gateway(v4)
		b.setDefaultRoute(index, v4, gateway)
	}
	return nil
}

// indexHere returns the index of an interface in the thread's namespace, 0 if
// there is none.
func indexHere(name string) (int, error) {
	r, err := openRtnl()
	if err != nil {
		return 0, err
	}
	defer r.close()
	index, err := entry{rtnl: r}.indexOf(name)
	if errors.Is(err, unix.ENODEV) {
		return 0, nil
	}
	return index, err
}
