package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
	"github.com/moby/moby/api/types/container"
)

// healthy is the health of a container, in the words of inspect.
const healthy = "{{.State.Health.Status}}"

func TestHealth(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		live := cli.Start(t, "events", "--filter", "container="+n, "--format", "{{.Action}}")
		cli.OK(t, "run", "-d", "--name", n, "--health-cmd", "echo looking; test -e /ok", "--health-interval", "100ms", "--health-retries", "2", "busybox",
			"sh", "-c", "trap 'touch /ok' USR1; while :; do sleep 0.02; done")
		if out := cli.OK(t, "ps", "--filter", "name="+n, "--format", "{{.Status}}"); !strings.HasSuffix(out, "(health: starting)") {
			t.Errorf("ps: %q", out)
		}
		becomes(t, cli, n, healthy, "unhealthy")
		h := inspect(t, cli, n).State.Health
		if h.FailingStreak < 2 || h.Log[0].ExitCode != 1 || h.Log[0].Output != "looking\n" || !h.Log[0].End.After(h.Log[0].Start) {
			t.Errorf("%+v, first %+v", h, h.Log[0])
		}
		cli.OK(t, "kill", "-s", "USR1", n)
		becomes(t, cli, n, healthy, "healthy")
		for _, f := range []struct{ health, want string }{{"healthy", n}, {"unhealthy", ""}, {"none", ""}} {
			if out := cli.OK(t, "ps", "-a", "--filter", "name="+n, "--filter", "health="+f.health, "--format", "{{.Names}}"); out != f.want {
				t.Errorf("health=%s lists %q, want %q", f.health, out, f.want)
			}
		}
		enginetest.Eventually(t, 10*time.Second, func() error {
			if h := inspect(t, cli, n).State.Health; len(h.Log) != 5 || h.FailingStreak != 0 {
				return fmt.Errorf("%d results, streak %d", len(h.Log), h.FailingStreak)
			}
			return nil
		})

		// While it is paused nobody asks, and it loses nothing.
		cli.OK(t, "pause", n)
		last := inspect(t, cli, n).State.Health.Log[4].End
		if now := inspect(t, cli, n).State.Health; now.Status != container.Healthy || !now.Log[4].End.Equal(last) {
			t.Errorf("while paused: %+v", now)
		}
		cli.OK(t, "unpause", n)
		enginetest.Eventually(t, 10*time.Second, func() error {
			if !inspect(t, cli, n).State.Health.Log[4].End.After(last) {
				return fmt.Errorf("no check after unpause")
			}
			return nil
		})
		cli.OK(t, "stop", "-t", "0", n)
		live.WaitFor(t, "die")
		got := live.Output()
		for _, want := range []string{"exec_create: /bin/sh -c echo looking; test -e /ok", "exec_start: /bin/sh -c", "exec_die", "health_status: unhealthy", "health_status: healthy"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in the events:\n%.2000s", want, got)
			}
		}
		cli.OK(t, "start", n)
		if s := inspect(t, cli, n).State.Health; s.Status == container.Unhealthy || s.FailingStreak != 0 {
			t.Errorf("a new run begins with %+v", s)
		}
	})
}

// TestHealthTimeout has a check that never ends, and that has a child.
func TestHealthTimeout(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		cli.OK(t, "run", "-d", "--name", n, "--health-cmd", "echo so far; sleep 777 & sleep 778", "--health-interval", "50ms", "--health-timeout", "200ms",
			"--health-retries", "1", "busybox", "sleep", "1000")
		becomes(t, cli, n, healthy, "unhealthy")
		h := inspect(t, cli, n).State.Health.Log[0]
		if h.ExitCode != -1 || h.Output != "Health check exceeded timeout (200ms): so far\n" {
			t.Errorf("%+v", h)
		}
		// One check at most is under way, and nothing of the others is left.
		if out := cli.OK(t, "top", n); strings.Count(out, "sleep 777") > 1 {
			t.Errorf("processes of checks that were killed:\n%s", out)
		}
		cli.OK(t, "rm", "-f", n)
		cli.OK(t, "run", "-d", "--name", n, "--health-cmd", "x", "--health-interval", "50ms", "--health-retries", "1", "--no-healthcheck=false", "busybox", "sleep", "1000")
		becomes(t, cli, n, healthy, "unhealthy")
		if h := inspect(t, cli, n).State.Health.Log[0]; h.ExitCode != 127 || !strings.Contains(h.Output, "not found") {
			t.Errorf("a command that is not there: %+v", h)
		}
	})
}

