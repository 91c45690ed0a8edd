package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/dialect"
	enginetest "github.com/davit-engine/davit/test/engine"
)

// groupValue reads what the cgroup of a container's process holds in a file of
// the controller, by its v1 or its v2 name, whichever is here.
func groupValue(t *testing.T, pid int, controller, v1, v2 string) string {
	t.Helper()
	lines, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	unified := ""
	for line := range strings.Lines(string(lines)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		for _, name := range strings.Split(f[1], ",") {
			if name == controller {
				return fileText(t, "/sys/fs/cgroup/"+controller+f[2]+"/"+v1)
			}
		}
		if f[1] == "" {
			unified = f[2]
		}
	}
	return fileText(t, "/sys/fs/cgroup"+unified+"/"+v2)
}

func fileText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// TestUpdate changes limits of a container that runs and of one that does not.
func TestUpdate(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		cli.OK(t, "run", "-d", "--name", n, "-m", "64m", "busybox", "sleep", "1000")
		pid := inspect(t, cli, n).State.Pid
		memory := func() string { return groupValue(t, pid, "memory", "memory.limit_in_bytes", "memory.max") }
		pids := func() string { return groupValue(t, pid, "pids", "pids.max", "pids.max") }

		if out := cli.OK(t, "update", "-m", "32m", "--pids-limit", "20", "--cpus", "0.5", "--restart", "unless-stopped", n); out != n {
			t.Errorf("update printed %q", out)
		}
		if memory() != "33554432" || pids() != "20" {
			t.Errorf("memory %s, pids %s; want 33554432 and 20", memory(), pids())
		}
		h := inspect(t, cli, n).HostConfig
		if h.Memory != 32<<20 || h.MemorySwap != 128<<20 || h.NanoCPUs != 5e8 || *h.PidsLimit != 20 || h.RestartPolicy.Name != "unless-stopped" {
			t.Errorf("recorded: memory %d, with swap %d, CPUs %d, pids %d, restart %s", h.Memory, h.MemorySwap, h.NanoCPUs, *h.PidsLimit, h.RestartPolicy.Name)
		}
		cli.Fails(t, 1, "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time", "update", "-m", "200m", n)
		cli.Fails(t, 1, "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set", "update", "--cpu-quota", "5000", n)
		cli.Fails(t, 1, "Minimum memory limit allowed is 6MB", "update", "-m", "1m", n)
		cli.Fails(t, 1, "No such container", "update", "-m", "64m", "nobody-"+n)
		cli.Fails(t, 1, "you must provide one or more flags when using this command", "update", n)
		// The last of several settings is one that the kernel refuses.
		cli.Fails(t, 1, "Cannot update container", "update", "-m", "48m", "--cpuset-mems", "63", n)
		if memory() != "33554432" || inspect(t, cli, n).HostConfig.Memory != 32<<20 {
			t.Errorf("after a refused update: memory %s", memory())
		}

		cli.OK(t, "update", "--restart", "no", "--pids-limit", "-1", n)
		if pids() != "max" {
			t.Errorf("pids %s after the limit was taken away", pids())
		}
		cli.OK(t, "stop", "-t", "0", n)
		cli.OK(t, "update", "-m", "80m", n)
		cli.OK(t, "start", n)
		if pid = inspect(t, cli, n).State.Pid; memory() != fmt.Sprint(80<<20) {
			t.Errorf("memory %s after the start of a container that was updated", memory())
		}
	})
}

