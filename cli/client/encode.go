package client

import (
	"encoding"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// sparse encodes a value of Docker's types as encoding/json does, but leaves
// out fields of structs that have their zero value: whoever decodes it gets the
// same, as long as an embedded struct behind a pointer has any field set. A
// container is described by some 150 fields, of which a request sets few, and
// encoding/json would look into the types of all of them first.
func sparse(v any) ([]byte, error) { return appendSparse(nil, reflect.ValueOf(v)) }

func appendSparse(b []byte, v reflect.Value) ([]byte, error) {
	t := v.Type()
	if t.NumMethod() > 0 && (t.Implements(jsonMarshaler) || t.Implements(textMarshaler)) {
		return appendJSON(b, v)
	}
	switch kind := t.Kind(); {
	case kind == reflect.Pointer && !v.IsNil():
		return appendSparse(b, v.Elem())
	case kind == reflect.Struct:
		b, err := appendFields(append(b, '{'), v)
		return append(b, '}'), err
	case kind == reflect.Map && !v.IsNil() && (v.Len() == 0 || t.Key().Kind() == reflect.String):
		return appendMap(b, v)
	case kind == reflect.Slice && !v.IsNil() && t.Elem().Kind() != reflect.Uint8:
		return appendList(b, v)
	case kind == reflect.Bool:
		return strconv.AppendBool(b, v.Bool()), nil
	case v.CanInt():
		return strconv.AppendInt(b, v.Int(), 10), nil
	case kind == reflect.String:
		return appendText(b, v.String())
	}
	return appendJSON(b, v)
}

func appendJSON(b []byte, v reflect.Value) ([]byte, error) {
	text, err := json.Marshal(v.Interface())
	return append(b, text...), err
}

// appendText quotes a text.
func appendText(b []byte, text string) ([]byte, error) {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, err := json.Marshal(text)
			return append(b, quoted...), err
		}
	}
	return append(append(append(b, '"'), text...), '"'), nil
}

func appendList(b []byte, v reflect.Value) (_ []byte, err error) {
	b = append(b, '[')
	for i := range v.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendSparse(b, v.Index(i)); err != nil {
			return b, err
		}
	}
	return append(b, ']'), nil
}

// appendFields appends "name":value of a struct's fields, those of embedded
// structs among them.
func appendFields(b []byte, v reflect.Value) (_ []byte, err error) {
	for i := range v.NumField() {
		value := v.Field(i)
		if value.IsZero() { // most are: only those that are not are looked at further
			continue
		}
		field := v.Type().Field(i)
		tag, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if tag == "-" || !field.IsExported() {
			continue
		}
		if kind := value.Kind(); strings.Contains(options, "omitempty") && (kind == reflect.Slice || kind == reflect.Map) && value.Len() == 0 {
			continue
		}
		if field.Anonymous && tag == "" {
			if b, err = appendFields(b, reflect.Indirect(value)); err != nil {
				return b, err
			}
			continue
		}
		if tag == "" {
			tag = field.Name
		}
		if b, err = appendPair(b, tag, value); err != nil {
			return b, err
		}
	}
	return b, nil
}

func appendMap(b []byte, v reflect.Value) (_ []byte, err error) {
	byName := make(map[string]reflect.Value, v.Len())
	for k, value := range v.Seq2() {
		byName[k.String()] = value
	}
	b = append(b, '{')
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if b, err = appendPair(b, name, byName[name]); err != nil {
			return b, err
		}
	}
	return append(b, '}'), nil
}

func appendPair(b []byte, name string, value reflect.Value) ([]byte, error) {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	b, err := appendText(b, name)
	if err != nil {
		return b, err
	}
	return appendSparse(append(b, ':'), value)
}
