package peers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	enginetest "github.com/davit-engine/davit/test/engine"
)

func TestPodman(t *testing.T) {
	podman := enginetest.NeedProgram(t, "podman")
	enginetest.NeedProgram(t, "conmon")
	p := newPeer(t, "podman")
	p.CLI = enginetest.CLI{Name: "podman", Path: p.script(t, podman,
		"--root", p.dir+"/root", "--runroot", p.dir+"/run", "--tmpdir", p.dir+"/tmp", "--storage-driver", "overlay",
		"--runtime", p.script(t, p.runtime, "--root", p.state), "--cgroup-manager", "cgroupfs", "--events-backend", "file")}
	// Podman's own limits are above what a machine may allow.
	config := filepath.Join(p.dir, "containers.conf")
	if err := os.WriteFile(config, []byte("[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Env = append(os.Environ(), "CONTAINERS_CONF="+config)
	p.OK(t, "load", "-i", p.archive(t))
	t.Cleanup(func() {
		p.Run(t, "rm", "-af", "-t", "0")
		p.Run(t, "rmi", "-af")
	})
	p.lives(t)
}

func TestDocker(t *testing.T) {
	dockerd := enginetest.NeedProgram(t, "dockerd")
	// The client of the same package: a newer one may not speak to an older daemon.
	client := "/usr/bin/docker"
	if _, err := filepath.EvalSymlinks(client); err != nil {
		t.Skip("needs Debian's docker client")
	}
	enginetest.NeedProgram(t, "containerd")
	p := newPeer(t, "docker")
	socket := "unix://" + p.dir + "/docker.sock"
	p.CLI = enginetest.CLI{Name: "docker", Path: client, Env: []string{"DOCKER_HOST=" + socket, "HOME=" + p.dir, "PATH=/usr/bin:/bin"}}
	config := filepath.Join(p.dir, "daemon.json") // not the machine's
	if err := os.WriteFile(config, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.daemon(t, func() error {
		if r := p.Run(t, "version"); r.Code != 0 {
			return fmt.Errorf("docker version: %s%s", r.Stdout, r.Stderr)
		}
		return nil
	}, dockerd, "--host", socket, "--data-root", p.dir+"/data", "--exec-root", p.dir+"/exec", "--pidfile", p.dir+"/pid", "--config-file", config,
		"--bridge", "none", "--iptables=false", "--ip6tables=false", "--cgroup-parent", "/"+p.group, "--exec-opt", "native.cgroupdriver=cgroupfs",
		"--add-runtime", "davit="+p.script(t, p.runtime, "--root", p.state), "--default-runtime", "davit")
	p.OK(t, "load", "-i", p.archive(t))
	t.Cleanup(func() {
		if ids := strings.Fields(p.Run(t, "ps", "-aq").Stdout); len(ids) > 0 {
			p.Run(t, append([]string{"rm", "-f"}, ids...)...)
		}
	})
	p.lives(t)
}

// lives is the life of containers by a command line like docker's.
func (p *peer) lives(t *testing.T) {
	run := func(args ...string) []string {
		return append([]string{"run", "--network", "none", "--cgroup-parent", "/" + p.group}, args...)
	}
	background := func(t *testing.T, name string, args ...string) {
		t.Helper()
		p.OK(t, run(append([]string{"-d", "--name", name}, args...)...)...)
		t.Cleanup(func() { p.remove(t, name) })
	}
	state := func(t *testing.T, name, field string) string {
		return strings.TrimSpace(p.OK(t, "inspect", "-f", "{{"+field+"}}", name))
	}

	t.Run("output and exit codes", func(t *testing.T) {
		if out := p.OK(t, run("--rm", image, "echo", "hello")...); out != "hello" {
			t.Errorf("got %q", out)
		}
		if r := p.Feed(t, strings.NewReader("in\n"), run("--rm", "-i", image, "cat")...); strings.TrimSpace(r.Stdout) != "in" || r.Code != 0 {
			t.Errorf("got %+v", r)
		}
		for _, c := range []struct {
			code int
			args []string
		}{{3, []string{"sh", "-c", "exit 3"}}, {127, []string{"/no/such"}}, {127, []string{"no-such"}}, {126, []string{"/etc/passwd"}}} {
			if r := p.Run(t, run(append([]string{"--rm", image}, c.args...)...)...); r.Code != c.code {
				t.Errorf("%v: exit code %d, want %d: %s", c.args, r.Code, c.code, r.Stderr)
			}
		}
	})
	t.Run("terminal", func(t *testing.T) {
		contains(t, p.OK(t, run("--rm", "-t", image, "tty")...), "/dev/pts/0")
		contains(t, p.inTerminal(t, run("--rm", "-it", image, "sh", "-c", "tty; test -t 2 && echo terminal")...), "/dev/pts/0\n", "terminal\n")
	})
	t.Run("exec", func(t *testing.T) {
		background(t, "execs", image, "sleep", "600")
		contains(t, p.OK(t, "exec", "-e", "A=b", "-w", "/tmp", "-u", "1:2", "execs", "sh", "-c", "echo $A; pwd; id; cat /proc/1/comm"), "b\n/tmp\nuid=1 gid=2", "\nsleep")
		contains(t, p.OK(t, "exec", "-t", "execs", "tty"), "/dev/pts/")
		contains(t, p.inTerminal(t, "exec", "-it", "execs", "sh", "-c", "tty; test -t 2 && echo terminal"), "/dev/pts/", "terminal\n")
		if r := p.Feed(t, strings.NewReader("in\n"), "exec", "-i", "execs", "cat"); strings.TrimSpace(r.Stdout) != "in" {
			t.Errorf("got %+v", r)
		}
		for want, command := range map[int]string{7: "exit 7", 137: "kill -KILL $$"} {
			if r := p.Run(t, "exec", "execs", "sh", "-c", command); r.Code != want {
				t.Errorf("%s: exit code %d", command, r.Code)
			}
		}
		for command, want := range map[string]int{"/no/such": 127, "/etc/passwd": 126} {
			if r := p.Run(t, "exec", "execs", command); r.Code != want && !(p.Name == "docker" && r.Code == 126) { // docker 20.10 says 126 of both
				t.Errorf("%s: exit code %d: %s", command, r.Code, r.Stderr)
			}
		}
	})
	t.Run("pause and update", func(t *testing.T) {
		background(t, "paused", "-m", "64m", image, "sh", "-c", "while sleep 0.01; do echo x; done")
		contains(t, p.OK(t, "exec", "paused", "sh", "-c", memoryLimit), "67108864")
		p.OK(t, "pause", "paused")
		if s := state(t, "paused", ".State.Status"); s != "paused" {
			t.Errorf("it is %s", s)
		}
		before := p.OK(t, "logs", "paused")
		p.OK(t, "unpause", "paused")
		enginetest.Eventually(t, patience, func() error {
			if after := p.OK(t, "logs", "paused"); len(after) <= len(before) {
				return fmt.Errorf("it says no more than %d bytes", len(after))
			}
			return nil
		})
		if p.Name == "docker" || p.updates(t) {
			p.OK(t, "update", "--memory", "32m", "--memory-swap", "32m", "paused")
			contains(t, p.OK(t, "exec", "paused", "sh", "-c", memoryLimit), "33554432")
		}
	})
	t.Run("kill, stop, start again", func(t *testing.T) {
		background(t, "stopped", image, "sh", "-c", "trap 'echo usr1' USR1; trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done")
		says := func(what string) {
			t.Helper()
			enginetest.Eventually(t, patience, func() error {
				if out := p.OK(t, "logs", "stopped"); !strings.Contains(out, what) {
					return fmt.Errorf("no %q in %q", what, out)
				}
				return nil
			})
		}
		says("ready")
		p.OK(t, "kill", "-s", "USR1", "stopped")
		says("usr1")
		p.OK(t, "stop", "stopped")
		if s := state(t, "stopped", ".State.Status") + state(t, "stopped", ".State.ExitCode"); s != "exited5" {
			t.Errorf("it is %s", s)
		}
		p.OK(t, "start", "stopped")
		p.OK(t, "kill", "stopped")
		enginetest.Eventually(t, patience, func() error {
			if s := state(t, "stopped", ".State.Status") + state(t, "stopped", ".State.ExitCode"); s != "exited137" {
				return fmt.Errorf("it is %s", s)
			}
			return nil
		})
	})
	t.Run("out of memory", func(t *testing.T) {
		// Not the first process: conmon hears of both ends at once then, and may look at the wrong one first.
		p.Run(t, run("--name", "hungry", "-m", "16m", "--memory-swap", "16m", image, "sh", "-c", "tail /dev/zero; code=$?; sleep 0.5; exit $code")...)
		defer p.remove(t, "hungry")
		killed, code := state(t, "hungry", ".State.OOMKilled"), state(t, "hungry", ".State.ExitCode")
		// This conmon says it by a file, and Podman 4.3 looks for that in another folder.
		_, err := os.Stat(filepath.Join(p.dir, "oom"))
		if killed != "true" && (p.Name == "docker" || err != nil) || code != "137" {
			t.Errorf("killed for memory: %s (%v), exit code %s", killed, err, code)
		}
	})
	t.Run("twenty at once", func(t *testing.T) {
		together(20, func(id string) {
			if out := p.Run(t, run("-d", "--name", id, image, "sleep", "600")...); out.Code != 0 {
				t.Errorf("%s: %+v", id, out)
			}
		})
		together(20, func(id string) {
			if out := p.Run(t, "exec", id, "hostname"); out.Code != 0 {
				t.Errorf("%s: %+v", id, out)
			}
		})
		together(20, func(id string) {
			if out := p.remove(t, id); out.Code != 0 {
				t.Errorf("%s: %+v", id, out)
			}
		})
	})
}

// remove kills and removes a container.
func (p *peer) remove(t *testing.T, name string) enginetest.Result {
	args := []string{"rm", "-f", name}
	if p.Name == "podman" { // it would ask it to end, and wait
		args = append(args, "-t", "0")
	}
	return p.Run(t, args...)
}

// updates reports whether this podman has `update`, which came with 4.5.
func (p *peer) updates(t *testing.T) bool { return p.Run(t, "update", "--help").Code == 0 }
