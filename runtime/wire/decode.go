package wire

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// errJSON says that a payload is not the JSON that its type asks for.
var errJSON = errors.New("malformed payload")

// maxDepth bounds the nesting of a payload.
const maxDepth = 64

// unmarshal is json.Unmarshal for the messages of this package. It keeps
// nothing: encoding/json builds encoders and decoders for every type that a
// container's spec could hold, 0.2 MB that each shim would have for ever. It
// takes no object with the same key twice; v is left half filled on error.
func unmarshal(data []byte, v any) error {
	d := decoder{rest: data, fields: map[reflect.Type][]field{}}
	if err := d.value(reflect.ValueOf(v).Elem(), 0); err != nil {
		return err
	}
	if d.space(); len(d.rest) > 0 {
		return fmt.Errorf("%w: more than one value", errJSON)
	}
	return nil
}

// decoder is one decoding.
type decoder struct {
	rest   []byte
	fields map[reflect.Type][]field // of the struct types met so far
	text   []byte                   // room for strings with escapes
}

// field is a struct's field under its JSON name.
type field struct {
	name  string
	index []int // through embedded structs
}

func (d *decoder) fieldsOf(t reflect.Type) []field {
	fields, ok := d.fields[t]
	if !ok {
		fields = appendFields(nil, t, nil)
		d.fields[t] = fields
	}
	return fields
}

func appendFields(fields []field, t reflect.Type, outer []int) []field {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		index := append(append([]int(nil), outer...), i)
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			fields = appendFields(fields, f.Type, index)
		case !f.IsExported() || name == "-":
		default:
			if name == "" {
				name = f.Name
			}
			fields = append(fields, field{name, index})
		}
	}
	return fields
}

// find returns the position of the field for a key: the same name, else one
// that differs in case only, as encoding/json has it; -1 for none.
func find(fields []field, key string) int {
	for i := range fields {
		if fields[i].name == key {
			return i
		}
	}
	for i := range fields {
		if strings.EqualFold(fields[i].name, key) {
			return i
		}
	}
	return -1
}

func (d *decoder) space() {
	i := 0
	for i < len(d.rest) && (d.rest[i] == ' ' || d.rest[i] == '\n' || d.rest[i] == '\t' || d.rest[i] == '\r') {
		i++
	}
	d.rest = d.rest[i:]
}

// next returns the next byte that is not space, 0 at the end.
func (d *decoder) next() byte {
	d.space()
	if len(d.rest) == 0 {
		return 0
	}
	return d.rest[0]
}

// take takes c if it is next.
func (d *decoder) take(c byte) bool {
	if d.next() != c {
		return false
	}
	d.rest = d.rest[1:]
	return true
}

// word takes a literal if it is next.
func (d *decoder) word(w string) bool {
	d.space()
	rest, ok := cutPrefix(d.rest, w)
	d.rest = rest
	return ok
}

func (d *decoder) value(v reflect.Value, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: nested too deeply", errJSON)
	}
	if foreign(v) {
		return d.leave(v, depth)
	}
	if d.word("null") {
		switch v.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			v.SetZero()
		}
		return nil
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return d.value(v.Elem(), depth) // a pointer is no level of the text
	case reflect.Struct:
		return d.structure(v, depth)
	case reflect.Map:
		return d.mapping(v, depth)
	case reflect.Slice:
		return d.slice(v, depth)
	case reflect.String:
		s, err := d.str()
		v.SetString(string(s))
		return err
	case reflect.Bool:
		yes := d.word("true")
		if !yes && !d.word("false") {
			return d.mismatch(v)
		}
		v.SetBool(yes)
		return nil
	}
	return d.number(v)
}

// foreign reports whether v's type knows how to decode itself, or is one that
// only encoding/json can handle.
func foreign(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Interface, reflect.Array:
		return true
	case reflect.Pointer:
		return false // what it points to is asked
	}
	switch v.Addr().Interface().(type) {
	case json.Unmarshaler, interface{ UnmarshalText([]byte) error }:
		return true
	}
	return false
}

