package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// TestStopLate stops containers whose first process does not end by itself:
// the davit client says why it took so long and what to do, once; docker's
// client sees nothing of it.
func TestStopLate(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		for _, c := range []struct{ kind, script, want string }{
			{"default", "echo up; while :; do sleep 0.05; done", "does not handle SIGTERM, which therefore does nothing to the process with number 1; run it with --init, or name a signal that it handles with --stop-signal"},
			{"ignored", "trap '' TERM; echo up; while :; do sleep 0.05; done", "ignores SIGTERM; name a signal that it handles with --stop-signal, or run it with --init"},
			{"slow", "trap : TERM; echo up; while :; do sleep 0.05; done", "handles SIGTERM but was not done in time; --stop-timeout"},
		} {
			t.Run(c.kind, func(t *testing.T) {
				t.Parallel()
				n := name(t, cli)
				cli.OK(t, "run", "-d", "--name", n, "busybox", "sh", "-c", c.script)
				waitLog(t, cli, n, "up")
				r := cli.Run(t, "stop", "-t", "1", n)
				if r.Code != 0 || strings.TrimSpace(r.Stdout) != n {
					t.Fatalf("stop: exit code %d, stdout %q", r.Code, r.Stdout)
				}
				if cli.Name == "docker" {
					if r.Stderr != "" {
						t.Errorf("docker's client says %q", r.Stderr)
					}
					return
				}
				if want := "container " + n + " did not end within 1 s of SIGTERM and was killed: its first process " + c.want; strings.Count(r.Stderr, want) != 1 {
					t.Errorf("stderr %q\nwant in it, once: %q", r.Stderr, want)
				}
				if strings.Count(r.Stderr, "\n") != 1 {
					t.Errorf("more than one line: %q", r.Stderr)
				}
			})
		}
	})
}

// TestStopInTime: nobody is told anything when all is well.
func TestStopInTime(t *testing.T) {
	cli := engine(t).Davit()
	for _, args := range [][]string{{"--init"}, {"--stop-signal", "KILL"}} {
		t.Run(args[0], func(t *testing.T) {
			n := name(t, cli)
			cli.OK(t, append(append([]string{"run", "-d", "--name", n}, args...), "busybox", "sh", "-c", "echo up; while :; do sleep 0.05; done")...)
			waitLog(t, cli, n, "up")
			begin := time.Now()
			if r := cli.Run(t, "stop", n); r.Code != 0 || r.Stderr != "" || time.Since(begin) > 8*time.Second {
				t.Errorf("stop: exit code %d after %v, stderr %q", r.Code, time.Since(begin), r.Stderr)
			}
		})
	}
}

// waitLog waits until a container has logged a line.
func waitLog(t *testing.T, cli enginetest.CLI, n, line string) {
	t.Helper()
	enginetest.Eventually(t, 20*time.Second, func() error {
		if out := cli.OK(t, "logs", n); !strings.Contains(out, line) {
			return fmt.Errorf("logs: %q", out)
		}
		return nil
	})
}

// TestInit: with --init orphans are reaped, signals arrive, and the exit code
// is the command's, 128+n for a signal.
func TestInit(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		// An orphan that ends is a zombie until process 1 reaps it.
		orphans := "for i in 1 2 3 4 5; do (sleep 0 & ) ; done; i=0; " +
			"while grep -qs '^State:.*zombie' /proc/[0-9]*/status; do i=$((i+1)); [ $i -lt 250 ] || exit 9; sleep 0.02; done; cat /proc/1/comm; exit 4"
		if r := cli.Run(t, "run", "--rm", "--init", "busybox", "sh", "-c", orphans); r.Code != 4 || !strings.Contains(r.Stdout, "docker-init") {
			t.Errorf("orphans: exit code %d, want 4, stdout %q, stderr %q", r.Code, r.Stdout, r.Stderr)
		}
		for signal, want := range map[string]int{"KILL": 137, "TERM": 143, "SEGV": 139} {
			if r := cli.Run(t, "run", "--rm", "--init", "busybox", "sh", "-c", "kill -"+signal+" $$"); r.Code != want {
				t.Errorf("ended by %s: exit code %d, want %d", signal, r.Code, want)
			}
		}
		n := name(t, cli)
		cli.OK(t, "run", "-d", "--init", "--name", n, "busybox", "sh", "-c", "trap 'echo got usr1' USR1; trap 'exit 6' TERM; echo up; while :; do sleep 0.02; done")
		waitLog(t, cli, n, "up")
		cli.OK(t, "kill", "-s", "USR1", n)
		waitLog(t, cli, n, "got usr1")
		cli.OK(t, "stop", n)
		if code := cli.OK(t, "wait", n); code != "6" {
			t.Errorf("exit code %s, want 6", code)
		}
	})
}

