package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// TestRuntimes runs containers with other OCI runtimes: Debian's runc, and
// Davit's own by its command line. All must look as with the engine's own.
func TestRuntimes(t *testing.T) {
	enginetest.NeedRoot(t)
	bin := enginetest.Binaries(t)
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\nwhile [ $# -gt 0 ]; do [ $1 = --log ] && echo '{\"level\":\"error\",\"msg\":\"the moon is full\"}' >$2; shift; done\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "daemon.json")
	text := fmt.Sprintf(`{"default-runtime": "davit", "runtimes": {
		"own": {"path": %q}, "real": {"path": "runc"}, "typed": {"runtimeType": "io.containerd.runc.v2", "options": {"BinaryName": "crun"}},
		"broken": {"path": %q}, "absent": {"path": "/no/such/runtime"}, "kata": {"runtimeType": "io.containerd.kata.v2"}}}`, filepath.Join(bin, "davit-runtime"), broken)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	e := enginetest.Start(t, enginetest.Config{Args: []string{"--config-file", config}})
	e.Busybox(t)
	for i, cli := range e.CLIs(t) {
		t.Run(cli.Name, func(t *testing.T) {
			// Each client with a runtime of its own: all four would take twice as long.
			runtime := "real"
			if _, err := exec.LookPath("runc"); err != nil || i > 0 {
				runtime = "own"
			}
			foreign(t, e, cli, runtime)
			// crun takes no host with both versions of cgroups; elsewhere it runs.
			if r := cli.Run(t, "run", "--rm", "--runtime", "typed", "busybox", "true"); r.Code != 0 && !strings.Contains(r.Stderr, "typed create failed: ") && !strings.Contains(r.Stderr, "runtime typed cannot be run") {
				t.Errorf("crun: exit code %d: %s", r.Code, r.Stderr)
			}
			cli.Fails(t, 125, "unknown or invalid runtime name: nobody", "run", "--rm", "--runtime", "nobody", "busybox", "true")
			cli.Fails(t, 125, "broken create failed: the moon is full", "run", "--rm", "--runtime", "broken", "busybox", "true")
			cli.Fails(t, 125, "is a program for containerd: give the path of the OCI runtime itself", "run", "--rm", "--runtime", "kata", "busybox", "true")
			if r := cli.Run(t, "run", "--rm", "--runtime", "absent", "busybox", "true"); r.Code == 0 || !strings.Contains(r.Stderr, "runtime absent cannot be run") {
				t.Errorf("a runtime that is not there: exit code %d, %s", r.Code, r.Stderr)
			}
			cli.OK(t, "run", "--rm", "--runtime", "runc", "busybox", "true") // not configured: the engine's own
			if got := cli.OK(t, "info", "--format", "{{.DefaultRuntime}} {{range $name, $r := .Runtimes}}{{$name}} {{end}}"); got != "davit absent broken davit kata own real typed " && got != "davit absent broken davit kata own real typed" {
				t.Errorf("info shows runtimes %q", got)
			}
		})
	}
	if mounts := readFile(t, "/proc/self/mountinfo"); strings.Contains(mounts, e.Root) {
		t.Errorf("the host sees mounts of containers:\n%s", mounts)
	}
}

// foreign goes through a container's life with another runtime.
func foreign(t *testing.T, e *enginetest.Engine, cli enginetest.CLI, runtime string) {
	run := func(args ...string) []string { return append([]string{"run", "--runtime", runtime}, args...) }
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"output", run("--rm", "busybox", "sh", "-c", "echo out; echo err >&2"), "out"},
		{"process 1", run("--rm", "busybox", "sh", "-c", "echo $$ $(hostname | wc -c)"), "1 13"},
		{"network", run("--rm", "busybox", "sh", "-c", "ip -4 -o addr show eth0 | wc -l; ip route | grep -c ^default"), "1\n1"},
		{"no network", run("--rm", "--network", "none", "busybox", "ls", "/sys/class/net"), "lo"},
		{"user", run("--rm", "-u", "1234:5678", "busybox", "sh", "-c", "id -u; id -g; echo >/dev/stdout"), "1234\n5678\n"},
		{"init", run("--rm", "--init", "busybox", "sh", "-c", "[ $$ != 1 ] && echo not one"), "not one"},
		{"seccomp and capabilities", run("--rm", "--cap-drop", "ALL", "busybox", "grep", "-E", "^(Seccomp|CapEff):", "/proc/self/status"), "CapEff:\t0000000000000000\nSeccomp:\t2"},
		{"limits", run("--rm", "--pids-limit", "77", "--memory", "64m", "busybox", "sh", "-c", "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/memory.max"), "77\n67108864"},
		{"read-only", run("--rm", "--read-only", "--tmpfs", "/run", "-v", "/etc:/host:ro", "busybox", "sh", "-c", "touch /x /host/x 2>/dev/null || echo refused; touch /run/x && echo written"), "refused\nwritten"},
	} {
		out := cli.OK(t, c.args...)
		if strings.TrimSuffix(out, "\n") != strings.TrimSuffix(c.want, "\n") {
			t.Errorf("%s: printed %q, want %q", c.name, out, c.want)
		}
	}
	for _, c := range []struct {
		code int
		args []string
	}{
		{42, run("--rm", "busybox", "sh", "-c", "exit 42")}, {127, run("--rm", "busybox", "nosuchcommand")}, {126, run("--rm", "busybox", "/etc/passwd")},
		{143, run("--rm", "--init", "busybox", "sh", "-c", "kill -TERM $$")},
	} {
		if r := cli.Run(t, c.args...); r.Code != c.code {
			t.Errorf("%q: exit code %d, want %d\n%s", c.args, r.Code, c.code, r.Stderr)
		}
	}
	if r := cli.Feed(t, strings.NewReader("some input\n"), run("--rm", "-i", "busybox", "cat")...); r.Stdout != "some input\n" {
		t.Errorf("standard input comes back as %q (%s)", r.Stdout, r.Stderr)
	}

	donor := name(t, cli) + "-donor"
	t.Cleanup(func() { cli.Run(t, "rm", "-f", donor) })
	cli.OK(t, "run", "-d", "--name", donor, "--ipc", "shareable", "busybox", "sh", "-c", "echo shared >/dev/shm/file; exec sleep 1000")
	enginetest.Eventually(t, 10*time.Second, func() error {
		if got := cli.Run(t, run("--rm", "--ipc", "container:"+donor, "--pid", "container:"+donor, "--network", "container:"+donor, "busybox", "sh", "-c", "cat /dev/shm/file; cat /proc/1/comm")...); got.Stdout != "shared\nsleep\n" {
			return fmt.Errorf("in the namespaces of another container it prints %q, %s", got.Stdout, got.Stderr)
		}
		return nil
	})

	n := name(t, cli)
	cli.OK(t, run("-d", "-t", "--name", n, "busybox", "sh", "-c", "echo started >/file; tty; trap 'echo bye; exit 7' TERM; while :; do sleep 0.05; done")...)
	enginetest.Eventually(t, 10*time.Second, func() error {
		if out := cli.OK(t, "logs", n); !strings.Contains(out, "/dev/pts/0") {
			return fmt.Errorf("logs show %q", out)
		}
		return nil
	})
	if got := cli.OK(t, "inspect", "-f", "{{.HostConfig.Runtime}} {{.State.Status}}", n); got != runtime+" running" {
		t.Errorf("inspect shows %q", got)
	}
	if got := cli.OK(t, "exec", "-e", "A=b", "-w", "/tmp", n, "sh", "-c", "cat /file; echo $A; pwd"); got != "started\nb\n/tmp" {
		t.Errorf("exec prints %q", got)
	}
	if r := cli.Run(t, "exec", n, "sh", "-c", "exit 3"); r.Code != 3 {
		t.Errorf("exec's exit code is %d: %s", r.Code, r.Stderr)
	}
	if r := cli.Run(t, "exec", n, "nosuchcommand"); r.Code != 127 && r.Code != 126 {
		t.Errorf("exec of a missing command: exit code %d: %s", r.Code, r.Stderr)
	}
	e.Kill(t)
	e.Restart(t)
	cli.OK(t, "pause", n)
	cli.OK(t, "unpause", n)
	cli.OK(t, "stop", "-t", "10", n)
	if got := cli.OK(t, "inspect", "-f", "{{.State.ExitCode}} {{.State.Status}}", n); got != "7 exited" {
		t.Errorf("after stop inspect shows %q", got)
	}
	cli.OK(t, "start", n)
	if got := cli.OK(t, "exec", n, "cat", "/file"); got != "started" {
		t.Errorf("after a second start the file holds %q", got)
	}
	// Without its shim a container is ended, and nothing of it stays.
	id := cli.OK(t, "inspect", "-f", "{{.Id}}", n)
	for _, s := range e.Shims() {
		if s.ID == id {
			p, err := os.FindProcess(s.ShimPid)
			if err == nil {
				err = p.Kill()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	enginetest.Eventually(t, 10*time.Second, func() error {
		if got := cli.OK(t, "inspect", "-f", "{{.State.ExitCode}} {{.State.Status}}", n); got != "137 exited" {
			return fmt.Errorf("without a shim inspect shows %q", got)
		}
		return nil
	})
}