// TestChange changes what Docker cannot change of a container that runs.
func TestChange(t *testing.T) {
	cli := engine(t).Davit()
	n := name(t, cli)
	cli.OK(t, "run", "-d", "--name", n, "-e", "A=1", "-l", "who=me", "busybox", "sh", "-c", `test -e /kept || echo "$A" >/kept; echo "A=$A, first $(cat /kept)"; exec sleep 1000`)
	says := func(want string) {
		t.Helper()
		enginetest.Eventually(t, 10*time.Second, func() error {
			if out := cli.OK(t, "logs", n); out != want {
				return fmt.Errorf("logs: %q, want %q", out, want)
			}
			return nil
		})
	}
	says("A=1, first 1")
	before := inspect(t, cli, n)

	if out := cli.OK(t, "update", "--dry-run", "-e", "A=2", "-l", "who=you", n); !strings.Contains(out, "env A: 1 -> 2 (by a restart)") ||
		!strings.Contains(out, "label who: me -> you (at once)") || !strings.Contains(out, "ended and started again") {
		t.Errorf("dry run:\n%s", out)
	}
	if now := inspect(t, cli, n); now.State.Pid != before.State.Pid || now.Config.Labels["who"] != "me" {
		t.Errorf("a dry run changed something: pid %d, was %d; labels %v", now.State.Pid, before.State.Pid, now.Config.Labels)
	}

	// At once: labels, limits, the stop signal.
	r := cli.Run(t, "update", "-l", "who=you", "-m", "64m", "--memory-swap", "64m", "--stop-signal", "KILL", n)
	if r.Code != 0 || r.Stdout != n+"\n" || !strings.Contains(r.Stderr, n+": label who: me -> you (at once)") {
		t.Errorf("exit code %d\nstdout: %s\nstderr: %s", r.Code, r.Stdout, r.Stderr)
	}
	now := inspect(t, cli, n)
	if now.State.Pid != before.State.Pid || now.Config.Labels["who"] != "you" || now.HostConfig.Memory != 64<<20 || now.Config.StopSignal != "KILL" {
		t.Errorf("pid %d, was %d; labels %v, memory %d, stop signal %s", now.State.Pid, before.State.Pid, now.Config.Labels, now.HostConfig.Memory, now.Config.StopSignal)
	}
	if got := groupValue(t, now.State.Pid, "memory", "memory.limit_in_bytes", "memory.max"); got != "67108864" {
		t.Errorf("memory limit %s in the kernel", got)
	}

	// By a restart: the layer, the log, the ID and the name stay.
	cli.OK(t, "update", "-e", "A=2", "--hostname", "other", "--network", "none", "--tmpfs", "/scratch", n)
	says("A=1, first 1\nA=2, first 1")
	now = inspect(t, cli, n)
	if now.ID != before.ID || now.Name != before.Name || now.State.Pid == before.State.Pid || now.State.Status != "running" || now.Config.Hostname != "other" ||
		now.HostConfig.NetworkMode != "none" || now.HostConfig.Memory != 64<<20 {
		t.Errorf("after a restart: %s %s, pid %d, %s, host %s, network %s", now.ID, now.Name, now.State.Pid, now.State.Status, now.Config.Hostname, now.HostConfig.NetworkMode)
	}

	// What is refused changes nothing, not even the process.
	for text, args := range map[string][]string{
		"network nowhere not found":       {"--network", "nowhere"},
		"nothing is mounted at /nothing":  {"--mount-rm", "/nothing"},
		"has no variable NO":              {"--env-rm", "NO"},
		"Minimum memory limit allowed":    {"-m", "1m", "-e", "A=3"},
		"hostname: the kernel allows":     {"--hostname", strings.Repeat("a", 70)},
		"conflicting options: --env and ": {"-e", "A=3", "--env-rm", "A"},
	} {
		cli.Fails(t, 1, text, append(append([]string{"update"}, args...), n)...)
	}
	if after := inspect(t, cli, n); after.State.Pid != now.State.Pid || !slices.Equal(after.Config.Env, now.Config.Env) {
		t.Errorf("a refused change: pid %d, was %d; %v", after.State.Pid, now.State.Pid, after.Config.Env)
	}

	// A container that does not start with its new settings has its old ones again.
	cli.Fails(t, 1, "runs with its old ones again", "update", "-e", "A=3", "-v", "/etc/hostname:/tmp", n)
	says("A=1, first 1\nA=2, first 1\nA=2, first 1")
	if after := inspect(t, cli, n); after.State.Status != "running" || !slices.Equal(after.Config.Env, now.Config.Env) || len(after.Mounts) != len(now.Mounts) {
		t.Errorf("after a change that failed: %s, %v, %v", after.State.Status, after.Config.Env, after.Mounts)
	}

	// A volume is the container's as long as it is mounted.
	volume := "data-" + n
	t.Cleanup(func() { cli.Run(t, "volume", "rm", "-f", volume) })
	line := "\nA=2, first 1"
	cli.OK(t, "update", "-v", volume+":/data", n)
	says("A=1, first 1" + strings.Repeat(line, 3))
	cli.OK(t, "update", "-v", volume+":/data:ro", n)
	says("A=1, first 1" + strings.Repeat(line, 4))
	if m := inspect(t, cli, n).Mounts; len(m) != 2 || m[1].Name != volume || m[1].RW {
		t.Errorf("mounts: %+v", m)
	}
	cli.Fails(t, 1, "in use", "volume", "rm", volume)
	cli.OK(t, "update", "--mount-rm", "/data", n)
	cli.OK(t, "volume", "rm", volume)
	says("A=1, first 1" + strings.Repeat(line, 5))

	cli.OK(t, "stop", n)
	cli.OK(t, "update", "--env-rm", "A", "--mount-rm", "/scratch", n)
	if s := inspect(t, cli, n).State.Status; s != "exited" {
		t.Errorf("a stopped container is %s after a change", s)
	}
	cli.OK(t, "start", n)
	says("A=1, first 1" + strings.Repeat(line, 5) + "\nA=, first 1")
}

