package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/spf13/pflag"

	"github.com/davit-engine/davit/network/ipam"
)

// value is an option's place in the Config: it can be set by a flag and from
// daemon.json.
type value interface {
	pflag.Value
	fromJSON(raw json.RawMessage) error
}

// scalar is a value of one word.
type scalar[T any] struct {
	p     *T
	kind  string
	parse func(string) (T, error)
	quote bool // daemon.json may have it as a string
	bare  bool // and as a number or a boolean
}

func (s scalar[T]) Set(text string) error {
	v, err := s.parse(text)
	if err == nil {
		*s.p = v
	}
	return err
}

func (s scalar[T]) String() string {
	if s.p == nil { // pflag asks a zero value
		return ""
	}
	return fmt.Sprint(*s.p)
}

func (s scalar[T]) Type() string { return s.kind }

func (s scalar[T]) fromJSON(raw json.RawMessage) error {
	var text string
	if err := json.Unmarshal(raw, &text); err == nil && !bytes.Equal(raw, []byte("null")) {
		if !s.quote {
			return fmt.Errorf("must be a %s, not a string", s.kind)
		}
		return s.Set(text)
	}
	if !s.bare || bytes.ContainsAny(raw, "{[") || string(raw) == "null" {
		return fmt.Errorf("must be a %s, not %s", s.kind, raw)
	}
	return s.Set(string(raw))
}

func boolean(p *bool) value {
	return scalar[bool]{p: p, kind: "bool", bare: true, parse: strconv.ParseBool}
}

// integer is a number no smaller than least.
func integer(p *int, least int) value {
	return scalar[int]{p: p, kind: "int", bare: true, parse: func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil {
			return 0, fmt.Errorf("must be a whole number: %q", s)
		}
		if n < least {
			return 0, fmt.Errorf("must be at least %d: %d", least, n)
		}
		return n, nil
	}}
}

// text is a string that check accepts; nil accepts all.
func text(p *string, check func(string) error) value {
	return scalar[string]{p: p, kind: "string", quote: true, parse: func(s string) (string, error) {
		if check != nil {
			if err := check(s); err != nil {
				return "", err
			}
		}
		return s, nil
	}}
}

// parsed is a string that means a T; an empty one means the zero T.
func parsed[T comparable](p *T, kind string, parse func(string) (T, error)) value {
	var zero T
	return optional[T]{scalar[T]{p: p, kind: kind, quote: true, parse: func(s string) (T, error) {
		if s == "" {
			return zero, nil
		}
		return parse(s)
	}}}
}

type optional[T comparable] struct{ scalar[T] }

func (o optional[T]) String() string {
	var zero T
	if o.p == nil || *o.p == zero {
		return ""
	}
	return o.scalar.String()
}

// bytesValue is a size such as 64M; daemon.json may have a number.
func bytesValue(p *int64) value {
	return scalar[int64]{p: p, kind: "bytes", quote: true, bare: true, parse: units.RAMInBytes}
}

// list is a flag that may be repeated, an array in daemon.json.
type list[T any] struct {
	p     *[]T
	parse func(string) (T, error)
}

func (l list[T]) Set(s string) error {
	v, err := l.parse(s)
	if err == nil {
		*l.p = append(*l.p, v)
	}
	return err
}

func (l list[T]) String() string {
	if l.p == nil || len(*l.p) == 0 {
		return ""
	}
	return fmt.Sprint(*l.p)
}

func (l list[T]) Type() string { return "list" }

func (l list[T]) fromJSON(raw json.RawMessage) error {
	var items []string
	if err := json.Unmarshal(raw, &items); err != nil {
		return fmt.Errorf("must be a list of strings, not %s", raw)
	}
	for _, item := range items {
		if err := l.Set(item); err != nil {
			return err
		}
	}
	return nil
}

func texts(p *[]string, check func(string) error) value {
	return list[string]{p, func(s string) (string, error) {
		if check != nil {
			return s, check(s)
		}
		return s, nil
	}}
}

// dict is a flag name=value that may be repeated, an object in daemon.json.
type dict[T any] struct {
	p      *map[string]T
	parse  func(name, value string, ok bool) (T, error)
	decode func(name string, raw json.RawMessage) (T, error)
}

func (d dict[T]) put(name string, v T) {
	if *d.p == nil {
		*d.p = map[string]T{}
	}
	(*d.p)[name] = v
}

func (d dict[T]) Set(s string) error {
	name, text, ok := strings.Cut(s, "=")
	v, err := d.parse(name, text, ok)
	if err == nil {
		d.put(name, v)
	}
	return err
}

func (d dict[T]) String() string {
	if d.p == nil || len(*d.p) == 0 {
		return ""
	}
	return fmt.Sprint(*d.p)
}

func (d dict[T]) Type() string { return "map" }

func (d dict[T]) fromJSON(raw json.RawMessage) error {
	var items map[string]json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return fmt.Errorf("must be an object, not %s", raw)
	}
	for _, name := range slices.Sorted(maps.Keys(items)) {
		v, err := d.decode(name, items[name])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		d.put(name, v)
	}
	return nil
}

