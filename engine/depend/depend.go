// Package depend reads on which other containers a container depends, and what
// has to be true of them before it starts.
//
// It owns the notations and the search for circles, and knows no container: a
// name is a string to it. Its functions are pure, so any number may be called at
// once.
package depend

import (
	"slices"
	"strings"

	"github.com/davit-engine/davit/errs"
)

// Condition is what must be true of a container.
type Condition string

// The conditions.
const (
	Started   Condition = "started"   // it runs
	Healthy   Condition = "healthy"   // it runs and its health check succeeds
	Completed Condition = "completed" // it has ended with exit code 0
)

// Dependency is a container that must be there before another.
type Dependency struct {
	Name      string
	Condition Condition
}

// Parse reads what --depends-on says: NAME[:CONDITION], several joined by
// commas.
func Parse(text string) ([]Dependency, error) {
	if text == "" {
		return nil, nil
	}
	var list []Dependency
	for _, word := range strings.Split(text, ",") {
		name, condition, given := strings.Cut(word, ":")
		d := Dependency{strings.TrimPrefix(name, "/"), Condition(condition)}
		if !given {
			d.Condition = Started
		}
		switch d.Condition {
		case Started, Healthy, Completed:
		default:
			return nil, errs.New(errs.InvalidParameter, "invalid --depends-on %q: the condition is one of started, healthy, completed", word)
		}
		switch {
		case d.Name == "":
			return nil, errs.New(errs.InvalidParameter, "invalid --depends-on %q: it needs the name of a container", text)
		case slices.ContainsFunc(list, func(o Dependency) bool { return o.Name == d.Name }):
			return nil, errs.New(errs.InvalidParameter, "invalid --depends-on: %s is named twice", d.Name)
		}
		list = append(list, d)
	}
	return list, nil
}

// ParseCompose reads the label com.docker.compose.depends_on, which names
// services: SERVICE[:CONDITION[:RESTART]], several joined by commas. What cannot
// be read says nothing.
func ParseCompose(text string) (list []Dependency) {
	for _, word := range strings.Split(text, ",") {
		f := strings.Split(word, ":")
		if f[0] == "" {
			continue
		}
		d := Dependency{f[0], Started}
		if len(f) > 1 {
			switch f[1] {
			case "service_healthy":
				d.Condition = Healthy
			case "service_completed_successfully":
				d.Condition = Completed
			}
		}
		list = append(list, d)
	}
	return list
}

// Circle returns the way from name over what it depends on back to name, both
// ends included; nil if there is none. of returns what a name depends on.
func Circle(name string, of func(name string) []Dependency) []string {
	seen := map[string]bool{}
	var search func(at string) []string
	search = func(at string) []string {
		if seen[at] {
			return nil
		}
		seen[at] = true
		for _, d := range of(at) {
			if d.Name == name {
				return []string{at, name}
			}
			if way := search(d.Name); way != nil {
				return append([]string{at}, way...)
			}
		}
		return nil
	}
	return search(name)
}
