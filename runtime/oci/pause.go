package oci

import (
	"context"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// freezePatience is how long a container may take to stand still: a process
// that waits for a device cannot be frozen.
const freezePatience = 10 * time.Second

func newPause() *command {
	return &command{name: "pause", args: "<container-id>", about: "freeze all processes of a container", min: 1, max: 1,
		run: func(i *invocation, args []string) (int, error) {
			c, err := i.store.openLocked(args[0])
			if err != nil {
				return 1, err
			}
			if s := c.status(); s != specs.StateRunning && s != specs.StateCreated {
				return 1, errs.New(errs.Conflict, "container not running: %s is %s", c.ID, s)
			}
			g := c.group()
			if g == nil {
				return 1, errs.New(errs.NotImplemented, "container %s has no control group, by which it could be frozen", c.ID)
			}
			ctx, cancel := context.WithTimeout(context.Background(), freezePatience)
			defer cancel()
			return 0, g.Freeze(ctx)
		}}
}

func newResume() *command {
	return &command{name: "resume", args: "<container-id>", about: "let a paused container go on", min: 1, max: 1,
		run: func(i *invocation, args []string) (int, error) {
			c, err := i.store.openLocked(args[0])
			if err != nil {
				return 1, err
			}
			if !c.alive() || !c.frozen() {
				return 1, errs.New(errs.Conflict, "container not paused: %s is %s", c.ID, c.status())
			}
			return 0, c.group().Thaw()
		}}
}
