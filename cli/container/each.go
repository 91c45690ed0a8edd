package container

import (
	"errors"
	"fmt"

	"github.com/davit-engine/davit/cli/env"
)

// atOnce is how many requests a command with several arguments has under way.
const atOnce = 16

// errAbsent says that there was nothing to do, and that it was said.
var errAbsent = errors.New("absent")

// each does one thing to every name, several at once, and prints the names in
// their order as they succeed. The failures come back joined, one per line.
func each(e *env.Env, names []string, do func(name string) error) error {
	results := make([]chan error, len(names))
	for i := range results {
		results[i] = make(chan error, 1)
	}
	tokens := make(chan struct{}, atOnce)
	go func() {
		for i, name := range names {
			tokens <- struct{}{}
			go func() {
				results[i] <- do(name)
				<-tokens
			}()
		}
	}()
	var failures []error
	for i, name := range names {
		err := <-results[i]
		if errors.Is(err, errAbsent) {
			continue
		}
		if err != nil {
			failures = append(failures, err)
			continue
		}
		fmt.Fprintln(e.Out, name)
	}
	return errors.Join(failures...)
}
