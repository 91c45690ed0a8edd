package event

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/events"
)

func message(action string) events.Message {
	return events.Message{Type: events.ContainerEventType, Action: events.Action(action), Actor: events.Actor{ID: "id-" + action}}
}

func actions(all []events.Message) []string {
	var names []string
	for _, m := range all {
		names = append(names, string(m.Action))
	}
	return names
}

func TestPublishFillsIn(t *testing.T) {
	h := New()
	s := h.Subscribe(time.Time{}, time.Time{}, nil)
	defer s.Cancel()
	live := s.Live
	before := time.Now()
	h.Publish(message("start"))
	m := <-live
	if m.Scope != "local" || m.TimeNano < before.UnixNano() || m.Time != m.TimeNano/1e9 {
		t.Errorf("published %+v", m)
	}
	own := events.Message{Scope: "swarm", Time: 5, TimeNano: 5_000_000_001}
	h.Publish(own)
	if m := <-live; m.Scope != own.Scope || m.Time != own.Time || m.TimeNano != own.TimeNano {
		t.Errorf("published %+v, want %+v", m, own)
	}
}

func TestPast(t *testing.T) {
	h := New()
	at := func(second int64) events.Message {
		m := message(fmt.Sprint(second))
		m.Time, m.TimeNano = second, second*1e9
		return m
	}
	for s := int64(1); s <= Past+10; s++ {
		h.Publish(at(s))
	}
	odd := func(m events.Message) bool { return m.Time%2 == 1 }
	for _, c := range []struct {
		name         string
		since, until int64
		match        func(events.Message) bool
		first, last  string
		count        int
	}{
		{"no bounds", 0, 0, nil, "", "", 0},
		{"all", 1, 0, nil, "11", fmt.Sprint(Past + 10), Past},
		{"inclusive", 20, 22, nil, "20", "22", 3},
		{"until only", 0, 12, nil, "11", "12", 2},
		{"matching", 20, 25, odd, "21", "25", 3},
		{"before all", 1, 2, nil, "", "", 0},
		{"after all", 3000, 0, nil, "", "", 0},
	} {
		bound := func(s int64) time.Time {
			if s == 0 {
				return time.Time{}
			}
			return time.Unix(s, 0)
		}
		s := h.Subscribe(bound(c.since), bound(c.until), c.match)
		s.Cancel()
		got := actions(s.Past)
		if len(got) != c.count || c.count > 0 && (got[0] != c.first || got[len(got)-1] != c.last) {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New()
		over := h.Subscribe(time.Time{}, time.Now().Add(-time.Second), nil)
		over.Cancel()
		if _, open := <-over.Live; open {
			t.Error("until has passed, and the channel is open")
		}
		s := h.Subscribe(time.Time{}, time.Now().Add(time.Minute), nil)
		defer s.Cancel()
		live := s.Live
		h.Publish(message("start"))
		time.Sleep(59 * time.Second) // of the bubble's own clock
		if m := <-live; m.Action != "start" || h.Subscribers() != 1 {
			t.Errorf("got %+v, %d subscribers", m, h.Subscribers())
		}
		time.Sleep(2 * time.Second)
		if _, open := <-live; open || h.Subscribers() != 0 {
			t.Errorf("after until: open %v, %d subscribers", open, h.Subscribers())
		}
	})
}

// TestSlowSubscriber: who does not read is let go, and nobody else notices.
func TestSlowSubscriber(t *testing.T) {
	h := New()
	slow, quick := h.Subscribe(time.Time{}, time.Time{}, nil), h.Subscribe(time.Time{}, time.Time{}, nil)
	defer quick.Cancel()
	const published = Backlog + 50
	for i := range published {
		h.Publish(message(fmt.Sprint(i)))
		if m := <-quick.Live; string(m.Action) != fmt.Sprint(i) {
			t.Fatalf("event %d came as %s", i, m.Action)
		}
	}
	if !slow.Overrun() || quick.Overrun() || h.Subscribers() != 1 {
		t.Errorf("let go: the slow one %v, the quick one %v", slow.Overrun(), quick.Overrun())
	}
	n := 0
	for m := range slow.Live {
		if string(m.Action) != fmt.Sprint(n) {
			t.Fatalf("event %d came as %s: the oldest are to be there, in order", n, m.Action)
		}
		n++
	}
	if n != Backlog {
		t.Errorf("%d events before the end, want %d", n, Backlog)
	}
	slow.Cancel()
	slow.Cancel()
}

// TestNoGap subscribes while others publish: past and live together are an
// unbroken row.
func TestNoGap(t *testing.T) {
	h := New()
	goroutines := runtime.NumGoroutine()
	var wg sync.WaitGroup
	const total = 200 // all of it fits into the ring
	wg.Go(func() {
		for i := range total {
			h.Publish(message(fmt.Sprint(i)))
		}
		h.Publish(message("end"))
	})
	for range 20 {
		wg.Go(func() {
			s := h.Subscribe(time.Unix(1, 0), time.Time{}, nil)
			defer s.Cancel()
			all := actions(s.Past)
			for !slices.Contains(all, "end") {
				all = append(all, string((<-s.Live).Action))
			}
			for i := range total {
				if all[i] != fmt.Sprint(i) {
					t.Errorf("event %d is %s", i, all[i])
					return
				}
			}
		})
	}
	wg.Wait()
	if n := h.Subscribers(); n != 0 {
		t.Errorf("%d subscribers are left", n)
	}
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > goroutines && time.Now().Before(end); {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, before %d", n, goroutines)
	}
}
