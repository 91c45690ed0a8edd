package compat

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// Extended is an answer with fields that its type no longer has, or that its
// type leaves out when they are empty.
type Extended struct {
	Base any
	// Add holds fields to set. A map[string]any is merged into an object that is
	// there already.
	Add map[string]any
	// Default holds fields to set where the answer has none, merged likewise.
	Default map[string]any
}

// MarshalJSON encodes the answer with the fields put in. The fields of the
// base keep their order; new ones follow.
func (e Extended) MarshalJSON() ([]byte, error) {
	base, err := encode(e.Base)
	if err != nil || len(e.Add) == 0 && len(e.Default) == 0 {
		return base, err
	}
	base, err = merge(base, e.Add, true)
	if err != nil {
		return nil, err
	}
	return merge(base, e.Default, false)
}

// encode is json.Marshal that leaves <, > and & as they are.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// merge sets the fields in the JSON object; replace says whether it touches
// those that are there.
func merge(object []byte, fields map[string]any, replace bool) ([]byte, error) {
	if len(fields) == 0 {
		return object, nil
	}
	names, values, err := split(object)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		old, there := values[name]
		sub, nested := fields[name].(map[string]any)
		var value []byte
		switch {
		case nested && there && len(old) > 0 && old[0] == '{':
			value, err = merge(old, sub, replace)
		case there && !replace:
			continue
		default:
			value, err = encode(fields[name])
		}
		if err != nil {
			return nil, err
		}
		if !there {
			names = append(names, name)
		}
		values[name] = value
	}
	var b bytes.Buffer
	for i, name := range names {
		b.WriteByte("{,"[min(i, 1)])
		key, err := encode(name)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(values[name])
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// split takes a JSON object apart, keeping the order of its names.
func split(object []byte) ([]string, map[string]json.RawMessage, error) {
	values := map[string]json.RawMessage{}
	if err := json.Unmarshal(object, &values); err != nil {
		return nil, nil, err
	}
	var names []string
	dec := json.NewDecoder(bytes.NewReader(object))
	if _, err := dec.Token(); err != nil { // the opening brace
		return nil, nil, err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, nil, err
		}
		names = append(names, name.(string))
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			return nil, nil, err
		}
	}
	return names, values, nil
}
