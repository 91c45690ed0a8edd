package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// sleeper runs a container that does nothing, to run execs in.
func sleeper(t *testing.T, cli enginetest.CLI, options ...string) string {
	t.Helper()
	n := name(t, cli)
	cli.OK(t, append(append([]string{"run", "-d", "--name", n, "--stop-timeout", "0"}, options...), "busybox", "sleep", "1000")...)
	return n
}

func TestExec(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := sleeper(t, cli, "-e", "A=1", "-w", "/tmp")
		got := cli.Run(t, "exec", n, "sh", "-c", "echo out; echo err >&2; exit 7")
		if got != (enginetest.Result{Stdout: "out\n", Stderr: "err\n", Code: 7}) {
			t.Errorf("%+v", got)
		}
		big := strings.Repeat("0123456789abcdef", 1<<16)
		if got := cli.Feed(t, strings.NewReader(big), "exec", "-i", n, "cat"); got.Stdout != big || got.Code != 0 {
			t.Errorf("1 MB through cat: %d bytes came back, exit code %d, %s", len(got.Stdout), got.Code, got.Stderr)
		}
		if got := cli.Feed(t, strings.NewReader("unread"), "exec", n, "wc", "-c"); got.Stdout != "0\n" {
			t.Errorf("without -i the command read %q", got.Stdout)
		}
		if got := cli.OK(t, "exec", "-e", "B=2", "-e", "A", "-w", "/etc", n, "sh", "-c", "pwd; echo $A$B; echo $HOME"); got != "/etc\n12\n/root" && got != "/etc\n2\n/root" {
			t.Errorf("environment and directory: %q", got)
		}
		if got := cli.OK(t, "exec", n, "pwd"); got != "/tmp" {
			t.Errorf("working directory %q, want the container's", got)
		}
		cli.OK(t, "exec", n, "sh", "-c", "echo new:x:4711:4711::/home/new:/bin/sh >> /etc/passwd; echo team:x:99:new >> /etc/group")
		if got := cli.OK(t, "exec", "-u", "new", n, "sh", "-c", "id -u; id -g; id -G; echo $HOME; grep CapEff /proc/self/status"); got != "4711\n4711\n4711 99\n/home/new\nCapEff:\t0000000000000000" {
			t.Errorf("as a user that was added since: %q", got)
		}
		if got := cli.OK(t, "exec", "--privileged", n, "sh", "-c", "mkdir /m; mount -t tmpfs x /m && echo mounted; grep Seccomp: /proc/self/status"); got != "mounted\nSeccomp:\t0" {
			t.Errorf("privileged: %q", got)
		}
		for _, c := range []struct {
			want string
			code int
			args []string
		}{
			{`OCI runtime exec failed: exec failed: unable to start container process: exec: "nosuch": executable file not found in $PATH`, 127, []string{n, "nosuch"}},
			{"permission denied", 126, []string{n, "/etc/passwd"}},
			{"unable to find user nobodyhere: no matching entries in passwd file", 126, []string{"-u", "nobodyhere", n, "true"}},
			{"No such container: nowhere", 1, []string{"nowhere", "true"}},
			{"executable file not found", 1, []string{"-d", n, "nosuch"}},
			{"no matching entries in passwd file", 1, []string{"-d", "-u", "nobodyhere", n, "true"}},
		} {
			if got := cli.Run(t, append([]string{"exec"}, c.args...)...); got.Code != c.code || !strings.Contains(got.Stdout+got.Stderr, c.want) {
				t.Errorf("exec %q: %+v, want %d %q", c.args, got, c.code, c.want)
			}
		}
		if out := cli.OK(t, "exec", "-d", n, "sh", "-c", "echo done > /tmp/detached"); out != "" {
			t.Errorf("exec -d printed %q", out)
		}
		enginetest.Eventually(t, 10*time.Second, func() error {
			if got := cli.Run(t, "exec", n, "cat", "/tmp/detached"); got.Stdout != "done\n" {
				return fmt.Errorf("%+v", got)
			}
			return nil
		})
		cli.OK(t, "pause", n)
		cli.Fails(t, 1, "is paused, unpause the container before exec", "exec", n, "true")
		cli.OK(t, "unpause", n)
		cli.OK(t, "kill", n)
		cli.Fails(t, 1, "is not running", "exec", n, "true")
	})
}

