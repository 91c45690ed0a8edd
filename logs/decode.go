package logs

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// decoder reads entries of Docker's json-file format. What it returns is valid
// until its next use.
type decoder struct {
	text  []byte            // the unescaped line
	attrs map[string]string // of the entry before, most often the same
	raw   []byte            // what attrs was decoded from
}

// decode reads one line. It reports false for what is no entry: half of one
// after a crash, zeros after a power loss, somebody else's text.
func (d *decoder) decode(line []byte, e *Entry) bool {
	return d.fast(line, e) || d.slow(line, e)
}

// fast reads what jsonlog and Docker write, in just their order.
func (d *decoder) fast(line []byte, e *Entry) bool {
	rest, ok := bytes.CutPrefix(line, []byte(`{"log":"`))
	if !ok {
		return false
	}
	if rest, ok = d.unescape(rest); !ok {
		return false
	}
	switch {
	case bytes.HasPrefix(rest, []byte(`,"stream":"stdout",`)):
		e.Stream = "stdout"
	case bytes.HasPrefix(rest, []byte(`,"stream":"stderr",`)):
		e.Stream = "stderr"
	default:
		return false
	}
	rest = rest[len(`,"stream":"stdout",`):]
	e.Attrs = nil
	if after, found := bytes.CutPrefix(rest, []byte(`"attrs":`)); found {
		end := bytes.LastIndex(after, []byte(`,"time":"`))
		if end < 0 || !d.attributes(after[:end]) {
			return false
		}
		e.Attrs, rest = d.attrs, after[end+1:]
	}
	stamp, ok := bytes.CutPrefix(rest, []byte(`"time":"`))
	if !ok {
		return false
	}
	stamp, ok = bytes.CutSuffix(stamp, []byte(`"}`))
	if !ok || bytes.IndexByte(stamp, '\\') >= 0 {
		return false
	}
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return false
	}
	e.Time, e.Line = t, d.text
	return true
}

func (d *decoder) attributes(raw []byte) bool {
	if d.raw != nil && bytes.Equal(raw, d.raw) {
		return true
	}
	var attrs map[string]string
	if json.Unmarshal(raw, &attrs) != nil {
		return false
	}
	d.attrs, d.raw = attrs, bytes.Clone(raw)
	return true
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
		i := 0
		for i < len(p) && p[i] != '"' && p[i] != '\\' && p[i] >= ' ' && p[i] < utf8.RuneSelf {
			i++
		}
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
