package term

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrDetached is returned by a reader of Escape once the user typed the keys.
var ErrDetached = errors.New("read escape sequence")

// ParseKeys turns Docker's notation ("ctrl-p,ctrl-q", "a,ctrl-@") into the
// bytes that a terminal sends for it.
func ParseKeys(keys string) ([]byte, error) {
	var codes []byte
	for key := range strings.SplitSeq(keys, ",") {
		if len(key) == 1 {
			codes = append(codes, key[0])
			continue
		}
		letter, ok := strings.CutPrefix(key, "ctrl-")
		if !ok || len(letter) != 1 {
			return nil, fmt.Errorf("invalid detach keys (%s): unknown key '%s'", keys, key)
		}
		switch c := letter[0]; {
		case c >= 'a' && c <= 'z':
			codes = append(codes, c-'a'+1)
		case c == '@':
			codes = append(codes, 0)
		case c >= '[' && c <= '_':
			codes = append(codes, c-'['+27)
		default:
			return nil, fmt.Errorf("invalid detach keys (%s): unknown key '%s'", keys, key)
		}
	}
	return codes, nil
}

// Escape reads from r until keys were typed in a row, then returns ErrDetached.
// Keys that might begin the sequence are held back until the next byte
// decides.
func Escape(r io.Reader, keys []byte) io.Reader {
	if len(keys) == 0 {
		return r
	}
	return &escapeReader{r: r, keys: keys}
}

type escapeReader struct {
	r       io.Reader
	keys    []byte
	matched int
	pending []byte // decided bytes that did not fit into the caller's buffer
}

// Read implements io.Reader.
func (e *escapeReader) Read(p []byte) (int, error) {
	if len(e.pending) > 0 {
		n := copy(p, e.pending)
		e.pending = e.pending[n:]
		return n, nil
	}
	buf := make([]byte, len(p))
	n, err := e.r.Read(buf)
	var out []byte
	for i := range n {
		b := buf[i]
		if b == e.keys[e.matched] {
			e.matched++
			if e.matched == len(e.keys) {
				return copy(p, out), ErrDetached
			}
			continue
		}
		out = append(out, e.keys[:e.matched]...)
		e.matched = 0
		if b == e.keys[0] {
			e.matched = 1
			continue
		}
		out = append(out, b)
	}
	if err != nil && e.matched > 0 {
		out = append(out, e.keys[:e.matched]...)
		e.matched = 0
	}
	n = copy(p, out)
	e.pending = out[n:]
	if len(e.pending) > 0 {
		err = nil
	}
	return n, err
}
