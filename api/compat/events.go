package compat

import "github.com/moby/moby/api/types/events"

// Event returns an event as a client of version v expects it, or nil if that
// version does not know it.
func Event(v Version, m events.Message) any {
	// 1.46 brought "create" events of images.
	if v.Before(46) && m.Type == events.ImageEventType && m.Action == events.ActionCreate {
		return nil
	}
	// 1.52 dropped status, id and from; clients before Docker 25 panic without them.
	if !v.Before(52) {
		return m
	}
	switch m.Type {
	case events.ContainerEventType:
		return Extended{Base: m, Add: map[string]any{"status": m.Action, "id": m.Actor.ID, "from": m.Actor.Attributes["image"]}}
	case events.ImageEventType:
		return Extended{Base: m, Add: map[string]any{"status": m.Action, "id": m.Actor.ID}}
	}
	return m
}