// leave has encoding/json decode the next value.
func (d *decoder) leave(v reflect.Value, depth int) error {
	d.space()
	begin := d.rest
	if err := d.skip(depth); err != nil {
		return err
	}
	return json.Unmarshal(begin[:len(begin)-len(d.rest)], v.Addr().Interface())
}

func (d *decoder) mismatch(v reflect.Value) error {
	return fmt.Errorf("%w: %q where a %s belongs", errJSON, d.rest[:min(len(d.rest), 20)], v.Type())
}

// members calls member for each key of an object, with the value next.
func (d *decoder) members(member func(key []byte) error) error {
	if !d.take('{') {
		return fmt.Errorf("%w: no object", errJSON)
	}
	if d.take('}') {
		return nil
	}
	for {
		key, err := d.str()
		if err != nil {
			return err
		}
		if !d.take(':') {
			return fmt.Errorf("%w: key without a value", errJSON)
		}
		if err := member(key); err != nil {
			return err
		}
		if d.take('}') {
			return nil
		}
		if !d.take(',') {
			return fmt.Errorf("%w: object without an end", errJSON)
		}
	}
}

// elements calls element for each value of an array.
func (d *decoder) elements(element func() error) error {
	if !d.take('[') {
		return fmt.Errorf("%w: no array", errJSON)
	}
	if d.take(']') {
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		if d.take(']') {
			return nil
		}
		if !d.take(',') {
			return fmt.Errorf("%w: array without an end", errJSON)
		}
	}
}

func (d *decoder) structure(v reflect.Value, depth int) error {
	fields := d.fieldsOf(v.Type())
	var seen uint64 // by position; no message's type has more than 64 fields
	return d.members(func(key []byte) error {
		i := find(fields, string(key))
		if i < 0 {
			return d.skip(depth + 1)
		}
		if seen&(1<<i) != 0 {
			return fmt.Errorf("%w: key %q twice", errJSON, key)
		}
		seen |= 1 << i
		return d.value(v.FieldByIndex(fields[i].index), depth+1)
	})
}

func (d *decoder) mapping(v reflect.Value, depth int) error {
	t := v.Type()
	if t.Key().Kind() != reflect.String {
		return d.leave(v, depth)
	}
	m := reflect.MakeMap(t)
	v.Set(m)
	return d.members(func(name []byte) error {
		key := reflect.New(t.Key()).Elem()
		key.SetString(string(name))
		if m.MapIndex(key).IsValid() {
			return fmt.Errorf("%w: key %q twice", errJSON, name)
		}
		element := reflect.New(t.Elem()).Elem()
		if err := d.value(element, depth+1); err != nil {
			return err
		}
		m.SetMapIndex(key, element)
		return nil
	})
}

func (d *decoder) slice(v reflect.Value, depth int) error {
	t := v.Type()
	if t.Elem().Kind() == reflect.Uint8 && d.next() == '"' {
		s, err := d.str()
		if err != nil {
			return err
		}
		b := make([]byte, base64.StdEncoding.DecodedLen(len(s)))
		n, err := base64.StdEncoding.Decode(b, s)
		if err != nil {
			return fmt.Errorf("%w: %w", errJSON, err)
		}
		v.SetBytes(b[:n])
		return nil
	}
	v.Set(reflect.MakeSlice(t, 0, 0))
	return d.elements(func() error {
		n := v.Len()
		if n == v.Cap() {
			v.Grow(max(1, n))
		}
		v.SetLen(n + 1)
		return d.value(v.Index(n), depth+1)
	})
}

// number reads a number as JSON has it, into what kind v is.
func (d *decoder) number(v reflect.Value) error {
	d.space()
	n := numberLength(d.rest)
	text := string(d.rest[:n])
	if n == 0 {
		return d.mismatch(v)
	}
	var err error
	switch {
	case v.CanInt():
		var i int64
		i, err = strconv.ParseInt(text, 10, v.Type().Bits())
		v.SetInt(i)
	case v.CanUint():
		var u uint64
		u, err = strconv.ParseUint(text, 10, v.Type().Bits())
		v.SetUint(u)
	case v.CanFloat():
		var f float64
		f, err = strconv.ParseFloat(text, v.Type().Bits())
		v.SetFloat(f)
	default:
		return d.mismatch(v)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errJSON, err)
	}
	d.rest = d.rest[n:]
	return nil
}

