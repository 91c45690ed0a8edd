package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// ticking starts a container that counts in its log.
func ticking(t *testing.T, cli enginetest.CLI, n string, options ...string) {
	t.Helper()
	args := append([]string{"run", "-d", "--name", n}, options...)
	cli.OK(t, append(args, "busybox", "sh", "-c", "trap 'exit 5' TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done")...)
}

// counts fails unless the container's log grows.
func counts(t *testing.T, cli enginetest.CLI, n string) {
	t.Helper()
	before := cli.OK(t, "logs", n)
	enginetest.Eventually(t, 10*time.Second, func() error {
		if cli.OK(t, "logs", n) == before {
			return fmt.Errorf("the container does nothing")
		}
		return nil
	})
}

func TestPause(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		live := cli.Start(t, "events", "--filter", "container="+n, "--format", "{{.Action}}")
		ticking(t, cli, n)
		live.WaitFor(t, "start")
		counts(t, cli, n)
		cli.Fails(t, 1, "is not paused", "unpause", n)
		if out := cli.OK(t, "pause", n); out != n {
			t.Errorf("pause printed %q", out)
		}
		if s := inspect(t, cli, n).State; !s.Running || !s.Paused || s.Status != "paused" || s.Pid == 0 {
			t.Errorf("while it is paused: %+v", s)
		}
		cli.Fails(t, 1, "is already paused", "pause", n)
		cli.Fails(t, 1, "cannot start a paused container", "start", n)
		cli.Fails(t, 1, "container is paused", "rm", n)
		if out := cli.OK(t, "ps", "--filter", "name="+n, "--format", "{{.Status}}"); !strings.HasSuffix(out, "(Paused)") {
			t.Errorf("ps: %q", out)
		}
		before := cli.OK(t, "logs", n)
		if after := cli.OK(t, "logs", n); after != before {
			t.Errorf("it went on while it was paused")
		}
		cli.OK(t, "unpause", n)
		counts(t, cli, n)

		// What asks for its end wakes it.
		cli.OK(t, "pause", n)
		cli.OK(t, "stop", n)
		if s := inspect(t, cli, n).State; s.ExitCode != 5 || s.Paused {
			t.Errorf("stopped while it was paused: %+v", s)
		}
		cli.Fails(t, 1, "is not running", "pause", n)
		cli.OK(t, "start", n)
		cli.OK(t, "pause", n)
		cli.OK(t, "kill", n)
		if s := inspect(t, cli, n).State; s.ExitCode != 137 || s.Status != "exited" {
			t.Errorf("killed while it was paused: %+v", s)
		}
		cli.OK(t, "start", n)
		cli.OK(t, "pause", n)
		cli.OK(t, "rm", "-f", n)
		live.WaitFor(t, "destroy")
		if got := strings.Count(live.Output(), "unpause"); got < 2 {
			t.Errorf("%d times unpause in:\n%s", got, live.Output())
		}
	})
}

// TestPauseOutlivesEngine kills the engine while a container stands still.
func TestPauseOutlivesEngine(t *testing.T) {
	e := enginetest.Start(t, enginetest.Config{})
	e.Busybox(t)
	cli := e.Davit()
	ticking(t, cli, "still")
	cli.OK(t, "pause", "still")
	e.Kill(t)
	e.Restart(t)
	if s := inspect(t, cli, "still").State; !s.Paused || s.Status != "paused" {
		t.Errorf("after the engine's restart: %+v", s)
	}
	cli.OK(t, "unpause", "still")
	counts(t, cli, "still")
}

func TestRename(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		other := n + ".other"
		t.Cleanup(func() { cli.Run(t, "rm", "-f", other) })
		live := cli.Start(t, "events", "--filter", "type=container", "--filter", "event=rename",
			"--format", "{{.Actor.Attributes.oldName}} {{.Actor.Attributes.name}}")
		id := cli.OK(t, "create", "--name", n, "busybox", "true")
		cli.Fails(t, 1, "Renaming a container with the same name as its current name", "rename", n, n)
		cli.Fails(t, 1, "Invalid container name", "rename", n, "no/slash")
		if out := cli.OK(t, "rename", n, other); out != "" {
			t.Errorf("rename printed %q", out)
		}
		if s := inspect(t, cli, other); s.ID != id || s.Name != "/"+other {
			t.Errorf("after rename: %s %s", s.ID, s.Name)
		}
		cli.Fails(t, 1, "No such container: "+n, "start", n)
		live.WaitFor(t, "/"+n+" "+other)

		// The old name is free, the new one is not.
		cli.OK(t, "create", "--name", n, "busybox", "true")
		cli.Fails(t, 1, "Error when allocating new name: Conflict. The container name \"/"+other+"\" is already in use by container", "rename", n, other)
		cli.OK(t, "start", "-a", n) // the refusal has harmed nothing
		cli.Fails(t, 1, "No such container: nobody", "rename", "nobody", "x1")
	})
}
