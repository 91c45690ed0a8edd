package wire

import (
	"context"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Checkpoint says where criu's files are, for writing or for reading.
type Checkpoint struct {
	Criu string `json:"criu"` // the program
	Dir  string `json:"dir"`  // exists
	Work string `json:"work"` // exists; takes criu's log
}

// Dump asks for the container's processes to be written to files, by criu.
type Dump struct {
	Checkpoint
	Spec         *specs.Spec `json:"spec"` // of the container as it was started: its mounts, namespaces and paths
	LeaveRunning bool        `json:"leaveRunning,omitempty"`
}

// Dump writes the container's processes to files. Unless they are left running
// they end by it, with SIGKILL.
func (c *Client) Dump(ctx context.Context, d *Dump) error { return c.call(ctx, TypeDump, d, nil) }
