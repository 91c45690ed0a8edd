package engine

import (
	"context"
	"io"
	"time"

	"github.com/davit-engine/davit/errs"
)

// stallLimit is how long a client may take for one piece of an archive of a
// container that cannot be started meanwhile.
const stallLimit = time.Minute

var errStalled = errs.New(errs.Deadline, "the other side of the copy has done nothing for %v, and the container cannot be started meanwhile: copy again", stallLimit)

// read gives the view to write and returns what that writes. The view is
// closed at the stream's end, or when the stream is closed.
func (v *rootView) read(write func(context.Context, io.Writer) error) io.ReadCloser {
	return stream(v.ctx, v.patience(), write, v.Close)
}

// patience is how long a client may take for one piece; 0 for as long as it
// likes.
func (v *rootView) patience() time.Duration {
	if v.patient {
		return 0
	}
	return stallLimit
}

// stream runs write in the background and returns what it writes. done is
// called at its end.
func stream(ctx context.Context, patience time.Duration, write func(context.Context, io.Writer) error, done func()) io.ReadCloser {
	r, w := io.Pipe()
	ctx, cancel := context.WithCancelCause(ctx)
	unblock := context.AfterFunc(ctx, func() { _ = w.CloseWithError(context.Cause(ctx)) })
	go func() {
		err := write(ctx, &guarded{w: w, patience: patience, give: cancel})
		unblock()
		done()
		cancel(nil)
		_ = w.CloseWithError(err)
	}()
	return &streamReader{PipeReader: r, cancel: cancel}
}

// streamReader ends the writer when nobody reads any more.
type streamReader struct {
	*io.PipeReader
	cancel context.CancelCauseFunc
}

func (s *streamReader) Close() error {
	s.cancel(context.Canceled)
	return s.PipeReader.Close()
}

// feed calls read with what content holds, until the view is taken back.
func (v *rootView) feed(content io.Reader, read func(context.Context, io.Reader) error) error {
	ctx, cancel := context.WithCancelCause(v.ctx)
	defer cancel(nil)
	a := &ahead{ctx: ctx, patience: v.patience(), full: make(chan []byte, pieces), empty: make(chan []byte, pieces)}
	for range pieces {
		a.empty <- nil
	}
	go a.fill(content)
	return read(ctx, a)
}

// ahead reads a stream in large pieces, before they are asked for: each time
// that one goroutine hands on to another costs more than to copy what is handed
// on, above all to one that has a thread of its own.
type ahead struct {
	ctx         context.Context
	patience    time.Duration // how long a piece may take; 0: as long as it likes
	full, empty chan []byte
	err         error // why full is closed
	rest        []byte
	piece       []byte // that rest is of
}

// pieces is how many there are at most.
const pieces = 3

func (a *ahead) fill(content io.Reader) {
	defer close(a.full)
	for {
		var piece []byte
		select {
		case piece = <-a.empty:
		case <-a.ctx.Done():
			return
		}
		if piece == nil {
			piece = make([]byte, pieceSize)
		}
		piece = piece[:cap(piece)]
		n, err := 0, error(nil)
		for n < len(piece) && err == nil {
			var m int
			m, err = content.Read(piece[n:])
			n += m
		}
		if n > 0 {
			a.full <- piece[:n] // there is room for all
		}
		if err != nil {
			a.err = err
			return
		}
	}
}

// Read implements io.Reader.
func (a *ahead) Read(p []byte) (int, error) {
	if len(a.rest) == 0 {
		if a.piece != nil {
			a.empty <- a.piece
			a.piece = nil
		}
		var late <-chan time.Time
		if a.patience > 0 {
			t := time.NewTimer(a.patience)
			defer t.Stop()
			late = t.C
		}
		select {
		case piece, ok := <-a.full:
			if !ok {
				if a.err == nil {
					return 0, context.Cause(a.ctx)
				}
				return 0, a.err
			}
			a.piece, a.rest = piece, piece
		case <-a.ctx.Done():
			return 0, context.Cause(a.ctx)
		case <-late:
			return 0, errStalled
		}
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// pieceSize is what is handed on at once.
const pieceSize = 256 << 10

// guarded gives up when the other side of a pipe takes too long.
type guarded struct {
	w        io.Writer
	patience time.Duration
	give     context.CancelCauseFunc
	timer    *time.Timer
}

func (g *guarded) Write(p []byte) (int, error) {
	if g.patience == 0 {
		return g.w.Write(p)
	}
	if g.timer == nil {
		g.timer = time.AfterFunc(g.patience, func() { g.give(errStalled) })
	}
	g.timer.Reset(g.patience)
	defer g.timer.Stop()
	return g.w.Write(p)
}
