// Package explain says in words what a container runs, with what, and who has
// decided that.
//
// It owns the words; it is pure. What it explains is what the engine would
// start: the record, and the specification that was made of it. Its functions
// may be called from anywhere at once.
package explain

import (
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/davit-engine/davit/dialect"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/engine/spec"
)

// Input is what there is to explain.
type Input struct {
	Record   *record.Container
	Spec     *specs.Spec // what the runtime is told, as far as it is known before a start
	User     spec.User
	Seccomp  string                // the filter of system calls, in words
	Given    func(key string) bool // whether the engine's configuration has a key of daemon.json
	Defaults spec.Defaults
	// NetworkRates are those that networks hold their containers to, by name.
	NetworkRates map[string]string
}

// Facts explains a container.
func Facts(in Input) []dialect.Fact {
	e := explainer{Input: in, config: in.Record.Config, host: in.Record.HostConfig}
	if in.Record.Origin != nil {
		e.origin = *in.Record.Origin
	}
	for _, group := range []func(){e.process, e.files, e.network, e.limits, e.security, e.life, e.log} {
		group()
	}
	return e.facts
}

type explainer struct {
	Input
	config *container.Config
	host   *container.HostConfig
	origin record.Origin
	group  string
	facts  []dialect.Fact
}

func (e *explainer) add(name, value string, from dialect.From) {
	e.facts = append(e.facts, dialect.Fact{Group: e.group, Name: name, Value: value, From: from})
}

// from says who decided about a field that has a name in the record's origin.
// set says that it has a value.
func (e *explainer) from(name string, set bool) dialect.From {
	switch {
	case !set:
		return dialect.FromDefault
	case slices.Contains(e.origin.Image, name):
		return dialect.FromImage
	case slices.Contains(e.origin.Engine, name):
		return dialect.FromEngine
	}
	return dialect.FromUser
}

// or says who decided about a field that the engine's configuration has a
// default for, under a key of daemon.json.
func (e *explainer) or(name string, set bool, key string) dialect.From {
	from := e.from(name, set)
	if from == dialect.FromUser || from == dialect.FromImage {
		return from
	}
	return e.unlessGiven(key)
}

func (e *explainer) unlessGiven(key string) dialect.From {
	if e.Given != nil && e.Given(key) {
		return dialect.FromConfiguration
	}
	return dialect.FromDefault
}
