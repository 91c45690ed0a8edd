package image

import (
	"context"
	"sync"

	"github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
)

// flights lets callers that want the same pull share it. The pull ends with its
// last caller.
type flights struct {
	mu      sync.Mutex
	byKey   map[string]*flight // guarded by mu
	running sync.WaitGroup
	closed  bool // guarded by mu
}

// flight is one pull that is under way.
type flight struct {
	cancel context.CancelFunc
	ending bool          // guarded by flights.mu; nobody may join it any more
	done   chan struct{} // closed when id and err are set

	mu       sync.Mutex
	history  []jsonstream.Message // what a late caller must hear; guarded by mu
	watchers map[*watcher]bool    // guarded by mu

	id  digest.Digest
	err error
}

// watcher is one caller. It takes messages at its own speed: ticks that it did
// not take yet are overwritten by newer ones.
type watcher struct {
	wake    chan struct{}
	pending []jsonstream.Message // guarded by flight.mu
	ticks   map[string]int       // where in pending the newest tick of an ID is; guarded by flight.mu
}

// isTick reports whether m only moves a bar.
func isTick(m jsonstream.Message) bool {
	return m.ID != "" && m.Progress != nil && m.Progress.Current > 0
}

// fly joins the flight called key, starting it with run if there is none, and
// hands its messages to progress until it ends or ctx does.
func (f *flights) fly(ctx context.Context, key string, progress func(jsonstream.Message), run func(ctx context.Context, say func(jsonstream.Message)) (digest.Digest, error)) (digest.Digest, error) {
	fl, w, err := f.board(ctx, key, run)
	if err != nil {
		return "", err
	}
	for {
		select {
		case <-w.wake:
			fl.deliver(w, progress)
		case <-fl.done:
			fl.deliver(w, progress)
			return fl.id, fl.err
		case <-ctx.Done():
			if f.leave(fl, w) {
				<-fl.done
			}
			return "", ctx.Err()
		}
	}
}

// board joins the flight called key or starts one.
func (f *flights) board(ctx context.Context, key string, run func(ctx context.Context, say func(jsonstream.Message)) (digest.Digest, error)) (*flight, *watcher, error) {
	for {
		f.mu.Lock()
		if f.closed {
			f.mu.Unlock()
			return nil, nil, context.Canceled
		}
		fl := f.byKey[key]
		if fl == nil {
			fl = f.startLocked(ctx, key, run)
		}
		if !fl.ending {
			w := fl.join()
			f.mu.Unlock()
			return fl, w, nil
		}
		f.mu.Unlock()
		select {
		case <-fl.done:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

func (f *flights) startLocked(ctx context.Context, key string, run func(ctx context.Context, say func(jsonstream.Message)) (digest.Digest, error)) *flight {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	fl := &flight{cancel: cancel, done: make(chan struct{}), watchers: map[*watcher]bool{}}
	if f.byKey == nil {
		f.byKey = map[string]*flight{}
	}
	f.byKey[key] = fl
	f.running.Go(func() {
		defer cancel()
		fl.id, fl.err = run(ctx, fl.say)
		f.mu.Lock()
		delete(f.byKey, key)
		f.mu.Unlock()
		close(fl.done)
	})
	return fl
}

// leave takes w off fl and ends fl if w was the last; last tells so.
func (f *flights) leave(fl *flight, w *watcher) (last bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.mu.Lock()
	defer fl.mu.Unlock()
	delete(fl.watchers, w)
	if len(fl.watchers) > 0 {
		return false
	}
	fl.ending = true
	fl.cancel()
	return true
}

// close ends all flights and waits for them.
func (f *flights) close() {
	f.mu.Lock()
	f.closed = true
	for _, fl := range f.byKey {
		fl.cancel()
	}
	f.mu.Unlock()
	f.running.Wait()
}

func (fl *flight) join() *watcher {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	w := &watcher{wake: make(chan struct{}, 1), ticks: map[string]int{}, pending: append([]jsonstream.Message(nil), fl.history...)}
	fl.watchers[w] = true
	if len(w.pending) > 0 {
		w.wake <- struct{}{}
	}
	return w
}

// say hands m to all watchers; it never waits for one.
func (fl *flight) say(m jsonstream.Message) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	tick := isTick(m)
	if !tick {
		fl.history = append(fl.history, m)
	}
	for w := range fl.watchers {
		at, waiting := w.ticks[m.ID]
		switch {
		case tick && waiting:
			w.pending[at] = m
		default:
			delete(w.ticks, m.ID)
			if tick {
				w.ticks[m.ID] = len(w.pending)
			}
			w.pending = append(w.pending, m)
		}
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// deliver hands w's waiting messages to progress, with no lock held.
func (fl *flight) deliver(w *watcher, progress func(jsonstream.Message)) {
	fl.mu.Lock()
	pending := w.pending
	w.pending = nil
	clear(w.ticks)
	fl.mu.Unlock()
	if progress == nil {
		return
	}
	for _, m := range pending {
		progress(m)
	}
}
