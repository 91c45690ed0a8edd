// Package ship sends containers' logs to where their drivers say: journald, a
// syslog server, Fluentd or Graylog.
//
// The source is the file that the container's supervisor writes, which is also
// the queue: Run remembers beside it how much has arrived, and goes on from
// there, after an outage of the target and after one of the engine. So each
// entry arrives at least once, unless it was rotated away before; then a line
// tells how many bytes are missing. Nothing waits for a target: not a
// container's start, nor its output.
//
//	file --logs.Read--> encode --> connection --> target
//	  ^                                |
//	  '---- position <-- confirmed ----'
//
// What counts as arrived: for a datagram, that the kernel took it; for a unix
// stream, that the peer has read it; for TCP, that the peer's kernel has
// acknowledged its bytes (SIOCOUTQ), where what came within the last second
// before a connection is lost is sent again, for the peer may not have read it;
// with Fluentd's acknowledgements, those. The field's client libraries are not
// used because none of them tells.
//
// The package does not know containers. Each Run is one goroutine and shares
// nothing with others.
package ship

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"github.com/davit-engine/davit/logs"
	"github.com/davit-engine/davit/logs/driver"
)

// Config says what is sent where.
type Config struct {
	Path     string // of the log
	Settings *driver.Settings
	Info     *driver.Info
	Done     <-chan struct{} // closed when nobody writes the log any more
	Watcher  *logs.Watcher   // may be nil

	// Told when the target stops taking messages, once for each outage, and
	// when it takes them again (then with nil).
	Outage func(err error)

	Journal string // journald's socket; empty: its usual place
	Syslog  string // the host's syslog socket; empty: its usual places
}

// Pauses after failures: the first, which doubles, and the longest.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 30 * time.Second
)

// How often the position is written while messages are sent.
const saveInterval = time.Second

// message is a log entry on its way.
type message struct {
	stderr bool
	time   time.Time
	line   []byte // without its newline; valid during send only
	part   *part  // of a line that was too long for one entry; nil: it was not
	end    int64  // of the entry in the log
}

// part says which piece of a line a message is.
type part struct {
	id      string
	ordinal int // from 1
	last    bool
}

// sender is a connection to a target.
type sender interface {
	// send encodes a message. It may be kept until the next flush.
	send(m *message) error
	// flush passes on what was kept.
	flush() error
	// confirmed returns the end of the last message that has arrived for
	// sure, and whether that was the last one sent.
	confirmed() (end int64, all bool, err error)
	// sure reports whether what is confirmed cannot be lost when the connection
	// is.
	sure() bool
	close()
}

// A peer that is well has read within so long what its kernel acknowledged.
const readTime = time.Second

// sample is what had arrived at some time.
type sample struct {
	at  time.Time
	end int64
}

// Shipment is a log on its way.
type Shipment struct {
	c      Config
	target target
	ctx    context.Context

	out     sender // nil: not connected
	pos     Position
	saved   time.Time
	sent    int64 // end of the last message given to out
	parts   [2]part
	samples [2]sample // the older one is over readTime before the other
	failing bool
	pause   time.Duration
	tries   int   // since something arrived last
	unsaid  error // of a message that came without an entry

	outage atomic.Pointer[error]
}

// target makes connections.
type target struct {
	dial  func(ctx context.Context) (sender, error)
	pause time.Duration // the first one
	tries int           // after so many, the longest pause; 0: as they come
}

// New prepares sending a log.
func New(c Config) (*Shipment, error) {
	t, err := newTarget(&c)
	if err != nil {
		return nil, err
	}
	if t.pause == 0 {
		t.pause = firstPause
	}
	return &Shipment{c: c, target: t}, nil
}

// Outage returns why nothing arrives at present, nil if it does.
func (s *Shipment) Outage() error {
	if err := s.outage.Load(); err != nil {
		return *err
	}
	return nil
}

// errAgain says that reading starts again from the last confirmed position.
var errAgain = errors.New("connection lost")

// Run sends until everything has arrived that was written before Done was
// closed, or until ctx ends, with its error then.
func (s *Shipment) Run(ctx context.Context) error {
	s.ctx = ctx
	s.pos = LoadPosition(s.c.Path)
	s.pos.Done = false
	defer s.disconnect()
	for {
		s.sent = s.pos.End
		err := logs.Read(ctx, s.c.Path, logs.Options{
			Stdout: true, Stderr: true, Follow: true, Done: s.c.Done, Watcher: s.c.Watcher, Idle: s.settle,
			Resume: true, From: s.pos.End, Lost: s.lost,
		}, s.entry)
		if err == nil {
			err = s.settle()
		}
		switch {
		case ctx.Err() != nil:
			if s.out != nil {
				_, _ = s.learn() // what is not known to have arrived is sent again
			}
			s.save()
			return ctx.Err()
		case errors.Is(err, errAgain):
			s.parts = [2]part{}
			continue
		case err != nil:
			return err
		}
		s.pos.Done = true
		s.save()
		return nil
	}
}