// TestExitBySignal: the container's own first process ended by a signal.
func TestExitBySignal(t *testing.T) {
	cli := engine(t).Davit()
	for signal, want := range map[string]int{"KILL": 137, "ABRT": 134} {
		t.Run(signal, func(t *testing.T) {
			n := name(t, cli)
			// A pid namespace shields its process 1 from signals without a
			// handler, but not from those of the host.
			cli.OK(t, "run", "-d", "--name", n, "--pid", "host", "busybox", "sleep", "1000")
			cli.OK(t, "kill", "-s", signal, n)
			if code := cli.OK(t, "wait", n); code != strconv.Itoa(want) {
				t.Errorf("exit code %s, want %d", code, want)
			}
			if s := inspect(t, cli, n).State; s.ExitCode != want || s.OOMKilled {
				t.Errorf("inspect: exit code %d, out of memory %v", s.ExitCode, s.OOMKilled)
			}
		})
	}
}

// TestOOM: a container that takes more memory than it may is told apart from
// one that was killed.
func TestOOM(t *testing.T) {
	cli := engine(t).Davit()
	n := name(t, cli)
	r := cli.Run(t, "run", "--name", n, "--memory", "16m", "--memory-swap", "16m", "busybox", "sh", "-c", "x=x; while :; do x=$x$x; done")
	s := inspect(t, cli, n).State
	if r.Code != 137 || s.ExitCode != 137 || !s.OOMKilled {
		t.Errorf("exit code %d, inspect %d, out of memory %v; want 137 and true", r.Code, s.ExitCode, s.OOMKilled)
	}
	past := cli.OK(t, "events", "--since", "60s", "--until", fmt.Sprint(time.Now().Unix()+1), "--filter", "container="+n, "--format", "{{.Action}}")
	if oom, die := strings.Index(past, "oom"), strings.Index(past, "die"); oom < 0 || die < oom {
		t.Errorf("no oom before die in the events:\n%s", past)
	}
}

// TestOOMOfAChild: the kernel kills another process than the first; the
// container goes on, and says at its end that it happened.
func TestOOMOfAChild(t *testing.T) {
	cli := engine(t).Davit()
	n := name(t, cli)
	r := cli.Run(t, "run", "--name", n, "--memory", "16m", "--memory-swap", "16m", "busybox", "sh", "-c", "sh -c 'x=x; while :; do x=$x$x; done'; echo $?; exit 3")
	if s := inspect(t, cli, n).State; r.Code != 3 || !strings.Contains(r.Stdout, "137") || !s.OOMKilled {
		t.Errorf("exit code %d, stdout %q, out of memory %v; want 3, 137 and true", r.Code, r.Stdout, s.OOMKilled)
	}
}

