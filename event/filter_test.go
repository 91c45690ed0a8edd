package event

import (
	"strings"
	"testing"

	"github.com/moby/moby/api/types/events"
)

// filters reads "key=value key=value".
func filters(text string) map[string]map[string]bool {
	all := map[string]map[string]bool{}
	for _, f := range strings.Fields(text) {
		key, value, _ := strings.Cut(f, "=")
		if all[key] == nil {
			all[key] = map[string]bool{}
		}
		all[key][strings.ReplaceAll(value, "_~", " ")] = true
	}
	return all
}

func TestFilter(t *testing.T) {
	web := events.Message{Type: "container", Action: "start", Scope: "local", Actor: events.Actor{ID: "0123abcd",
		Attributes: map[string]string{"name": "web", "image": "nginx:1.27", "tier": "front", "empty": ""}}}
	exec, health := web, web
	exec.Action, health.Action = "exec_create: sh -c ls", "health_status: healthy"
	pull := events.Message{Type: "image", Action: "pull", Scope: "local", Actor: events.Actor{ID: "nginx:1.27",
		Attributes: map[string]string{"name": "nginx"}}}
	digest := events.Message{Type: "image", Action: "delete", Scope: "local", Actor: events.Actor{ID: "sha256:0123"}}
	connect := events.Message{Type: "network", Action: "connect", Scope: "local", Actor: events.Actor{ID: "9999",
		Attributes: map[string]string{"name": "bridge", "container": "0123abcd"}}}
	node := events.Message{Type: "node", Action: "update", Scope: "swarm", Actor: events.Actor{ID: "n1"}}
	for _, c := range []struct {
		filters string
		m       events.Message
		want    bool
	}{
		{"", web, true},
		{"type=container", web, true},
		{"type=contain", web, false},
		{"type=image type=container", web, true},
		{"event=start", web, true},
		{"event=star", web, false},
		{"event=stop event=start", web, true},
		{"event=exec_create", exec, true},
		{"event=exec_create", web, false},
		{"event=exec_create event=start", web, true},
		{"event=exec_create event=star", web, true}, // once one is a prefix, all are
		{"event=exec_create:_~sh_~-c_~ls", exec, true},
		{"event=exec_create:_~sh", exec, false},
		{"event=exec_start", exec, false},
		{"event=health_status", health, true},
		{"event=health_status:_~healthy", health, true},
		{"event=health_status:_~unhealthy", health, false},
		{"container=web", web, true},
		{"container=we", web, true}, // prefix of a name
		{"container=eb", web, false},
		{"container=0123abcd", web, true},
		{"container=0123", web, true},
		{"container=123", web, false},
		{"container=db container=web", web, true},
		{"container=0123", connect, false}, // only the actor counts, as in Docker
		{"container=9999", connect, true},  // of whichever type
		{"network=bridge", connect, true},
		{"network=99", connect, true},
		{"network=bridge", web, false},
		{"volume=data", web, false},
		{"daemon=0123", web, true},
		{"plugin=x", web, false},
		{"service=x", web, false},
		{"secret=x", web, false},
		{"config=x", web, false},
		{"node=n", node, true},
		{"node=m", node, false},
		{"scope=local", web, true},
		{"scope=swarm", web, false},
		{"scope=swarm", node, true},
		{"image=nginx", web, true},
		{"image=nginx:1.27", web, true},
		{"image=nginx:1.26", web, false},
		{"image=ngin", web, false},
		{"image=0123abcd", web, true},
		{"image=nginx", pull, true},
		{"image=nginx:1.27", pull, true},
		{"image=sha256:0123", digest, true},
		{"image=busybox", pull, false},
		{"label=tier", web, true},
		{"label=tier=front", web, true},
		{"label=tier=back", web, false},
		{"label=tier=front label=name=web", web, true},
		{"label=tier=front label=missing", web, false}, // labels are joined by and
		{"label=empty=", web, true},
		{"label=tier", digest, false},
		{"type=container event=start image=nginx label=tier", web, true},
		{"type=container event=stop image=nginx label=tier", web, false},
		{"colour=red", web, true}, // unknown: ignored
	} {
		match, err := ParseFilter(filters(c.filters))
		if err != nil {
			t.Fatalf("%s: %v", c.filters, err)
		}
		if got := match == nil || match(c.m); got != c.want {
			t.Errorf("%q on %s %s: %v", c.filters, c.m.Type, c.m.Action, got)
		}
	}
}
