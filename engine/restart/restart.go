// Package restart decides whether a container that has ended runs again, and
// how long it waits before.
//
// It owns the meaning of restart policies and nothing else: no container, no
// clock, no timer. Its functions are pure, so any number may be called at once.
package restart

import (
	"time"

	"github.com/moby/moby/api/types/container"
)

// The waits are Docker's (moby daemon/internal/restartmanager).
const (
	shortest = 100 * time.Millisecond // after the first end, and after a run that lasted
	longest  = time.Minute
	lasting  = 10 * time.Second // a run of this length was a success, however it ended
)

// Run is a run that has ended.
type Run struct {
	ExitCode int
	Lasted   time.Duration
	Manual   bool          // a user asked for its end
	Restarts int           // so many times the policy has restarted the container since a user started it
	Waited   time.Duration // before this run; 0 if a user started it
}

// Again reports whether the policy wants another run, and how long to wait
// before it. A run that a user has ended is the last one under every policy.
func Again(p container.RestartPolicy, r Run) (again bool, wait time.Duration) {
	if r.Manual || !wants(p, r) {
		return false, 0
	}
	if r.Waited == 0 || r.Lasted >= lasting {
		return true, shortest
	}
	return true, min(2*r.Waited, longest)
}

func wants(p container.RestartPolicy, r Run) bool {
	switch p.Name {
	case container.RestartPolicyAlways, container.RestartPolicyUnlessStopped:
		return true
	case container.RestartPolicyOnFailure:
		return r.ExitCode != 0 && (p.MaximumRetryCount == 0 || r.Restarts < p.MaximumRetryCount)
	}
	return false
}

// AtBoot reports whether the policy wants a container that does not run to be
// started when the engine is: "always" does even where a user has stopped it.
// "on-failure" looks at ends only, not at engines.
func AtBoot(p container.RestartPolicy, manual bool) bool {
	switch p.Name {
	case container.RestartPolicyAlways:
		return true
	case container.RestartPolicyUnlessStopped:
		return !manual
	}
	return false
}
