package logs

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

const (
	blockSize = 64 << 10
	// maxLine is the longest line looked at: 16 KiB of text, each byte escaped,
	// are under 100 KiB, and the rest is for attributes. A longer one is skipped.
	maxLine = 1 << 20
)

// blocks are buffers of readings: one that waits for more has none.
var blocks = sync.Pool{New: func() any { return new([blockSize]byte) }}

// block returns a buffer and what gives it back; a larger one that took its
// place is left to the collector.
func block() (buf []byte, done func()) {
	b := blocks.Get().(*[blockSize]byte)
	return b[:], func() { blocks.Put(b) }
}

// readError is an error of the file, as opposed to one of emit.
type readError struct{ err error }

func (e *readError) Error() string { return "reading log: " + e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// countLines counts the lines of r, whole ones.
func countLines(r io.Reader) (lines int, err error) {
	buf, done := block()
	defer done()
	for {
		n, err := r.Read(buf)
		lines += bytes.Count(buf[:n], []byte{'\n'})
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
	}
}

// lastLines finds where the last n whole lines of the first size bytes of f
// begin, reading backwards. It returns how many there are, n at most.
func lastLines(f io.ReaderAt, size int64, n int) (offset int64, found int, err error) {
	buf, done := block()
	defer done()
	newlines := 0 // the one that ends the last whole line included
	for end := size; end > 0; {
		begin := max(0, end-blockSize)
		block := buf[:end-begin]
		if _, err := f.ReadAt(block, begin); err != nil && !errors.Is(err, io.EOF) {
			return 0, 0, err
		}
		for i := len(block); ; {
			if i = bytes.LastIndexByte(block[:i], '\n'); i < 0 {
				break
			}
			if newlines == n {
				return begin + int64(i) + 1, n, nil
			}
			newlines++
		}
		end = begin
	}
	return 0, newlines, nil
}
