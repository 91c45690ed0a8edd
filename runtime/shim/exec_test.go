package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/wire"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// execHost is a container to run execs in, whose events are kept.
type execHost struct {
	*shimProcess
	mu       sync.Mutex
	ended    map[string]wire.ExecExit
	detached []wire.Detached
	exit     *wire.Exit
}

func newExecHost(t *testing.T) *execHost {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containers need root")
	}
	h := &execHost{shimProcess: warmShim(t, kind{root: rootfs(t)}).sh("exec sleep 1000"), ended: map[string]wire.ExecExit{}}
	h.run()
	if err := os.Mkdir(filepath.Join(h.start.RunDir, wire.ExecDir), 0o700); err != nil {
		t.Fatal(err)
	}
	go func() {
		for e := range h.Events() {
			h.mu.Lock()
			switch {
			case e.ExecExited != nil:
				h.ended[e.ExecExited.ID] = *e.ExecExited
			case e.Detached != nil:
				h.detached = append(h.detached, *e.Detached)
			case e.Exited != nil:
				h.exit = e.Exited
			}
			h.mu.Unlock()
		}
	}()
	return h
}

// shell is a request for a script of busybox's shell.
func shell(id, script string) *wire.Exec {
	return &wire.Exec{ID: id, Record: true, Process: &specs.Process{Cwd: "/", Env: []string{"PATH=/bin"}, Args: []string{"/bin/busybox", "sh", "-c", script}}}
}

// exec runs r with a client, unless r has none.
func (h *execHost) exec(r *wire.Exec) (*net.UnixConn, wire.ExecState) {
	h.t.Helper()
	if r.Client == nil {
		st, err := h.Exec(context.Background(), r)
		if err != nil {
			h.t.Fatal(err)
		}
		return nil, st
	}
	mine, theirs := unixPair(h.t)
	defer theirs.Close()
	st, err := h.Exec(context.Background(), r, theirs)
	if err != nil {
		h.t.Fatal(err)
	}
	return mine, st
}

func (h *execHost) end(t *testing.T, id string) (exit wire.ExecExit) {
	t.Helper()
	eventually(t, "end of exec "+id, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		var ok bool
		exit, ok = h.ended[id]
		return ok
	})
	return exit
}

var everything = wire.Attach{Stdin: true, Stdout: true, Stderr: true}

func TestExecStreams(t *testing.T) {
	h := newExecHost(t)
	r := shell("a", `cat; echo err >&2; exit 3`)
	r.Client = &wire.Attach{Stdin: true, Stdout: true, Stderr: true, Input: []byte("early ")}
	client, st := h.exec(r)
	if list, err := h.Execs(context.Background()); err != nil || len(list) != 1 || list[0] != st || st.Pid == 0 || st.PidStart == 0 {
		t.Errorf("list %+v, %v; started %+v", list, err, st)
	}
	io.WriteString(client, "late")
	client.CloseWrite()
	if stdout, stderr, err := demux(client); stdout != "early late" || stderr != "err\n" || err != nil {
		t.Errorf("client got %q, %q, %v", stdout, stderr, err)
	}
	if list, err := h.Execs(context.Background()); err != nil || len(list) != 0 {
		t.Errorf("after the stream's end: %+v, %v", list, err)
	}
	exit := h.end(t, "a")
	if exit.ExitCode != 3 || exit.Signal != 0 {
		t.Errorf("exit %+v", exit)
	}
	var record wire.ExecExit
	h.readJSON(wire.ExecExitName("a"), &record)
	if record != exit {
		t.Errorf("record %+v, told %+v", record, exit)
	}

	only := shell("b", `echo out; echo err >&2`)
	only.Client = &wire.Attach{Stderr: true, Raw: true}
	client, _ = h.exec(only)
	if got, err := io.ReadAll(client); string(got) != "err\n" || err != nil {
		t.Errorf("raw stderr alone: %q, %v", got, err)
	}
	_, _ = h.exec(shell("c", `kill -KILL $$`))
	if exit := h.end(t, "c"); exit.ExitCode != 137 || exit.Signal != 9 {
		t.Errorf("killed: %+v", exit)
	}
}

