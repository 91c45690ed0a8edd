package network

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// quiet is how long no sandbox must have been taken before the pool is
	// filled up: by then the start that took one is past its busy part.
	quiet = 15 * time.Millisecond
	// again is how long to wait after a failure.
	again = time.Second
	// idle is how long nobody must have asked for a plain sandbox of a network
	// before its ready ones are given up. Those of the default bridge stay.
	idle = 2 * time.Minute
	// shelfSize is how many a network has ready that is not the default bridge.
	shelfSize = 4
)

// pool keeps sandboxes ready: made before they are asked for, held by file
// descriptors only. One goroutine on a thread of its own fills it, after a
// quiet moment, or at once when less than half is left. What is ready with an
// interface lies on the shelf of its network.
type pool struct {
	maker *maker
	fail  func(error)
	taken atomic.Int64 // when a sandbox was taken last, in nanoseconds
	wake  chan struct{}
	stop  context.CancelFunc
	done  chan struct{}

	mu      sync.Mutex
	none    shelf      // guarded by mu
	members []*segment // guarded by mu: networks with a shelf
	closed  bool       // guarded by mu
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

// newPool starts a pool with none sandboxes that have lo alone.
func newPool(m *maker, none int, fail func(error)) *pool {
	ctx, stop := context.WithCancel(context.Background())
	p := &pool{maker: m, fail: fail, none: shelf{want: none}, wake: make(chan struct{}, 1), stop: stop, done: make(chan struct{})}
	go p.fill(ctx)
	return p
}

// close stops filling and gives up what is ready, but for networks' own.
func (p *pool) close() {
	p.stop()
	<-p.done
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for s := p.none.take(); s != nil; s = p.none.take() {
		s.NetNS.Close()
	}
}

// takeNone takes a sandbox that has lo alone, nil if none is ready.
func (p *pool) takeNone() *Sandbox {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.took()
	return p.none.take()
}

// took notes that somebody starts a container.
func (p *pool) took() {
	p.taken.Store(time.Now().UnixNano())
	p.wakeUp()
}

// wakeUp makes fill look again.
func (p *pool) wakeUp() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// join gives a network a shelf.
func (p *pool) join(g *segment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.members, g) {
		p.members = append(p.members, g)
	}
	p.wakeUp()
}

// leave takes a network's shelf away.
func (p *pool) leave(g *segment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.members = slices.DeleteFunc(p.members, func(m *segment) bool { return m == g })
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
			g, wait := p.next()
			if wait > 0 {
				timer.Reset(wait)
				break
			}
			err := p.make(g)
			if errors.Is(err, errStray) {
				go p.fill(ctx) // and this thread ends here
				return
			}
			if err != nil {
				p.fail(err)
				timer.Reset(again)
				break
			}
		}
	}
}

// next says which network needs a sandbox (nil: one with lo alone), or how long
// to wait.
func (p *pool) next() (*segment, time.Duration) {
	p.mu.Lock()
	members := slices.Clone(p.members)
	none, noneLow := p.none.missing(), p.none.low()
	p.mu.Unlock()
	var some *segment
	for _, g := range members {
		missing, low, over := g.need()
		switch {
		case over:
			p.leave(g)
		case low:
			return g, 0
		case missing && some == nil:
			some = g
		}
	}
	if noneLow {
		return nil, 0
	}
	if some == nil && !none {
		return nil, idle
	}
	wait := quiet - time.Since(time.Unix(0, p.taken.Load()))
	return some, max(wait, 0)
}

// make makes one sandbox.
func (p *pool) make(g *segment) error {
	if g != nil {
		return g.fillOne()
	}
	ns, err := p.maker.sandbox(context.Background(), nil, nil)
	if err != nil {
		return explain(err, "making a network sandbox")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.none.ready = append(p.none.ready, &Sandbox{NetNS: ns})
	return nil
}

// wantLocked notes that somebody wants a plain sandbox of the network.
func (g *segment) wantLocked() {
	g.taken = time.Now()
	if g.shelf.want == 0 && g.store.config.PoolSize > 0 {
		g.stockLocked(min(shelfSize, g.store.config.PoolSize))
	}
}

// stockLocked makes the network have that many sandboxes ready; of a small
// range it takes a part only.
func (g *segment) stockLocked(n int) {
	if g.shelf.want = min(n, (g.addresses.free()+3)/4); g.shelf.want > 0 {
		g.store.pool.join(g)
	}
}

// need says whether the network lacks ready sandboxes, or wants none any more.
func (g *segment) need() (missing, low, over bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	always := g == g.store.networks.bridge // most containers are on it
	if g.closed || !always && time.Since(g.taken) > idle {
		g.shelf.want = 0
		g.emptyLocked()
		return false, false, true
	}
	able := g.addresses.free() > 0
	return able && g.shelf.missing(), able && g.shelf.low(), false
}

// fillOne makes one sandbox and shelves it. It runs on a locked thread.
func (g *segment) fillOne() error {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return nil
	}
	e, err := g.describeLocked(Wish{}, g.traits.nickname+"0")
	if err != nil {
		g.mu.Unlock()
		return err
	}
	g.making = e
	g.mu.Unlock()
	var ns *os.File
	err = g.healing(func() (err error) {
		ns, err = g.store.maker.sandbox(context.Background(), nil, []job{{e: e, g: g}})
		return err
	})
	s := &Sandbox{NetNS: ns, Endpoints: []Endpoint{*e}}
	if err == nil && g != g.store.networks.bridge { // where there are no names
		if s.Resolver, err = g.store.maker.resolver(ns); err != nil {
			ns.Close()
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.making = nil
	g.made.Broadcast()
	switch {
	case err != nil:
		g.addresses.give(*e)
	case g.closed:
		g.discardLocked(s)
	default:
		g.shelf.ready = append(g.shelf.ready, s)
	}
	return err
}
