package shim

import (
	"io"
	"maps"
	"math"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/forward"
	"github.com/davit-engine/davit/runtime/resolver"
	"github.com/davit-engine/davit/runtime/wire"
)

// services are what the shim does for its container on sockets of the
// engine's making.
type services struct {
	open func(*wire.Service, []*os.File) (io.Closer, error) // takes the sockets over, also on error

	mu      sync.Mutex
	running map[string]io.Closer // guarded by mu
	closed  bool                 // guarded by mu; the container has ended
}

// openService begins one.
func openService(s *wire.Service, sockets []*os.File) (io.Closer, error) {
	switch {
	case s.Forward != nil:
		return openForward(s.Forward, sockets)
	case s.Resolver != nil && len(sockets) == 2:
		return resolver.Serve(sockets[0], sockets[1], s.Resolver.Plan), nil
	}
	closeFiles(sockets)
	return nil, errs.New(errs.NotImplemented, "shim does not know what service %q is", s.Name)
}

func openForward(o *wire.Forward, sockets []*os.File) (io.Closer, error) {
	to, err := netip.ParseAddr(o.Address)
	if err != nil {
		closeFiles(sockets)
		return nil, errs.New(errs.InvalidParameter, "forwarding a port: %w", err)
	}
	return forward.Open(forward.Options{
		UDP: o.Proto == "udp", To: netip.AddrPortFrom(to, o.Port), Packed: o.Packed,
		Reserve: o.Reserve || o.Proto != "tcp" && o.Proto != "udp",
	}, sockets)
}

// begin starts all of list or none. It takes the sockets over.
func (s *services) begin(list []wire.Service, sockets []*os.File) (err error) {
	if len(list) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var begun []string
	defer func() {
		if err != nil {
			closeFiles(sockets)
			s.endLocked(begun)
		}
	}()
	if s.closed {
		return errNotRunning
	}
	if s.running == nil {
		s.running = map[string]io.Closer{}
	}
	for i := range list {
		one := &list[i]
		if s.running[one.Name] != nil {
			return errs.New(errs.Conflict, "shim has a service %q already", one.Name)
		}
		mine := sockets[:one.Sockets]
		sockets = sockets[one.Sockets:]
		running, err := s.open(one, mine)
		if err != nil {
			return err
		}
		s.running[one.Name] = running
		begun = append(begun, one.Name)
	}
	return nil
}

// end stops services by their names.
func (s *services) end(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(names)
}

func (s *services) endLocked(names []string) {
	for _, name := range names {
		if one := s.running[name]; one != nil {
			one.Close()
			delete(s.running, name)
		}
	}
}

// close stops all services for good.
func (s *services) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.endLocked(slices.Collect(maps.Keys(s.running)))
}

func (s *services) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.running))
}

// countSockets returns how many descriptors the services of a request have.
func countSockets(list []wire.Service) (int, error) {
	n := 0
	for i := range list {
		if n := list[i].Sockets; n < 0 || n > math.MaxUint16 || list[i].Name == "" {
			return 0, errs.New(errs.InvalidParameter, "service %q with %d sockets", list[i].Name, list[i].Sockets)
		}
		n += list[i].Sockets
	}
	return n, nil
}

// serveMore changes the services as an engine asks.
func (s *supervisor) serveMore(m *wire.Message) (wire.Served, error) {
	var r wire.Serve
	if err := decode(m, &r); err != nil {
		return wire.Served{}, err
	}
	n, err := countSockets(r.Add)
	if err != nil {
		return wire.Served{}, err
	}
	if n != len(m.Files) {
		return wire.Served{}, errs.New(errs.InvalidParameter, "serve request with %d descriptors, %d expected", len(m.Files), n)
	}
	sockets := m.Files
	m.Files = nil
	s.services.end(r.Drop)
	if err := s.services.begin(r.Add, sockets); err != nil {
		return wire.Served{}, err
	}
	return wire.Served{Names: s.services.names()}, nil
}