// TestHostPIDZombies: orphans of a container in the host's pid namespace, which
// has no first process of its own to reap them, are no zombies for long; and
// when the container ends, those that still run end too.
func TestHostPIDZombies(t *testing.T) {
	cli := engine(t).Davit()
	n := name(t, cli)
	cli.OK(t, "run", "-d", "--name", n, "--pid", "host", "busybox", "sh", "-c",
		"for i in 1 2 3 4 5; do (sleep 0 & echo $!); done; (sleep 1000 & echo $!); echo up; exec sleep 1000")
	waitLog(t, cli, n, "up")
	var pids []int
	for _, w := range strings.Fields(strings.TrimSuffix(cli.OK(t, "logs", n), "up")) {
		pid, err := strconv.Atoi(w)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	if len(pids) != 6 {
		t.Fatalf("orphans %v, want six", pids)
	}
	sleeper := pids[5]
	gone := func(pids []int) {
		t.Helper()
		enginetest.Eventually(t, 10*time.Second, func() error {
			for _, pid := range pids {
				if s := state(pid); s != "" {
					return fmt.Errorf("process %d is still there: %s", pid, s)
				}
			}
			return nil
		})
	}
	gone(pids[:5])
	if s := state(sleeper); s != "S" {
		t.Errorf("the orphan that sleeps has state %q", s)
	}
	cli.OK(t, "kill", n)
	cli.OK(t, "wait", n)
	gone(pids[5:])
}

// state is the letter of a process's state, "" when there is none.
func state(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return rest[:1]
}

// TestStopDuringStart stops containers that are being started. Each call may
// come before or after the start; in the end none runs, and nothing hangs.
func TestStopDuringStart(t *testing.T) {
	cli := engine(t).Davit()
	var all sync.WaitGroup
	for i := range 6 {
		n := fmt.Sprintf("%s-%d", name(t, cli), i)
		t.Cleanup(func() { cli.Run(t, "rm", "-f", n) })
		cli.OK(t, "create", "--name", n, "--init", "busybox", "sleep", "1000")
		all.Go(func() { cli.Run(t, "start", n) })
		all.Go(func() { time.Sleep(time.Duration(i) * time.Millisecond); cli.Run(t, "stop", n) })
	}
	all.Wait()
	for i := range 6 {
		n := fmt.Sprintf("%s-%d", strings.ReplaceAll(t.Name(), "/", "-"), i)
		cli.OK(t, "stop", n)
		if s := inspect(t, cli, n).State; s.Running || s.Pid != 0 {
			t.Errorf("%s still runs", n)
		}
	}
}

// TestEndBeforeStartReturns starts a program that ends at once, many times:
// start succeeds, and the exit is never lost.
func TestEndBeforeStartReturns(t *testing.T) {
	cli := engine(t).Davit()
	n := name(t, cli)
	cli.OK(t, "create", "--name", n, "busybox", "false")
	for i := range 20 {
		cli.OK(t, "start", n)
		if code := cli.OK(t, "wait", n); code != "1" {
			t.Fatalf("round %d: exit code %s, want 1", i, code)
		}
	}
	if s := inspect(t, cli, n).State; s.Running || s.ExitCode != 1 || s.Error != "" {
		t.Errorf("running %v, exit code %d, error %q", s.Running, s.ExitCode, s.Error)
	}
}

// TestForkingInit has a first process that forks without end: the container is
// stopped with all of it, and a limit of processes holds.
func TestForkingInit(t *testing.T) {
	e := engine(t)
	cli := e.Davit()
	n := name(t, cli)
	id := cli.OK(t, "run", "-d", "--name", n, "--pids-limit", "40", "busybox", "sh", "-c", "echo up; while :; do (sleep 1000 &) 2>/dev/null; done")
	waitLog(t, cli, n, "up")
	group := filepath.Join("/sys/fs/cgroup/pids", e.Cgroup, id)
	if _, err := os.Stat(group); err != nil {
		group = filepath.Join("/sys/fs/cgroup", e.Cgroup, id)
	}
	count := func() int {
		b, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		if err != nil {
			return 0
		}
		return strings.Count(string(b), "\n")
	}
	enginetest.Eventually(t, 10*time.Second, func() error {
		if c := count(); c < 30 {
			return fmt.Errorf("%d processes", c)
		}
		return nil
	})
	if c := count(); c > 40 {
		t.Errorf("%d processes, at most 40 are allowed", c)
	}
	begin := time.Now()
	cli.OK(t, "stop", "-t", "0", n)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("stopping took %v", took)
	}
	enginetest.Eventually(t, 10*time.Second, func() error {
		if c := count(); c != 0 {
			return fmt.Errorf("%d processes are left", c)
		}
		return nil
	})
}