func TestHealthOnFailure(t *testing.T) {
	cli := engine(t).Davit()
	cli.Fails(t, 125, "must be one of none, kill, restart, stop", "run", "--health-on-failure", "hope", "busybox")
	for _, c := range []struct{ action, format, want string }{
		{"none", healthy, "unhealthy"},
		{"kill", "{{.State.Status}} {{.State.ExitCode}}", "exited 137"},
		{"stop", "{{.State.Status}} {{.State.ExitCode}}", "exited 9"},
		{"restart", "{{.State.Health.Status}} {{.RestartCount}}", "healthy 0"},
	} {
		t.Run(c.action, func(t *testing.T) {
			n := name(t, cli)
			// The second run is a healthy one.
			cli.OK(t, "run", "-d", "--name", n, "--health-cmd", "test -e /twice", "--health-interval", "50ms", "--health-retries", "2", "--health-on-failure", c.action,
				"busybox", "sh", "-c", "trap 'exit 9' TERM; if [ -e /once ]; then touch /twice; fi; touch /once; while :; do sleep 0.02; done")
			becomes(t, cli, n, c.format, c.want)
		})
	}
	t.Run("kill and restart", func(t *testing.T) {
		n := name(t, cli)
		cli.OK(t, "run", "-d", "--name", n, "--restart", "always", "--health-cmd", "test -e /twice", "--health-interval", "50ms", "--health-retries", "2", "--health-on-failure", "kill",
			"busybox", "sh", "-c", "if [ -e /once ]; then touch /twice; fi; touch /once; sleep 1000")
		becomes(t, cli, n, "{{.State.Health.Status}} {{.RestartCount}}", "healthy 1")
	})
}

// TestHealthOutlivesEngine kills the engine while it checks.
func TestHealthOutlivesEngine(t *testing.T) {
	e := enginetest.Start(t, enginetest.Config{})
	e.Busybox(t)
	cli := e.Davit()
	cli.OK(t, "run", "-d", "--name", "well", "--health-cmd", "true", "--health-interval", "50ms", "busybox", "sleep", "1000")
	cli.OK(t, "run", "-d", "--name", "slow", "--health-cmd", "sleep 777", "--health-interval", "50ms", "busybox", "sleep", "1000")
	becomes(t, cli, "well", healthy, "healthy")
	enginetest.Eventually(t, 10*time.Second, func() error {
		if out := cli.OK(t, "top", "slow"); !strings.Contains(out, "sleep 777") {
			return fmt.Errorf("no check is under way:\n%s", out)
		}
		return nil
	})
	e.Kill(t)
	e.Restart(t)
	if s := inspect(t, cli, "well").State.Health.Status; s != container.Healthy {
		t.Errorf("after the engine's restart it is %s", s)
	}
	at := time.Now()
	enginetest.Eventually(t, 10*time.Second, func() error {
		if log := inspect(t, cli, "well").State.Health.Log; !log[len(log)-1].Start.After(at) {
			return fmt.Errorf("it is not checked any more")
		}
		return nil
	})
	enginetest.Eventually(t, 10*time.Second, func() error {
		if out := cli.OK(t, "top", "slow"); strings.Count(out, "sleep 777") > 1 {
			return fmt.Errorf("a check of the engine before lives on:\n%s", out)
		}
		return nil
	})
}
