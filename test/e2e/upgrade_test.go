package e2e

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
	"golang.org/x/sys/unix"
)

// TestUpgrade replaces an engine by another build of it, once as a service
// manager does and once by force, while clients are connected.
func TestUpgrade(t *testing.T) {
	enginetest.NeedRoot(t)
	older, newer := enginetest.Older(t), enginetest.Binaries(t)
	for _, how := range []struct {
		name string
		end  func(*enginetest.Engine, testing.TB)
	}{{"SIGTERM", (*enginetest.Engine).Stop}, {"SIGKILL", (*enginetest.Engine).Kill}} {
		t.Run(how.name, func(t *testing.T) {
			e, err := enginetest.New(older, enginetest.Config{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("the engine's log:\n%s", e.LogTail(60))
				}
				for _, left := range e.Close() {
					t.Errorf("left behind: %s", left)
				}
			})
			e.Busybox(t)
			upgrade(t, e, func() {
				how.end(e, t)
				e.Bin = newer
				e.Restart(t)
			})
		})
	}
}

func upgrade(t *testing.T, e *enginetest.Engine, replace func()) {
	cli := e.Davit()
	version := func() string { return cli.OK(t, "version", "--format", "{{.Server.Version}}") }
	before := version()
	ticking(t, cli, "tick")
	ticking(t, cli, "still")
	cli.OK(t, "pause", "still")
	cli.OK(t, "run", "-d", "--name", "healthy", "--restart", "always", "--health-cmd", "true", "--health-interval", "100ms", "busybox", "sleep", "1000")
	becomes(t, cli, "healthy", healthy, "healthy")
	cli.OK(t, "run", "-d", "--name", "typed", "-i", "busybox", "cat")

	// Who is connected while it happens.
	attached := cli.Start(t, "attach", "--no-stdin", "tick")
	attached.WaitFor(t, "1")
	waiting := cli.Start(t, "wait", "tick")
	followed := cli.Start(t, "logs", "-f", "tick")
	followed.WaitFor(t, "1\n2\n")
	foreground := cli.Start(t, "run", "--name", "front", "--stop-signal", "USR1", "busybox", "sh", "-c", "trap 'echo bye; exit 6' USR1; echo there; while :; do sleep 0.02; done")
	foreground.WaitFor(t, "there")
	gone := cli.Start(t, "run", "--rm", "--name", "gone", "busybox", "sh", "-c", "echo there; while :; do sleep 0.02; [ ! -e /go ] || exit 4; done")
	gone.WaitFor(t, "there")
	session := newTalk(t, cli, "exec", "-i", "tick", "cat")
	session.says(t, "before")
	keys := newTalk(t, cli, "attach", "typed")
	keys.says(t, "before")
	pids := map[string]int{}
	for _, n := range []string{"tick", "still", "healthy", "typed", "front", "gone"} {
		pids[n] = inspect(t, cli, n).State.Pid
	}

	address := interfaces(t, cli, "tick")

	replace()

	if now := version(); now == before {
		t.Errorf("the engine still is %s", now)
	}
	for n, pid := range pids {
		if now := inspect(t, cli, n).State.Pid; now != pid {
			t.Errorf("%s has process %d, had %d", n, now, pid)
		}
	}
	if s := inspect(t, cli, "still").State; !s.Paused {
		t.Errorf("the paused one: %+v", s)
	}
	if s := inspect(t, cli, "healthy"); s.State.Health.Status != "healthy" || s.RestartCount != 0 {
		t.Errorf("the healthy one: %+v, restarted %d times", s.State.Health, s.RestartCount)
	}
	if now := agree(t, cli, "tick", "bridge")["bridge"].IPAddress.String(); !strings.HasPrefix(address["eth0"], now+"/") {
		t.Errorf("it had %v, now %s", address, now)
	}
	session.says(t, "after")
	keys.says(t, "after")
	counts(t, cli, "tick")
	seen := len(attached.Output())
	enginetest.Eventually(t, 10*time.Second, func() error {
		if len(attached.Output()) == seen {
			return fmt.Errorf("the attached client gets no more")
		}
		return nil
	})
	if out := cli.OK(t, "exec", "tick", "echo", "new"); out != "new" { // by a shim of the older build
		t.Errorf("exec: %q", out)
	}
	cli.OK(t, "unpause", "still")
	counts(t, cli, "still")

	// Everybody hears how it ends.
	cli.OK(t, "stop", "tick", "front")
	if code := waiting.Wait(t); code != 0 || strings.TrimSpace(waiting.Output()) != "5" {
		t.Errorf("wait ended with %d: %q", code, waiting.Output())
	}
	if code := followed.Wait(t); code != 0 || strings.TrimSpace(followed.Output()) != cli.OK(t, "logs", "tick") {
		t.Errorf("logs -f ended with %d and %d lines, want 0 and %d", code, strings.Count(followed.Output(), "\n"), strings.Count(cli.OK(t, "logs", "tick"), "\n"))
	}
	if code := attached.Wait(t); code != 5 {
		t.Errorf("attach ended with %d", code)
	}
	if code := foreground.Wait(t); code != 6 || !strings.Contains(foreground.Output(), "bye") {
		t.Errorf("run ended with %d: %q", code, foreground.Output())
	}
	touch(t, fmt.Sprintf("/proc/%d/root/go", pids["gone"]))
	if code := gone.Wait(t); code != 4 {
		t.Errorf("run --rm ended with %d: %q", code, gone.Output())
	}
	if err := unix.Kill(pids["healthy"], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	becomes(t, cli, "healthy", "{{.State.Status}} {{.RestartCount}}", "running 1")
}

// talk is a command that answers each line with itself.
type talk struct {
	*enginetest.Background
	in io.WriteCloser
}

func newTalk(t *testing.T, cli enginetest.CLI, args ...string) talk {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	t.Cleanup(func() { w.Close() })
	return talk{cli.StartWith(t, r, args...), w}
}

func (c talk) says(t *testing.T, word string) {
	t.Helper()
	if _, err := io.WriteString(c.in, word+"\n"); err != nil {
		t.Fatal(err)
	}
	c.WaitFor(t, word)
}
