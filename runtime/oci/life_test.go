package oci

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestLife(t *testing.T) {
	h := newHost(t)
	h.spec.Annotations = map[string]string{"org.example.key": "value"}
	h.write()
	pidFile := filepath.Join(t.TempDir(), "pid")
	h.ok("create", "--pid-file", pidFile, "--bundle", h.bundle, "c1")
	var v view
	if err := json.Unmarshal([]byte(h.ok("state", "c1")), &v); err != nil {
		t.Fatal(err)
	}
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	if v.Status != specs.StateCreated || v.ID != "c1" || strconv.Itoa(v.Pid) != string(pid) || v.Bundle != h.bundle || v.Rootfs != h.bundle+"/rootfs" ||
		v.Annotations["org.example.key"] != "value" || v.Version != specs.Version || time.Since(v.Created) > time.Minute {
		t.Errorf("state %+v, pid file %q", v, pid)
	}
	// What the bundle says now is of no meaning.
	h.command("false")
	if exe, err := os.Readlink("/proc/" + string(pid) + "/exe"); err != nil || strings.Contains(exe, "busybox") {
		t.Errorf("before start the process runs %s, %v", exe, err)
	}
	h.ok("start", "c1")
	if exe, err := os.Readlink("/proc/" + string(pid) + "/exe"); err != nil || !strings.Contains(exe, "busybox") {
		t.Errorf("when start has returned the process runs %s, %v", exe, err)
	}
	h.wantStatus("c1", "running")
	h.fails(1, "cannot start an already running container", "start", "c1")
	h.fails(1, "already exists", "create", "c1")
	h.fails(1, "not stopped", "delete", "c1")
	if got := h.ok("ps", "--format", "json", "c1"); strings.TrimSpace(got) != "["+string(pid)+"]" {
		t.Errorf("ps says %s, the process is %s", got, pid)
	}
	if got := h.ok("ps", "c1", "-o", "pid,args"); !strings.Contains(got, "sleep 1000") || strings.Count(got, "\n") != 2 {
		t.Errorf("ps says %s", got)
	}
	if got := h.ok("list", "-q"); got != "c1\n" {
		t.Errorf("list -q says %q", got)
	}
	if got := h.ok("list"); !strings.HasPrefix(got, "ID          PID         STATUS") || !strings.Contains(got, "running") || !strings.Contains(got, "root\n") {
		t.Errorf("list says %q", got)
	}
	h.ok("pause", "c1")
	h.wantStatus("c1", "paused")
	h.fails(255, "paused container", "exec", "c1", "true")
	h.fails(1, "not running", "pause", "c1")
	h.ok("resume", "c1")
	h.fails(1, "not paused", "resume", "c1")
	h.wantStatus("c1", "running")
	h.ok("kill", "c1", "KILL")
	h.wantStatus("c1", "stopped")
	h.fails(1, "not running", "kill", "c1")
	h.ok("kill", "--all", "c1", "9")
	h.fails(255, "stopped container", "exec", "c1", "true")
	h.fails(1, "has stopped", "start", "c1")
	h.ok("delete", "c1")
	h.fails(1, "does not exist", "state", "c1")
	h.fails(1, "does not exist", "delete", "c1")
	h.ok("delete", "--force", "c1")
	if left := h.groupLeft(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if left, err := os.ReadDir(h.root); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestDeleteCreated(t *testing.T) {
	h := newHost(t)
	h.ok("create", "c1")
	h.ok("delete", "c1")
	h.ok("create", "c1")
	h.ok("start", "c1")
	h.ok("pause", "c1")
	h.ok("delete", "c1", "-f")
	if left := h.groupLeft(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// A container that shares the host's pid namespace has processes that outlive
// its first one.
func TestSharedPIDs(t *testing.T) {
	h := newHost(t)
	h.spec.Linux.Namespaces = append([]specs.LinuxNamespace{}, h.spec.Linux.Namespaces[1:]...)
	h.command("sh", "-c", "sleep 1000 & sleep 1000 & exec sleep 1000")
	h.ok("run", "--detach", "c1")
	var pids []int
	h.poll(func() error {
		if err := json.Unmarshal([]byte(h.ok("ps", "-f", "json", "c1")), &pids); err != nil || len(pids) != 3 {
			return os.ErrNotExist
		}
		return nil
	})
	h.ok("kill", "c1", "KILL")
	h.wantStatus("c1", "stopped")
	if err := json.Unmarshal([]byte(h.ok("ps", "-f", "json", "c1")), &pids); err != nil || len(pids) != 2 {
		t.Errorf("after the end of the first process there are %v", pids)
	}
	h.ok("delete", "c1")
	for _, pid := range pids {
		if !zombie(pid) {
			t.Errorf("process %d is left", pid)
		}
	}
}

func TestRunForeground(t *testing.T) {
	h := newHost(t)
	for _, c := range []struct {
		script string
		status int
	}{{"exit 0", 0}, {"exit 3", 3}, {"kill -TERM $$; sleep 1; exit 4", 4}, {"ulimit -c 0; exec sh -c 'kill -SEGV $$; exit 5'", 5}} {
		h.command("sh", "-c", c.script)
		if r := h.run("run", "c1"); r.status != c.status {
			t.Errorf("%s: status %d, %s; want %d", c.script, r.status, r.stderr, c.status)
		}
	}
	h.command("sh", "-c", "echo out; echo err >&2; cat; exit 7")
	cmd := h.cmd("run", "--keep", "c1")
	cmd.Stdin = strings.NewReader("typed\n")
	if r := h.finish(cmd); r != (result{7, "out\ntyped\n", "err\n"}) {
		t.Errorf("%+v", r)
	}
	h.wantStatus("c1", "stopped")
	h.ok("delete", "c1")
	h.command("no-such-program")
	h.fails(1, "executable file not found in $PATH", "run", "c1")
	if got := h.ok("list", "-q"); got != "" {
		t.Errorf("left: %q", got)
	}
}

// A signal for run is one for the container.
func TestRunForwardsSignals(t *testing.T) {
	h := newHost(t)
	mark := filepath.Join(h.bundle, "rootfs", "ready")
	h.spec.Root.Readonly = false
	h.command("sh", "-c", "trap 'exit 42' USR1; touch /ready; while :; do sleep 0.01; done")
	cmd := h.cmd("run", "c1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h.poll(func() error { _, err := os.Stat(mark); return err })
	if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 42 {
		t.Errorf("%v, want status 42", err)
	}
}

// Of creates and starts at once one of each gets through.
func TestOneAtATime(t *testing.T) {
	h := newHost(t)
	atOnce := func(args ...string) (good int) {
		var wait sync.WaitGroup
		var mu sync.Mutex
		for range 8 {
			wait.Go(func() {
				cmd := h.cmd(args...)
				if err := cmd.Run(); err == nil {
					mu.Lock()
					good++
					mu.Unlock()
				}
			})
		}
		wait.Wait()
		return good
	}
	if n := atOnce("create", "c1"); n != 1 {
		t.Errorf("%d creates went well", n)
	}
	if n := atOnce("start", "c1"); n != 1 {
		t.Errorf("%d starts went well", n)
	}
	if n := atOnce("delete", "--force", "c1"); n != 8 {
		t.Errorf("%d forced deletes went well", n)
	}
}

// A create that is killed leaves something that can be deleted, and no process
// that would wait forever.
func TestKilledCreate(t *testing.T) {
	h := newHost(t)
	mark := filepath.Join(t.TempDir(), "mark")
	h.spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo $$ > " + mark + "; exec sleep 1000"}}}}
	h.write()
	cmd := h.cmd("create", "c1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h.poll(func() error { _, err := os.Stat(mark); return err })
	h.wantStatus("c1", "creating")
	var v view
	if err := json.Unmarshal([]byte(h.ok("state", "c1")), &v); err != nil || v.Pid == 0 {
		t.Errorf("%+v, %v", v, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if b, err := os.ReadFile(mark); err == nil { // the hook is not the container's
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			defer syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	h.ok("delete", "c1")
	h.poll(func() error {
		if !zombie(v.Pid) {
			return os.ErrExist
		}
		return nil
	})
	if left := h.groupLeft(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// Nobody is signalled in place of a container's process that has gone.
func TestForeignProcess(t *testing.T) {
	h := newHost(t)
	h.ok("run", "-d", "c1")
	victim := exec.Command("sleep", "1000")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- victim.Wait() }()
	defer victim.Process.Kill()
	h.ok("kill", "c1", "KILL")
	h.wantStatus("c1", "stopped")
	path := filepath.Join(h.root, "c1", recordName)
	var r record
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.Pid = victim.Process.Pid
	r.PidStart-- // both may have begun within one tick of the clock
	if b, err = json.Marshal(r); err == nil {
		err = os.WriteFile(path, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.wantStatus("c1", "stopped")
	h.fails(1, "not running", "kill", "c1", "KILL")
	h.ok("delete", "--force", "c1")
	select {
	case err := <-ended:
		t.Errorf("the other process was killed: %v", err)
	default:
	}
}

func TestFailedCreateLeavesNothing(t *testing.T) {
	h := newHost(t)
	for _, c := range []struct {
		name, words string
		change      func(*specs.Spec)
		args        []string
	}{
		{"program", "executable file not found", func(s *specs.Spec) { s.Process.Args = []string{"nothing"} }, nil},
		{"rootfs", "root.path", func(s *specs.Spec) { s.Root.Path = "nothing" }, nil},
		{"mount", "/proc/nothing", func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Type: "bind", Source: "/nothing", Destination: "/proc/nothing"})
		}, nil},
		{"hook", "createRuntime hook 0: hook /bin/false: exit status 1", func(s *specs.Spec) {
			s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/false"}}}
		}, nil},
		{"pid file", "pid file", func(*specs.Spec) {}, []string{"--pid-file", "/nothing/pid"}},
		{"version", "ociVersion", func(s *specs.Spec) { s.Version = "2.0.0" }, nil},
		{"no pivot", "--no-pivot", func(*specs.Spec) {}, []string{"--no-pivot"}},
		{"terminal", "--console-socket", func(s *specs.Spec) { s.Process.Terminal = true }, nil},
		{"no terminal", "--console-socket", func(*specs.Spec) {}, []string{"--console-socket", "/nothing"}},
		{"console socket", "/nothing", func(s *specs.Spec) { s.Process.Terminal = true }, []string{"--console-socket", "/nothing"}},
	} {
		before := *h.spec
		process := *h.spec.Process
		root := *h.spec.Root
		before.Process, before.Root = &process, &root
		c.change(h.spec)
		h.write()
		h.fails(1, c.words, append(append([]string{"create"}, c.args...), "c1")...)
		*h.spec = before
		if left := h.groupLeft(); len(left) > 0 {
			t.Errorf("%s: left: %q", c.name, left)
		}
		if left, err := os.ReadDir(h.root); err == nil && len(left) > 0 {
			t.Errorf("%s: left: %v", c.name, left)
		}
	}
}
