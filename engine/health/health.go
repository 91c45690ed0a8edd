// Package health knows what a health check is: how its options are read, when
// it is due, and what its results mean for a container.
//
// It owns no container, clock or timer and runs nothing: the engine does, and
// asks here what follows. Its functions are pure and its values are never
// changed in place, so any number may be used at once.
package health

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/errs"
)

// What holds where nothing is said; Docker's (moby daemon/health.go).
const (
	defaultInterval      = 30 * time.Second
	defaultTimeout       = 30 * time.Second
	defaultStartInterval = 5 * time.Second
	defaultRetries       = 3
)

// OutputLimit is how many bytes of a probe's output are kept.
const OutputLimit = 4096

// logged is how many results are kept.
const logged = 5

// The words that begin a test.
const (
	none  = "NONE"
	exec  = "CMD"
	shell = "CMD-SHELL"
)

// Check is a health check with every option settled.
type Check struct {
	Command       []string
	Interval      time.Duration // from the end of a probe to the next one
	Timeout       time.Duration // of a probe
	StartPeriod   time.Duration // since the start: failures do not count before the first success
	StartInterval time.Duration // instead of Interval until that success, in that period
	Retries       int           // so many failures in a row are one too many
}

// Of reads a container's configuration. There is no check if nothing is
// configured or the test is NONE.
func Of(c *container.Config) (Check, bool) {
	h := c.Healthcheck
	if h == nil || len(h.Test) < 2 {
		return Check{}, false
	}
	check := Check{
		Interval: positive(h.Interval, defaultInterval), Timeout: positive(h.Timeout, defaultTimeout),
		StartPeriod: h.StartPeriod, StartInterval: positive(h.StartInterval, defaultStartInterval), Retries: positive(h.Retries, defaultRetries),
	}
	switch h.Test[0] {
	case exec:
		check.Command = h.Test[1:]
	case shell:
		sh := c.Shell
		if len(sh) == 0 {
			sh = []string{"/bin/sh", "-c"}
		}
		check.Command = slices.Concat(sh, h.Test[1:])
	default:
		return Check{}, false
	}
	return check, true
}

// positive is v, or what holds otherwise: an image may say anything.
func positive[T time.Duration | int](v, otherwise T) T {
	if v > 0 {
		return v
	}
	return otherwise
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Validate checks what a user has written, with Docker's words where it has
// any.
func Validate(h *container.HealthConfig) error {
	if h == nil {
		return nil
	}
	const least = time.Millisecond
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"Interval", h.Interval}, {"Timeout", h.Timeout}, {"StartPeriod", h.StartPeriod}, {"StartInterval", h.StartInterval}} {
		if d.value != 0 && d.value < least {
			return errs.New(errs.InvalidParameter, "%s in Healthcheck cannot be less than %v", d.field, least)
		}
	}
	if h.Retries < 0 {
		return errs.New(errs.InvalidParameter, "Retries in Healthcheck cannot be negative")
	}
	if len(h.Test) == 0 {
		return nil
	}
	switch word := h.Test[0]; {
	case word == none:
	case word != exec && word != shell:
		return errs.New(errs.InvalidParameter, "Test in Healthcheck must begin with NONE, CMD or CMD-SHELL, not %q", word)
	case len(h.Test) == 1 || h.Test[1] == "":
		return errs.New(errs.InvalidParameter, "Test in Healthcheck has no command after %s", word)
	}
	return nil
}

// Merge fills in what the user left to the image.
func Merge(user, image *container.HealthConfig) *container.HealthConfig {
	if user == nil || image == nil {
		return or(user, image)
	}
	if len(user.Test) > 0 && user.Test[0] == none {
		return user
	}
	m := *user
	if len(m.Test) == 0 {
		m.Test = image.Test
	}
	m.Interval, m.Timeout = or(m.Interval, image.Interval), or(m.Timeout, image.Timeout)
	m.StartPeriod, m.StartInterval = or(m.StartPeriod, image.StartPeriod), or(m.StartInterval, image.StartInterval)
	m.Retries = or(m.Retries, image.Retries)
	return &m
}

// Begin is the health of a container that was started just now. Results of the
// run before stay in the log.
func Begin(before *container.Health) *container.Health {
	h := &container.Health{Status: container.Starting, Log: []*container.HealthcheckResult{}}
	if before != nil {
		h.Log = before.Log
	}
	return h
}

// Wait is how long it is until the next probe of a container that was started
// so long ago.
func (c Check) Wait(h *container.Health, running time.Duration) time.Duration {
	if h.Status == container.Starting && running < c.StartPeriod {
		return c.StartInterval
	}
	return c.Interval
}

// Next is the health after a probe that began when the container had been
// running for so long.
func (c Check) Next(h *container.Health, r *container.HealthcheckResult, running time.Duration) *container.Health {
	n := &container.Health{Status: h.Status, FailingStreak: h.FailingStreak}
	n.Log = append(slices.Clone(h.Log[max(0, len(h.Log)+1-logged):]), r)
	switch {
	case r.ExitCode == 0:
		n.Status, n.FailingStreak = container.Healthy, 0
	case h.Status == container.Starting && running < c.StartPeriod:
	default:
		if n.FailingStreak++; n.FailingStreak >= c.Retries {
			n.Status = container.Unhealthy
		}
	}
	return n
}

// Output is a probe's output as the log keeps it. Whoever reads it takes a
// little more than OutputLimit, to know that there was more.
func Output(b []byte) string {
	if len(b) > OutputLimit {
		return strings.ToValidUTF8(string(b[:OutputLimit]), "") + "..."
	}
	return string(b)
}

// LateOutput is what the log says of a probe that did not end in time.
func (c Check) LateOutput(b []byte) string {
	text := fmt.Sprintf("Health check exceeded timeout (%v)", c.Timeout)
	if len(b) > 0 {
		text += ": " + Output(b)
	}
	return text
}

// InStatus is what ps says of a running container's health.
func InStatus(h *container.Health) string {
	if h.Status == container.Starting {
		return "health: starting"
	}
	return string(h.Status)
}

// Action is what happens to a container when it becomes unhealthy.
type Action string

// The actions.
const (
	Nothing Action = "none"
	Kill    Action = "kill"
	Restart Action = "restart"
	Stop    Action = "stop"
)

// ParseAction reads an action; nothing said is Nothing.
func ParseAction(s string) (Action, error) {
	switch a := Action(s); a {
	case "":
		return Nothing, nil
	case Nothing, Kill, Restart, Stop:
		return a, nil
	}
	return "", errs.New(errs.InvalidParameter, "--health-on-failure must be one of none, kill, restart, stop, not %q", s)
}
