package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/wire"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// statePaused is the one status that the runtime spec does not have.
const statePaused specs.ContainerState = "paused"

// status finds out what the container is doing now.
func (c *container) status() specs.ContainerState {
	alive := c.alive()
	switch {
	case c.Creating && (alive || c.busy()):
		return specs.StateCreating
	case !alive:
		return specs.StateStopped
	case c.held():
		return specs.StateCreated
	case c.frozen():
		return statePaused
	}
	return specs.StateRunning
}

// alive reports whether the container's first process has not ended.
func (r *record) alive() bool {
	if r.Pid <= 0 {
		return false
	}
	start, err := wire.StartTime(r.Pid)
	return err == nil && start == r.PidStart && !zombie(r.Pid)
}

// zombie reports whether a process has ended and is still to be reaped.
func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b[max(0, strings.LastIndexByte(string(b), ')')):]), " ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

// held reports whether the container still waits for start.
func (c *container) held() bool {
	_, err := os.Lstat(filepath.Join(c.dir, holdName))
	return err == nil
}

func (r *record) frozen() bool {
	g := r.group()
	if g == nil {
		return false
	}
	frozen, err := g.Frozen()
	return err == nil && frozen
}

// process opens the container's first process, or says that it has ended.
func (r *record) process() (*os.File, error) {
	if r.Pid > 0 {
		fd, err := unix.PidfdOpen(r.Pid, 0)
		if err == nil {
			f := os.NewFile(uintptr(fd), "pidfd")
			if r.alive() { // asked after the number was taken hold of
				return f, nil
			}
			f.Close()
		}
	}
	return nil, errs.New(errs.Conflict, "container not running: %s", r.ID)
}

// oci is the state as the runtime spec has it, for hooks.
func (r *record) oci(status specs.ContainerState) *specs.State {
	return &specs.State{Version: r.Version, ID: r.ID, Status: status, Pid: r.Pid, Bundle: r.Bundle, Annotations: r.Annotations}
}

// view is the state as runc shows it: that of the spec, and more.
type view struct {
	Version     string               `json:"ociVersion"`
	ID          string               `json:"id"`
	Pid         int                  `json:"pid"`
	Status      specs.ContainerState `json:"status"`
	Bundle      string               `json:"bundle"`
	Rootfs      string               `json:"rootfs"`
	Created     time.Time            `json:"created"`
	Annotations map[string]string    `json:"annotations,omitempty"`
	Owner       string               `json:"owner"`
}

func (c *container) view() view {
	v := view{Version: c.Version, ID: c.ID, Pid: c.Pid, Status: c.status(), Bundle: c.Bundle, Rootfs: c.Rootfs, Created: c.Created, Annotations: c.Annotations}
	if v.Status == specs.StateStopped {
		v.Pid = 0
	}
	return v
}

func newState() *command {
	return &command{name: "state", args: "<container-id>", about: "print a container's state", min: 1, max: 1,
		run: func(i *invocation, args []string) (int, error) {
			c, err := i.store.open(args[0])
			if err != nil {
				return 1, err
			}
			return 0, printJSON(os.Stdout, c.view(), "  ")
		}}
}

// printJSON writes v and a line feed; indented unless indent is empty.
func printJSON(f *os.File, v any, indent string) error {
	e := json.NewEncoder(f)
	e.SetIndent("", indent)
	return e.Encode(v)
}
