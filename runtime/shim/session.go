package shim

import (
	"os"

	"github.com/davit-engine/davit/runtime/logfile"
	"github.com/davit-engine/davit/runtime/wire"
)

// session is what one process reads and writes, the container's first one or
// an exec, and the clients that take part in it.
type session struct {
	out *output
	in  *stdin

	tty  bool // the streams are a terminal
	once bool // the end of a client's input is the end of the process's

	detached func(client uint64) // a client has typed the detach keys
	left     func()              // a client has gone without that; nil: nobody cares
}

// attach makes a client of the socket, which it takes over in any case.
func (s *session) attach(a *wire.Attach, sock *os.File) error {
	c, err := newClient(a, sock)
	if err != nil {
		return err
	}
	if err := s.out.add(c); err != nil {
		c.abandon()
		return err
	}
	go s.receive(c)
	return nil
}

// take takes over what spawn has made, and starts copying.
func (s *session) take(st *streams, console *os.File) {
	if console != nil {
		s.in.open(console, true)
		s.out.pump(logfile.Stdout, console, true)
		return
	}
	s.in.open(st.own[0], false)
	for i, stream := range [...]logfile.Stream{1: logfile.Stdout, 2: logfile.Stderr} {
		if i > 0 && st.own[i] != nil {
			s.out.pump(stream, st.own[i], false)
		}
	}
}

// abandon undoes attach where take was not called.
func (s *session) abandon() {
	s.in.open(nil, false)
	s.out.abandon()
}
