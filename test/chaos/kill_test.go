package chaos

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"
)

func start(t *testing.T) (*enginetest.Engine, enginetest.CLI) {
	t.Helper()
	e := enginetest.Start(t, enginetest.Config{})
	e.Busybox(t)
	return e, e.Davit()
}

func inspect(t *testing.T, cli enginetest.CLI, ref string) container.InspectResponse {
	t.Helper()
	var list []container.InspectResponse
	if err := json.Unmarshal([]byte(cli.OK(t, "inspect", ref)), &list); err != nil || len(list) != 1 {
		t.Fatalf("inspect %s: %v, %d answers", ref, err, len(list))
	}
	return list[0]
}

// TestKillWithTen kills the engine while ten containers run. Half of them end
// while nobody listens; all write on.
func TestKillWithTen(t *testing.T) {
	e, cli := start(t)
	const count = 10
	dir := t.TempDir() // a file in it tells containers to end
	for i := range count {
		script := fmt.Sprintf(`i=0; while [ ! -e /go/%d ]; do i=$((i+1)); echo line $i; sleep 0.02; done; echo last $i; exit %d`, i, 10+i)
		cli.OK(t, "run", "-d", "--name", fmt.Sprint("c", i), "-v", dir+":/go", "busybox", "sh", "-c", script)
	}
	before := e.Shims()
	if len(before) != count {
		t.Fatalf("%d shims for %d containers", len(before), count)
	}
	e.Kill(t)
	for i := 0; i < count; i += 2 {
		touch(t, fmt.Sprintf("%s/%d", dir, i))
	}
	enginetest.Eventually(t, 20*time.Second, func() error {
		if n := len(e.Shims()); n != count/2 {
			return fmt.Errorf("%d containers still run, want %d", n, count/2)
		}
		return nil
	})
	e.Restart(t)

	if n := len(strings.Fields(cli.OK(t, "ps", "-aq"))); n != count {
		t.Errorf("%d containers are known after the restart, want %d", n, count)
	}
	for i := range count {
		name := fmt.Sprint("c", i)
		if i%2 == 1 {
			if c := inspect(t, cli, name); c.State.Status != "running" || c.State.Pid != pid(t, before, c.ID) {
				t.Errorf("%s: %s with pid %d: want it running as before", name, c.State.Status, c.State.Pid)
			}
			touch(t, fmt.Sprintf("%s/%d", dir, i))
		}
		if code := cli.OK(t, "wait", name); code != fmt.Sprint(10+i) {
			t.Errorf("%s: exit code %s, want %d", name, code, 10+i)
		}
		lines := strings.Split(cli.OK(t, "logs", name), "\n")
		for n, line := range lines[:len(lines)-1] {
			if line != fmt.Sprint("line ", n+1) {
				t.Fatalf("%s: line %d of its log is %q", name, n+1, line)
			}
		}
		if last := lines[len(lines)-1]; last != fmt.Sprint("last ", len(lines)-1) {
			t.Errorf("%s: its log ends in %q after %d lines", name, last, len(lines)-1)
		}
	}
}

// TestAttachedThroughKill has a client attached while the engine is killed: it
// goes on reading and writing.
func TestAttachedThroughKill(t *testing.T) {
	e, cli := start(t)
	dir := t.TempDir()
	b := cli.Start(t, "run", "--name", "box", "-v", dir+":/go", "busybox", "sh", "-c", "echo one; while [ ! -e /go/go ]; do sleep 0.02; done; echo two")
	b.WaitFor(t, "one")
	e.Kill(t)
	touch(t, dir+"/go")
	b.WaitFor(t, "two")
	e.Restart(t)
	if code := cli.OK(t, "wait", "box"); code != "0" {
		t.Errorf("exit code %s", code)
	}
	if out := cli.OK(t, "logs", "box"); out != "one\ntwo" {
		t.Errorf("logs: %q", out)
	}
}

