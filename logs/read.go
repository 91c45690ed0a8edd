// Package logs reads the logs that package logfile, or Docker, has written:
// path, and what was rotated out of it as path.1, path.2.gz and so on, each in
// the format of json-file or of local.
//
// It owns nothing: the writer is another process, which may write, rotate,
// compress and be killed at any time. So an entry counts when its end is there;
// what is damaged is passed over with a word in its place; a file that shrinks
// is read from its beginning. The package does not know containers or clients.
// Read keeps all its state to itself and may run any number of times at once.
package logs

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/davit-engine/davit/runtime/logfile"
)

// Options say what is read.
type Options struct {
	Stdout, Stderr bool            // which streams
	Since, Until   time.Time       // zero: no bound; an entry at the bound itself counts
	Tail           int             // so many of the last entries, before the other choices are made, as Docker; -1: all
	Follow         bool            // go on with what is written later
	Done           <-chan struct{} // closed when nobody writes any more; a nil one never is
	Watcher        *Watcher        // tells of changes; nil: one for this reading
	Idle           func() error    // called when everything was emitted, before waiting for more; nil: nothing is

	// Resume reads on from the Entry.End of an earlier reading, From, instead of
	// from Tail; 0 is the beginning. Only files of the local format count. Lost,
	// if not nil, is told how many bytes are gone since, before the first entry
	// after them.
	Resume bool
	From   int64
	Lost   func(bytes int64)
}

// Entry is a log entry. Its parts are valid until emit returns.
type Entry struct {
	Stream string // "stdout" or "stderr"
	Time   time.Time
	Line   []byte // with its \n if it had one: a part of a long line has none
	Attrs  map[string]string
	End    int64 // bytes of the log up to its end, from the beginning of the log; with Resume only
}

// errStop ends the reading: Until has passed.
var errStop = errors.New("enough")

// Read calls emit for each entry, oldest first, and returns emit's error if it
// gives one. A log that does not exist is empty. With Follow it returns when
// Done is closed and everything was emitted, when Until has passed, or when ctx
// ends; then with ctx's error.
func Read(ctx context.Context, path string, o Options, emit func(*Entry) error) error {
	r := &reader{ctx: ctx, path: path, o: o, emit: emit, pos: o.From}
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
	emit func(*Entry) error

	json    jsonScanner
	local   localScanner
	damaged int64     // bytes that are no entries, since the last entry
	cut     bool      // an archive could not be read to its end, since the last entry
	last    time.Time // of the last entry
	pos     int64     // End of the last entry, with Resume

	file   *file // the newest one read; nil: there was none yet
	offset int64 // of the first entry not read of it
}

func (r *reader) read() error {
	var changes *watch
	if r.o.Follow {
		w := r.o.Watcher
		if w == nil {
			w = &Watcher{}
			defer w.Close()
		}
		changes = w.watch(r.path) // before the first look, so that nothing is missed
		defer changes.close()
	}
	if err := r.past(); err != nil {
		return err
	}
	if !r.o.Follow {
		return r.tellDamage()
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
	return r.moreAfter(at.entries)
}

// position is where reading begins in the oldest file that is read.
type position struct {
	offset  int64 // in the plain content
	entries int   // to skip from there
}

// begin finds where reading begins. It returns the files from there on, newest
// first.
func (r *reader) begin(files []*file) (position, []*file, error) {
	if r.o.Resume {
		return r.resume(files)
	}
	if r.o.Tail < 0 {
		return position{}, files, nil
	}
	missing := r.o.Tail
	for i, f := range files {
		if f == nil {
			continue
		}
		at, found, err := r.tail(f, missing)
		if err != nil {
			return position{}, nil, fmt.Errorf("reading log: %w", err)
		}
		if missing -= found; missing == 0 {
			return at, files[:i+1], nil
		}
	}
	return position{}, files, nil
}

// resume finds the end of the entry that was the last one of an earlier
// reading. Where that is gone, reading begins with what is left.
func (r *reader) resume(files []*file) (position, []*file, error) {
	oldest, newest := 0, true
	for i, f := range files {
		if f == nil {
			continue
		}
		base, ok := f.base()
		if !ok && f.info.Size() == 0 {
			continue // nothing is known of it yet
		}
		if !ok {
			break // of another format: what is older does not count either
		}
		if newest && r.pos > base+f.info.Size() && !f.zipped {
			r.pos = 0 // not the log that was read: all of it is new
		}
		if oldest, newest = i, false; r.pos >= base {
			return position{offset: r.pos - base}, files[:i+1], nil
		}
	}
	return position{}, files[:oldest+1], nil
}

// tail finds where the last n entries of a file begin, and how many there are,
// n at most.
func (r *reader) tail(f *file, n int) (position, int, error) {
	if f.zipped {
		return r.countedTail(f, n)
	}
	if format, known := f.format(); !known || format == logfile.JSON {
		offset, found, err := lastLines(f, f.info.Size(), n)
		return position{offset: offset}, found, err
	}
	offset, found, ok, err := lastEntries(f, f.info.Size(), n)
	if err != nil || ok {
		return position{offset: offset}, found, err
	}
	return r.countedTail(f, n) // there is damage on the way
}

// countedTail is tail for a file that cannot be read backwards.
func (r *reader) countedTail(f *file, n int) (position, int, error) {
	content, format, err := f.content(0)
	if err != nil {
		return position{}, 0, nil // not ours, or broken: nothing can be read of it
	}
	entries := 0
	if format == logfile.JSON {
		entries, err = countLines(content)
	} else {
		_, err = r.local.scan(content, func(*Entry, int64, int64) error { entries++; return nil })
	}
	if err != nil && !damaged(err) {
		return position{}, 0, err
	}
	found := min(n, entries)
	return position{entries: entries - found}, found, nil
}

// damaged reports whether err says that a compressed file is cut off or
// broken: what came before that counts.
func damaged(err error) bool {
	var corrupt flate.CorruptInputError
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader) || errors.As(err, &corrupt)
}

