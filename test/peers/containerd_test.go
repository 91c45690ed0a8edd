package peers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	enginetest "github.com/davit-engine/davit/test/engine"
)

func TestContainerd(t *testing.T) {
	containerd := enginetest.NeedProgram(t, "containerd")
	ctr := enginetest.NeedProgram(t, "ctr")
	enginetest.NeedProgram(t, "containerd-shim-runc-v2")
	p := newPeer(t, "containerd")
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = %q\n",
		p.dir+"/root", p.dir+"/state", p.dir+"/c.sock")
	if err := os.WriteFile(filepath.Join(p.dir, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	// The namespace gives its name to the cgroup of its containers.
	p.CLI = enginetest.CLI{Name: "ctr", Path: p.script(t, ctr, "-a", p.dir+"/c.sock", "-n", p.group)}
	p.daemon(t, func() error {
		if r := p.Run(t, "version"); r.Code != 0 {
			return fmt.Errorf("ctr version: %s", r.Stderr)
		}
		return nil
	}, containerd, "--config", p.dir+"/config.toml")
	p.OK(t, "images", "import", p.archive(t))

	run := func(args ...string) []string {
		return append([]string{"run", "--runc-binary", p.runtime, "--runc-root", p.state, "--fifo-dir", p.dir}, args...)
	}
	end := func(id string) {
		p.Run(t, "tasks", "kill", "-s", "KILL", id)
		p.Run(t, "tasks", "rm", "-f", id)
		p.Run(t, "containers", "rm", id)
	}
	background := func(t *testing.T, id string, args ...string) {
		t.Helper()
		at := 0
		for strings.HasPrefix(args[at], "-") {
			at += 2
		}
		full := append([]string{"-d", "--null-io"}, args[:at]...)
		p.OK(t, run(append(append(full, image, id), args[at:]...)...)...)
		t.Cleanup(func() { end(id) })
	}
	status := func(id string) string {
		for line := range strings.Lines(p.Run(t, "tasks", "ls").Stdout) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == id {
				return f[2]
			}
		}
		return ""
	}
	becomes := func(t *testing.T, id, want string) {
		t.Helper()
		enginetest.Eventually(t, patience, func() error {
			if s := status(id); s != want {
				return fmt.Errorf("%s is %q", id, s)
			}
			return nil
		})
	}

	t.Run("output and exit codes", func(t *testing.T) {
		if out := p.OK(t, run("--rm", image, "one", "echo", "hello")...); out != "hello" {
			t.Errorf("got %q", out)
		}
		for code, command := range map[int]string{3: "exit 3", 0: "true"} {
			if r := p.Run(t, run("--rm", image, "one", "sh", "-c", command)...); r.Code != code {
				t.Errorf("%s: exit code %d: %s", command, r.Code, r.Stderr)
			}
		}
		r := p.Run(t, run("--rm", image, "one", "/no/such")...)
		contains(t, r.Stderr, "/no/such", "no such file or directory")
	})
	t.Run("terminal", func(t *testing.T) {
		contains(t, p.inTerminal(t, run("--rm", "-t", image, "one", "sh", "-c", "tty; test -t 2 && echo terminal")...), "/dev/pts/0\n", "terminal\n")
	})
	t.Run("exec", func(t *testing.T) {
		background(t, "execs", "sleep", "600")
		if out := p.OK(t, "tasks", "exec", "--fifo-dir", p.dir, "--exec-id", "e1", "--user", "1", "execs", "sh", "-c", "id -u; cat /proc/1/comm"); out != "1\nsleep" {
			t.Errorf("got %q", out)
		}
		contains(t, p.inTerminal(t, "tasks", "exec", "--fifo-dir", p.dir, "-t", "--exec-id", "e2", "execs", "sh", "-c", "tty; test -t 2 && echo terminal"), "/dev/pts/", "terminal\n")
		if r := p.Run(t, "tasks", "exec", "--fifo-dir", p.dir, "--exec-id", "e3", "execs", "sh", "-c", "exit 7"); r.Code != 7 {
			t.Errorf("exit code %d", r.Code)
		}
		r := p.Run(t, "tasks", "exec", "--fifo-dir", p.dir, "--exec-id", "e4", "execs", "/no/such")
		contains(t, r.Stderr, "/no/such")
	})
	t.Run("pause", func(t *testing.T) {
		background(t, "paused", "--memory-limit", "67108864", "sleep", "600")
		contains(t, p.OK(t, "tasks", "exec", "--fifo-dir", p.dir, "--exec-id", "e1", "paused", "sh", "-c", "cat /proc/self/cgroup"), "paused")
		p.OK(t, "tasks", "pause", "paused")
		becomes(t, "paused", "PAUSED")
		p.OK(t, "tasks", "resume", "paused")
		becomes(t, "paused", "RUNNING")
		contains(t, p.OK(t, "tasks", "metrics", "paused"), "memory")
		contains(t, p.OK(t, "tasks", "ps", "paused"), "PID")
	})
	t.Run("kill", func(t *testing.T) {
		background(t, "killed", "sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.05; done")
		enginetest.Eventually(t, patience, func() error { // until it has its trap
			p.Run(t, "tasks", "kill", "-s", "TERM", "killed")
			if s := status("killed"); s != "STOPPED" {
				return fmt.Errorf("it is %q", s)
			}
			return nil
		})
		contains(t, p.Run(t, "tasks", "rm", "killed").Stderr, "non-zero exit code 5")
		contains(t, p.OK(t, "containers", "ls"), "killed")
	})
	t.Run("out of memory", func(t *testing.T) {
		events := p.Start(t, "events")
		defer events.Kill()
		p.Run(t, run("--rm", "--memory-limit", "16777216", image, "hungry", "sh", "-c", "sleep 0.5; tail /dev/zero")...)
		events.WaitFor(t, "/tasks/oom")
	})
	t.Run("twenty at once", func(t *testing.T) {
		together(20, func(id string) {
			if r := p.Run(t, run("-d", "--null-io", image, id, "sleep", "600")...); r.Code != 0 {
				t.Errorf("%s: %+v", id, r)
			}
		})
		together(20, func(id string) {
			if r := p.Run(t, "tasks", "exec", "--fifo-dir", p.dir, "--exec-id", "e", id, "true"); r.Code != 0 {
				t.Errorf("%s: %+v", id, r)
			}
		})
		together(20, end)
		if out := p.OK(t, "tasks", "ls", "-q"); out != "" {
			t.Errorf("left: %s", out)
		}
	})
	p.OK(t, "images", "rm", "--sync", image)
}
