// Package event tells what happens in the engine: it keeps the newest events,
// in memory and in a file, and hands each new one to everybody who listens.
//
// It owns the past events and the list of subscribers, and knows nothing of what
// the events are about. A publisher writes into each subscriber's buffer itself
// and never waits, neither for a reader nor for the disk: the file is written a
// moment later by a timer. Hub.mu guards everything but the file, which belongs
// to who holds Hub.writing; that is taken first. Match functions, which run
// under mu, must not call the hub.
package event

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"
)

// Past is how many events are kept for `since` and `until`; Docker keeps 256, and
// none over a restart.
const Past = 1000

// Backlog is how many events may wait for one subscriber. Who lets more come
// together is let go: it would miss events, and is better told. (Docker has a
// buffer of the same size, waits 100 ms for each reader whose buffer is full, and
// then drops the event without a word.)
const Backlog = 1024

// Hub passes events from those who publish to those who subscribe. The zero
// value is ready to use and keeps nothing in a file.
type Hub struct {
	mu      sync.Mutex
	ring    []events.Message // guarded by mu; up to Past, the oldest at next once full
	next    int              // guarded by mu; where the next event goes
	last    int64            // guarded by mu; TimeNano of the newest event
	subs    []*Subscription  // guarded by mu
	pending []events.Message // guarded by mu; not in the file yet
	armed   bool             // guarded by mu; a timer will write pending

	writing sync.Mutex // before mu
	history *history   // nil: no file
}

// Subscription is one listener's share of the events.
type Subscription struct {
	Past []events.Message      // those between since and until that were there already, oldest first
	Live <-chan events.Message // those that come; closed at the end

	hub     *Hub
	match   func(events.Message) bool // nil: everything
	live    chan events.Message
	timer   *time.Timer // ends the subscription at `until`; may be nil
	overrun bool        // guarded by hub.mu
}

// New returns a hub with no past and no file.
func New() *Hub { return &Hub{} }

// Open returns a hub that keeps its past in the file at path, which is made
// when there is something to keep. What cannot be read there is left out: the
// past is not worth a failure. Trouble with the file is told to log.
func Open(path string, log *slog.Logger) *Hub {
	h := &Hub{history: &history{path: path, log: log}}
	for _, m := range h.history.load() {
		h.keepLocked(m)
		h.last = max(h.last, m.TimeNano)
	}
	return h
}

// Close writes what is not in the file yet.
func (h *Hub) Close() error {
	h.flush()
	h.writing.Lock()
	defer h.writing.Unlock()
	return h.history.close()
}

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
	h.keepLocked(m)
	if h.history != nil {
		h.noteLocked(m)
	}
	for _, s := range slices.Clone(h.subs) {
		if s.match != nil && !s.match(m) {
			continue
		}
		select {
		case s.live <- m:
		default: // see Backlog
			s.overrun = true
			h.dropLocked(s)
		}
	}
}

// keepLocked puts m in the ring.
func (h *Hub) keepLocked(m events.Message) {
	if len(h.ring) < Past {
		h.ring = append(h.ring, m)
		return
	}
	h.ring[h.next] = m
	h.next = (h.next + 1) % Past
}

// keptLocked returns the ring's events, oldest first.
func (h *Hub) keptLocked() []events.Message {
	return slices.Concat(h.ring[h.next:], h.ring[:h.next])
}

// Subscribe returns the past events between since and until that match and a
// channel of those still to come. No event is missed or repeated between the
// two. As in Docker there is no past when both times are zero, and each bound is
// inclusive.
//
// The channel is closed by Cancel, which must be called, at until if that is not
// zero (at once if it has passed already), and when the subscriber does not keep
// up. A nil match takes everything. The attributes of an event are shared by all
// who receive it: read only.
func (h *Hub) Subscribe(since, until time.Time, match func(events.Message) bool) *Subscription {
	s := &Subscription{hub: h, match: match}
	h.mu.Lock()
	defer h.mu.Unlock()
	s.Past = h.pastLocked(since, until, match)
	if !until.IsZero() {
		left := time.Until(until)
		if left <= 0 {
			ended := make(chan events.Message)
			close(ended)
			s.Live = ended
			return s
		}
		s.timer = time.AfterFunc(left, s.Cancel)
	}
	s.live = make(chan events.Message, Backlog)
	s.Live = s.live
	h.subs = append(h.subs, s)
	return s
}

// Subscribers returns how many subscriptions are open.
func (h *Hub) Subscribers() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subs)
}

// Cancel ends the subscription; a second call does nothing.
func (s *Subscription) Cancel() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.hub.dropLocked(s)
}

// Overrun reports whether the subscription ended because more events were
// waiting than Backlog.
func (s *Subscription) Overrun() bool {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return s.overrun
}

func (h *Hub) dropLocked(s *Subscription) {
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
	var past []events.Message
	for _, m := range h.keptLocked() {
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
