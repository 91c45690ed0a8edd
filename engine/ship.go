package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/logs/driver"
	"github.com/davit-engine/davit/logs/ship"
)

// A container that is removed at its end waits so long for its log to arrive.
const shipPatience = 3 * time.Second

// shippers send the logs of containers whose driver has a target, one
// goroutine each.
type shippers struct {
	log  *slog.Logger
	work *sync.WaitGroup

	mu     sync.Mutex
	all    map[string]*shipper // guarded by mu; by container
	closed bool                // guarded by mu
}

// shipper is the sending of one log.
type shipper struct {
	shipment *ship.Shipment
	cancel   context.CancelFunc
	ended    chan struct{}
}

// ship sends a container's log from now on, until what was written before done
// closes has arrived. It does nothing where the log has no target.
func (l *logging) ship(rec *record.Container, done <-chan struct{}) {
	if !driver.Remote(rec.HostConfig.LogConfig.Type) {
		return
	}
	settings, err := logSettings(rec.HostConfig.LogConfig)
	log := l.shippers.log.With("container", rec.ID, "driver", settings.Driver)
	if err == nil {
		c := ship.Config{Path: l.path(rec), Settings: &settings, Info: l.info(rec), Done: done, Watcher: &l.watcher, Outage: func(err error) {
			if err == nil {
				log.Info("a container's log reaches its target again")
				return
			}
			log.Warn("a container's log does not reach its target: it is kept until it does", "error", err)
		}}
		var s *ship.Shipment
		if s, err = ship.New(c); err == nil {
			l.shippers.start(rec.ID, s, log)
			return
		}
	}
	log.Error("sending a container's log", "error", err)
}

// start runs s once the container's shipper of before has ended.
func (l *shippers) start(id string, s *ship.Shipment, log *slog.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	before, own := l.all[id], &shipper{s, cancel, make(chan struct{})}
	l.all[id] = own
	l.work.Go(func() {
		defer close(own.ended)
		if before != nil { // it goes on where that one was
			before.cancel()
			<-before.ended
		}
		if err := s.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			log.Error("sending a container's log", "error", err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.all[id] == own {
			delete(l.all, id)
		}
	})
}

// finish ends the sending of the log of a container that is about to be
// removed: when all has arrived, at once if the target does not answer.
func (l *shippers) finish(id string) {
	l.mu.Lock()
	own := l.all[id]
	l.mu.Unlock()
	if own == nil {
		return
	}
	defer own.cancel()
	for deadline := time.Now().Add(shipPatience); ; {
		select {
		case <-own.ended:
			return
		case <-time.After(20 * time.Millisecond):
		}
		if err := own.shipment.Outage(); err != nil || time.Now().After(deadline) {
			l.log.Warn("a container is removed before all of its log has reached its target", "container", id, "error", err)
			return
		}
	}
}

// close ends all. They go on when the engine is back.
func (l *shippers) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, s := range l.all {
		s.cancel()
	}
}

// warnings tell which targets do not answer, for info.
func (l *shippers) warnings() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, last := 0, error(nil)
	for _, s := range l.all {
		if err := s.shipment.Outage(); err != nil {
			n, last = n+1, err
		}
	}
	switch n {
	case 0:
		return nil
	case 1:
		return []string{fmt.Sprintf("WARNING: The log of a container does not reach its target: %v", last)}
	}
	return []string{fmt.Sprintf("WARNING: The logs of %d containers do not reach their targets: %v", n, last)}
}

// shipRest sends what containers had written that ended before all of it was
// sent.
func (e *core) shipRest() {
	ended := make(chan struct{})
	close(ended)
	for _, c := range e.table.all() {
		rec := c.snapshot()
		if c.current() != nil || rec.State.StartedAt.IsZero() || rec.State.Status == container.StateRemoving || !driver.Remote(rec.HostConfig.LogConfig.Type) {
			continue
		}
		if !ship.LoadPosition(e.logging.path(&rec)).Done {
			e.logging.ship(&rec, ended)
		}
	}
}
