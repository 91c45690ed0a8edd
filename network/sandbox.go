package network

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/davit-engine/davit/errs"
)

// Acquire returns a sandbox with an endpoint for each wish, in their order: a
// ready one where the first wish is plain, or its addresses are those of a
// ready one, else one made now (about 1 ms). It is made of the namespace given
// if that is not nil, which must be new and empty, such as one that belongs to
// another user namespace: it becomes the sandbox's; on error it stays the
// caller's. Without wishes the sandbox has lo alone. Errors: NotFound for a
// network, Exhausted when a range or a bridge is full, Forbidden when an address
// wished for is in use, InvalidParameter when it cannot be.
func (s *Store) Acquire(ctx context.Context, wishes []Wish, given *os.File) (*Sandbox, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("acquiring a network sandbox: %w", err)
	}
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.work.Done()
	if len(wishes) == 0 {
		return s.acquireNone(ctx, given)
	}
	segments := make([]*segment, len(wishes))
	for i, w := range wishes {
		var err error
		if segments[i], err = s.networks.get(w.Network); err != nil {
			return nil, err
		}
	}
	names, err := interfaceNames(wishes, segments, nil)
	if err != nil {
		return nil, err
	}
	box, err := s.acquire(ctx, wishes, segments, names, given)
	if err != nil {
		return nil, err
	}
	if err := s.Rates.hold(box.Endpoints, wishes, segments); err != nil {
		if given == nil {
			box.close()
		}
		for _, e := range box.Endpoints {
			s.Release(e)
		}
		return nil, err
	}
	return box, nil
}

func (s *Store) acquireNone(ctx context.Context, given *os.File) (*Sandbox, error) {
	if given == nil {
		if box := s.pool.takeNone(); box != nil {
			return box, nil
		}
	}
	var ns *os.File
	err := onThread(func() (err error) {
		ns, err = s.maker.sandbox(ctx, given, nil)
		return err
	})
	if err != nil {
		return nil, explain(err, "making a network sandbox")
	}
	return &Sandbox{NetNS: ns}, nil
}

// acquire is Acquire with at least one wish. Nothing else can fail but what
// makes interfaces.
func (s *Store) acquire(ctx context.Context, wishes []Wish, segments []*segment, names []string, given *os.File) (_ *Sandbox, err error) {
	ready, e, err := segments[0].assign(wishes[0], names[0], given == nil)
	if err != nil || ready != nil && len(wishes) == 1 {
		return ready, err
	}
	var jobs []job
	defer func() {
		for _, j := range jobs {
			j.g.finished(j.e, err)
		}
		if err != nil && ready != nil {
			ready.close()
			segments[0].release(ready.Endpoints[0])
		}
	}()
	if ready == nil {
		jobs = append(jobs, job{e, segments[0], wishes[0].Options})
	}
	for i := 1; i < len(wishes); i++ {
		_, e, err := segments[i].assign(wishes[i], names[i], false)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, job{e, segments[i], wishes[i].Options})
	}
	box := ready
	err = healing(jobs, func() error {
		return onThread(func() error {
			if ready != nil {
				return s.maker.extend(ctx, ready.NetNS, []leg{legOf(ready.Endpoints[0], segments[0])}, jobs)
			}
			ns, err := s.maker.sandbox(ctx, given, jobs)
			box = &Sandbox{NetNS: ns}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	for _, j := range jobs {
		box.Endpoints = append(box.Endpoints, *j.e)
	}
	return box, nil
}

// healing is segment.healing for all networks of jobs.
func healing(jobs []job, fn func() error) error {
	for _, j := range jobs {
		inner := fn
		fn = func() error { return j.g.healing(inner) }
	}
	return fn()
}

// Connect gives the sandbox ns, which somebody lives in and which has the
// endpoints on, one more. Errors: those of Acquire; Conflict for the name of an
// interface that is there.
func (s *Store) Connect(ctx context.Context, ns *os.File, on []Endpoint, w Wish) (_ Endpoint, err error) {
	if err := s.begin(); err != nil {
		return Endpoint{}, err
	}
	defer s.work.Done()
	g, err := s.networks.get(w.Network)
	if err != nil {
		return Endpoint{}, err
	}
	var there []string
	if err := onThread(func() error {
		return s.maker.enter(ns, func(rtnl) (err error) {
			there, err = linkNames()
			return err
		})
	}); err != nil {
		return Endpoint{}, err
	}
	names, err := interfaceNames([]Wish{w}, []*segment{g}, there)
	if err != nil {
		return Endpoint{}, err
	}
	_, e, err := g.assign(w, names[0], false)
	if err != nil {
		return Endpoint{}, err
	}
	defer func() { g.finished(e, err) }()
	jobs := []job{{e, g, w.Options}}
	err = healing(jobs, func() error {
		return onThread(func() error { return s.maker.extend(ctx, ns, s.networks.legs(on), jobs) })
	})
	if err == nil {
		err = s.Rates.hold([]Endpoint{*e}, []Wish{w}, []*segment{g})
	}
	if err != nil {
		g.detach([]Endpoint{*e}, leaving{ns: ns})
		return Endpoint{}, err
	}
	return *e, nil
}

// Disconnect takes an endpoint out of the sandbox ns, which keeps the rest: its
// interface is removed, then its addresses are given back. ns is nil where the
// namespace cannot be had, and may live on: then this happens in the
// background.
func (s *Store) Disconnect(_ context.Context, ns *os.File, e Endpoint, rest []Endpoint) error {
	s.ports.release(e.ID)
	g, err := s.networks.get(e.Network)
	if err != nil {
		return err
	}
	s.Rates.forget(e)
	if ns == nil {
		g.leaveLater(e)
		return nil
	}
	g.leave(e, leaving{ns: ns})
	return onThread(func() error {
		return s.maker.enter(ns, func(r rtnl) error {
			var b batch
			after := s.networks.legs(rest)
			if err := addDefaults(&b, append(s.networks.legs([]Endpoint{e}), after...), after, nil); err != nil || len(b.names) == 0 {
				return err
			}
			return r.do(&b)
		})
	})
}

// interfaceNames chooses the names of interfaces in a namespace that has those
// there. Errors: InvalidParameter for a name that cannot be, Conflict for one
// that is taken.
func interfaceNames(wishes []Wish, segments []*segment, there []string) ([]string, error) {
	names := make([]string, len(wishes))
	taken := append([]string{"lo"}, there...)
	for i, w := range wishes {
		switch names[i] = w.Interface; {
		case names[i] == "":
			continue
		case !validInterface(names[i]):
			return nil, badInterface("the name of a container's interface", names[i])
		case slices.Contains(taken, names[i]):
			return nil, errs.New(errs.Conflict, "the container has an interface %s already: choose another name", names[i])
		}
		taken = append(taken, names[i])
	}
	for i := range wishes {
		for n := 0; names[i] == ""; n++ {
			nickname := segments[i].traits.nickname
			if nickname == "" {
				nickname = "eth"
			}
			if name := nickname + strconv.Itoa(n); !slices.Contains(taken, name) {
				names[i] = name
				taken = append(taken, name)
			}
		}
	}
	return names, nil
}