// rotated reads a file to which nothing is written any more.
func (r *reader) rotated(f *file, at position) error {
	if f.zipped {
		z, err := f.unzipped()
		if err != nil {
			r.cut = true
			return nil
		}
		if last := lastTime(z); !last.IsZero() && last.Before(r.o.Since) {
			return nil
		}
	}
	content, format, err := f.content(at.offset)
	if err != nil {
		r.cut = true
		return nil
	}
	whole, err := r.scan(content, f, format, at)
	if err == nil && !f.zipped {
		r.damaged += max(0, f.info.Size()-at.offset-whole)
	}
	var broken *readError
	if errors.As(err, &broken) && damaged(broken.err) {
		r.cut = true
		return nil
	}
	return err
}

// more reads on in the newest file.
func (r *reader) more() error { return r.moreAfter(0) }

func (r *reader) moreAfter(skip int) error {
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
		r.file.forget()
	}
	if info.Size() == r.offset {
		return nil
	}
	content, format, err := r.file.content(r.offset)
	if err != nil {
		return fmt.Errorf("reading log: %w", err)
	}
	whole, err := r.scan(content, r.file, format, position{r.offset, skip})
	r.offset += whole
	return err
}

// scan emits the entries of f's content from at on. It returns how many bytes
// it has dealt with.
func (r *reader) scan(content io.Reader, f *file, format logfile.Format, at position) (int64, error) {
	var base int64
	if r.o.Resume {
		base, _ = f.base()
		base += at.offset
	}
	each := func(e *Entry, damage, end int64) error {
		r.damaged += damage
		switch {
		case e == nil:
			return nil
		case at.entries > 0:
			at.entries--
			r.damaged, r.cut = 0, false
			return nil
		case r.o.Resume:
			if missing := base - r.pos; missing > 0 && r.o.Lost != nil {
				r.o.Lost(missing)
			}
			e.End = base + end
			r.pos = e.End
		}
		return r.entry(e)
	}
	if format == logfile.JSON {
		if r.o.Resume {
			return io.Copy(io.Discard, content)
		}
		return r.json.scan(content, each)
	}
	return r.local.scan(content, each)
}

// entry emits an entry if it is wanted.
func (r *reader) entry(e *Entry) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if r.damaged > 0 || r.cut {
		if r.last.IsZero() {
			r.last = e.Time
		}
		if err := r.tellDamage(); err != nil {
			return err
		}
	}
	r.last = e.Time
	return r.choose(e)
}

func (r *reader) choose(e *Entry) error {
	if !r.o.Until.IsZero() && e.Time.After(r.o.Until) {
		return errStop
	}
	if e.Time.Before(r.o.Since) || e.Stream == "stdout" && !r.o.Stdout || e.Stream == "stderr" && !r.o.Stderr {
		return nil
	}
	return r.emit(e)
}

// tellDamage says that something could not be read, where it stood.
func (r *reader) tellDamage() error {
	if r.damaged == 0 && !r.cut {
		return nil
	}
	line := fmt.Appendf(nil, "[davit: %d bytes of the log are damaged]\n", r.damaged)
	if r.cut {
		line = []byte("[davit: an archive of the log is damaged]\n")
	}
	r.damaged, r.cut = 0, false
	return r.choose(&Entry{Stream: "stderr", Time: r.last, Line: line, End: r.pos})
}

// content opens what f holds from an offset on, unpacked.
func (f *file) content(offset int64) (io.Reader, logfile.Format, error) {
	format, known := f.format()
	if !f.zipped {
		if !known {
			format = logfile.JSON // says what is damaged
		}
		return io.NewSectionReader(f, offset, f.info.Size()-offset), format, nil
	}
	z, err := f.unzipped()
	if err != nil {
		return nil, 0, err
	}
	if _, err := io.CopyN(io.Discard, z, offset); err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	return bufio.NewReaderSize(z, blockSize), format, nil
}