func TestExecTerminal(t *testing.T) {
	e := engine(t)
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := sleeper(t, cli)
		if got := cli.Feed(t, strings.NewReader("x"), "exec", "-it", n, "sh"); got.Code != 1 || !strings.Contains(got.Stderr, "the input device is not a TTY") {
			t.Errorf("-it without a terminal: %+v", got)
		}
		term := e.Terminal(t)
		term.Type(cli.Name + " exec -it " + n + " sh")
		term.WaitFor("/ #")
		term.Type("tty; stty size; echo TERM $TERM")
		term.WaitFor("/dev/pts/0")
		term.WaitFor("30 100")
		term.WaitFor("TERM xterm")
		term.Resize("90", "25")
		term.Type("sleep 0.3; stty size")
		term.WaitFor("25 90")
		term.Type("(echo asleep $((40 + 3)); exec sleep 1000)")
		term.WaitFor("asleep 43")
		term.Press("C-c")
		term.Type("echo interrupted: $?")
		term.WaitFor("interrupted: 130")
		term.Press("C-p", "C-q")
		term.WaitFor("host2$")
		if ps := cli.OK(t, "exec", n, "ps"); strings.Count(ps, "sh") < 1 {
			t.Errorf("after detach the shell is gone:\n%s", ps)
		}
		term.Type(cli.Name + " exec -it " + n + " sh -c 'exit 9'")
		term.WaitFor("host3$")
		term.Type("echo code $?")
		term.WaitFor("code 9")
		if cli.Name != "davit" { // docker's client does not say that its user has left
			return
		}
		told := cli.Start(t, "events", "--since", "5m", "--filter", "container="+n)
		told.WaitFor(t, "exec_detach")
		told.Kill()
		term.Type(cli.Name + " exec -it --die-with-client " + n + " sh -c 'echo $((50 + 7)); sleep 1005'")
		term.WaitFor("57")
		term.Press("C-p", "C-q")
		term.WaitFor("host5$")
		if list := cli.OK(t, "exec", "ls", "--no-trunc", n); !strings.Contains(list, "sleep 1005") {
			t.Errorf("who detaches does not leave the command to die:\n%s", list)
		}
	})
}

