package logs

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math/bits"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonScanner cuts files of the json-file format into entries.
type jsonScanner struct {
	entry   Entry
	decoder decoder
}

// scan calls each for each whole line of r that is an entry, with the number
// of damaged bytes before it and the offset of its end. It returns the bytes up
// to the end of the last line: what comes after that is not whole.
func (s *jsonScanner) scan(r io.Reader, each func(e *Entry, damage, end int64) error) (whole int64, err error) {
	buf, done := block()
	defer done()
	held := 0           // bytes of an unfinished line at the beginning of buf
	skipped := int64(0) // bytes of a line too long, before those
	damage := int64(0)
	for {
		n, err := r.Read(buf[held:])
		end := held + n
		start := 0
		for searched := held; ; {
			i := bytes.IndexByte(buf[searched:end], '\n')
			if i < 0 {
				break
			}
			stop := searched + i
			line := buf[start:stop]
			whole += skipped + int64(len(line)) + 1
			if skipped > 0 {
				damage += skipped + int64(len(line)) + 1
			} else if broken := s.line(line); broken >= 0 {
				if err := each(&s.entry, damage+int64(broken), whole); err != nil {
					return whole, err
				}
				damage = 0
			} else if len(line) > 0 { // a writer puts an empty line after half an entry
				damage += int64(len(line)) + 1
			}
			skipped, start, searched = 0, stop+1, stop+1
		}
		if damage > 0 {
			if err := each(nil, damage, whole); err != nil {
				return whole, err
			}
			damage = 0
		}
		held = copy(buf, buf[start:end])
		switch {
		case errors.Is(err, io.EOF):
			return whole, nil
		case err != nil:
			return whole, &readError{err}
		case skipped > 0 || held >= maxLine:
			skipped += int64(held)
			held = 0
		case held == len(buf):
			buf = append(buf, make([]byte, len(buf))...)
		}
	}
}

// line decodes an entry, perhaps behind something broken, whose length it
// returns; -1 if there is none.
func (s *jsonScanner) line(line []byte) (broken int) {
	if s.decoder.decode(line, &s.entry) {
		return 0
	}
	// Inside of a text there is no such thing: its quotes are escaped.
	if i := bytes.LastIndex(line, entryBegin); i > 0 && s.decoder.decode(line[i:], &s.entry) {
		return i
	}
	return -1
}

var entryBegin = []byte(`{"log":"`)

// decoder reads entries of Docker's json-file format. What it returns is valid
// until its next use.
type decoder struct {
	text  []byte // the unescaped line
	attrs attrCache
}

// decode reads one line. It reports false for what is no entry: half of one
// after a crash, zeros after a power loss, somebody else's text. The line is
// changed only when it is one.
func (d *decoder) decode(line []byte, e *Entry) bool {
	return d.fast(line, e) || d.slow(line, e)
}

// fast reads what logfile and Docker write, in just their order.
func (d *decoder) fast(line []byte, e *Entry) bool {
	rest, ok := bytes.CutPrefix(line, entryBegin)
	if !ok {
		return false
	}
	// Most texts have nothing to unescape but the newline at their end: they
	// stay where they are.
	var text []byte
	inPlace := false
	if n := plainText(rest); n+2 < len(rest) && rest[n] == '\\' && rest[n+1] == 'n' && rest[n+2] == '"' {
		text, rest, inPlace = rest[:n+1], rest[n+3:], true
	} else if rest, ok = d.unescape(rest); !ok {
		return false
	} else {
		text = d.text
	}
	var stream string
	switch {
	case bytes.HasPrefix(rest, streamOut):
		stream = "stdout"
	case bytes.HasPrefix(rest, streamErr):
		stream = "stderr"
	default:
		return false
	}
	rest = rest[len(streamOut):]
	var attrs map[string]string
	if after, found := bytes.CutPrefix(rest, []byte(`"attrs":`)); found {
		end := bytes.LastIndex(after, []byte(`,"time":"`))
		if end < 0 {
			return false
		}
		if attrs = d.attrs.decode(after[:end], jsonAttrs); attrs == nil {
			return false
		}
		rest = after[end+1:]
	}
	stamp, ok := bytes.CutPrefix(rest, []byte(`"time":"`))
	if !ok {
		return false
	}
	stamp, ok = bytes.CutSuffix(stamp, []byte(`"}`))
	if !ok || bytes.IndexByte(stamp, '\\') >= 0 {
		return false
	}
	t, ok := parseTime(stamp)
	if !ok {
		return false
	}
	if inPlace {
		text[len(text)-1] = '\n'
	}
	*e = Entry{Stream: stream, Time: t, Line: text, Attrs: attrs}
	return true
}

var streamOut, streamErr = []byte(`,"stream":"stdout",`), []byte(`,"stream":"stderr",`)

func jsonAttrs(raw []byte) map[string]string {
	var attrs map[string]string
	if json.Unmarshal(raw, &attrs) != nil {
		return nil
	}
	return attrs
}

