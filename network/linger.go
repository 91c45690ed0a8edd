package network

import (
	"net"
	"time"
)

// lingerTime is how long a namespace may take to end after its container.
const lingerTime = 2 * time.Second

// lingering are the endpoints of a segment whose namespaces were to end a
// moment ago. A connection with data that the other end does not take keeps a
// namespace for minutes, and that would answer for an address that is another's
// by then.
type lingering struct{ list []Endpoint }

// addLocked has an endpoint looked after that was just released.
func (l *lingering) addLocked(g *segment, e Endpoint) {
	l.list = append(l.list, e)
	if len(l.list) == 1 {
		time.AfterFunc(lingerTime, func() { l.sweep(g) })
	}
}

// sweep removes the interfaces that are still there.
func (l *lingering) sweep(g *segment) {
	g.mu.Lock()
	late := l.list
	l.list = nil
	g.mu.Unlock()
	for _, e := range late {
		if _, err := net.InterfaceByName(e.HostVeth); err != nil {
			continue // the usual case
		}
		g.mu.Lock()
		// Whoever has the addresses by now has the name, too.
		if !g.closed && g.addresses.claim(e) == nil {
			g.inUse[e.ID] = e
			g.leaveLaterLocked(e)
		}
		g.mu.Unlock()
	}
}