// numberLength returns the length of the number that p begins with, 0 if there
// is none (RFC 8259, section 6).
func numberLength(p []byte) int {
	i := 0
	digits := func() bool {
		begin := i
		for i < len(p) && p[i] >= '0' && p[i] <= '9' {
			i++
		}
		return i > begin
	}
	if i < len(p) && p[i] == '-' {
		i++
	}
	if i < len(p) && p[i] == '0' {
		i++
	} else if !digits() {
		return 0
	}
	if i < len(p) && p[i] == '.' {
		if i++; !digits() {
			return 0
		}
	}
	if i < len(p) && p[i]|0x20 == 'e' {
		if i++; i < len(p) && (p[i] == '+' || p[i] == '-') {
			i++
		}
		if !digits() {
			return 0
		}
	}
	return i
}

// skip passes over the next value.
func (d *decoder) skip(depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: nested too deeply", errJSON)
	}
	switch c := d.next(); {
	case c == '{':
		return d.members(func([]byte) error { return d.skip(depth + 1) })
	case c == '[':
		return d.elements(func() error { return d.skip(depth + 1) })
	case c == '"':
		_, err := d.str()
		return err
	case d.word("null"), d.word("true"), d.word("false"):
		return nil
	}
	n := numberLength(d.rest)
	if n == 0 {
		return fmt.Errorf("%w: no value", errJSON)
	}
	d.rest = d.rest[n:]
	return nil
}

// str reads a string. The result is valid until the next call.
func (d *decoder) str() ([]byte, error) {
	if !d.take('"') {
		return nil, fmt.Errorf("%w: no string", errJSON)
	}
	for i, c := range d.rest {
		if c == '"' {
			s := d.rest[:i]
			d.rest = d.rest[i+1:]
			return s, nil
		}
		if c == '\\' || c < ' ' || c >= utf8.RuneSelf {
			break
		}
	}
	return d.escapedString()
}

func (d *decoder) escapedString() ([]byte, error) {
	out := d.text[:0]
	p := d.rest
	for len(p) > 0 && p[0] >= ' ' {
		switch c := p[0]; {
		case c == '"':
			d.rest, d.text = p[1:], out
			return out, nil
		case c == '\\':
			r, n := escape(p)
			if n == 0 {
				return nil, fmt.Errorf("%w: bad escape", errJSON)
			}
			out, p = utf8.AppendRune(out, r), p[n:]
		default:
			r, n := utf8.DecodeRune(p) // a bad byte becomes U+FFFD
			out, p = utf8.AppendRune(out, r), p[n:]
		}
	}
	return nil, fmt.Errorf("%w: string without an end", errJSON)
}

// escape reads the escape that p begins with, a pair of surrogates included,
// and returns its length, 0 if it is none.
func escape(p []byte) (rune, int) {
	if len(p) < 2 {
		return 0, 0
	}
	const from, to = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	if i := strings.IndexByte(from, p[1]); i >= 0 {
		return rune(to[i]), 2
	}
	r, n := unicodeEscape(p)
	if n > 0 && utf16.IsSurrogate(r) {
		low, m := unicodeEscape(p[n:])
		if pair := utf16.DecodeRune(r, low); m > 0 && pair != utf8.RuneError {
			return pair, n + m
		}
		r = utf8.RuneError
	}
	return r, n
}

func unicodeEscape(p []byte) (rune, int) {
	const length = len(`\u0000`)
	if len(p) < length || p[0] != '\\' || p[1] != 'u' {
		return 0, 0
	}
	var r rune
	for _, c := range p[2:length] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, 0
		}
		r = r<<4 | rune(c)
	}
	return r, length
}