// TestChangeHealth gives a container that runs a health check, another, and none.
func TestChangeHealth(t *testing.T) {
	cli := engine(t).Davit()
	n := name(t, cli)
	cli.OK(t, "run", "-d", "--name", n, "--stop-timeout", "0", "busybox", "sleep", "1000")
	pid := inspect(t, cli, n).State.Pid
	becomes := func(want container.HealthStatus) {
		t.Helper()
		enginetest.Eventually(t, 10*time.Second, func() error {
			s := inspect(t, cli, n).State
			if s.Pid != pid {
				return fmt.Errorf("pid %d, was %d", s.Pid, pid)
			}
			if s.Health == nil && want == "" || s.Health != nil && s.Health.Status == want {
				return nil
			}
			return fmt.Errorf("health %+v, want %s", s.Health, want)
		})
	}
	cli.OK(t, "update", "--health-cmd", "true", "--health-interval", "100ms", n)
	becomes(container.Healthy)
	cli.OK(t, "update", "--health-cmd", "false", "--health-retries", "2", n)
	becomes(container.Unhealthy)
	cli.OK(t, "update", "--no-healthcheck", n)
	becomes("")
	cli.OK(t, "update", "--health-cmd", "test -e /ok", "--health-interval", "100ms", "--health-retries", "2", n)
	becomes(container.Unhealthy)

	// What is not healthy in time does not replace it, nor what is never.
	r := cli.Run(t, "replace", "--wait-healthy", "20s", n)
	if now := inspect(t, cli, n); r.Code != 1 || !strings.Contains(r.Stderr, "is unhealthy: its check ended with exit code 1") || now.State.Status != "running" {
		t.Errorf("exit code %d, %s\nstderr: %s", r.Code, now.State.Status, r.Stderr)
	}
	cli.OK(t, "update", "--health-cmd", "true", n)
	old := inspect(t, cli, n).ID
	if id := cli.OK(t, "replace", "--wait-healthy", "20s", n); id == old || inspect(t, cli, n).State.Health.Status != container.Healthy {
		t.Errorf("replaced %s by %s", old, id)
	}
}

// TestEndToStartAgainWhileTheEngineIsKilled kills the engine while a container is
// being ended to be restarted or changed: it runs again afterwards, with one of the
// settings.
func TestEndToStartAgainWhileTheEngineIsKilled(t *testing.T) {
	e := engine(t)
	for _, verb := range [][]string{{"update", "-e", "A=2"}, {"restart"}} {
		t.Run(verb[0], func(t *testing.T) { endWhileTheEngineIsKilled(t, e, verb) })
	}
}