func strs(p *map[string]string) value {
	return dict[string]{p,
		func(name, value string, _ bool) (string, error) { return value, nil },
		func(_ string, raw json.RawMessage) (s string, err error) {
			if err = json.Unmarshal(raw, &s); err != nil {
				err = fmt.Errorf("must be a string, not %s", raw)
			}
			return s, err
		}}
}

func bools(p *map[string]bool) value {
	return dict[bool]{p,
		func(name, value string, ok bool) (bool, error) {
			if !ok {
				return true, nil
			}
			return strconv.ParseBool(value)
		},
		func(_ string, raw json.RawMessage) (b bool, err error) {
			if err = json.Unmarshal(raw, &b); err != nil {
				err = fmt.Errorf("must be true or false, not %s", raw)
			}
			return b, err
		}}
}

func ulimits(p *map[string]*container.Ulimit) value {
	return dict[*container.Ulimit]{p,
		func(name, value string, ok bool) (*container.Ulimit, error) {
			if !ok {
				return nil, fmt.Errorf("invalid ulimit argument: %s: write name=soft:hard", name)
			}
			return units.ParseUlimit(name + "=" + value)
		},
		func(name string, raw json.RawMessage) (*container.Ulimit, error) {
			var u container.Ulimit
			if err := json.Unmarshal(raw, &u); err != nil {
				return nil, fmt.Errorf("must be an object with Name, Soft and Hard, not %s", raw)
			}
			if u.Name == "" {
				u.Name = name
			}
			return units.ParseUlimit(fmt.Sprintf("%s=%d:%d", u.Name, u.Soft, u.Hard))
		}}
}

// raws keeps the values of an object as they are. As a flag, name=path.
func raws(p *map[string]json.RawMessage) value {
	return dict[json.RawMessage]{p,
		func(name, value string, ok bool) (json.RawMessage, error) {
			if !ok || name == "" || value == "" {
				return nil, fmt.Errorf("invalid runtime value: %s", name)
			}
			return json.Marshal(map[string]string{"path": value})
		},
		func(_ string, raw json.RawMessage) (json.RawMessage, error) { return raw, nil }}
}

// grouped is options for each of several things: as a flag, thing=option=value.
func grouped(p *map[string]map[string]string) value {
	return dict[map[string]string]{p,
		func(name, value string, _ bool) (map[string]string, error) {
			key, value, ok := strings.Cut(value, "=")
			if name == "" || key == "" || !ok {
				return nil, fmt.Errorf("must be of the form thing=option=value, such as bridge=com.docker.network.driver.mtu=1400")
			}
			all := maps.Clone((*p)[name])
			if all == nil {
				all = map[string]string{}
			}
			all[key] = value
			return all, nil
		},
		func(_ string, raw json.RawMessage) (all map[string]string, err error) {
			if err = json.Unmarshal(raw, &all); err != nil {
				err = fmt.Errorf("must be an object of strings, not %s", raw)
			}
			return all, err
		}}
}

// addressPools is a list of ranges that are cut into subnets: as a flag
// base=10.10.0.0/16,size=24, in daemon.json {"base": "10.10.0.0/16", "size": 24}.
type addressPools struct{ p *[]ipam.Pool }

func (a addressPools) Set(s string) error {
	var p ipam.Pool
	for field := range strings.SplitSeq(s, ",") {
		key, text, _ := strings.Cut(strings.TrimSpace(field), "=")
		var err error
		switch strings.ToLower(key) {
		case "base":
			p.Base, err = netip.ParsePrefix(text)
		case "size":
			p.Size, err = strconv.Atoi(text)
		default:
			err = errors.New("unexpected key")
		}
		if err != nil {
			return fmt.Errorf("invalid field %q: write base=10.10.0.0/16,size=24: %w", field, err)
		}
	}
	return a.add(p)
}

func (a addressPools) add(p ipam.Pool) error {
	p.Base = p.Base.Masked() // as dockerd does
	if err := p.Check(); err != nil {
		return err
	}
	*a.p = append(*a.p, p)
	return nil
}

func (a addressPools) String() string {
	if a.p == nil {
		return ""
	}
	var all []string
	for _, p := range *a.p {
		all = append(all, fmt.Sprintf("base=%s,size=%d", p.Base, p.Size))
	}
	return strings.Join(all, " ")
}

func (a addressPools) Type() string { return "pools" }

func (a addressPools) fromJSON(raw json.RawMessage) error {
	var all []ipam.Pool
	if err := json.Unmarshal(raw, &all); err != nil {
		return fmt.Errorf(`must be a list such as [{"base": "10.10.0.0/16", "size": 24}], not %s`, raw)
	}
	for _, p := range all {
		if err := a.add(p); err != nil {
			return err
		}
	}
	return nil
}

// anything accepts whatever stands there: the option changes nothing anyhow.
type anything struct{}

func (anything) Set(string) error               { return nil }
func (anything) String() string                 { return "" }
func (anything) Type() string                   { return "string" }
func (anything) fromJSON(json.RawMessage) error { return nil }
