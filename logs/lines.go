package logs

import (
	"bytes"
	"errors"
	"io"
)

const (
	blockSize = 64 << 10
	// maxLine is the longest line looked at: 16 KiB of text, each byte escaped,
	// are under 100 KiB, and the rest is for attributes. A longer one is skipped.
	maxLine = 1 << 20
)

// readError is an error of the file, as opposed to one of emit.
type readError struct{ err error }

func (e *readError) Error() string { return "reading log: " + e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// countLines counts the lines of r, whole ones.
func countLines(r io.Reader) (lines int, err error) {
	buf := make([]byte, blockSize)
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
	buf := make([]byte, blockSize)
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
