package record

import (
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/moby/moby/api/types/container"
)

// State is where a container stands in its life.
type State struct {
	Status     container.ContainerState
	Pid        int       `json:",omitempty"`
	ExitCode   int       // of the last run; 0 before the first
	OOMKilled  bool      `json:",omitempty"`
	Error      string    `json:",omitempty"` // why the last start or run failed
	StartedAt  time.Time // zero before the first start
	FinishedAt time.Time // zero before the first exit

	RestartCount    int  `json:",omitempty"` // so many times its restart policy has started it since a user did
	ManuallyStopped bool `json:",omitempty"` // a user asked for the end of this run, or of the last one
	Resume          bool `json:",omitempty"` // a verb ends this run to start another; an engine that finds it ended when it begins starts it
	Thaw            bool `json:",omitempty"` // a verb has paused it for a moment; an engine that finds it paused when it begins lets it go on

	Health *container.Health `json:",omitempty"` // of this run, or of the last one; nil without health checks
}

// legal lists for each status the ones that may follow it. It is the only
// place that knows.
//
//	created --> running <--> paused
//	   |        |  ^  |         |
//	   |        v  |  +--> restarting <--+
//	   |      exited <----------+  `-----' the start has failed
//	   |        |
//	   +--> removing --> (gone)
//	            ^ |
//	            | v
//	           dead
var legal = map[container.ContainerState][]container.ContainerState{
	container.StateCreated:    {container.StateRunning, container.StateExited, container.StateRemoving},
	container.StateRunning:    {container.StateExited, container.StatePaused, container.StateRestarting},
	container.StatePaused:     {container.StateRunning, container.StateExited, container.StateRestarting},
	container.StateRestarting: {container.StateRunning, container.StateExited, container.StateRestarting, container.StateRemoving},
	container.StateExited:     {container.StateRunning, container.StateExited, container.StateRestarting, container.StateRemoving},
	container.StateRemoving:   {container.StateDead},
	container.StateDead:       {container.StateRemoving},
}

// To moves the state to next. An illegal step is an errs.Conflict and changes
// nothing.
func (s *State) To(next container.ContainerState) error {
	for _, l := range legal[s.Status] {
		if l == next {
			s.Status = next
			return nil
		}
	}
	return errs.New(errs.Conflict, "container is %s and cannot become %s", s.Status, next)
}

// Running reports whether the container has a process.
func (s *State) Running() bool {
	return s.Status == container.StateRunning || s.Status == container.StatePaused
}

// Active reports whether the container has a process or will have one again
// without being asked: what clients call running.
func (s *State) Active() bool { return s.Running() || s.Status == container.StateRestarting }
