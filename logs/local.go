package logs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"github.com/davit-engine/davit/runtime/logfile"
)

// frame is what stands around an entry of the local format.
const frame = 2 * logfile.LengthSize

// mark is how each entry begins, after its length: by it a reader finds its
// way again.
var mark = []byte{logfile.TagSource, 6, 's', 't', 'd'}

// localScanner cuts files of the local format into entries.
type localScanner struct {
	entry Entry
	attrs attrCache
}

// scan calls each for each entry of r with the number of damaged bytes before
// it and the offset of its end. It returns the bytes up to the end of the last
// entry: what comes after that is not whole.
func (s *localScanner) scan(r io.Reader, each func(e *Entry, damage, end int64) error) (whole int64, err error) {
	buf, done := block()
	defer done()
	held := 0          // bytes of something unfinished at the beginning of buf
	passed := int64(0) // bytes before buf
	for {
		n, err := r.Read(buf[held:])
		end, at := held+n, 0
		for {
			size, state := s.next(buf[at:end])
			if state == unfinished {
				break
			}
			if state == broken {
				at += size
				continue
			}
			stop := passed + int64(at+size)
			if err := each(&s.entry, passed+int64(at)-whole, stop); err != nil {
				return whole, err
			}
			at += size
			whole = stop
		}
		held = copy(buf, buf[at:end])
		passed += int64(at)
		switch {
		case errors.Is(err, io.EOF):
			return whole, nil
		case err != nil:
			return whole, &readError{err}
		case held == len(buf):
			buf = append(buf, make([]byte, len(buf))...)
		}
	}
}

// What next has found.
const (
	found = iota
	unfinished
	broken
)

// next decodes the entry that p begins with into s.entry. If there is none it
// returns how many bytes can be passed over, one at least.
func (s *localScanner) next(p []byte) (size, state int) {
	if len(p) < frame+len(mark) {
		return 0, unfinished
	}
	length := int(binary.BigEndian.Uint32(p))
	if length < len(mark) || length > maxLine || !bytes.HasPrefix(p[logfile.LengthSize:], mark) {
		return resync(p), broken
	}
	if len(p) < length+frame {
		return 0, unfinished
	}
	body, trailer := p[logfile.LengthSize:length+logfile.LengthSize], p[length+logfile.LengthSize:]
	if int(binary.BigEndian.Uint32(trailer)) != length || !s.decode(body, trailer) {
		return resync(p), broken
	}
	return length + frame, found
}

// resync finds where the next entry may begin.
func resync(p []byte) int {
	from := logfile.LengthSize + 1
	if i := bytes.Index(p[from:], mark); i >= 0 {
		return i + 1
	}
	return max(1, len(p)-len(mark)-logfile.LengthSize+1)
}

// decode reads a message. What follows it in the buffer is given up: a byte of
// it becomes the newline.
func (s *localScanner) decode(body, after []byte) bool {
	e := &s.entry
	e.Attrs = nil
	partial, attrs := false, -1
	var line []byte
	stop := 0 // where the line ends in body
	for at := 0; at < len(body); {
		tag, n := binary.Uvarint(body[at:])
		if n <= 0 {
			return false
		}
		begin := at
		at += n
		value, n := binary.Uvarint(body[at:])
		if n <= 0 {
			return false
		}
		at += n
		var field []byte
		if tag&7 == 2 {
			if value > uint64(len(body)-at) {
				return false
			}
			field = body[at : at+int(value)]
			at += int(value)
		} else if tag&7 != 0 {
			return false
		}
		switch tag {
		case logfile.TagSource:
			if string(field) == "stderr" {
				e.Stream = "stderr"
			} else {
				e.Stream = "stdout"
			}
		case logfile.TagTime:
			e.Time = time.Unix(0, int64(value)).UTC()
		case logfile.TagLine:
			line, stop = field, at
		case logfile.TagPartial:
			partial = value != 0
		case logfile.TagAttr:
			if attrs < 0 {
				attrs = begin
			}
		}
	}
	if attrs >= 0 {
		if e.Attrs = s.attrs.decode(body[attrs:], localAttrs); e.Attrs == nil {
			return false
		}
	}
	if e.Line = line; partial {
		return true
	}
	if stop == 0 { // an empty line may have no field
		e.Line = append([]byte(nil), '\n')
		return true
	}
	if stop < len(body) {
		body[stop] = '\n'
	} else {
		after[0] = '\n'
	}
	e.Line = line[:len(line)+1]
	return true
}

