// Package multiplex writes Docker's framed streams: standard output and error
// of a container without a terminal, on one connection.
//
//	 0        1     2     3     4                       8
//	+--------+-----+-----+-----+-----------------------+---------
//	| stream |  0  |  0  |  0  | length, big endian    | payload
//	+--------+-----+-----+-----+-----------------------+---------
//
// The package keeps no state: whoever has several writers on one connection
// sees to it that they do not write at the same time.
package multiplex

import (
	"encoding/binary"
	"io"
)

// HeaderSize is the size of a frame's head, in bytes.
const HeaderSize = 8

// The streams (Docker Engine API, "Stream format" of container attach).
const (
	Stdin  byte = 0
	Stdout byte = 1
	Stderr byte = 2
	System byte = 3 // an error of the engine, in the middle of a stream
)

// Header returns the head of a frame of n bytes.
func Header(stream byte, n int) [HeaderSize]byte {
	h := [HeaderSize]byte{stream}
	binary.BigEndian.PutUint32(h[4:], uint32(n))
	return h
}

// Writer makes a frame of each write.
type Writer struct {
	W      io.Writer
	Stream byte
}

// Write writes p as one frame, in one write to the connection. The number of
// bytes returned is p's.
func (w Writer) Write(p []byte) (int, error) {
	h := Header(w.Stream, len(p))
	n, err := w.W.Write(append(h[:], p...))
	return max(0, n-HeaderSize), err
}
