package jsonlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// PartSize is the longest piece of a line in one entry, in bytes (Docker's
// logger.Copier reads into a buffer of this size).
const PartSize = 16 << 10

// Encoded entries are written once they come to this many bytes, and at the
// end of each Write.
const batchSize = 64 << 10

// Options say how a log is kept.
type Options struct {
	MaxSize  int64             // bytes after which a file is rotated; 0: never
	MaxFile  int               // files kept, the current one included; 0 means 1
	Compress bool              // rotated files, with gzip
	Attrs    map[string]string // written with each entry
	Now      func() time.Time  // nil means time.Now
}

// Writer appends to a log.
type Writer struct {
	path  string
	o     Options
	attrs []byte // Options.Attrs as JSON; nil for none

	file *os.File
	size int64
	torn bool // the file ends in the middle of an entry

	lines [streams]line
	stamp []byte // the time of this Write
	batch []byte // entries not yet written

	compressing chan error // gets one value from the compression under way; nil if none is
}

// line is the unfinished line of a stream.
type line struct {
	text  []byte // what came since its last entry; less than PartSize
	stamp []byte // the time of its first entry; empty if there was none
}

// Open opens or creates the log at path.
func Open(path string, o Options) (*Writer, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.MaxFile = max(o.MaxFile, 1)
	w := &Writer{path: path, o: o}
	if len(o.Attrs) > 0 {
		attrs, err := json.Marshal(o.Attrs)
		if err != nil {
			return nil, fmt.Errorf("encoding log attributes: %w", err)
		}
		w.attrs = attrs
	}
	if err := w.open(0); err != nil {
		return nil, err
	}
	if err := w.checkEnd(); err != nil {
		w.file.Close()
		return nil, err
	}
	return w, nil
}

func (w *Writer) open(flags int) error {
	file, err := os.OpenFile(w.path, os.O_RDWR|os.O_APPEND|os.O_CREATE|flags, 0o640)
	if err != nil {
		return fmt.Errorf("opening log: %w", err)
	}
	w.file, w.size, w.torn = file, 0, false
	return nil
}

// checkEnd finds out whether an earlier writer died in the middle of an entry.
func (w *Writer) checkEnd() error {
	info, err := w.file.Stat()
	if err != nil {
		return fmt.Errorf("opening log: %w", err)
	}
	w.size = info.Size()
	if w.size == 0 || !info.Mode().IsRegular() {
		return nil
	}
	var last [1]byte
	if _, err := w.file.ReadAt(last[:], w.size-1); err != nil {
		return fmt.Errorf("opening log: %w", err)
	}
	w.torn = last[0] != '\n'
	return nil
}

// Write logs output as it was read: any piece of a stream. An unfinished line
// is kept until it is finished, longer than PartSize, or End is called. The
// error is the first of this call, whose entries are then lost in part or
// whole; the next Write tries again. A partly written entry is never left
// standing if the filesystem lets it be cut off.
func (w *Writer) Write(s Stream, p []byte) error {
	var failed error
	w.stamp = appendTime(w.stamp[:0], w.o.Now())
	l := &w.lines[s]
	for len(p) > 0 {
		room := PartSize - len(l.text)
		i := bytes.IndexByte(p[:min(len(p), room)], '\n')
		switch {
		case i >= 0:
			failed = first(failed, w.entry(s, p[:i], true))
			p = p[i+1:]
		case len(p) >= room:
			failed = first(failed, w.entry(s, p[:room], false))
			p = p[room:]
		default:
			l.text = append(l.text, p...)
			p = nil
		}
	}
	return first(failed, w.flush())
}

// first returns the first of two errors that is one.
func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// End logs the unfinished line of a stream that has come to its end.
func (w *Writer) End(s Stream) error {
	if len(w.lines[s].text) == 0 {
		return nil
	}
	w.stamp = appendTime(w.stamp[:0], w.o.Now())
	return first(w.entry(s, nil, false), w.flush())
}

