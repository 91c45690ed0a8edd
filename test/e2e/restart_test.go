package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/runtime/wire"
	enginetest "github.com/davit-engine/davit/test/engine"
	"golang.org/x/sys/unix"
)

// becomes waits until a container's state, in the words of format, is want.
func becomes(t *testing.T, cli enginetest.CLI, n, format, want string) {
	t.Helper()
	enginetest.Eventually(t, 15*time.Second, func() error {
		if got := cli.OK(t, "inspect", "--type", "container", "--format", format, n); got != want {
			return fmt.Errorf("%s is %q, want %q", format, got, want)
		}
		return nil
	})
}

func TestRestartOnFailure(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		live := cli.Start(t, "events", "--filter", "container="+n, "--format", "{{.Action}} {{.Actor.Attributes.exitCode}}")
		cli.OK(t, "run", "-d", "--name", n, "--restart", "on-failure:2", "busybox", "sh", "-c", "echo run; exit 3")
		becomes(t, cli, n, "{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}", "exited 2 3")
		if out := cli.OK(t, "logs", n); out != "run\nrun\nrun" {
			t.Errorf("logs: %q", out)
		}
		live.WaitFor(t, "die 3")
		enginetest.Eventually(t, 10*time.Second, func() error {
			if s, d := strings.Count(live.Output(), "start"), strings.Count(live.Output(), "die 3"); s != 3 || d != 3 {
				return fmt.Errorf("%d times start and %d times die in:\n%s", s, d, live.Output())
			}
			return nil
		})
		if code := cli.OK(t, "wait", n); code != "3" {
			t.Errorf("wait printed %q", code)
		}
		cli.OK(t, "start", n) // by hand: the count begins anew
		becomes(t, cli, n, "{{.State.Status}} {{.RestartCount}}", "exited 2")
	})
}

func TestRestartAlways(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		cli.OK(t, "run", "-d", "--name", n, "--restart", "always", "busybox", "sh", "-c", "exit 0")
		enginetest.Eventually(t, 15*time.Second, func() error {
			if s := inspect(t, cli, n); s.RestartCount < 3 || s.State.Status != "restarting" || !s.State.Running || !s.State.Restarting || s.State.Pid != 0 {
				return fmt.Errorf("restarted %d times, state %+v", s.RestartCount, s.State)
			}
			return nil
		})
		if out := cli.OK(t, "ps", "--filter", "name="+n, "--format", "{{.Status}}"); !strings.HasPrefix(out, "Restarting (0)") {
			t.Errorf("ps: %q", out)
		}
		cli.Fails(t, 1, "is restarting, wait until the container is running", "pause", n)
		cli.Fails(t, 1, "container is restarting", "rm", n)
		wait := cli.Start(t, "wait", n)
		cli.OK(t, "stop", n)
		if code := wait.Wait(t); code != 0 || !strings.HasPrefix(wait.Output(), "0") {
			t.Errorf("wait ended with %d and printed %q", code, wait.Output())
		}
		if s := inspect(t, cli, n).State; s.Status != "exited" || s.Restarting || s.Running {
			t.Errorf("after stop: %+v", s)
		}

		// Killed from inside it comes back, told to end by a user it does not.
		cli.OK(t, "rm", n)
		cli.OK(t, "run", "-d", "--name", n, "--restart", "unless-stopped", "busybox", "sleep", "1000")
		if err := unix.Kill(inspect(t, cli, n).State.Pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		becomes(t, cli, n, "{{.State.Status}} {{.RestartCount}}", "running 1")
		cli.OK(t, "restart", "-t", "0", n)
		becomes(t, cli, n, "{{.State.Status}} {{.RestartCount}}", "running 0")
		cli.OK(t, "kill", n)
		becomes(t, cli, n, "{{.State.Status}} {{.State.ExitCode}}", "exited 137")
		cli.OK(t, "start", n)
		cli.OK(t, "rm", "-f", n)
	})
}

