package event

import (
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
)

// values are the values given for one key of a filter.
type values map[string]bool

// exact reports whether s is one of the values; without values, all match.
func (v values) exact(s string) bool { return len(v) == 0 || v[s] }

// prefix reports whether s begins with one of the values; without, all match.
func (v values) prefix(s string) bool {
	if v.exact(s) {
		return true
	}
	for p := range v {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// labels reports whether attributes hold every one of the values, each of
// which is a key or key=value. Unlike the other keys these are joined by and.
func (v values) labels(attributes map[string]string) bool {
	for want := range v {
		key, value, hasValue := strings.Cut(want, "=")
		got, ok := attributes[key]
		if !ok || hasValue && got != value {
			return false
		}
	}
	return true
}

// byActor are the keys that compare with the actor's ID and its name, either
// of which the value may begin. Docker looks at every event here, not only at
// those of the type the key names; so container=web shows a volume named web2.
var byActor = [...]events.Type{
	events.DaemonEventType, events.ContainerEventType, events.PluginEventType, events.VolumeEventType,
	events.NetworkEventType, events.ServiceEventType, events.NodeEventType, events.SecretEventType, events.ConfigEventType,
}

// Filter decides which events a client sees.
type Filter struct {
	event, kind, scope, label, image values
	actor                            [len(byActor)]values
}

// ParseFilter reads the filters of GET /events, by key and then by value, with
// Docker's meaning (moby daemon/events/filter.go): keys are joined by and,
// values by or. Keys that it does not know are ignored, as Docker does, and
// nothing is an error now; the result is there for a key that can be malformed.
// Without any filter the function returned is nil, which Subscribe takes as
// everything.
func ParseFilter(filters map[string]map[string]bool) (func(events.Message) bool, error) {
	if len(filters) == 0 {
		return nil, nil
	}
	f := &Filter{
		event: filters["event"], kind: filters["type"], scope: filters["scope"],
		label: filters["label"], image: filters["image"],
	}
	for i, kind := range byActor {
		f.actor[i] = filters[string(kind)]
	}
	return f.Match, nil
}

// Match reports whether m passes.
func (f *Filter) Match(m events.Message) bool {
	if !f.kind.exact(string(m.Type)) || !f.scope.exact(m.Scope) || !f.matchAction(string(m.Action)) {
		return false
	}
	for _, v := range f.actor {
		if !v.prefix(m.Actor.ID) && !v.prefix(m.Actor.Attributes["name"]) {
			return false
		}
	}
	return f.matchImage(m) && f.label.labels(m.Actor.Attributes)
}

// matchAction compares exactly, unless one of the values is the bare name of an
// action that is followed by words (exec_create: sh -c ...). Then all values
// are prefixes: https://github.com/moby/moby/issues/25798.
func (f *Filter) matchAction(action string) bool {
	for _, open := range [...]events.Action{events.ActionHealthStatus, events.ActionExecCreate, events.ActionExecStart} {
		if f.event[string(open)] {
			return f.event.prefix(action)
		}
	}
	return f.event.exact(action)
}

// matchImage takes events of an image and of the containers made from it, by
// ID, by name, or by name without tag.
func (f *Filter) matchImage(m events.Message) bool {
	if len(f.image) == 0 {
		return true
	}
	key := "image"
	if m.Type == events.ImageEventType {
		key = "name"
	}
	for _, s := range [...]string{m.Actor.ID, m.Actor.Attributes[key]} {
		if f.image[s] || f.image[withoutTag(s)] {
			return true
		}
	}
	return false
}

func withoutTag(image string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return image
	}
	return reference.FamiliarName(named)
}
