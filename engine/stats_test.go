package engine

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/engine/stats"
	"github.com/davit-engine/davit/errs"
)

// still returns an engine with containers that do not run.
func still(names ...string) *Engine {
	e := assemble(&core{log: slog.New(slog.DiscardHandler), host: &hostFacts{}, table: newTable(), closed: make(chan struct{})})
	for _, n := range names {
		e.table.names[n] = n
		e.table.add(&record.Container{ID: n, Name: n, HostConfig: &container.HostConfig{}, State: record.State{Status: container.StateExited}})
	}
	return e
}

// TestSampler watches the watchers: one goroutine for all of them, none
// without, an end with the container's removal.
func TestSampler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := still("a", "b")
		follow := func(ctx context.Context, name string) (seen *int, ended chan error) {
			seen, ended = new(int), make(chan error, 1)
			go func() {
				ended <- e.Usage().Stats(ctx, name, StatsOptions{Stream: true}, func(s *stats.Sample) error { *seen++; return nil })
			}()
			return seen, ended
		}
		first, cancel := context.WithCancel(t.Context())
		one, oneEnded := follow(first, "a")
		two, twoEnded := follow(t.Context(), "a")
		other, otherEnded := follow(t.Context(), "b")
		time.Sleep(3500 * time.Millisecond)
		synctest.Wait()
		if *one != 4 || *two != 4 || *other != 4 {
			t.Fatalf("after 3.5 s: %d, %d and %d samples, want 4 of each: the first at once", *one, *two, *other)
		}
		cancel()
		if err := <-oneEnded; err != nil {
			t.Error(err)
		}
		a, _ := e.table.find("a")
		a.mu.Lock()
		a.gone = true
		a.mu.Unlock()
		if err := <-twoEnded; err != nil || *two != 4 {
			t.Errorf("the container was removed: %v, %d samples", err, *two)
		}
		if n := len(e.sampler.watched); n != 1 {
			t.Errorf("%d containers are watched, want b alone", n)
		}
		close(e.closed)
		if err := <-otherEnded; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if e.sampler.looping || len(e.sampler.watched) != 0 {
			t.Error("nobody watches, and the sampler works on")
		}
	})
}

// TestSamplerAgain: after everybody went, the next one is served again.
func TestSamplerAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := still("a")
		enough := errors.New("enough")
		for range 2 {
			seen := 0
			err := e.Usage().Stats(t.Context(), "a", StatsOptions{Stream: true}, func(*stats.Sample) error {
				if seen++; seen == 3 {
					return enough
				}
				return nil
			})
			if err != enough {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if e.sampler.looping || len(e.sampler.watched) != 0 {
				t.Fatal("nobody watches, and the sampler works on")
			}
		}
	})
}

// TestSlowWatcher: who does not read misses samples and holds nobody up.
func TestSlowWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := still("a")
		ctx, cancel := context.WithCancel(t.Context())
		quick := 0
		go func() {
			_ = e.Usage().Stats(ctx, "a", StatsOptions{Stream: true}, func(*stats.Sample) error { quick++; return nil })
		}()
		slow := 0
		go func() {
			_ = e.Usage().Stats(ctx, "a", StatsOptions{Stream: true}, func(*stats.Sample) error {
				slow++
				time.Sleep(4 * time.Second)
				return nil
			})
		}()
		time.Sleep(10500 * time.Millisecond)
		cancel()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if quick != 11 || slow > 5 {
			t.Errorf("%d samples for the quick, %d for the slow one", quick, slow)
		}
	})
}

func TestStatsOfWhatDoesNotRun(t *testing.T) {
	e := still("a")
	var got *stats.Sample
	show := func(s *stats.Sample) error { got = s; return nil }
	if err := e.Usage().Stats(t.Context(), "a", StatsOptions{}, show); err != nil || got == nil || got.Name != "/a" || !got.Read.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
	if err := e.Usage().Stats(t.Context(), "a", StatsOptions{Stream: true, OneShot: true}, show); !errs.Is(err, errs.InvalidParameter) {
		t.Error(err)
	}
	if err := e.Usage().Stats(t.Context(), "x", StatsOptions{Stream: true}, show); !errs.Is(err, errs.NotFound) {
		t.Error(err)
	}
	if _, err := e.Usage().Top(t.Context(), "a", ""); !errs.Is(err, errs.Conflict) {
		t.Error(err)
	}
}
