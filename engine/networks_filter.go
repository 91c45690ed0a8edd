package engine

import (
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/image"
)

// networkPruneMatch reads the filters of a prune of networks.
func networkPruneMatch(filters map[string]map[string]bool, now time.Time) (func(*network.Network) bool, error) {
	var until time.Time
	for key, values := range filters {
		switch key {
		case "label", "label!":
		case "until":
			if len(values) > 1 {
				return nil, errs.New(errs.InvalidParameter, "more than one until filter specified")
			}
			for v := range values {
				var err error
				if until, err = image.ParseTime(v, now); err != nil {
					return nil, err
				}
			}
		default:
			return nil, errs.New(errs.InvalidParameter, "invalid filter '%s'", key)
		}
	}
	wanted, unwanted := slices.Collect(maps.Keys(filters["label"])), slices.Collect(maps.Keys(filters["label!"]))
	return func(n *network.Network) bool {
		has := func(want string) bool { return hasLabel(n.Labels, want) }
		return (until.IsZero() || !n.Created.After(until)) &&
			!slices.ContainsFunc(wanted, func(l string) bool { return !has(l) }) && !slices.ContainsFunc(unwanted, has)
	}, nil
}

// networkFilter is the test of one key of Docker's filters for networks, whose
// values are alternatives, but for labels.
func networkFilter(key string, values map[string]bool) (func(*network.Inspect) bool, error) {
	anyOf := func(test func(i *network.Inspect, v string) bool) (func(*network.Inspect) bool, error) {
		return func(i *network.Inspect) bool {
			for v := range values {
				if test(i, v) {
					return true
				}
			}
			return false
		}, nil
	}
	switch key {
	case "name":
		return anyOf(func(i *network.Inspect, v string) bool { return matches(v, i.Name) })
	case "id":
		return anyOf(func(i *network.Inspect, v string) bool { return matches(v, i.ID) })
	case "driver":
		return anyOf(func(i *network.Inspect, v string) bool { return i.Driver == v })
	case "scope":
		return anyOf(func(i *network.Inspect, v string) bool { return i.Scope == v })
	case "label":
		return func(i *network.Inspect) bool {
			for v := range values {
				if !hasLabel(i.Labels, v) {
					return false
				}
			}
			return true
		}, nil
	case "type":
		for v := range values {
			if v != "builtin" && v != "custom" {
				return nil, errs.New(errs.InvalidParameter, "invalid filter: 'type'='%s'", v)
			}
		}
		return anyOf(func(i *network.Inspect, v string) bool { return userDefined(&i.Network) == (v == "custom") })
	case "dangling":
		if len(values) > 1 {
			return nil, errs.New(errs.InvalidParameter, "got more than one value for filter key \"dangling\"")
		}
		for v := range values {
			switch v {
			case "1", "true", "0", "false":
			default:
				return nil, errs.New(errs.InvalidParameter, "invalid value for filter 'dangling', must be \"true\" (or \"1\"), or \"false\" (or \"0\")")
			}
		}
		return anyOf(func(i *network.Inspect, v string) bool {
			// What cannot be removed does not dangle, used or not.
			return (userDefined(&i.Network) && len(i.Containers) == 0) == (v == "1" || v == "true")
		})
	}
	return nil, errs.New(errs.InvalidParameter, "invalid filter '%s'", key)
}

// matches reports whether text is what a filter asks for, or has what its
// pattern describes.
func matches(pattern, text string) bool {
	if pattern == text {
		return true
	}
	found, err := regexp.MatchString(pattern, text)
	return err == nil && found
}