// TestExecHostileFiles has a container put traps where the engine looks users
// up.
func TestExecHostileFiles(t *testing.T) {
	davit := engine(t).Davit()
	n := sleeper(t, davit)
	davit.OK(t, "exec", n, "sh", "-c", "cp /etc/passwd /tmp/; rm -f /etc/passwd /etc/group; mkfifo /etc/passwd; ln -s /proc/self/root/../../etc/shadow /etc/group")
	if got := davit.Run(t, "exec", n, "true"); got.Code != 126 || !strings.Contains(got.Stdout, "not a regular file") {
		t.Errorf("with a pipe: %+v", got)
	}
	root := fmt.Sprintf("/proc/%d/root", inspect(t, davit, n).State.Pid)
	for _, err := range []error{os.Remove(root + "/etc/passwd"), os.WriteFile(root+"/etc/passwd", []byte("a:b:c\n:::\nroot:x:4294967296:0::/:\nme:x:-1:0::/:\nok:x:7:7::/:\n"), 0o644)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for user, want := range map[string]int{"me": 126, "ok": 0, "7": 0, "-1": 126, "4294967296": 126} {
		if got := davit.Run(t, "exec", "-u", user, n, "sh", "-c", "[ $(id -u) = 7 ]"); got.Code != want {
			t.Errorf("as %s: %+v, want %d", user, got, want)
		}
	}
}

// TestExecOutlivesEngine kills the engine while sessions go on.
func TestExecOutlivesEngine(t *testing.T) {
	e := enginetest.Start(t, enginetest.Config{})
	e.Busybox(t)
	ctx, api, davit := context.Background(), e.Client(t), e.Davit()
	n := sleeper(t, davit)
	live := davit.Start(t, "exec", n, "sh", "-c", "echo begun; while [ ! -e /go ]; do sleep 0.05; done; echo end; exit 9")
	live.WaitFor(t, "begun")
	away := davit.Start(t, "exec", n, "sh", "-c", "echo begun; while [ ! -e /away ]; do sleep 0.05; done; exit 8")
	away.WaitFor(t, "begun")
	list, err := api.ContainerInspect(ctx, n, client.ContainerInspectOptions{})
	if err != nil || len(list.Container.ExecIDs) != 2 {
		t.Fatalf("%v, %v", list.Container.ExecIDs, err)
	}
	root := fmt.Sprintf("/proc/%d/root", list.Container.State.Pid)
	e.Kill(t)
	touch(t, root+"/away")
	enginetest.Eventually(t, 10*time.Second, func() error { // it ends while nobody looks
		if shell(root, "/away") {
			return fmt.Errorf("it still runs")
		}
		return nil
	})
	e.Restart(t)
	if code := away.Wait(t); code != 8 {
		t.Errorf("the one that ended meanwhile: exit code %d, want 8\n%s", code, away.Output())
	}
	touch(t, root+"/go")
	if code := live.Wait(t); code != 9 || !strings.Contains(live.Output(), "end") {
		t.Errorf("the one that went on: exit code %d, want 9\n%s", code, live.Output())
	}
	codes := map[int]bool{}
	for _, id := range list.Container.ExecIDs {
		x, err := api.ExecInspect(ctx, id, client.ExecInspectOptions{})
		if err != nil || x.Running {
			t.Errorf("%+v, %v", x, err)
		}
		codes[x.ExitCode] = true
	}
	if !codes[8] || !codes[9] {
		t.Errorf("exit codes %v", codes)
	}
	told := davit.Start(t, "events", "--since", "5m", "--filter", "event=exec_die", "--format", "ended with {{.Actor.Attributes.exitCode}}")
	told.WaitFor(t, "ended with 8")
	told.WaitFor(t, "ended with 9")
	told.Kill()
	// A container that ends while no engine looks takes its execs along.
	last := davit.Start(t, "exec", n, "sleep", "1000")
	enginetest.Eventually(t, 10*time.Second, func() error {
		if !strings.Contains(davit.OK(t, "exec", "ls", n), "sleep 1000") {
			return fmt.Errorf("not there yet")
		}
		return nil
	})
	id := davit.OK(t, "exec", "ls", "-q", "--no-trunc", n)
	e.Kill(t)
	_ = unix.Kill(list.Container.State.Pid, unix.SIGKILL)
	e.Restart(t)
	enginetest.Eventually(t, 10*time.Second, func() error { // the shim may still be at it
		if x, err := api.ExecInspect(ctx, id, client.ExecInspectOptions{}); err != nil || x.Running || x.ExitCode != 137 {
			return fmt.Errorf("with the container gone: %+v, %v", x, err)
		}
		return nil
	})
	if code := last.Wait(t); code != 137 {
		t.Errorf("its client: exit code %d", code)
	}
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

// shell reports whether a shell whose script names word runs in the container
// with that root.
func shell(root, word string) bool {
	entries, _ := os.ReadDir(root + "/proc")
	for _, d := range entries {
		line, err := os.ReadFile(root + "/proc/" + d.Name() + "/cmdline")
		if err == nil && bytes.Contains(line, []byte(word)) {
			return true
		}
	}
	return false
}

func TestExecEndsWithItsClient(t *testing.T) {
	e := engine(t)
	davit := e.Davit()
	n := sleeper(t, davit)
	running := func() string { return davit.OK(t, "exec", "ls", "--format", "{{.Command}}", n) }
	gone := func(what string) {
		t.Helper()
		enginetest.Eventually(t, 10*time.Second, func() error {
			if list := running(); strings.Contains(list, what) {
				return fmt.Errorf("still there: %s", list)
			}
			return nil
		})
	}
	with := davit.Start(t, "exec", "--die-with-client", n, "sh", "-c", "echo begun; sleep 1001 & sleep 1002")
	without := davit.Start(t, "exec", n, "sh", "-c", "echo begun; sleep 1003")
	with.WaitFor(t, "begun")
	without.WaitFor(t, "begun")
	with.Kill()
	without.Kill()
	gone("sleep 1002")
	enginetest.Eventually(t, 10*time.Second, func() error { // who forks at that moment is told a bit later
		if ps := davit.OK(t, "exec", n, "ps"); strings.Contains(ps, "sleep 1001") || strings.Contains(ps, "sleep 1002") {
			return fmt.Errorf("left of it:\n%s", ps)
		}
		return nil
	})
	if list := running(); !strings.Contains(list, "sleep 1003") {
		t.Errorf("the other one is gone: %q", list)
	}
	davit.OK(t, "exec", "kill", davit.OK(t, "exec", "ls", "-q", n))
	gone("sleep 1003")
	if ps := davit.OK(t, "exec", n, "ps"); strings.Contains(ps, "sleep 1003") {
		t.Errorf("exec kill has left:\n%s", ps)
	}
}

func TestExecAPI(t *testing.T) {
	e := engine(t)
	ctx, api := context.Background(), e.Client(t)
	n := sleeper(t, e.Davit())
	if _, err := api.ExecCreate(ctx, n, client.ExecCreateOptions{}); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "no exec command specified") {
		t.Errorf("no command: %v", err)
	}
	if _, err := api.ExecCreate(ctx, n, client.ExecCreateOptions{Cmd: []string{"a"}, DetachKeys: "nonsense"}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("bad keys: %v", err)
	}
	x, err := api.ExecCreate(ctx, n, client.ExecCreateOptions{Cmd: []string{"sleep", "1000"}, AttachStdout: true, User: "0", DetachKeys: "ctrl-a"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := api.ExecInspect(ctx, x.ID, client.ExecInspectOptions{})
	if err != nil || got.Running || got.PID != 0 || got.ContainerID == "" {
		t.Errorf("created: %+v, %v", got, err)
	}
	if _, err := api.ExecStart(ctx, x.ID, client.ExecStartOptions{Detach: true}); err != nil {
		t.Fatal(err)
	}
	got, err = api.ExecInspect(ctx, x.ID, client.ExecInspectOptions{})
	if err != nil || !got.Running || got.PID == 0 {
		t.Errorf("running: %+v, %v", got, err)
	}
	if _, err := api.ExecStart(ctx, x.ID, client.ExecStartOptions{Detach: true}); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "is already running") {
		t.Errorf("second start: %v", err)
	}
	if _, err := api.ExecResize(ctx, x.ID, client.ExecResizeOptions{Height: 1, Width: 1}); !errdefs.IsConflict(err) {
		t.Errorf("resize of what is no terminal: %v", err)
	}
	e.Davit().OK(t, "exec", "kill", "-s", "TERM", x.ID[:12])
	enginetest.Eventually(t, 10*time.Second, func() error {
		got, err := api.ExecInspect(ctx, x.ID, client.ExecInspectOptions{})
		if err != nil || got.Running || got.ExitCode != 143 {
			return fmt.Errorf("%+v, %v", got, err)
		}
		return nil
	})
	if _, err := api.ExecStart(ctx, x.ID, client.ExecStartOptions{Detach: true}); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "has already run") {
		t.Errorf("start of an ended one: %v", err)
	}
	if _, err := api.ExecInspect(ctx, "nosuch", client.ExecInspectOptions{}); !errdefs.IsNotFound(err) {
		t.Errorf("inspect of none: %v", err)
	}
	told := e.Davit().Start(t, "events", "--since", "1m", "--filter", "container="+n, "--format", "{{.Action}} {{.Actor.Attributes.execID}} {{.Actor.Attributes.exitCode}}")
	for _, want := range []string{"exec_create: sleep 1000 " + x.ID, "exec_start: sleep 1000 " + x.ID, "exec_die " + x.ID + " 143"} {
		told.WaitFor(t, want)
	}
	told.Kill()
	e.Davit().OK(t, "rm", "-f", n)
	if _, err := api.ExecInspect(ctx, x.ID, client.ExecInspectOptions{}); !errdefs.IsNotFound(err) {
		t.Errorf("inspect after the container's removal: %v", err)
	}
}

// TestExecsInParallel runs many execs at once in one container.
func TestExecsInParallel(t *testing.T) {
	e := engine(t)
	ctx, api := context.Background(), e.Client(t)
	n := sleeper(t, e.Davit())
	var all sync.WaitGroup
	for i := range 500 {
		all.Go(func() {
			x, err := api.ExecCreate(ctx, n, client.ExecCreateOptions{Cmd: []string{"sh", "-c", fmt.Sprintf("cat; exit %d", i%200)}, AttachStdin: true, AttachStdout: true})
			if err != nil {
				t.Error(err)
				return
			}
			stream, err := api.ExecAttach(ctx, x.ID, client.ExecAttachOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			defer stream.Close()
			fmt.Fprint(stream.Conn, i)
			_ = stream.CloseWrite()
			var out bytes.Buffer
			if _, err := stdcopy.StdCopy(&out, io.Discard, stream.Reader); err != nil || out.String() != fmt.Sprint(i) {
				t.Errorf("%d: got %q, %v", i, &out, err)
			}
			got, err := api.ExecInspect(ctx, x.ID, client.ExecInspectOptions{})
			if err != nil || got.Running || got.ExitCode != i%200 {
				t.Errorf("%d: as soon as its stream has ended: %+v, %v", i, got, err)
			}
		})
	}
	all.Wait()
}

func TestExecInUserNamespace(t *testing.T) {
	e := private.get(t)
	davit := e.Davit()
	n := sleeper(t, davit)
	if got := davit.OK(t, "exec", n, "sh", "-c", "id -u; touch /made; stat -c %u /made; cat /proc/self/uid_map"); !strings.HasPrefix(got, "0\n0\n") || strings.Contains(got, "0          0 4294967295") {
		t.Errorf("%q", got)
	}
	if got := davit.Feed(t, strings.NewReader("through"), "exec", "-i", n, "cat"); got.Stdout != "through" {
		t.Errorf("%+v", got)
	}
	if got := davit.Run(t, "exec", "--privileged", n, "sh", "-c", "mkdir /m && mount -t tmpfs x /m && exit 5"); got.Code != 5 {
		t.Errorf("privileged: %+v", got)
	}
	if got := davit.Run(t, "exec", n, "nosuch"); got.Code != 127 {
		t.Errorf("%+v", got)
	}
}

// TestExecSlowClient has a client that takes nothing: the command waits for it,
// and nobody's memory grows.
func TestExecSlowClient(t *testing.T) {
	e := engine(t)
	ctx, api := context.Background(), e.Client(t)
	n := sleeper(t, e.Davit())
	x, err := api.ExecCreate(ctx, n, client.ExecCreateOptions{Cmd: []string{"sh", "-c", "dd if=/dev/zero bs=1M count=64 2>/dev/null; echo over >&2"}, AttachStdout: true, AttachStderr: true})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := api.ExecAttach(ctx, x.ID, client.ExecAttachOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	before := memoryOf(t, e)
	time.Sleep(200 * time.Millisecond)
	if grown := memoryOf(t, e) - before; grown > 16<<10 {
		t.Errorf("engine and shims have grown by %d KiB", grown)
	}
	var stdout, stderr counter
	if _, err := stdcopy.StdCopy(&stdout, &stderr, stream.Reader); err != nil || stdout != 64<<20 || stderr != 5 {
		t.Errorf("got %d and %d bytes, %v", stdout, stderr, err)
	}
}

type counter int

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

// memoryOf adds up the private memory of the engine and its shims, in KiB.
func memoryOf(t *testing.T, e *enginetest.Engine) (sum int) {
	t.Helper()
	pids := []int{e.Pid()}
	for _, s := range e.Shims() {
		pids = append(pids, s.ShimPid)
	}
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue // a shim that has ended
		}
		for line := range strings.Lines(string(b)) {
			var n int
			if _, err := fmt.Sscanf(line, "Private_Dirty: %d kB", &n); err == nil {
				sum += n
			}
		}
	}
	return sum
}

// TestExecStartOverPlainHTTP is what clients do that ask for no upgrade.
func TestExecStartOverPlainHTTP(t *testing.T) {
	e := engine(t)
	ctx, api := context.Background(), e.Client(t)
	n := sleeper(t, e.Davit())
	x, err := api.ExecCreate(ctx, n, client.ExecCreateOptions{Cmd: []string{"echo", "plain"}, AttachStdout: true})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := api.Dialer()(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /exec/%s/start HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", x.ID)
	all, err := io.ReadAll(conn)
	if err != nil || !bytes.HasPrefix(all, []byte("HTTP/1.1 200 "+http.StatusText(200))) || !bytes.HasSuffix(all, []byte("plain\n")) {
		t.Errorf("%q, %v", all, err)
	}
}