func TestExecTerminal(t *testing.T) {
	h := newExecHost(t)
	r := shell("tty", `stty size; read x; stty size; read y; echo $y`)
	r.Process.Terminal, r.Process.ConsoleSize = true, &specs.Box{Height: 11, Width: 22}
	r.Client = &wire.Attach{Stdin: true, Stdout: true, DetachKeys: []byte{16, 17}}
	client, _ := h.exec(r)
	readUntil(t, client, "11 22")
	if err := h.ExecResize(context.Background(), wire.ExecResize{ID: "tty", Width: 44, Height: 33}); err != nil {
		t.Error(err)
	}
	io.WriteString(client, "\n")
	readUntil(t, client, "33 44")
	client.Write([]byte{16, 17})
	if _, err := io.ReadAll(client); err != nil {
		t.Error(err)
	}
	eventually(t, "detached", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.detached) == 1 && h.detached[0].Exec == "tty"
	})
	if list, _ := h.Execs(context.Background()); len(list) != 1 {
		t.Errorf("detached exec: %v", list)
	}
	if err := h.ExecSignal(context.Background(), wire.ExecSignal{ID: "tty", Signal: int(unix.SIGKILL), All: true}); err != nil {
		t.Error(err)
	}
	if exit := h.end(t, "tty"); exit.ExitCode != 137 {
		t.Errorf("exit %+v", exit)
	}
}

func TestExecFails(t *testing.T) {
	h := newExecHost(t)
	for _, c := range []struct {
		name   string
		change func(*wire.Exec)
		code   int
		text   string
	}{
		{"missing", func(r *wire.Exec) { r.Process.Args = []string{"nosuch"} }, 127, `exec: "nosuch": executable file not found in $PATH`},
		{"not executable", func(r *wire.Exec) { r.Process.Args = []string{"/bin/not-executable"} }, 126, "permission denied"},
		{"working directory", func(r *wire.Exec) { r.Process.Cwd = "/nosuch" }, 127, "/nosuch"},
		{"no process", func(r *wire.Exec) { r.Process = nil }, 0, "without a process"},
		{"path as ID", func(r *wire.Exec) { r.ID = "../x" }, 0, "ID"},
		{"client without socket", func(r *wire.Exec) { r.Client = &everything }, 0, "descriptors"},
	} {
		r := shell("x", "exit 0")
		c.change(r)
		_, err := h.Exec(context.Background(), r)
		var e *wire.Error
		if !errors.As(err, &e) || e.ExitCode != c.code || !strings.Contains(e.Message, c.text) {
			t.Errorf("%s: %+v", c.name, err)
		}
	}
	// Who asked still has the client's connection.
	r := shell("x", "")
	r.Process.Args, r.Client = []string{"nosuch"}, &everything
	mine, theirs := unixPair(t)
	if _, err := h.Exec(context.Background(), r, theirs); err == nil {
		t.Fatal("no error")
	}
	if _, err := io.WriteString(theirs, "sorry"); err != nil {
		t.Error(err)
	}
	theirs.Close()
	if got, err := io.ReadAll(mine); string(got) != "sorry" || err != nil {
		t.Errorf("client got %q, %v", got, err)
	}
	if err := h.ExecSignal(context.Background(), wire.ExecSignal{ID: "x", Signal: 9}); !errs.Is(err, errs.Conflict) {
		t.Errorf("signal to nobody: %v", err)
	}
}