func (s *Shipment) disconnect() {
	if s.out != nil {
		s.out.close()
		s.out = nil
	}
}

// entry sends one entry.
func (s *Shipment) entry(e *logs.Entry) error {
	if err := s.unsaid; err != nil {
		s.unsaid = nil
		return err
	}
	m := message{stderr: e.Stream == "stderr", time: e.Time, line: e.Line, end: e.End}
	whole := len(m.line) > 0 && m.line[len(m.line)-1] == '\n'
	if whole {
		m.line = m.line[:len(m.line)-1]
	}
	p := &s.parts[0]
	if m.stderr {
		p = &s.parts[1]
	}
	switch {
	case whole && p.id == "":
	case p.id == "":
		*p = part{id: partID(), ordinal: 1}
		m.part = p
	default:
		p.ordinal++
		p.last = whole
		m.part = p
	}
	err := s.send(&m)
	if whole && p.id != "" {
		*p = part{}
	}
	return err
}

// partID is random, as Docker's: 64 digits.
func partID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (s *Shipment) send(m *message) error {
	if s.out == nil {
		if err := s.connect(); err != nil {
			return err
		}
	}
	if err := s.out.send(m); err != nil {
		return s.fail(err)
	}
	s.sent = m.end
	if time.Since(s.saved) >= saveInterval {
		return s.note()
	}
	return nil
}

// lost tells the target what it will never get.
func (s *Shipment) lost(bytes int64) {
	text := fmt.Sprintf("[davit: %d bytes of the log were rotated away before they could be sent]", bytes)
	s.unsaid = s.send(&message{stderr: true, time: time.Now(), line: []byte(text), end: s.sent})
}

// connect dials until there is a connection.
func (s *Shipment) connect() error {
	for {
		out, err := s.target.dial(s.ctx)
		if err == nil {
			s.out = out
			now := sample{time.Now(), s.pos.End}
			s.samples = [2]sample{now, now}
			return nil
		}
		if err := s.wait(err); err != nil {
			return err
		}
	}
}

// fail gives up the connection, and waits.
func (s *Shipment) fail(err error) error {
	_, _ = s.learn() // what is not known to have arrived is sent again
	if !s.out.sure() {
		safe := s.samples[0]
		if time.Since(s.samples[1].at) >= readTime {
			safe = s.samples[1]
		}
		s.pos.End = safe.end
	}
	s.disconnect()
	if err := s.wait(err); err != nil {
		return err
	}
	return errAgain
}

// wait pauses after a failure, longer each time.
func (s *Shipment) wait(err error) error {
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	s.outage.Store(&err)
	if !s.failing {
		s.failing = true
		s.c.Outage(err)
	}
	s.tries++
	s.pause = min(max(s.target.pause, 2*s.pause), longestPause)
	if s.target.tries > 0 && s.tries > s.target.tries {
		s.pause = longestPause
	}
	// Many containers have one target: they do not all come at once.
	pause := s.pause - s.pause/4 + time.Duration(mathrand.Int64N(int64(s.pause/2)))
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// settle passes on everything, and waits until it has arrived.
func (s *Shipment) settle() error {
	if s.out == nil {
		return nil
	}
	if err := s.out.flush(); err != nil {
		return s.fail(err)
	}
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		all, err := s.learn()
		if err != nil {
			return s.fail(err)
		}
		if all {
			if time.Since(s.saved) >= saveInterval {
				s.save()
			}
			return nil
		}
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}

// note writes down what has arrived so far.
func (s *Shipment) note() error {
	if s.out == nil {
		return nil
	}
	if _, err := s.learn(); err != nil {
		return s.fail(err)
	}
	s.save()
	return nil
}

// learn asks the connection what has arrived.
func (s *Shipment) learn() (all bool, err error) {
	end, all, err := s.out.confirmed()
	if err != nil {
		return false, err
	}
	if now := time.Now(); now.Sub(s.samples[1].at) >= readTime {
		s.samples = [2]sample{s.samples[1], {now, max(end, s.pos.End)}}
	}
	if end > s.pos.End {
		s.pos.End = end
		s.pause, s.tries = 0, 0
		if s.failing {
			s.failing = false
			s.outage.Store(nil)
			s.c.Outage(nil)
		}
	}
	return all, nil
}

func (s *Shipment) save() {
	s.saved = time.Now()
	// Where it cannot be written, the worst is that entries come twice.
	_ = s.pos.save(s.c.Path)
}

// hostname is the name that messages bear.
func hostname(i *driver.Info) string {
	if i.Hostname != "" {
		return i.Hostname
	}
	name, _ := os.Hostname() // empty then
	return name
}
