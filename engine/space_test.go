package engine

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sync/singleflight"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
)

// TestCountOnce: who asks while a measurement is under way gets its answer, and
// who leaves does not end it for the others.
func TestCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var group singleflight.Group
		measured := 0
		measure := func(ctx context.Context) (int, error) {
			measured++
			time.Sleep(time.Second)
			return 7, ctx.Err()
		}
		leaving, leave := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() {
			_, err := count(leaving, &group, "a", measure)
			gone <- err
		}()
		answers := make(chan int)
		for range 3 {
			go func() {
				n, err := count(t.Context(), &group, "a", measure)
				if err != nil {
					t.Error(err)
				}
				answers <- *n
			}()
		}
		synctest.Wait()
		leave()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("who left heard %v", err)
		}
		for range 3 {
			if n := <-answers; n != 7 {
				t.Errorf("got %d", n)
			}
		}
		if measured != 1 {
			t.Errorf("measured %d times", measured)
		}
		if n, err := count(t.Context(), &group, "a", measure); err != nil || *n != 7 || measured != 2 {
			t.Errorf("afterwards: %d, %v, measured %d times", *n, err, measured)
		}
	})
}

func TestPruneMatch(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	rec := &record.Container{Created: now.Add(-2 * time.Hour), Config: &container.Config{Labels: map[string]string{"a": "1", "b": ""}}}
	set := func(key string, values ...string) map[string]map[string]bool {
		m := map[string]bool{}
		for _, v := range values {
			m[v] = true
		}
		return map[string]map[string]bool{key: m}
	}
	for _, c := range []struct {
		name    string
		filters map[string]map[string]bool
		want    bool
	}{
		{"none", nil, true},
		{"old enough", set("until", "1h"), true},
		{"too young", set("until", "3h"), false},
		{"a time", set("until", "1700000000"), true},
		{"label", set("label", "a"), true},
		{"label and value", set("label", "a=1"), true},
		{"another value", set("label", "a=2"), false},
		{"two labels, of which it has one", set("label", "a", "c"), false},
		{"not a label", set("label!", "c"), true},
		{"not a label that it has", set("label!", "a=1"), false},
	} {
		match, err := pruneMatch(c.filters, now)
		if err != nil || match(rec.Created, rec.Config.Labels) != c.want {
			t.Errorf("%s: %v, want %v (%v)", c.name, !c.want, c.want, err)
		}
	}
	for _, bad := range []map[string]map[string]bool{set("colour", "red"), set("until", "x"), set("until", "1h", "2h")} {
		if _, err := pruneMatch(bad, now); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func TestOnePruneAtATime(t *testing.T) {
	s := still("a").Space()
	s.pruningContainers.Lock()
	if _, err := s.PruneContainers(t.Context(), nil); !errs.Is(err, errs.Conflict) || err.Error() != "a prune operation is already running" {
		t.Error(err)
	}
}

func TestPrunable(t *testing.T) {
	for status, want := range map[container.ContainerState]bool{
		container.StateCreated: true, container.StateExited: true, container.StateDead: true,
		container.StateRunning: false, container.StatePaused: false, container.StateRestarting: false, container.StateRemoving: false,
	} {
		if got := prunable(&record.Container{State: record.State{Status: status}}); got != want {
			t.Errorf("%s: %v", status, got)
		}
	}
}