func TestExecEndsWithContainer(t *testing.T) {
	h := newExecHost(t)
	r := shell("a", "sleep 1000 & exec sleep 1000")
	r.Client = &everything
	client, _ := h.exec(r)
	h.exec(shell("b", "exec sleep 1000"))
	if err := h.Signal(context.Background(), wire.Signal{Signal: int(unix.SIGKILL)}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := demux(client); err != nil {
		t.Error(err)
	}
	eventually(t, "end of the container", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.exit != nil && len(h.ended) != 2 {
			t.Fatalf("the container's end was told before that of its execs: %v", h.ended)
		}
		return h.exit != nil
	})
	if exit := h.end(t, "b"); exit.ExitCode != 137 {
		t.Errorf("exit %+v", exit)
	}
}

func TestExecDiesWithClient(t *testing.T) {
	h := newExecHost(t)
	for _, c := range []struct {
		id, script string
		die        bool
		code       int
	}{
		{"hup", "sleep 1000 & exec sleep 1000", true, 129},
		{"stubborn", "trap '' HUP; while :; do sleep 1000; done", true, 137},
		{"stays", "exec sleep 1000", false, 0},
	} {
		r := shell(c.id, c.script)
		r.Client, r.DieWithClient = &everything, c.die
		client, st := h.exec(r)
		client.CloseWrite() // the end of input is not the end of the client
		time.Sleep(10 * time.Millisecond)
		if !alive(st.Pid) {
			t.Errorf("%s: died of the end of its input", c.id)
		}
		client.Close()
		if c.die {
			if exit := h.end(t, c.id); exit.ExitCode != c.code {
				t.Errorf("%s: %+v", c.id, exit)
			}
		}
	}
	if list, _ := h.Execs(context.Background()); len(list) != 1 || list[0].ID != "stays" {
		t.Errorf("left: %v", list)
	}
	for _, pid := range h.pids(t) {
		if pid != h.state.Pid {
			if sid, _ := unix.Getsid(pid); sid != pid {
				t.Errorf("process %d of session %d is left", pid, sid)
			}
		}
	}
}

// pids lists the container's processes.
func (h *execHost) pids(t *testing.T) (pids []int) {
	t.Helper()
	for _, dir := range h.state.Cgroup {
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			var pid int
			if _, err := fmt.Sscan(line, &pid); err == nil {
				pids = append(pids, pid)
			}
		}
		break
	}
	return pids
}

func TestExecSlowClient(t *testing.T) {
	h := newExecHost(t)
	before := h.memory("Private_Dirty")
	r := shell("slow", "dd if=/dev/zero bs=1M count=64 2>/dev/null; echo done >&2")
	r.Client = &everything
	client, _ := h.exec(r)
	time.Sleep(300 * time.Millisecond) // it takes nothing, and the process must wait
	if grown := h.memory("Private_Dirty") - before; grown > 8<<10 {
		t.Errorf("a client that takes nothing costs %d KiB", grown)
	}
	stdout, stderr, err := demux(client)
	if len(stdout) != 64<<20 || stderr != "done\n" || err != nil {
		t.Errorf("got %d bytes, %q, %v", len(stdout), stderr, err)
	}
}

func TestExecsInParallel(t *testing.T) {
	h := newExecHost(t)
	before := h.fds()
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			r := shell(fmt.Sprint("p", i), fmt.Sprintf("echo %d; exit %d", i, i))
			r.Client = &wire.Attach{Stdout: true}
			mine, theirs := unixPair(t)
			defer theirs.Close()
			if _, err := h.Exec(context.Background(), r, theirs); err != nil {
				t.Error(err)
				return
			}
			if stdout, _, err := demux(mine); stdout != fmt.Sprintln(i) || err != nil {
				t.Errorf("%d: %q, %v", i, stdout, err)
			}
		})
	}
	all.Wait()
	for i := range 100 {
		if exit := h.end(t, fmt.Sprint("p", i)); exit.ExitCode != i {
			t.Errorf("%d: %+v", i, exit)
		}
	}
	eventually(t, "descriptors closed", func() bool { return h.fds() == before })
}
