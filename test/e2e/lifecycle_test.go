package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
	"github.com/moby/moby/api/types/container"
)

// inspect reads one container as clients see it.
func inspect(t *testing.T, cli enginetest.CLI, ref string) container.InspectResponse {
	t.Helper()
	var list []container.InspectResponse
	if err := json.Unmarshal([]byte(cli.OK(t, "inspect", ref)), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 {
		t.Fatalf("inspect gave %d answers", len(list))
	}
	return list[0]
}

// TestLifecycle takes one container through all its states.
func TestLifecycle(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		status := func(want string) {
			t.Helper()
			if got := string(inspect(t, cli, n).State.Status); got != want {
				t.Fatalf("status %q, want %q", got, want)
			}
		}
		id := cli.OK(t, "create", "--name", n, "-l", "who=me", "busybox", "sh", "-c", "trap 'exit 7' TERM; echo started; while :; do sleep 0.05; done")
		if len(id) != 64 {
			t.Fatalf("create printed %q, want an id", id)
		}
		status("created")
		cli.Fails(t, 1, "is already in use by container", "create", "--name", n, "busybox")
		cli.OK(t, "start", n)
		status("running")
		if s := inspect(t, cli, id[:12]); s.ID != id || s.Name != "/"+n || s.State.Pid == 0 || !s.NetworkSettings.Networks["bridge"].IPAddress.IsValid() {
			t.Errorf("inspect by short id: %s %s pid %d", s.ID, s.Name, s.State.Pid)
		}
		cli.Fails(t, 1, "container is running", "rm", n)
		if out := cli.OK(t, "ps", "--filter", "label=who=me", "--filter", "name="+n, "--format", "{{.ID}} {{.State}} {{.Image}}"); out != id[:12]+" running busybox" {
			t.Errorf("ps: %q", out)
		}
		enginetest.Eventually(t, 10*time.Second, func() error {
			if out := cli.OK(t, "logs", n); out != "started" {
				return fmt.Errorf("logs: %q", out)
			}
			return nil
		})
		cli.OK(t, "stop", n)
		status("exited")
		if s := inspect(t, cli, n).State; s.ExitCode != 7 || s.Pid != 0 {
			t.Errorf("after stop: exit code %d, pid %d; want 7 and 0", s.ExitCode, s.Pid)
		}
		if code := cli.OK(t, "wait", n); code != "7" {
			t.Errorf("wait printed %q, want 7", code)
		}
		if out := cli.OK(t, "ps", "--filter", "name="+n, "-q"); out != "" {
			t.Errorf("ps lists a stopped container: %q", out)
		}
		if out := cli.OK(t, "ps", "-a", "--filter", "name="+n, "--format", "{{.Status}}"); !strings.HasPrefix(out, "Exited (7)") {
			t.Errorf("ps -a: %q", out)
		}
		cli.OK(t, "restart", n)
		status("running")
		cli.OK(t, "kill", n)
		if code := cli.OK(t, "wait", n); code != "137" {
			t.Errorf("wait after kill printed %q, want 137", code)
		}
		cli.Fails(t, 1, "is not running", "kill", n)
		cli.OK(t, "start", n)
		cli.OK(t, "rm", "-f", n)
		cli.Fails(t, 1, "No such container: "+n, "rm", n)
	})
}

// TestStopTimes stops with all kinds of time-outs.
func TestStopTimes(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		cli.OK(t, "create", "--name", n, "--stop-timeout", "0", "busybox", "sh", "-c", "trap 'sleep 0.3; exit 5' TERM; trap 'exit 6' USR1; echo up; while :; do sleep 0.02; done")
		ups := 0
		up := func() { // its handlers are there
			t.Helper()
			ups++
			enginetest.Eventually(t, 10*time.Second, func() error {
				if out := cli.OK(t, "logs", n); strings.Count(out, "up") != ups {
					return fmt.Errorf("started %d times, logs: %q", ups, out)
				}
				return nil
			})
		}
		for _, c := range []struct {
			args string
			want int
		}{{"stop -t -1", 5}, {"stop", 137}, {"stop -t 5", 5}, {"stop -t 0", 137}, {"stop -t 5 -s USR1", 6}, {"restart -t -1", 0}} {
			cli.OK(t, "start", n)
			up()
			cli.OK(t, append(strings.Fields(c.args), n)...)
			if strings.HasPrefix(c.args, "restart") {
				up()
			}
			if s := inspect(t, cli, n).State; s.ExitCode != c.want {
				t.Errorf("%s: exit code %d, want %d", c.args, s.ExitCode, c.want)
			}
		}
	})
}

