package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Ring writes a log in the background, so that a slow disk never holds up who
// writes. It keeps a bounded number of bytes; what comes while it is full is
// dropped and counted, and a line of the log says so.
type Ring struct {
	w   *Writer
	max int

	mu      sync.Mutex
	changed sync.Cond // of mu: queue or closed has
	queue   []chunk   // guarded by mu
	free    [][]byte  // guarded by mu; texts to be used again: output is no garbage
	held    int       // guarded by mu; bytes in queue and under way
	dropped drop      // guarded by mu; since the last chunk queued
	closed  bool      // guarded by mu
	failed  error     // guarded by mu; not yet reported
	done    chan struct{}
}

// chunk is output on its way to the log.
type chunk struct {
	stream Stream
	text   []byte
	end    bool // of the stream
	before drop // what is missing before it
}

// drop is output that is lost.
type drop struct{ lines, bytes int }

// NewRing writes to w, which it owns from now on, and keeps up to size bytes.
// One piece of output is always taken, however small size is.
func NewRing(w *Writer, size int) *Ring {
	r := &Ring{w: w, max: size, done: make(chan struct{})}
	r.changed.L = &r.mu
	go r.run()
	return r
}

// Write queues a copy of p. The error is one of earlier output.
func (r *Ring) Write(s Stream, p []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held > 0 && r.held+len(p) > r.max {
		r.dropped.bytes += len(p)
		r.dropped.lines += bytes.Count(p, []byte{'\n'})
	} else {
		r.queueLocked(chunk{stream: s, text: append(r.roomLocked(), p...)})
	}
	return r.troubleLocked()
}

// End ends a stream.
func (r *Ring) End(s Stream) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queueLocked(chunk{stream: s, end: true})
	return r.troubleLocked()
}

func (r *Ring) roomLocked() []byte {
	n := len(r.free)
	if n == 0 {
		return nil
	}
	room := r.free[n-1]
	r.free = r.free[:n-1]
	return room[:0]
}

func (r *Ring) queueLocked(c chunk) {
	c.before, r.dropped = r.dropped, drop{}
	r.queue = append(r.queue, c)
	r.held += len(c.text)
	r.changed.Signal()
}

func (r *Ring) troubleLocked() error {
	err := r.failed
	r.failed = nil
	return err
}

// Close writes what is queued, and closes the log.
func (r *Ring) Close() error {
	r.mu.Lock()
	r.closed = true
	r.changed.Signal()
	r.mu.Unlock()
	<-r.done
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.troubleLocked(), r.w.Close())
}

// Wait is Writer.Wait. Call it after Close.
func (r *Ring) Wait() error { return r.w.Wait() }

func (r *Ring) run() {
	defer close(r.done)
	for {
		r.mu.Lock()
		for len(r.queue) == 0 && !r.closed {
			r.changed.Wait()
		}
		if len(r.queue) == 0 {
			r.mu.Unlock()
			return
		}
		c := r.queue[0]
		r.queue = slices.Delete(r.queue, 0, 1)
		r.mu.Unlock()

		err := r.write(&c)
		r.mu.Lock()
		r.held -= len(c.text)
		if c.text != nil {
			r.free = append(r.free, c.text)
		}
		r.failed = first(r.failed, err)
		r.mu.Unlock()
	}
}

func (r *Ring) write(c *chunk) error {
	var failed error
	if c.before != (drop{}) {
		// What is unfinished lacks its rest.
		failed = errors.Join(r.w.End(Stdout), r.w.End(Stderr),
			r.w.Note(fmt.Sprintf("output that was not logged because the log could not be written as fast: %d bytes, %d lines", c.before.bytes, c.before.lines)))
	}
	if c.end {
		return errors.Join(failed, r.w.End(c.stream))
	}
	return errors.Join(failed, r.w.Write(c.stream, c.text))
}