// parseTime reads RFC 3339, by hand where it has the form that logs have it
// in: UTC.
func parseTime(b []byte) (time.Time, bool) {
	const form = "dddd-dd-ddTdd:dd:dd"
	if len(b) < len(form)+1 || b[len(b)-1] != 'Z' {
		return parseAnyTime(b)
	}
	for i := range len(form) {
		if form[i] == 'd' && (b[i] < '0' || b[i] > '9') || form[i] != 'd' && b[i] != form[i] {
			return parseAnyTime(b)
		}
	}
	two := func(i int) int { return int(b[i]-'0')*10 + int(b[i+1]-'0') }
	nano := 0
	if fraction := b[len(form) : len(b)-1]; len(fraction) > 0 {
		if fraction[0] != '.' || len(fraction) == 1 || len(fraction) > 10 {
			return parseAnyTime(b)
		}
		unit := 100_000_000
		for _, c := range fraction[1:] {
			if c < '0' || c > '9' {
				return parseAnyTime(b)
			}
			nano += int(c-'0') * unit
			unit /= 10
		}
	}
	year, month, day := two(0)*100+two(2), two(5), two(8)
	hour, minute, second := two(11), two(14), two(17)
	if month < 1 || month > 12 || day < 1 || day > lengths[month] || hour > 23 || minute > 59 || second > 59 {
		return parseAnyTime(b) // knows leap years
	}
	return time.Unix(days(year, month, day)*86400+int64(hour*3600+minute*60+second), int64(nano)).UTC(), true
}

// lengths are those of the months, by their number.
var lengths = [13]int{0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

func parseAnyTime(b []byte) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, string(b))
	return t, err == nil
}

// days counts from 1970 on: years begin in March, so that the leap day is the
// last of one.
func days(year, month, day int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	return int64(365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 1 - 719468)
}

// slow reads any JSON object with a log line's fields.
func (d *decoder) slow(line []byte, e *Entry) bool {
	var v struct {
		Log    *string           `json:"log"`
		Stream string            `json:"stream"`
		Attrs  map[string]string `json:"attrs"`
		Time   time.Time         `json:"time"`
	}
	if json.Unmarshal(line, &v) != nil || v.Log == nil && v.Stream == "" {
		return false
	}
	d.text = d.text[:0]
	if v.Log != nil {
		d.text = append(d.text, *v.Log...)
	}
	*e = Entry{Stream: v.Stream, Time: v.Time, Attrs: v.Attrs, Line: d.text}
	return true
}

// unescape reads the inside of a JSON string into d.text, up to its quote, and
// returns what follows that.
func (d *decoder) unescape(p []byte) (rest []byte, ok bool) {
	d.text = d.text[:0]
	for {
		i := plainText(p)
		d.text, p = append(d.text, p[:i]...), p[i:]
		switch {
		case len(p) == 0:
			return nil, false
		case p[0] == '"':
			return p[1:], true
		case p[0] == '\\':
			n := d.escape(p)
			if n == 0 {
				return nil, false
			}
			p = p[n:]
		case p[0] >= utf8.RuneSelf:
			r, n := utf8.DecodeRune(p)
			d.text, p = utf8.AppendRune(d.text, r), p[n:] // a bad byte becomes U+FFFD, as json does
		default:
			return nil, false // a control character
		}
	}
}

// plainText returns how many bytes p begins with that stand for themselves in
// a JSON string and are ASCII. It looks at eight at a time.
func plainText(p []byte) int {
	const (
		ones   = 0x0101010101010101
		tops   = 0x8080808080808080
		spaces = ones * ' '
		quotes = ones * '"'
		slants = ones * '\\'
	)
	i := 0
	for ; i+8 <= len(p); i += 8 {
		x := binary.LittleEndian.Uint64(p[i:])
		q, s := x^quotes, x^slants
		// The lowest bit set is that of the first byte that is special; those
		// above it may be wrong.
		if special := (x | (x-spaces)&^x | (q-ones)&^q | (s-ones)&^s) & tops; special != 0 {
			return i + bits.TrailingZeros64(special)/8
		}
	}
	for i < len(p) && p[i] != '"' && p[i] != '\\' && p[i] >= ' ' && p[i] < utf8.RuneSelf {
		i++
	}
	return i
}

// escape reads the escape that p begins with and returns its length, 0 if it
// is none.
func (d *decoder) escape(p []byte) int {
	if len(p) < 2 {
		return 0
	}
	const from, to = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	if i := bytes.IndexByte([]byte(from), p[1]); i >= 0 {
		d.text = append(d.text, to[i])
		return 2
	}
	r, ok := unicodeEscape(p)
	if !ok {
		return 0
	}
	n := len(`\u0000`)
	if utf16.IsSurrogate(r) {
		second, ok := unicodeEscape(p[n:])
		if pair := utf16.DecodeRune(r, second); ok && pair != utf8.RuneError {
			r, n = pair, 2*n
		} else {
			r = utf8.RuneError
		}
	}
	d.text = utf8.AppendRune(d.text, r)
	return n
}

func unicodeEscape(p []byte) (r rune, ok bool) {
	if len(p) < 6 || p[0] != '\\' || p[1] != 'u' {
		return 0, false
	}
	for _, c := range p[2:6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
