package explain

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/dialect"
	"github.com/davit-engine/davit/engine/spec"
)

func (e *explainer) process() {
	e.group = "process"
	c := e.config
	e.add("runs", words(e.Spec.Process.Args), "")
	if len(c.Entrypoint) > 0 {
		e.add("entrypoint", words(c.Entrypoint), e.from("Entrypoint", true))
	}
	if len(c.Cmd) > 0 {
		e.add("command", words(c.Cmd), e.from("Cmd", true))
	}
	if spec.UsesInit(e.Record, e.Defaults) {
		from := dialect.FromUser
		if e.host.Init == nil {
			from = e.unlessGiven("init")
		}
		e.add("init", "a small init is process 1 and reaps children", from)
	}
	who := fmt.Sprintf("uid %d, gid %d", e.User.UID, e.User.GID)
	if len(e.User.Groups) > 1 {
		who += ", groups " + join(e.User.Groups)
	}
	if c.User != "" {
		who = c.User + " (" + who + ")"
	}
	e.add("user", who, e.from("User", c.User != ""))
	e.add("directory", e.Spec.Process.Cwd, e.from("WorkingDir", c.WorkingDir != ""))
	mine := map[string]bool{}
	for _, v := range c.Env {
		name, _, _ := strings.Cut(v, "=")
		mine[name] = true
	}
	for _, v := range e.Spec.Process.Env {
		name, value, _ := strings.Cut(v, "=")
		from := dialect.FromDefault
		if mine[name] {
			from = e.from("Env."+name, true)
		}
		e.add("env "+name, value, from)
	}
	if c.Tty {
		e.add("terminal", "yes", dialect.FromUser)
	}
	if c.OpenStdin {
		e.add("standard input", "open", dialect.FromUser)
	}
}

func (e *explainer) life() {
	e.group = "life"
	c, h := e.config, e.host
	e.add("stop signal", cmp.Or(c.StopSignal, "SIGTERM"), e.from("StopSignal", c.StopSignal != ""))
	timeout, from := 10, dialect.FromDefault
	if c.StopTimeout != nil {
		timeout, from = *c.StopTimeout, dialect.FromUser
	}
	e.add("killed after", strconv.Itoa(timeout)+"s", from)
	policy := string(cmp.Or(h.RestartPolicy.Name, container.RestartPolicyDisabled))
	if n := h.RestartPolicy.MaximumRetryCount; n > 0 {
		policy += ":" + strconv.Itoa(n)
	}
	from = dialect.FromUser
	if h.RestartPolicy.IsNone() {
		from = dialect.FromDefault
	}
	e.add("restarts", policy, from)
	if h.AutoRemove {
		e.add("removed at its end", "yes", dialect.FromUser)
	}
	e.health()
	for _, a := range slices.Sorted(maps.Keys(h.Annotations)) {
		e.add("annotation "+a, h.Annotations[a], dialect.FromUser)
	}
}

func (e *explainer) health() {
	h := e.config.Healthcheck
	switch {
	case h == nil || len(h.Test) == 0:
		e.add("health check", "none", dialect.FromDefault)
		return
	case h.Test[0] == "NONE":
		e.add("health check", "none", e.from("Healthcheck.Test", true))
		return
	}
	command := words(h.Test[1:])
	if h.Test[0] == "CMD-SHELL" {
		command = strings.Join(h.Test[1:], " ")
	}
	e.add("health check", command, e.from("Healthcheck.Test", true))
	for _, t := range []struct {
		name, field string
		value       time.Duration
		unset       string
	}{
		{"interval", "Interval", h.Interval, "30s"}, {"time-out", "Timeout", h.Timeout, "30s"}, {"start period", "StartPeriod", h.StartPeriod, "0s"},
		{"start interval", "StartInterval", h.StartInterval, "5s"},
	} {
		text := t.unset
		if t.value != 0 {
			text = t.value.String()
		}
		e.add("health "+t.name, text, e.from("Healthcheck."+t.field, t.value != 0))
	}
	e.add("health retries", strconv.Itoa(cmp.Or(h.Retries, 3)), e.from("Healthcheck.Retries", h.Retries != 0))
}

// words writes a command as a shell would read it.
func words(list []string) string {
	quoted := make([]string, len(list))
	for i, w := range list {
		quoted[i] = w
		if w == "" || strings.ContainsAny(w, " \t\n'\"\\$`|&;<>()*?[]#~!{}") {
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

func join(ids []uint32) string {
	text := make([]string, len(ids))
	for i, id := range ids {
		text[i] = strconv.FormatUint(uint64(id), 10)
	}
	return strings.Join(text, ", ")
}
