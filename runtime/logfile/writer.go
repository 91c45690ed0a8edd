package logfile

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	Format   Format
	MaxSize  int64             // bytes after which a file is rotated; 0: never
	MaxFile  int               // files kept, the current one included; 0 means 1
	Compress bool              // rotated files, with gzip
	Attrs    map[string]string // written with each entry
	Now      func() time.Time  // nil means time.Now
	Trim     func()            // gives back memory: called after files were compressed, which takes 0.8 MB; may be nil
}

// Writer appends to a log.
type Writer struct {
	path string
	o    Options
	enc  encoder

	file *os.File
	size int64
	base int64 // bytes of the log in the files before this one, also those that are gone
	torn bool  // the file ends in the middle of an entry

	lines [streams]line
	now   stamp  // of this Write
	batch []byte // entries not yet written
	lost  loss

	compressor compressor
}

// line is the unfinished line of a stream.
type line struct {
	text    []byte // what came since its last entry; less than PartSize
	started bool   // it has an entry already
	first   stamp  // the time of that
}

// loss is what could not be written since the last entry that could.
type loss struct {
	entries int
	reason  error
}

// Open opens or creates the log at path.
func Open(path string, o Options) (*Writer, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.MaxFile = max(o.MaxFile, 1)
	w := &Writer{path: path, o: o, enc: encoder{format: o.Format}, compressor: compressor{trim: o.Trim}}
	if len(o.Attrs) > 0 {
		if err := w.encodeAttrs(); err != nil {
			return nil, err
		}
	}
	if err := w.open(0); err != nil {
		return nil, err
	}
	if err := w.goOn(); err != nil {
		w.file.Close()
		return nil, err
	}
	return w, nil
}

func (w *Writer) encodeAttrs() (err error) {
	if w.o.Format == Local {
		w.enc.attrs = localAttrs(w.o.Attrs)
		return nil
	}
	if w.enc.attrs, err = json.Marshal(w.o.Attrs); err != nil {
		return fmt.Errorf("encoding log attributes: %w", err)
	}
	return nil
}

func (w *Writer) open(flags int) error {
	file, err := os.OpenFile(w.path, os.O_RDWR|os.O_APPEND|os.O_CREATE|flags, 0o640)
	if err != nil {
		return fmt.Errorf("opening log: %w", err)
	}
	w.file, w.size, w.torn = file, 0, false
	return nil
}