// TestKillShim kills a shim: its container ends with it and is reported so.
func TestKillShim(t *testing.T) {
	for _, dead := range []bool{false, true} {
		t.Run(map[bool]string{false: "engine lives", true: "engine is dead"}[dead], func(t *testing.T) {
			e, cli := start(t)
			cli.OK(t, "run", "-d", "--name", "box", "busybox", "sleep", "1000")
			shims := e.Shims()
			if len(shims) != 1 {
				t.Fatalf("%d shims", len(shims))
			}
			if dead {
				e.Kill(t)
			}
			if err := unix.Kill(shims[0].ShimPid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			enginetest.Eventually(t, 10*time.Second, func() error {
				if unix.Kill(shims[0].Pid, 0) == nil {
					return fmt.Errorf("the container's process %d outlived its shim", shims[0].Pid)
				}
				return nil
			})
			if dead {
				e.Restart(t)
			}
			if code := cli.OK(t, "wait", "box"); code != "137" {
				t.Errorf("wait: %s, want 137", code)
			}
			if s := inspect(t, cli, "box").State; s.Status != "exited" || s.Error == "" {
				t.Errorf("state %s, error %q; want exited and a reason", s.Status, s.Error)
			}
			cli.OK(t, "start", "box")
			cli.OK(t, "rm", "-f", "box")
		})
	}
}

// TestKillAnywhere kills the engine at random moments of running, stopping and
// removing containers. After each restart what the engine says is true, and at
// the end nothing is left.
func TestKillAnywhere(t *testing.T) {
	e, cli := start(t)
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for round := range rounds {
		keep, brief := fmt.Sprint("keep", round), fmt.Sprint("brief", round)
		running := []*enginetest.Background{
			cli.Start(t, "run", "-d", "--name", keep, "busybox", "sleep", "1000"),
			cli.Start(t, "run", "--rm", "--name", brief, "busybox", "sh", "-c", "sleep 0.05; exit 4"),
		}
		if round > 0 {
			running = append(running, cli.Start(t, "stop", "-t", "0", fmt.Sprint("keep", round-1)))
		}
		if round > 1 {
			running = append(running, cli.Start(t, "rm", "-f", fmt.Sprint("keep", round-2)))
		}
		pause := time.Duration(random.IntN(120)) * time.Millisecond
		moment := time.NewTimer(pause)
		<-moment.C
		e.Kill(t)
		e.Restart(t)
		for _, b := range running { // who waits for a container asks the next engine
			b.Wait(t)
		}
		consistent(t, e, cli, fmt.Sprintf("round %d, killed after %v", round, pause))
	}
	all := strings.Fields(cli.OK(t, "ps", "-aq"))
	if len(all) > 0 {
		cli.OK(t, append([]string{"rm", "-f"}, all...)...)
	}
	enginetest.Eventually(t, 10*time.Second, func() error {
		if n := len(e.Shims()); n > 0 {
			return fmt.Errorf("%d shims are left", n)
		}
		return nil
	})
}

// consistent compares what the engine says with what runs.
func consistent(t *testing.T, e *enginetest.Engine, cli enginetest.CLI, when string) {
	t.Helper()
	enginetest.Eventually(t, 10*time.Second, func() error {
		said := map[string]bool{}
		for _, id := range strings.Fields(cli.OK(t, "ps", "-q", "--no-trunc")) {
			said[id] = true
		}
		shims := e.Shims()
		for _, s := range shims {
			if !said[s.ID] {
				return fmt.Errorf("%s: %s runs and the engine does not say so", when, s.ID)
			}
			if unix.Kill(s.Pid, 0) != nil {
				return fmt.Errorf("%s: the shim of %s has no process", when, s.ID)
			}
		}
		if len(said) != len(shims) {
			return fmt.Errorf("%s: the engine says that %d run, and %d do", when, len(said), len(shims))
		}
		return nil
	})
}

// pid is the first process of a container, as its shim told it.
func pid(t *testing.T, shims []enginetest.Shim, id string) int {
	t.Helper()
	i := slices.IndexFunc(shims, func(s enginetest.Shim) bool { return s.ID == id })
	if i < 0 {
		t.Fatalf("no shim for %s", id)
	}
	return shims[i].Pid
}

// TestKillDuringCommit kills the engine while a container stands still for a
// commit: the next engine lets it go on, and there is no half image.
func TestKillDuringCommit(t *testing.T) {
	e, cli := start(t)
	cli.OK(t, "run", "-d", "--name", "box", "busybox", "sh", "-c", "dd if=/dev/urandom of=/big bs=1M count=200 2>/dev/null; echo written; sleep 1000")
	enginetest.Eventually(t, time.Minute, func() error {
		if out := cli.OK(t, "logs", "box"); out != "written" {
			return fmt.Errorf("logs: %q", out)
		}
		return nil
	})
	commit := cli.Start(t, "commit", "box", "made:1")
	enginetest.Eventually(t, 20*time.Second, func() error {
		if s := inspect(t, cli, "box").State.Status; s != container.StatePaused {
			return fmt.Errorf("the container is %s; commit says: %s", s, commit.Output())
		}
		return nil
	})
	e.Kill(t)
	e.Restart(t)
	commit.Wait(t)
	if s := inspect(t, cli, "box").State.Status; s != container.StateRunning {
		t.Errorf("the container is %s", s)
	}
	if out := cli.OK(t, "exec", "box", "echo", "alive"); out != "alive" {
		t.Errorf("exec: %q", out)
	}
	if r := cli.Run(t, "image", "inspect", "made:1"); r.Code == 0 {
		t.Log("the commit was done before the kill")
	}
	cli.OK(t, "commit", "box", "made:2")
	cli.OK(t, "rmi", "made:2")
}