// TestStartAttached starts a created container with its streams attached.
func TestStartAttached(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		cli.OK(t, "create", "-i", "--name", n, "busybox", "sh", "-c", "cat; echo err >&2; exit 3")
		r := cli.Feed(t, strings.NewReader("typed\n"), "start", "-a", "-i", n)
		if r.Code != 3 || r.Stdout != "typed\n" || r.Stderr != "err\n" {
			t.Errorf("exit code %d, stdout %q, stderr %q", r.Code, r.Stdout, r.Stderr)
		}
	})
}

// TestLogs reads logs in every way.
func TestLogs(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		cli.OK(t, "run", "--name", n, "busybox", "sh", "-c", "for i in 1 2 3 4 5; do echo out $i; done; printf unended")
		if r := cli.Run(t, "logs", n); r.Stdout != "out 1\nout 2\nout 3\nout 4\nout 5\nunended" || r.Stderr != "" {
			t.Errorf("stdout %q, stderr %q", r.Stdout, r.Stderr)
		}
		if out := cli.OK(t, "logs", "--tail", "1", n); out != "unended" {
			t.Errorf("--tail 1: %q", out)
		}
		first, _, _ := strings.Cut(cli.OK(t, "logs", "-t", n), " ")
		if _, err := time.Parse(time.RFC3339Nano, first); err != nil {
			t.Errorf("-t: %v", err)
		}
		if out := cli.OK(t, "logs", "--since", time.Now().Add(time.Hour).Format(time.RFC3339), n); out != "" {
			t.Errorf("--since in an hour: %q", out)
		}
	})
}

// TestLogsStreams keeps the two streams apart; which of them is read first is
// nobody's promise.
func TestLogsStreams(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		cli.OK(t, "run", "--name", n, "busybox", "sh", "-c", "echo out; echo err >&2")
		if r := cli.Run(t, "logs", n); r.Stdout != "out\n" || r.Stderr != "err\n" {
			t.Errorf("stdout %q, stderr %q", r.Stdout, r.Stderr)
		}
	})
}

// TestLogsFollow follows the log of a running container to its end.
func TestLogsFollow(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		cli.OK(t, "run", "-d", "--name", n, "busybox", "sh", "-c", "echo one; while [ ! -e /go ]; do sleep 0.02; done; echo two; sleep 1000")
		follow := cli.Start(t, "logs", "-f", n)
		follow.WaitFor(t, "one")
		cli.OK(t, "restart", "-t", "0", n) // a new process, the same log
		cli.OK(t, "kill", n)
		if code := follow.Wait(t); code != 0 {
			t.Errorf("logs -f ended with %d: %s", code, follow.Output())
		}
	})
}

// TestAttach has two clients attached to one container.
func TestAttach(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		cli.OK(t, "run", "-d", "--name", n, "busybox", "sh", "-c", "trap 'exit 5' TERM; while :; do echo tick; sleep 0.05; done")
		a := cli.Start(t, "attach", "--no-stdin", n)
		b := cli.Start(t, "attach", "--no-stdin", "--sig-proxy=false", n)
		a.WaitFor(t, "tick")
		b.WaitFor(t, "tick")
		cli.OK(t, "stop", n)
		if code := a.Wait(t); code != 5 {
			t.Errorf("first attach ended with %d, want 5", code)
		}
		if code := b.Wait(t); code != 5 {
			t.Errorf("second attach ended with %d, want 5", code)
		}
	})
}

// TestEvents compares the events of one container's life.
func TestEvents(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		live := cli.Start(t, "events", "--filter", "container="+n, "--filter", "type=container", "--format", "{{.Action}}")
		since := time.Now().Add(-time.Second)
		if r := cli.Run(t, "run", "--name", n, "busybox", "sh", "-c", "exit 3"); r.Code != 3 {
			t.Fatalf("exit code %d, want 3: %s", r.Code, r.Stderr)
		}
		cli.OK(t, "rm", n)
		until := time.Now().Add(time.Second)
		past := cli.OK(t, "events", "--since", fmt.Sprint(since.UnixMilli()/1000), "--until", fmt.Sprint(until.Unix()), "--filter", "container="+n,
			"--format", "{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}")
		at := 0
		for _, want := range []string{"create " + n, "attach " + n, "start " + n, "die " + n + " 3", "destroy " + n} {
			i := strings.Index(past[at:], want)
			if i < 0 {
				t.Fatalf("no %q at its place in:\n%s", want, past)
			}
			at += i
		}
		live.WaitFor(t, "destroy")
	})
}

// TestManyAtOnce runs containers side by side.
func TestManyAtOnce(t *testing.T) {
	const count = 20
	cli := engine(t).Davit()
	var running []*enginetest.Background
	for i := range count {
		running = append(running, cli.Start(t, "run", "--rm", "busybox", "echo", fmt.Sprintf("container %d.", i)))
	}
	for i, b := range running {
		if code := b.Wait(t); code != 0 || !strings.Contains(b.Output(), fmt.Sprintf("container %d.", i)) {
			t.Errorf("container %d ended with %d: %s", i, code, b.Output())
		}
	}
}
