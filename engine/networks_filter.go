package engine

import (
	"regexp"

	"github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/errs"
)

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