// TestRestartWithEngine kills the engine, and what ran as well, and looks what
// the next engine starts.
func TestRestartWithEngine(t *testing.T) {
	e := enginetest.Start(t, enginetest.Config{})
	e.Busybox(t)
	cli := e.Davit()
	run := func(n string, options ...string) {
		args := append([]string{"run", "-d", "--name", n}, options...)
		cli.OK(t, append(args, "busybox", "sleep", "1000")...)
	}
	run("none")
	run("failure", "--restart", "on-failure")
	run("always", "--restart", "always")
	run("always-stopped", "--restart", "always")
	run("unless", "--restart", "unless-stopped")
	run("unless-stopped", "--restart", "unless-stopped")
	run("failure-stopped", "--restart", "on-failure")
	run("gone", "--rm")
	cli.OK(t, "create", "--name", "created", "--restart", "always", "busybox", "true")
	cli.OK(t, "stop", "-t", "0", "always-stopped", "unless-stopped", "failure-stopped")
	became := func(want map[string]string) {
		t.Helper()
		for n, w := range want {
			becomes(t, cli, n, "{{.State.Status}} {{.State.ExitCode}}", w)
		}
	}

	// The engine alone: what runs goes on, and "always" means always.
	pid := inspect(t, cli, "always").State.Pid
	e.Kill(t)
	e.Restart(t)
	became(map[string]string{"none": "running 0", "always-stopped": "running 0", "unless-stopped": "exited 137", "failure-stopped": "exited 137", "created": "created 0"})
	if now := inspect(t, cli, "always").State.Pid; now != pid {
		t.Errorf("a container that ran has process %d, had %d", now, pid)
	}

	// A container that ends while no engine looks is like any other that ends.
	e.Kill(t)
	for _, n := range e.Shims() {
		if n.Pid == pid {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	e.Restart(t)
	becomes(t, cli, "always", "{{.State.Status}} {{.RestartCount}}", "running 1")

	// The host: nothing runs, and what the exec-root still tells is of no worth.
	// The pid in it is of this test by now.
	cli.OK(t, "stop", "-t", "0", "always-stopped")
	e.Kill(t)
	var ids []string
	for _, s := range e.Shims() {
		ids = append(ids, s.ID)
		if err := unix.Kill(s.ShimPid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		enginetest.Eventually(t, 10*time.Second, func() error {
			if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.Pid)); err == nil && !bytes.Contains(stat, []byte(") Z ")) {
				return fmt.Errorf("a container's process outlives its shim: %s", stat)
			}
			return nil
		})
	}
	start, err := wire.StartTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	me := fmt.Sprintf(`"pid":%d,"pidStart":%d`, os.Getpid(), start)
	for _, id := range ids {
		path := filepath.Join(e.Exec, "containers", id, "state.json")
		text, err := os.ReadFile(path)
		if err == nil {
			text = regexp.MustCompile(`"pid":\d+,"pidStart":\d+`).ReplaceAll(text, []byte(me))
			err = os.WriteFile(path, text, 0o600)
		}
		if err != nil || !bytes.Contains(text, []byte(me)) {
			t.Fatalf("changing %s: %v\n%s", path, err, text)
		}
	}
	if err := os.WriteFile(filepath.Join(e.Exec, "boot-id"), []byte("another\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.Restart(t)
	became(map[string]string{
		"none": "exited 255", "failure": "running 0", "always": "running 0", "always-stopped": "running 0", "unless": "running 0",
		"unless-stopped": "exited 137", "failure-stopped": "exited 137", "created": "created 0",
	})
	cli.Fails(t, 1, "No such", "inspect", "--type", "container", "gone")
	if !inspect(t, cli, "always").NetworkSettings.Networks["bridge"].IPAddress.IsValid() {
		t.Error("a container that was started again has no address")
	}
}

// TestStopOutlivesEngine kills the engine while a container takes its time to
// end: it was told to, and is not started again.
func TestStopOutlivesEngine(t *testing.T) {
	e := enginetest.Start(t, enginetest.Config{})
	e.Busybox(t)
	cli := e.Davit()
	cli.OK(t, "run", "-d", "--name", "slow", "--restart", "unless-stopped", "busybox", "sh", "-c", "trap 'echo told; sleep 0.7; exit 5' TERM; echo up; while :; do sleep 0.02; done")
	log := cli.Start(t, "attach", "--no-stdin", "slow")
	enginetest.Eventually(t, 10*time.Second, func() error {
		if cli.OK(t, "logs", "slow") != "up" {
			return fmt.Errorf("it is not up")
		}
		return nil
	})
	stop := cli.Start(t, "stop", "slow")
	log.WaitFor(t, "told")
	e.Kill(t)
	stop.Wait(t)
	e.Restart(t)
	becomes(t, cli, "slow", "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}", "exited 5 0")
	e.Kill(t)
	e.Restart(t)
	if s := inspect(t, cli, "slow").State; s.Status != "exited" {
		t.Errorf("the next engine has it %s", s.Status)
	}
}

// TestRestartRemoved restarts a container that is removed when it ends.
func TestRestartRemoved(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		cli.OK(t, "run", "-d", "--rm", "--name", n, "busybox", "sleep", "1000")
		pid := inspect(t, cli, n).State.Pid
		cli.OK(t, "restart", "-t", "0", n)
		if now := inspect(t, cli, n).State; now.Pid == pid || now.Status != "running" {
			t.Errorf("after restart: %+v", now)
		}
		cli.OK(t, "stop", "-t", "0", n)
		enginetest.Eventually(t, 10*time.Second, func() error {
			if r := cli.Run(t, "inspect", "--type", "container", n); r.Code == 0 {
				return fmt.Errorf("it is still there")
			}
			return nil
		})
	})
}
