// Package logs reads the logs that package jsonlog, or Docker, has written:
// path, and what was rotated out of it as path.1, path.2.gz and so on.
//
// It owns nothing: the writer is another process, which may write, rotate,
// compress and be killed at any time. So a line counts when its newline is
// there; what cannot be decoded is skipped; a file that shrinks is read from
// its beginning. The package does not know containers or clients. Read keeps
// all its state to itself and may run any number of times at once.
package logs

import (
	"compress/flate"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Options say what is read.
type Options struct {
	Stdout, Stderr bool            // which streams
	Since, Until   time.Time       // zero: no bound; an entry at the bound itself counts
	Tail           int             // so many of the last entries, before the other choices are made, as Docker; -1: all
	Follow         bool            // go on with what is written later
	Done           <-chan struct{} // closed when nobody writes any more; a nil one never is
}

// Entry is a log entry. Its parts are valid until emit returns.
type Entry struct {
	Stream string // "stdout" or "stderr"
	Time   time.Time
	Line   []byte // with its \n if it had one: a part of a long line has none
	Attrs  map[string]string
}

// errStop ends the reading: Until has passed.
var errStop = errors.New("enough")

// Read calls emit for each entry, oldest first, and returns emit's error if it
// gives one. A log that does not exist is empty. With Follow it returns when
// Done is closed and everything was emitted, when Until has passed, or when ctx
// ends; then with ctx's error.
func Read(ctx context.Context, path string, o Options, emit func(Entry) error) error {
	r := &reader{ctx: ctx, path: path, o: o, emit: emit}
	err := r.read()
	if r.file != nil {
		r.file.Close()
	}
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

// reader is one reading of a log.
type reader struct {
	ctx  context.Context
	path string
	o    Options
	emit func(Entry) error

	scanner scanner
	decoder decoder

	file   *file // the newest one read; nil: there was none yet
	offset int64 // of the first line not read of it
}

func (r *reader) read() error {
	var changes *watch
	if r.o.Follow {
		changes = newWatch(r.path) // before the first look, so that nothing is missed
		defer changes.close()
	}
	if err := r.past(); err != nil {
		return err
	}
	if !r.o.Follow {
		return nil
	}
	return r.follow(changes)
}

// past reads what is there.
func (r *reader) past() error {
	files, err := openAll(r.path)
	if err != nil {
		return fmt.Errorf("opening log: %w", err)
	}
	defer func() { closeAll(files) }()
	at, wanted, err := r.begin(files)
	if err != nil {
		return err
	}
	for i := len(wanted) - 1; i > 0; i-- {
		if err := r.rotated(wanted[i], at); err != nil {
			return err
		}
		at = position{}
	}
	if files[0] == nil && len(files) > 1 {
		// In the middle of a rotation: what comes next follows this one.
		r.file, r.offset, files[1] = files[1], files[1].info.Size(), nil
		return nil
	}
	r.file, r.offset, files[0] = files[0], at.offset, nil
	return r.more()
}

// position is where reading begins in the oldest file that is read.
type position struct {
	offset int64 // in a plain file
	lines  int   // to skip, in a compressed file
}

// begin finds where the last Tail entries begin. It returns the files from
// there on, newest first.
func (r *reader) begin(files []*file) (position, []*file, error) {
	if r.o.Tail < 0 {
		return position{}, files, nil
	}
	missing := r.o.Tail
	for i, f := range files {
		if f == nil {
			continue
		}
		var at position
		var found int
		var err error
		if f.zipped {
			at, found, err = zippedTail(f, missing)
		} else {
			at.offset, found, err = lastLines(f, f.info.Size(), missing)
		}
		if err != nil {
			return position{}, nil, fmt.Errorf("reading log: %w", err)
		}
		if missing -= found; missing == 0 {
			return at, files[:i+1], nil
		}
	}
	return position{}, files, nil
}

func zippedTail(f *file, n int) (position, int, error) {
	z, err := f.unzipped()
	if err != nil {
		return position{}, 0, nil // not ours, or broken: nothing can be read of it
	}
	lines, err := countLines(z)
	if err != nil && !damaged(err) {
		return position{}, 0, err
	}
	found := min(n, lines)
	return position{lines: lines - found}, found, nil
}

// damaged reports whether err says that a compressed file is cut off or
// broken: what came before that counts.
func damaged(err error) bool {
	var corrupt flate.CorruptInputError
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader) || errors.As(err, &corrupt)
}

// rotated reads a file to which nothing is written any more.
func (r *reader) rotated(f *file, at position) error {
	if !f.zipped {
		_, err := r.scanner.scan(io.NewSectionReader(f, at.offset, f.info.Size()-at.offset), r.line)
		return err
	}
	z, err := f.unzipped()
	if err != nil {
		return nil // not ours, or broken
	}
	if last := lastTime(z); !last.IsZero() && last.Before(r.o.Since) {
		return nil
	}
	_, err = r.scanner.scan(z, func(line []byte) error {
		if at.lines > 0 {
			at.lines--
			return nil
		}
		return r.line(line)
	})
	var broken *readError
	if errors.As(err, &broken) && damaged(broken.err) {
		return nil
	}
	return err
}

// more reads on in the newest file.
func (r *reader) more() error {
	if r.file == nil || r.file.zipped {
		return nil
	}
	info, err := r.file.Stat()
	if err != nil {
		return fmt.Errorf("reading log: %w", err)
	}
	r.file.info = info
	if info.Size() < r.offset {
		r.offset = 0 // somebody has emptied it
	}
	whole, err := r.scanner.scan(io.NewSectionReader(r.file, r.offset, info.Size()-r.offset), r.line)
	r.offset += whole
	return err
}

// line emits the entry that a line holds, if it is wanted.
func (r *reader) line(line []byte) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	var e Entry
	if !r.decoder.decode(line, &e) {
		return nil
	}
	if !r.o.Until.IsZero() && e.Time.After(r.o.Until) {
		return errStop
	}
	if e.Time.Before(r.o.Since) || e.Stream == "stdout" && !r.o.Stdout || e.Stream == "stderr" && !r.o.Stderr {
		return nil
	}
	return r.emit(e)
}
