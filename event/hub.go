// Package event tells what happens in the engine: it keeps the newest events
// and hands each new one to everybody who listens.
//
// It owns the ring of past events and the list of subscribers, and knows
// nothing of what the events are about. It runs no goroutine: a publisher
// writes into each subscriber's buffer itself and never waits. Hub.mu guards
// everything; nothing else is locked while it is held, and match functions,
// which run under it, must not call the hub.
package event

import (
	"slices"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"
)

// Past is how many events are kept for `since` and `until`, as in Docker.
const Past = 256

// Backlog is how many events may wait for one subscriber. Docker's buffer has
// the same size, but there a publisher waits 100 ms on each full one before it
// drops; here a full buffer drops at once, so that one reader that has stopped
// reading never slows the engine.
const Backlog = 1024

// Hub passes events from those who publish to those who subscribe. The zero
// value is ready to use.
type Hub struct {
	mu   sync.Mutex
	ring [Past]events.Message // guarded by mu; the oldest at next once full
	next int                  // guarded by mu; where the next event goes
	full bool                 // guarded by mu; the ring has wrapped around
	last int64                // guarded by mu; TimeNano of the newest event
	subs []*subscriber        // guarded by mu
}

type subscriber struct {
	match func(events.Message) bool // nil: everything
	live  chan events.Message
	timer *time.Timer // ends the subscription at `until`; may be nil
}

// New returns a hub with no past.
func New() *Hub { return &Hub{} }

// Publish records m and passes it to the subscribers it matches, without ever
// waiting for one. It fills Time and TimeNano if both are zero, so that events
// are never older than the ones before them, and Scope with "local". Actor's
// attributes must not be changed by anybody afterwards.
func (h *Hub) Publish(m events.Message) {
	if m.Scope == "" {
		m.Scope = "local"
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if m.Time == 0 && m.TimeNano == 0 {
		m.TimeNano = max(time.Now().UnixNano(), h.last)
		m.Time = m.TimeNano / int64(time.Second)
	}
	h.last = max(h.last, m.TimeNano)
	h.ring[h.next] = m
	if h.next++; h.next == Past {
		h.next, h.full = 0, true
	}
	for _, s := range h.subs {
		if s.match != nil && !s.match(m) {
			continue
		}
		select {
		case s.live <- m:
		default: // see Backlog
		}
	}
}

// Subscribe returns the past events between since and until that match, oldest
// first, and a channel of those still to come. No event is missed or repeated
// between the two. As in Docker there is no past when both times are zero, and
// each bound is inclusive.
//
// The channel is closed by cancel, which must be called and may be called
// again, and at until if that is not zero: at once if it has passed already. A
// nil match takes everything. The attributes of an event are shared by all who
// receive it: read only.
func (h *Hub) Subscribe(since, until time.Time, match func(events.Message) bool) (past []events.Message, live <-chan events.Message, cancel func()) {
	s := &subscriber{match: match}
	cancel = func() { h.drop(s) }
	h.mu.Lock()
	defer h.mu.Unlock()
	past = h.pastLocked(since, until, match)
	if !until.IsZero() {
		left := time.Until(until)
		if left <= 0 {
			ended := make(chan events.Message)
			close(ended)
			return past, ended, cancel
		}
		s.timer = time.AfterFunc(left, cancel)
	}
	s.live = make(chan events.Message, Backlog)
	h.subs = append(h.subs, s)
	return past, s.live, cancel
}

// Subscribers returns how many subscriptions are open.
func (h *Hub) Subscribers() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subs)
}

// drop ends a subscription; a second call does nothing.
func (h *Hub) drop(s *subscriber) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.Index(h.subs, s)
	if i < 0 {
		return
	}
	h.subs = slices.Delete(h.subs, i, i+1)
	if s.timer != nil {
		s.timer.Stop()
	}
	close(s.live)
}

func (h *Hub) pastLocked(since, until time.Time, match func(events.Message) bool) []events.Message {
	if since.IsZero() && until.IsZero() {
		return nil
	}
	from, count := 0, h.next
	if h.full {
		from, count = h.next, Past
	}
	var past []events.Message
	for i := range count {
		m := h.ring[(from+i)%Past]
		switch {
		case !since.IsZero() && m.TimeNano < since.UnixNano():
		case !until.IsZero() && m.TimeNano > until.UnixNano():
		case match != nil && !match(m):
		default:
			past = append(past, m)
		}
	}
	return past
}
