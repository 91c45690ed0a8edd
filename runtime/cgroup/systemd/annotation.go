package systemd

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/cgroup/dbus"
)

// annotation is what the annotations begin with that name a property of the
// scope, as runc has them: org.systemd.property.TimeoutStopUSec: "uint64 9".
const annotation = "org.systemd.property."

// annotated returns the properties among a container's annotations, whose
// values are in GVariant's text form. Of times in seconds (names that end in
// Sec) systemd has only the form in microseconds (USec) on the bus.
func annotated(annotations map[string]string) (list []property, err error) {
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		name, ok := strings.CutPrefix(key, annotation)
		if !ok {
			continue
		}
		if name == "" || strings.ContainsFunc(name, func(c rune) bool { return c < 'A' || c > 'z' || c > 'Z' && c < 'a' }) {
			return nil, errs.New(errs.InvalidParameter, "annotation %s: %q is no name of a property", key, name)
		}
		p, err := parseValue(annotations[key])
		if err == nil {
			if base, isTime := strings.CutSuffix(name, "Sec"); isTime && !strings.HasSuffix(base, "U") {
				name = base + "USec"
				p, err = p.inMicroseconds()
			}
		}
		if err != nil {
			return nil, errs.New(errs.InvalidParameter, "annotation %s: %w", key, err)
		}
		list = append(list, property{name, p.signature, p.encode})
	}
	return list, nil
}

// variant is a value with its type: a text, a truth, a number, or a list of texts.
type variant struct {
	signature string
	text      string
	truth     bool
	number    uint64
	list      []string
}

func (v variant) encode(e *dbus.Encoder) {
	switch v.signature {
	case "s":
		e.String(v.text)
	case "b":
		e.Bool(v.truth)
	case "y":
		e.Byte(byte(v.number))
	case "i", "u":
		e.Uint32(uint32(v.number))
	case "x", "t":
		e.Uint64(v.number)
	case "as":
		e.Array(4, func() {
			for _, s := range v.list {
				e.String(s)
			}
		})
	}
}

// inMicroseconds converts a number of seconds.
func (v variant) inMicroseconds() (variant, error) {
	if v.signature == "" || strings.IndexByte("yiuxt", v.signature[0]) < 0 || v.number > infinity/1000000 {
		return v, errs.New(errs.InvalidParameter, "it must be a number of seconds")
	}
	return variant{signature: "t", number: v.number * 1000000}, nil
}

// numberTypes are the types of numbers by their names in GVariant's text form,
// with their size in bits; negative: signed.
var numberTypes = map[string]struct {
	signature string
	bits      int
	signed    bool
}{
	"byte": {"y", 8, false}, "int32": {"i", 32, true}, "uint32": {"u", 32, false}, "int64": {"x", 64, true}, "uint64": {"t", 64, false},
}

// parseValue reads the part of GVariant's text form that properties of scopes need:
//
//	true  'text'  "text"  42  uint64 42  ['one', 'two']  @as []
func parseValue(text string) (variant, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "true", text == "false":
		return variant{signature: "b", truth: text == "true"}, nil
	case text == "":
	case text[0] == '\'', text[0] == '"':
		s, rest, ok := cutQuoted(text)
		if ok && rest == "" {
			return variant{signature: "s", text: s}, nil
		}
	case text[0] == '[', strings.HasPrefix(text, "@as "):
		return parseList(strings.TrimSpace(strings.TrimPrefix(text, "@as ")))
	default:
		kind, digits, ok := strings.Cut(text, " ")
		if !ok {
			kind, digits = "int32", text
		}
		t, ok := numberTypes[kind]
		if !ok {
			break
		}
		digits = strings.TrimSpace(digits)
		if t.signed {
			if n, err := strconv.ParseInt(digits, 0, t.bits); err == nil {
				return variant{signature: t.signature, number: uint64(n)}, nil
			}
		} else if n, err := strconv.ParseUint(digits, 0, t.bits); err == nil {
			return variant{signature: t.signature, number: n}, nil
		}
	}
	return variant{}, errs.New(errs.InvalidParameter, "%q is no value in GVariant's text form, such as 'text', true, uint64 42 or ['one', 'two']", text)
}

func parseList(text string) (variant, error) {
	malformed := errs.New(errs.InvalidParameter, "%q is no list of texts, such as ['one', 'two']", text)
	rest, ok := strings.CutPrefix(text, "[")
	if !ok {
		return variant{}, malformed
	}
	v := variant{signature: "as"}
	for rest = strings.TrimSpace(rest); rest != "]"; {
		s, after, ok := cutQuoted(rest)
		if !ok {
			return variant{}, malformed
		}
		v.list = append(v.list, s)
		rest = strings.TrimSpace(after)
		if next, comma := strings.CutPrefix(rest, ","); comma {
			rest = strings.TrimSpace(next)
		} else if rest != "]" {
			return variant{}, malformed
		}
	}
	return v, nil
}

// cutQuoted reads a text in quotes, in which a backslash stands before a quote
// or another backslash.
func cutQuoted(text string) (s, rest string, ok bool) {
	if text == "" || text[0] != '\'' && text[0] != '"' {
		return "", "", false
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == text[0]:
			return b.String(), text[i+1:], true
		case c == '\\' && i+1 < len(text) && strings.IndexByte(`'"\`, text[i+1]) >= 0:
			i++
			b.WriteByte(text[i])
		case c == '\\' || c == 0:
			return "", "", false
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}
