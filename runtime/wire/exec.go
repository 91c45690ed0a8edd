package wire

import (
	"context"
	"path/filepath"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// ExecDir is the directory in a container's RunDir that holds the records of
// its execs. Who asks for a recorded exec makes it first.
const ExecDir = "execs"

// MaxExecExits is how many exit records of execs a shim keeps: it removes the
// oldest beyond that, in case no engine comes to fetch them.
const MaxExecExits = 256

// ExecExitName is the file in RunDir that holds an exec's ExecExit as JSON,
// whole or absent.
func ExecExitName(id string) string { return filepath.Join(ExecDir, id+".exit") }

// Exec asks for one more process in the container. The client's socket is the
// only descriptor, if there is a client.
type Exec struct {
	ID      string         `json:"id"` // chosen by the engine; no other exec of the container that runs has it
	Process *specs.Process `json:"process"`

	Seccomp      []byte `json:"seccomp,omitempty"` // as in Start
	SeccompFlags uint32 `json:"seccompFlags,omitempty"`

	Client        *Attach `json:"client,omitempty"`        // who takes part; a stream that it does not want is /dev/null. Its ID is without meaning
	DieWithClient bool    `json:"dieWithClient,omitempty"` // end it when the client goes away without detaching
	Record        bool    `json:"record,omitempty"`        // write its end to ExecExitName
}

// ExecState is an exec that runs.
type ExecState struct {
	ID        string    `json:"id"`
	Pid       int       `json:"pid"`
	PidStart  uint64    `json:"pidStart"` // as in State
	StartedAt time.Time `json:"startedAt"`
}

// Execs are the container's execs that run, in no order.
type Execs struct {
	List []ExecState `json:"list,omitempty"`
}

// ExecSignal asks for a signal to an exec's process.
type ExecSignal struct {
	ID     string `json:"id"`
	Signal int    `json:"signal"`
	All    bool   `json:"all,omitempty"` // to each process of its session
}

// ExecResize sets the size of an exec's terminal, in characters.
type ExecResize struct {
	ID     string `json:"id"`
	Width  uint16 `json:"width"`
	Height uint16 `json:"height"`
}

// ExecExit says how an exec ended: the content of its exit record too.
type ExecExit struct {
	ID       string    `json:"id"`
	ExitCode int       `json:"exitCode"` // as in Exit
	Signal   int       `json:"signal,omitempty"`
	ExitedAt time.Time `json:"exitedAt"`
}

// Exec runs one more process in the container. The client's socket, if there
// is one, stays the caller's too, who closes it (without shutting it down) after
// success. The error of a process that could not be started is an *Error with
// its ExitCode.
func (c *Client) Exec(ctx context.Context, e *Exec, client ...syscall.Conn) (ExecState, error) {
	var st ExecState
	err := c.call(ctx, TypeExec, e, &st, client...)
	return st, err
}

// ExecSignal sends a signal. The error's kind is Conflict if the exec does not
// run.
func (c *Client) ExecSignal(ctx context.Context, s ExecSignal) error {
	return c.call(ctx, TypeExecSignal, s, nil)
}

// ExecResize sets the size of an exec's terminal; Conflict if it has none or
// does not run.
func (c *Client) ExecResize(ctx context.Context, r ExecResize) error {
	return c.call(ctx, TypeExecResize, r, nil)
}

// Execs asks which execs run.
func (c *Client) Execs(ctx context.Context) ([]ExecState, error) {
	var all Execs
	err := c.call(ctx, TypeExecList, nil, &all)
	return all.List, err
}