// goOn looks at what an earlier writer has left: which format it had, how much
// there was before, and whether it died in the middle of an entry.
func (w *Writer) goOn() error {
	info, err := w.file.Stat()
	if err != nil {
		return fmt.Errorf("opening log: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	w.size = info.Size()
	if w.size == 0 {
		if w.o.Format == Local {
			w.base = sizeBefore(w.path)
		}
		return nil
	}
	head, err := firstBytes(w.file)
	if err != nil {
		return fmt.Errorf("opening log: %w", err)
	}
	if format, known := Detect(head); known && format != w.o.Format {
		w.setTime()
		return w.rotate(max(w.o.MaxFile, 2))
	}
	if w.o.Format == Local {
		w.base = BaseOf(head)
	}
	if w.torn, err = w.endsTorn(); err != nil {
		return fmt.Errorf("opening log: %w", err)
	}
	return nil
}

// firstBytes reads enough of a file for Detect and BaseOf.
func firstBytes(r io.ReaderAt) ([]byte, error) {
	head := make([]byte, HeadSize)
	n, err := r.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return head[:n], nil
}

// Detect tells a file's format from its beginning, if that is an entry.
func Detect(head []byte) (f Format, known bool) {
	switch {
	case len(head) > 0 && head[0] == '{':
		return JSON, true
	case len(head) >= LengthSize+2 && head[0] == 0 && head[LengthSize] == TagSource && head[LengthSize+1] == 6:
		return Local, true
	}
	return 0, false
}

// sizeBefore finds how much was logged before a file that is empty: there is
// something to find when an earlier writer died while it rotated.
func sizeBefore(path string) int64 {
	f, err := os.Open(name(path, 1))
	if err != nil {
		return 0
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	head, err := firstBytes(f)
	if format, known := Detect(head); err != nil || !known || format != Local {
		return 0
	}
	return BaseOf(head) + info.Size()
}

// endsTorn reports whether the file ends in something else than an entry.
func (w *Writer) endsTorn() (bool, error) {
	if w.o.Format == JSON {
		var last [1]byte
		_, err := w.file.ReadAt(last[:], w.size-1)
		return last[0] != '\n', err
	}
	var lengths [2][LengthSize]byte
	if w.size < 2*LengthSize {
		return true, nil
	}
	if _, err := w.file.ReadAt(lengths[1][:], w.size-LengthSize); err != nil {
		return false, err
	}
	begin := w.size - 2*LengthSize - int64(binary.BigEndian.Uint32(lengths[1][:]))
	if begin < 0 {
		return true, nil
	}
	_, err := w.file.ReadAt(lengths[0][:], begin)
	return lengths[0] != lengths[1], err
}

// Write logs output as it was read: any piece of a stream. An unfinished line
// is kept until it is finished, longer than PartSize, or End is called. The
// error is the first of this call, whose entries are then lost in part or
// whole; the next Write tries again. A partly written entry is never left
// standing if the filesystem lets it be cut off.
func (w *Writer) Write(s Stream, p []byte) error {
	var failed error
	w.setTime()
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

func (w *Writer) setTime() {
	now := w.o.Now()
	w.now.nano = now.UnixNano()
	if w.o.Format == JSON {
		w.now.text = appendTime(w.now.text[:0], now)
	}
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
	w.setTime()
	return first(w.entry(s, nil, false), w.flush())
}

// Note logs a line of the writer's own, on standard error.
func (w *Writer) Note(text string) error {
	w.setTime()
	e := entry{stream: Stderr, newline: true, stamp: w.now}
	w.batch = w.enc.append(w.batch, []byte("[davit: "+text+"]"), nil, w.based(&e))
	return w.flush()
}

// based gives the first entry of a later file its base.
func (w *Writer) based(e *entry) *entry {
	if w.size == 0 && len(w.batch) == 0 {
		e.base = w.base
	}
	return e
}

// entry adds the stream's unfinished line and tail as an entry; newline says
// that this finishes the line.
func (w *Writer) entry(s Stream, tail []byte, newline bool) error {
	err := w.rotateIfFull()
	l := &w.lines[s]
	e := entry{stream: s, newline: newline, stamp: w.now}
	if l.started {
		e.stamp = l.first
	}
	w.batch = w.enc.append(w.batch, l.text, tail, w.based(&e))
	l.text = l.text[:0]
	if !newline && !l.started {
		l.first.nano, l.first.text = w.now.nano, append(l.first.text[:0], w.now.text...)
	}
	l.started = !newline
	if len(w.batch) >= batchSize {
		err = first(err, w.flush())
	}
	return err
}

func (w *Writer) flush() error {
	if len(w.batch) == 0 {
		return nil
	}
	err := w.tellLoss()
	if err == nil {
		err = w.put(w.batch)
	} else {
		w.loseBatch(w.batch, err)
	}
	w.batch = w.batch[:0]
	return err
}

// tellLoss writes what was lost, if something was.
func (w *Writer) tellLoss() error {
	if w.lost.entries == 0 {
		return nil
	}
	lost := w.lost
	w.lost = loss{}
	e := entry{stream: Stderr, newline: true, stamp: w.now}
	if w.size == 0 {
		e.base = w.base
	}
	text := fmt.Sprintf("[davit: lines of output that were not logged: %d (%v)]", lost.entries, lost.reason)
	if err := w.put(w.enc.append(nil, []byte(text), nil, &e)); err != nil {
		w.lost = lost
		return err
	}
	return nil
}

func (w *Writer) loseBatch(rest []byte, reason error) {
	_, n := w.enc.whole(rest)
	w.lost.entries += n
	w.lost.reason = reason
	var cause unix.Errno
	if errors.As(reason, &cause) {
		w.lost.reason = cause
	}
}

// put writes whole entries.
func (w *Writer) put(entries []byte) error {
	if w.torn && w.o.Format == JSON {
		// An empty line is skipped by readers, half an entry is too. Readers of
		// the Local format find their way without.
		if _, err := w.file.Write([]byte{'\n'}); err != nil {
			err = fmt.Errorf("writing log: %w", err)
			w.loseBatch(entries, err)
			return err
		}
		w.size++
	}
	w.torn = false
	n, err := w.file.Write(entries)
	if err != nil {
		err = fmt.Errorf("writing log: %w", err)
		whole, _ := w.enc.whole(entries[:n])
		w.torn = whole < n && w.file.Truncate(w.size+int64(whole)) != nil
		w.loseBatch(entries[whole:], err)
		if !w.torn {
			n = whole
		}
	}
	w.size += int64(n)
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

// Wait waits until all rotated files are compressed, if that is asked for.
func (w *Writer) Wait() error { return w.compressor.wait() }
