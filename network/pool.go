package network

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	// quiet is how long no sandbox must have been taken before the pool is
	// filled up: by then the start that took one is past its busy part.
	quiet = 15 * time.Millisecond
	// again is how long to wait after a failure.
	again = time.Second
)

// pool keeps sandboxes ready: made before they are asked for, held by file
// descriptors only. One goroutine on a thread of its own fills it, after a
// quiet moment, or at once when less than half is left. Fields marked so are
// guarded by Bridge.mu.
type pool struct {
	owner         *Bridge
	bridged, none shelf      // guarded
	taken         time.Time  // guarded; when a sandbox was taken last
	making        netip.Addr // guarded; the address of the sandbox being made, if any
	made          *sync.Cond // on Bridge.mu: making has changed
	wake          chan struct{}
	stop          context.CancelFunc
	done          chan struct{}
}

// shelf holds the sandboxes of one sort, the next to be taken first.
type shelf struct {
	ready []*Sandbox
	want  int
}

func (s *shelf) missing() bool { return len(s.ready) < s.want }
func (s *shelf) low() bool     { return len(s.ready)*2 < s.want }

func (s *shelf) take() *Sandbox {
	if len(s.ready) == 0 {
		return nil
	}
	first := s.ready[0]
	s.ready = slices.Delete(s.ready, 0, 1)
	return first
}

func newPool(owner *Bridge, bridged, none int) *pool {
	ctx, stop := context.WithCancel(context.Background())
	p := &pool{
		owner: owner, bridged: shelf{want: bridged}, none: shelf{want: none},
		made: sync.NewCond(&owner.mu), wake: make(chan struct{}, 1), stop: stop, done: make(chan struct{}),
	}
	go p.fill(ctx)
	return p
}

// close stops filling and gives up what is ready.
func (p *pool) close() {
	p.stop()
	<-p.done
	p.owner.mu.Lock()
	defer p.owner.mu.Unlock()
	for _, s := range slices.Concat(p.bridged.ready, p.none.ready) {
		p.owner.discardLocked(s)
	}
	p.bridged.ready, p.none.ready = nil, nil
}

func (p *pool) takeLocked() *Sandbox     { return p.takenLocked(p.bridged.take()) }
func (p *pool) takeNoneLocked() *Sandbox { return p.takenLocked(p.none.take()) }

// takeAddressLocked takes the sandbox of one address, if that is ready.
func (p *pool) takeAddressLocked(a netip.Addr) *Sandbox {
	i := slices.IndexFunc(p.bridged.ready, func(s *Sandbox) bool { return s.place().Address4.Addr() == a })
	if i < 0 {
		return nil
	}
	s := p.bridged.ready[i]
	p.bridged.ready = slices.Delete(p.bridged.ready, i, i+1)
	return p.takenLocked(s)
}

func (p *pool) takenLocked(s *Sandbox) *Sandbox {
	p.taken = time.Now()
	p.wakeUp()
	return s
}

// awaitLocked waits until the sandbox being made, if it is that of address a,
// or any if a is invalid, lies ready or has failed: about a millisecond.
func (p *pool) awaitLocked(a netip.Addr) {
	for p.making.IsValid() && (p.making == a || !a.IsValid()) {
		p.made.Wait()
	}
}

// wakeUp makes fill look again.
func (p *pool) wakeUp() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// fill makes what is missing until ctx ends.
func (p *pool) fill(ctx context.Context) {
	runtime.LockOSThread()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			runtime.UnlockOSThread()
			close(p.done)
			return
		case <-p.wake:
		case <-timer.C:
		}
		for ctx.Err() == nil {
			e, wait, idle := p.next()
			if idle {
				break
			}
			if wait > 0 {
				timer.Reset(wait)
				break
			}
			s, err := p.owner.make(e, nil)
			p.put(e, s, err)
			if errors.Is(err, errStray) {
				go p.fill(ctx) // and this thread ends here
				return
			}
			if err != nil {
				p.owner.config.Log.Warn("cannot make a network sandbox in advance", "error", err)
				timer.Reset(again)
				break
			}
		}
	}
}

// next describes the sandbox to be made (nil: without a bridge) after wait, or
// says that nothing can be made.
func (p *pool) next() (e *Endpoint, wait time.Duration, idle bool) {
	b := p.owner
	b.mu.Lock()
	defer b.mu.Unlock()
	bridged := p.bridged.missing() && b.addresses.free > 0
	if !bridged && !p.none.missing() {
		return nil, 0, true
	}
	if !(bridged && p.bridged.low()) && !p.none.low() {
		if wait = quiet - time.Since(p.taken); wait > 0 {
			return nil, wait, false
		}
	}
	if !bridged || p.none.low() && !p.bridged.low() {
		return nil, 0, false
	}
	a, err := b.addresses.take()
	if err != nil {
		return nil, again, false
	}
	p.making = a
	return newEndpoint(a, b.device.gateway, nil), 0, false
}

// put shelves a sandbox, or gives up the address of one that failed.
func (p *pool) put(e *Endpoint, s *Sandbox, err error) {
	b := p.owner
	b.mu.Lock()
	defer b.mu.Unlock()
	p.making = netip.Addr{}
	p.made.Broadcast()
	switch {
	case err != nil && e != nil:
		b.addresses.give(e.Address4.Addr())
	case err != nil:
	case e == nil:
		p.none.ready = append(p.none.ready, s)
	default:
		p.bridged.ready = append(p.bridged.ready, s)
	}
}