// entry adds the stream's unfinished line and tail as an entry; newline says
// that this finishes the line.
func (w *Writer) entry(s Stream, tail []byte, newline bool) error {
	err := w.rotateIfFull()
	l := &w.lines[s]
	stamp := w.stamp
	if len(l.stamp) > 0 {
		stamp = l.stamp
	}
	w.batch = appendEntry(w.batch, l.text, tail, newline, entry{s, w.attrs, stamp})
	l.text = l.text[:0]
	if newline {
		l.stamp = l.stamp[:0]
	} else if len(l.stamp) == 0 {
		l.stamp = append(l.stamp, w.stamp...)
	}
	if len(w.batch) >= batchSize {
		err = first(err, w.flush())
	}
	return err
}

func (w *Writer) flush() error {
	if len(w.batch) == 0 {
		return nil
	}
	if w.torn {
		// An empty line is skipped by readers, half an entry is too.
		if _, err := w.file.Write([]byte{'\n'}); err != nil {
			w.batch = w.batch[:0]
			return fmt.Errorf("writing log: %w", err)
		}
		w.torn = false
		w.size++
	}
	n, err := w.file.Write(w.batch)
	if err != nil {
		whole := bytes.LastIndexByte(w.batch[:n], '\n') + 1
		w.torn = whole < n && w.file.Truncate(w.size+int64(whole)) != nil
		if !w.torn {
			n = whole
		}
		err = fmt.Errorf("writing log: %w", err)
	}
	w.size += int64(n)
	w.batch = w.batch[:0]
	return err
}

// Close closes the file. Compression may go on; see Wait. Unfinished lines
// are lost but for those that End was called for.
func (w *Writer) Close() error {
	if err := w.file.Close(); err != nil {
		return fmt.Errorf("closing log: %w", err)
	}
	return nil
}

// Wait waits until the compression of a rotated file, if any, is done.
func (w *Writer) Wait() error {
	if w.compressing == nil {
		return nil
	}
	err := <-w.compressing
	w.compressing = nil
	return err
}

// rotateIfFull rotates as Docker does: before the entry that finds the file at
// its largest size or over it. If that fails the file goes on growing.
func (w *Writer) rotateIfFull() error {
	if w.o.MaxSize <= 0 || w.size+int64(len(w.batch)) < w.o.MaxSize {
		return nil
	}
	if err := w.flush(); err != nil {
		return err
	}
	failed := w.Wait()
	if err := w.rotate(); err != nil {
		return first(failed, err)
	}
	if w.o.Compress && w.o.MaxFile > 1 {
		done := make(chan error, 1)
		w.compressing = done
		last := w.o.Now()
		go func() { done <- compress(name(w.path, 1), last) }()
	}
	return failed
}

// rotate moves the files on. Readers keep what they have open.
func (w *Writer) rotate() error {
	for i := w.o.MaxFile - 1; i > 1; i-- {
		for _, ext := range []string{"", ".gz"} {
			err := os.Rename(name(w.path, i-1)+ext, name(w.path, i)+ext)
			if errors.Is(err, os.ErrNotExist) {
				err = remove(name(w.path, i) + ext)
			}
			if err != nil {
				return fmt.Errorf("rotating log: %w", err)
			}
		}
	}
	newest := name(w.path, 1)
	if w.o.MaxFile == 1 {
		if err := remove(w.path); err != nil {
			return fmt.Errorf("rotating log: %w", err)
		}
	} else {
		if err := remove(newest + ".gz"); err != nil {
			return fmt.Errorf("rotating log: %w", err)
		}
		if err := os.Rename(w.path, newest); err != nil {
			return fmt.Errorf("rotating log: %w", err)
		}
	}
	old := w.file
	if err := w.open(os.O_EXCL); err != nil {
		if w.o.MaxFile > 1 {
			return errors.Join(err, os.Rename(newest, w.path))
		}
		return err
	}
	old.Close()
	return nil
}

func name(path string, i int) string { return fmt.Sprintf("%s.%d", path, i) }

func remove(path string) error {
	if err := unix.Unlink(path); err != nil && err != unix.ENOENT {
		return &os.PathError{Op: "unlink", Path: path, Err: err}
	}
	return nil
}

// compress replaces path by path.gz. At each moment one of the two is whole.
func compress(path string, last time.Time) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("compressing log: %w", err), remove(path+".gz.tmp"))
		}
	}()
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(path+".gz.tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	if err := gzipTo(out, in, last); err != nil {
		out.Close()
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	if err := os.Rename(path+".gz.tmp", path+".gz"); err != nil {
		return err
	}
	return remove(path)
}