func endWhileTheEngineIsKilled(t *testing.T, e *enginetest.Engine, verb []string) {
	cli := e.Davit()
	n := name(t, cli)
	cli.OK(t, "run", "-d", "--name", n, "-e", "A=1", "busybox", "sh", "-c", "trap 'echo asked; sleep 1; exit 0' TERM; echo up; while :; do sleep 0.05; done")
	enginetest.Eventually(t, 10*time.Second, func() error {
		if out := cli.OK(t, "logs", n); out != "up" {
			return fmt.Errorf("logs: %q", out)
		}
		return nil
	})
	pid := inspect(t, cli, n).State.Pid
	cli.Start(t, append(verb, n)...)
	enginetest.Eventually(t, 10*time.Second, func() error {
		if out := cli.OK(t, "logs", n); out != "up\nasked" {
			return fmt.Errorf("the container is not being ended: %q", out)
		}
		return nil
	})
	e.Kill(t)
	enginetest.Eventually(t, 10*time.Second, func() error {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
			return fmt.Errorf("process %d has not ended", pid)
		}
		return nil
	})
	e.Restart(t)
	enginetest.Eventually(t, 15*time.Second, func() error {
		s := inspect(t, cli, n)
		if s.State.Status != "running" || s.State.Pid == pid {
			return fmt.Errorf("the container is %s with pid %d, was %d", s.State.Status, s.State.Pid, pid)
		}
		return nil
	})
}

// TestRunReplace puts one container in the place of another.
func TestRunReplace(t *testing.T) {
	cli := engine(t).Davit()
	n := name(t, cli)
	first := cli.OK(t, "run", "-d", "--replace", "--name", n, "--stop-timeout", "0", "busybox", "sleep", "1000")
	second := cli.OK(t, "run", "-d", "--replace", "--name", n, "--stop-timeout", "0", "busybox", "sleep", "1001")
	if now := inspect(t, cli, n); now.ID != second || now.State.Status != "running" {
		t.Fatalf("%s is %s and %s, want %s and running", n, now.ID, now.State.Status, second)
	}
	cli.Fails(t, 1, "o such", "inspect", first)

	// One that does not start, or cannot even be made, leaves the old one running.
	cli.Fails(t, 127, "The old container "+n+" is running again", "run", "-d", "--replace", "--name", n, "busybox", "nosuchcommand")
	cli.Fails(t, 125, "No such image", "run", "-d", "--replace", "--pull", "never", "--name", n, "nosuchimage")
	if now := inspect(t, cli, n); now.ID != second || now.State.Status != "running" {
		t.Fatalf("after a replacement that failed: %s is %s and %s, want %s and running", n, now.ID, now.State.Status, second)
	}
	r := cli.Run(t, "run", "--rm", "--replace", "--name", n, "busybox", "echo", "third")
	if r.Code != 0 || r.Stdout != "third\n" || r.Stderr != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", r.Code, r.Stdout, r.Stderr)
	}
	if left := cli.OK(t, "ps", "-aq", "--filter", "name="+n); left != "" {
		t.Errorf("left over: %s", left)
	}
	cli.Fails(t, 125, "--replace needs --name", "run", "--replace", "busybox")
}