// localAttrs decodes the fields of attributes; others are passed over.
func localAttrs(p []byte) map[string]string {
	attrs := map[string]string{}
	for len(p) > 0 {
		tag, n := binary.Uvarint(p)
		p = p[max(n, 0):]
		value, m := binary.Uvarint(p)
		if n <= 0 || m <= 0 {
			return nil
		}
		p = p[m:]
		if tag&7 != 2 {
			continue
		}
		if value > uint64(len(p)) {
			return nil
		}
		if tag == logfile.TagAttr {
			var pair [3]string
			for q := p[:value]; len(q) > 0; {
				t, n := binary.Uvarint(q)
				q = q[max(n, 0):]
				size, m := binary.Uvarint(q)
				if n <= 0 || m <= 0 || t&7 != 2 || size > uint64(len(q)-m) {
					return nil
				}
				if t>>3 <= 2 {
					pair[t>>3] = string(q[m : m+int(size)])
				}
				q = q[m+int(size):]
			}
			attrs[pair[1]] = pair[2]
		}
		p = p[value:]
	}
	return attrs
}

// attrCache keeps the attributes of the entry before: they are most often the
// same.
type attrCache struct {
	attrs map[string]string
	raw   []byte
}

func (c *attrCache) decode(raw []byte, read func([]byte) map[string]string) map[string]string {
	if c.raw != nil && bytes.Equal(raw, c.raw) {
		return c.attrs
	}
	attrs := read(raw)
	if attrs != nil {
		c.attrs, c.raw = attrs, bytes.Clone(raw)
	}
	return attrs
}

// lastEntries finds where the last n entries of the first size bytes of f
// begin, reading backwards. It returns how many there are, n at most; it is not
// ok if it meets damage.
func lastEntries(f io.ReaderAt, size int64, n int) (offset int64, count int, ok bool, err error) {
	w := window{f: f}
	for offset = size; offset > 0 && count < n; count++ {
		if offset < frame {
			return 0, 0, false, nil
		}
		trailer, err := w.get(offset-logfile.LengthSize, logfile.LengthSize)
		if err != nil {
			return 0, 0, false, err
		}
		length := binary.BigEndian.Uint32(trailer)
		begin := offset - frame - int64(length)
		if length < uint32(len(mark)) || length > maxLine || begin < 0 {
			return 0, 0, false, nil
		}
		head, err := w.get(begin, logfile.LengthSize+len(mark))
		if err != nil {
			return 0, 0, false, err
		}
		if binary.BigEndian.Uint32(head) != length || !bytes.Equal(head[logfile.LengthSize:], mark) {
			return 0, 0, false, nil
		}
		offset = begin
	}
	return offset, count, true, nil
}

// window is a piece of a file that is read backwards.
type window struct {
	f     io.ReaderAt
	buf   [blockSize]byte
	begin int64
	end   int64
}

// get returns n bytes at an offset, and reads what stands before them with
// them.
func (w *window) get(at int64, n int) ([]byte, error) {
	if at < w.begin || at+int64(n) > w.end {
		w.end = at + int64(n)
		w.begin = max(0, w.end-blockSize)
		if _, err := w.f.ReadAt(w.buf[:w.end-w.begin], w.begin); err != nil && !errors.Is(err, io.EOF) {
			w.begin, w.end = 0, 0
			return nil, err
		}
	}
	return w.buf[at-w.begin:][:n], nil
}
