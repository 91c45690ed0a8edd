package dialect

import (
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
)

// Change is the body of POST /containers/{id}/change: settings of a container
// that exists and are to become others. What is not there, nil or empty,
// changes nothing; in a map, a null takes away what has the name.
type Change struct {
	Resources     *container.Resources     `json:",omitempty"` // those that an update of Docker's changes
	RestartPolicy *container.RestartPolicy `json:",omitempty"`
	Env           map[string]*string       `json:",omitempty"`
	Labels        map[string]*string       `json:",omitempty"`
	Annotations   map[string]*string       `json:",omitempty"` // Davit's own hold at once, others are the runtime's
	Hostname      *string                  `json:",omitempty"` // "": one that the engine chooses
	StopSignal    *string                  `json:",omitempty"` // "": SIGTERM
	StopTimeout   *int                     `json:",omitempty"` // in seconds
	// Healthcheck replaces the fields that it sets. The test "NONE" turns the
	// check off.
	Healthcheck  *container.HealthConfig              `json:",omitempty"`
	PortBindings network.PortMap                      `json:",omitempty"` // by port of the container
	Networks     map[string]*network.EndpointSettings `json:",omitempty"` // by name; host, none and container:NAME stand alone
	NetworkRate  *string                              `json:",omitempty"` // on each of its networks; "none": no limit; "": what the network says
	Mounts       map[string]*mount.Mount              `json:",omitempty"` // by target, which the mount may leave out
}

// Plan answers a Change: what was done or, where only asked for, would be.
type Plan struct {
	Settings []Setting // those that become others, in order; empty: all is as wished
	Restarts bool      // the container's process is ended and started again around its writable layer
	Done     bool      // false: nothing was changed
	Warnings []string
}

// Setting is one that becomes another.
type Setting struct {
	Name     string // such as "env PATH", "publish 80/tcp", "memory"
	From, To string // in words; "": there is none
	When     When
}

// When says from when on a new setting holds.
type When string

// The times.
const (
	WhenLive    When = "live"    // at once
	WhenRestart When = "restart" // when the process was ended and started again, which is done
	WhenStart   When = "start"   // from the next start: the container does not run
)