// TestReplace gives a container another image.
func TestReplace(t *testing.T) {
	e := engine(t)
	cli := e.Davit()
	e.Publish(t, "web:1", enginetest.BusyboxTar(t), "ENV VERSION=1 OLD=yes", `CMD ["sh", "-c", "echo mine >/data/whose; sleep 1000"]`, "LABEL from=one", "VOLUME /data")
	e.Publish(t, "web:2", enginetest.BusyboxTar(t), "ENV VERSION=2", `CMD ["sh", "-c", "cat /data/whose; sleep 1000"]`, "LABEL from=two", "VOLUME /data")
	e.Publish(t, "web:bad", enginetest.BusyboxTar(t), `CMD ["sh", "-c", "echo last words; exit 3"]`)
	n := name(t, cli)
	old := cli.OK(t, "run", "-d", "--name", n, "-e", "MINE=1", "-l", "who=me", "-m", "64m", "--stop-timeout", "0", "web:1")

	r := cli.Run(t, "replace", "--image", "web:bad", "--wait-healthy", "10s", n)
	if r.Code != 1 || r.Stdout != "" || !strings.Contains(r.Stderr, "exit code 3") || !strings.Contains(r.Stderr, "last words") ||
		!strings.Contains(r.Stderr, "The old container "+n+" is running again") {
		t.Errorf("exit code %d\nstdout: %s\nstderr: %s", r.Code, r.Stdout, r.Stderr)
	}
	if now := inspect(t, cli, n); now.ID != old || now.State.Status != "running" {
		t.Fatalf("after a replacement that failed: %s is %s and %s", n, now.ID, now.State.Status)
	}

	id := cli.OK(t, "replace", "--image", "web:2", "--wait-healthy", "1s", "--keep-old", n)
	now := inspect(t, cli, n)
	if now.ID != id || now.State.Status != "running" || now.HostConfig.Memory != 64<<20 || now.Config.Labels["who"] != "me" || now.Config.Labels["from"] != "two" {
		t.Errorf("%s, want %s; %s, memory %d, labels %v", now.ID, id, now.State.Status, now.HostConfig.Memory, now.Config.Labels)
	}
	env := strings.Join(now.Config.Env, " ")
	if !strings.Contains(env, "MINE=1") || !strings.Contains(env, "VERSION=2") || strings.Contains(env, "OLD") || now.Config.Hostname != id[:12] {
		t.Errorf("variables %s, host name %s", env, now.Config.Hostname)
	}
	enginetest.Eventually(t, 10*time.Second, func() error {
		if out := cli.OK(t, "logs", n); out != "mine" {
			return fmt.Errorf("the new container has %q in the old one's volume", out)
		}
		return nil
	})
	kept := inspect(t, cli, old)
	if kept.Name != "/"+n+"-replaced-"+old[:12] || kept.State.Status != "exited" {
		t.Errorf("the old container is %s and %s", kept.Name, kept.State.Status)
	}
	cli.OK(t, "rm", old)
	if left := cli.OK(t, "ps", "-aq", "--no-trunc", "--filter", "name="+n); left != id {
		t.Errorf("left over: %s", left)
	}
	cli.Fails(t, 1, "No such image", "replace", "--image", "nosuchimage", "--pull", "never", n)
	cli.Fails(t, 1, "no such container", "replace", "nobody-"+n)
}

// TestExplain asks what runs and who has decided that.
func TestExplain(t *testing.T) {
	e := engine(t)
	cli := e.Davit()
	e.Publish(t, "told:1", enginetest.BusyboxTar(t), "ENV GREETING=hello", `ENTRYPOINT ["sleep"]`, `CMD ["1000"]`, "USER 1:2", "WORKDIR /tmp", "VOLUME /data", "EXPOSE 80", "STOPSIGNAL SIGINT")
	cli.OK(t, "pull", "told:1")
	facts := func(args ...string) map[string]string {
		t.Helper()
		var x dialect.Explanation
		if err := json.Unmarshal([]byte(cli.OK(t, append([]string{"explain", "--json"}, args...)...)), &x); err != nil {
			t.Fatal(err)
		}
		all := map[string]string{"kind": x.Kind}
		for _, f := range x.Facts {
			all[f.Name] = string(f.From) + ": " + f.Value
		}
		return all
	}
	check := func(what string, got, want map[string]string) {
		t.Helper()
		for k, v := range want {
			if got[k] != v {
				t.Errorf("%s: %s is %q, want %q", what, k, got[k], v)
			}
		}
	}
	check("the image", facts("told:1"), map[string]string{
		"kind": "image", "runs": ": sleep 1000", "entrypoint": "image: sleep", "command": "image: 1000", "user": "image: 1:2 (uid 1, gid 2)", "directory": "image: /tmp",
		"env GREETING": "image: hello", "/data": "image: anonymous volume", "port 80/tcp": "image: exposed, not published", "stop signal": "image: SIGINT",
		"memory, CPUs, processes": "default: unlimited", "restarts": "default: no", "network": "default: bridge",
	})
	n := name(t, cli)
	cli.OK(t, "run", "-d", "--name", n, "-u", "0", "-e", "MINE=1", "-e", "GREETING=bye", "-m", "64m", "--cap-drop", "ALL", "--cap-add", "CHOWN", "--read-only",
		"--security-opt", "seccomp=unconfined", "-v", "/etc:/host:ro", "--stop-timeout", "0", "told:1", "500")
	got := facts(n)
	check("the container", got, map[string]string{
		"kind": "container", "runs": ": sleep 500", "entrypoint": "image: sleep", "command": "user: 500", "user": "user: 0 (uid 0, gid 0)", "env GREETING": "user: bye",
		"env MINE": "user: 1", "memory": "user: 64MiB", "memory with swap": "engine: 128MiB", "capabilities": "user: CHOWN", "system calls": "user: not filtered",
		"/host": "user: bind of /etc, read-only", "/": "user: read-only: 1 layer of the image",
	})
	if !strings.HasPrefix(got["/data"], "image: anonymous volume ") || !strings.HasPrefix(got["address"], "engine: ") {
		t.Errorf("/data is %q, the address %q", got["/data"], got["address"])
	}
	if out := cli.OK(t, "explain", n); !strings.Contains(out, "Container "+n) || !strings.Contains(out, "\nProcess\n") || !strings.Contains(out, "sleep 500") {
		t.Errorf("for people:\n%s", out)
	}
	cli.Fails(t, 1, "there is no container and no image called", "explain", "nosuchthing")
}

