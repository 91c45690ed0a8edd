package oci

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/cgroup"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// oomInterval is how often the counter of OOM kills is looked at, which v1 and
// v2 have alike.
const oomInterval = 500 * time.Millisecond

func newEvents() *command {
	var once bool
	interval := 5 * time.Second
	c := &command{name: "events", args: "<container-id>", about: "print a container's use of resources from time to time, and OOM kills", min: 1, max: 1}
	c.flags.toggle(&once, "stats", "print the use of resources once")
	c.flags.add("interval", "duration", "time from one to the next (default 5s)", func(v string) (err error) {
		if interval, err = time.ParseDuration(v); err == nil && interval <= 0 {
			err = fmt.Errorf("%s is no time to wait", v)
		}
		return err
	})
	c.run = func(i *invocation, args []string) (int, error) {
		container, err := i.store.open(args[0])
		if err != nil {
			return 1, err
		}
		if s := container.status(); s == specs.StateStopped {
			return 1, errs.New(errs.Conflict, "container not running: %s is %s", container.ID, s)
		}
		g := container.group()
		if g == nil {
			return 1, errs.New(errs.NotImplemented, "container %s has no control group, which would count", container.ID)
		}
		if once {
			return 0, container.printStats(g)
		}
		settle()
		return 0, container.printEvents(g, interval)
	}
	return c
}

// event is a line of events.
type event struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Data any    `json:"data,omitempty"`
}

func (r *record) printStats(g *cgroup.Cgroup) error {
	s, err := g.Stats()
	if err != nil {
		return err
	}
	return printJSON(os.Stdout, event{"stats", r.ID, newUsage(s)}, "")
}

// printEvents prints until the container has ended.
func (r *record) printEvents(g *cgroup.Cgroup, interval time.Duration) error {
	pidfd, err := r.process()
	if err != nil {
		return nil // it has ended meanwhile
	}
	defer pidfd.Close()
	kills, err := g.OOMKills()
	if err != nil {
		return err
	}
	next := time.Now() // the first at once
	for {
		wait := min(oomInterval, max(0, time.Until(next)))
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}, int(wait.Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return errs.New(errs.System, "waiting for the container's end: %w", err)
		}
		now, err := g.OOMKills()
		if err == nil && now > kills {
			kills = now
			if err := printJSON(os.Stdout, event{Type: "oom", ID: r.ID}, ""); err != nil {
				return err
			}
		}
		if n > 0 {
			return nil
		}
		if time.Now().Before(next) {
			continue
		}
		next = time.Now().Add(interval)
		if err := r.printStats(g); err != nil && !errs.Is(err, errs.NotFound) {
			return err
		}
	}
}