// TestDebug looks into a container without a shell from beside it.
func TestDebug(t *testing.T) {
	e := engine(t)
	cli := e.Davit()
	n := name(t, cli)
	cli.OK(t, "run", "-d", "--name", n, "--stop-timeout", "0", "--label", "a=b", "busybox", "sh", "-c", "echo here >/mark; exec sleep 1000")
	look := "test $(readlink /proc/self/ns/net) = $(readlink /proc/1/ns/net) && test $(readlink /proc/self/ns/pid) = $(readlink /proc/1/ns/pid) && test ! -e /mark && cat $TARGET/mark && ps -o args"
	enginetest.Eventually(t, 10*time.Second, func() error {
		r := cli.Run(t, "debug", n, "sh", "-c", look)
		if r.Code != 0 || !strings.HasPrefix(r.Stdout, "here\n") || !strings.Contains(r.Stdout, "sleep 1000") || !strings.Contains(r.Stderr, "its files are below /proc/1/root") {
			return fmt.Errorf("exit code %d\nstdout: %s\nstderr: %s", r.Code, r.Stdout, r.Stderr)
		}
		return nil
	})
	if r := cli.Feed(t, strings.NewReader("cat /proc/1/root/mark\nexit 7\n"), "debug", "-q", n); r.Code != 7 || r.Stdout != "here\n" || r.Stderr != "" {
		t.Errorf("a shell that is fed: exit code %d\nstdout: %s\nstderr: %s", r.Code, r.Stdout, r.Stderr)
	}
	if left := cli.OK(t, "ps", "-aq", "--filter", "label=com.davit.debug="+n); left != "" {
		t.Errorf("left over: %s", left)
	}
	cli.Fails(t, 125, "take this host's with --from-host", "debug", "--image", "nosuchtools", "--pull", "never", n)
	if path := enginetest.NeedProgram(t, "busybox"); path != "" {
		r := cli.Run(t, "debug", "-q", "--from-host", n, "sh", "-c", "which cat && cat $TARGET/mark")
		if r.Code != 0 && strings.Contains(r.Stderr, "no static busybox") {
			t.Log("the busybox of this host is not static: --from-host is not tested")
		} else if r.Code != 0 || r.Stdout != "/.davit/bin/cat\nhere\n" {
			t.Errorf("--from-host: exit code %d\nstdout: %s\nstderr: %s", r.Code, r.Stdout, r.Stderr)
		}
	}
	cli.OK(t, "stop", n)
	cli.Fails(t, 1, "does not run, so there are no namespaces to join", "debug", n)
	cli.Fails(t, 1, "o such container", "debug", "nobody-"+n)

	// In a user namespace of its own.
	cli = private.get(t).Davit()
	n = name(t, cli)
	cli.OK(t, "run", "-d", "--name", n, "--stop-timeout", "0", "busybox", "sh", "-c", "echo mapped >/mark; exec sleep 1000")
	enginetest.Eventually(t, 10*time.Second, func() error {
		if r := cli.Run(t, "debug", "-q", n, "cat", "/proc/1/root/mark"); r.Code != 0 || r.Stdout != "mapped\n" {
			return fmt.Errorf("exit code %d\nstdout: %s\nstderr: %s", r.Code, r.Stdout, r.Stderr)
		}
		return nil
	})
}
