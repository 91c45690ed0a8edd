package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/fake"
	"github.com/davit-engine/davit/cli/term"
)

func hello(p *fake.Process) int {
	fmt.Fprintln(p.Stdout, "Hello from Davit!")
	fmt.Fprintln(p.Stderr, "and on stderr")
	return 0
}

func TestRunOutputAndStatus(t *testing.T) {
	engine := fake.Start(t)
	engine.Program("hello", hello)
	engine.Program("seven", func(*fake.Process) int { return 7 })
	engine.Program("args", func(p *fake.Process) int {
		fmt.Fprintf(p.Stdout, "%q", p.Args)
		return 0
	})
	for _, c := range []struct {
		args           string
		stdout, stderr string
		status         int
	}{
		{"run hello", "Hello from Davit!\n", "and on stderr\n", 0},
		{"run --rm hello", "Hello from Davit!\n", "and on stderr\n", 0},
		{"container run hello", "Hello from Davit!\n", "and on stderr\n", 0},
		{"run -a stderr hello", "", "and on stderr\n", 0},
		{"run seven", "", "", 7},
		{"run args a --rm -it b", `["a" "--rm" "-it" "b"]`, "", 0},
	} {
		t.Run(c.args, func(t *testing.T) {
			got := invocation{engine: engine}.run(t, strings.Fields(c.args)...)
			if got != (result{c.stdout, c.stderr, c.status}) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// TestRunRequests holds the order that makes run fast and safe: the attachment
// and the wait stand before the start.
func TestRunRequests(t *testing.T) {
	for _, c := range []struct {
		args, condition string
	}{
		{"run hello", "next-exit"},
		{"run --rm hello", "removed"},
	} {
		engine := fake.Start(t)
		engine.Program("hello", hello)
		invocation{engine: engine}.run(t, strings.Fields(c.args)...)
		paths := engine.Paths()
		if len(paths) != 4 || paths[0] != "POST /containers/create" || !strings.HasSuffix(paths[3], "/start") {
			t.Fatalf("requests of %s: %v", c.args, paths)
		}
		for _, r := range engine.Requests() {
			if strings.HasSuffix(r.Path, "/wait") && r.Query.Get("condition") != c.condition {
				t.Errorf("%s waits for %q", c.args, r.Query.Get("condition"))
			}
		}
	}
}

func TestRunDetached(t *testing.T) {
	engine := fake.Start(t)
	engine.Program("hello", hello)
	got := invocation{engine: engine}.run(t, "run", "-d", "hello")
	if len(got.stdout) != 65 || got.stderr != "" || got.status != 0 {
		t.Errorf("got %+v", got)
	}
	if paths := engine.Paths(); len(paths) != 2 {
		t.Errorf("requests %v", paths)
	}
	body := string(engine.Last(t, "POST", "/containers/create").Body)
	if strings.Contains(body, `"AttachStdout":true`) {
		t.Errorf("a detached container is attached: %s", body)
	}
}

// TestRunStdin sends input and its end, and still gets the output that comes
// after.
func TestRunStdin(t *testing.T) {
	engine := fake.Start(t)
	engine.Program("wc", func(p *fake.Process) int {
		data, _ := io.ReadAll(p.Stdin)
		fmt.Fprintf(p.Stdout, "%d bytes\n", len(data))
		return 3
	})
	got := invocation{engine: engine, stdin: strings.NewReader(strings.Repeat("x", 1<<20))}.run(t, "run", "-i", "wc")
	if got != (result{"1048576 bytes\n", "", 3}) {
		t.Errorf("got %+v", got)
	}
}

func TestRunPullsWhatIsMissing(t *testing.T) {
	for _, c := range []struct {
		name, args, stderr string
		status, pulls      int
	}{
		{"missing", "run hello", "Unable to find image 'hello:latest' locally\nlatest: Pulling from library/hello\nabc: Pulling fs layer\nabc: Pull complete\nDigest: sha256:1\nand on stderr\n", 0, 1},
		{"quiet", "run -q hello", "and on stderr\n", 0, 1},
		{"never", "run --pull never hello", "davit: Error response from daemon: No such image: hello\n\nRun 'davit run --help' for more information\n", 125, 0},
		{"always", "run --pull always hello", "latest: Pulling from library/hello\nabc: Pulling fs layer\nabc: Pull complete\nDigest: sha256:1\nand on stderr\n", 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			engine := fake.Start(t)
			pulls := 0
			engine.Handle("POST /images/create", func(w http.ResponseWriter, r *http.Request) {
				pulls++
				if r.URL.Query().Get("fromImage") != "docker.io/library/hello" || r.URL.Query().Get("tag") != "latest" {
					t.Errorf("pulls %s", r.URL.RawQuery)
				}
				engine.Program("hello", hello)
				_, _ = io.WriteString(w, `{"status":"Pulling from library/hello","id":"latest"}
{"status":"Pulling fs layer","progressDetail":{},"id":"abc"}
{"status":"Downloading","progressDetail":{"current":5,"total":10},"id":"abc"}
{"status":"Pull complete","progressDetail":{},"id":"abc"}
{"status":"Digest: sha256:1"}
`)
			})
			got := invocation{engine: engine}.run(t, strings.Fields(c.args)...)
			if got.stderr != c.stderr || got.status != c.status || pulls != c.pulls {
				t.Errorf("%d pulls, %+v", pulls, got)
			}
		})
	}
}

func TestRunPullFails(t *testing.T) {
	engine := fake.Start(t)
	engine.Handle("POST /images/create", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"errorDetail":{"message":"pull access denied for nope, repository does not exist or may require 'docker login'"},"error":"x"}`)
	})
	got := invocation{engine: engine}.run(t, "run", "nope")
	if got.status != 125 || !strings.Contains(got.stderr, "davit: pull access denied for nope") {
		t.Errorf("got %+v", got)
	}
}

// TestStartErrors are the statuses that shells give for commands that cannot
// be run.
func TestStartErrors(t *testing.T) {
	for _, c := range []struct {
		message string
		status  int
	}{
		{`exec: "nope": executable file not found in $PATH`, 127},
		{`exec: "/nope": stat /nope: no such file or directory`, 127},
		{`exec: "/etc/passwd": permission denied`, 126},
		{`exec: "/etc": is a directory`, 126},
		{"no space left on device", 125},
	} {
		t.Run(c.message, func(t *testing.T) {
			engine := fake.Start(t)
			engine.Program("hello", hello)
			engine.JSON("POST /containers/{id}/start", http.StatusBadRequest, c.message)
			got := invocation{engine: engine}.run(t, "run", "hello", "nope")
			want := "davit: Error response from daemon: " + c.message + "\n\nRun 'davit run --help' for more information\n"
			if got.status != c.status || got.stderr != want {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestNoEngine(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "none.sock")
	i := invocation{getenv: map[string]string{"DAVIT_HOST": "unix://" + socket}}
	for args, status := range map[string]int{"ps": 1, "run hello": 125, "images": 1, "pull x": 1, "attach x": 1, "version": 1} {
		got := i.run(t, strings.Fields(args)...)
		if got.status != status || !strings.Contains(got.stderr, "Cannot connect to the Docker daemon at unix://"+socket+". Is the docker daemon running?") ||
			!strings.Contains(got.stderr, "davitd &") || strings.Contains(got.stderr, "--help") {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

func TestCIDFile(t *testing.T) {
	engine := fake.Start(t)
	engine.Program("hello", hello)
	path := filepath.Join(t.TempDir(), "cid")
	i := invocation{engine: engine}
	if got := i.run(t, "run", "--cidfile", path, "hello"); got.status != 0 {
		t.Fatalf("got %+v", got)
	}
	if id, err := os.ReadFile(path); err != nil || len(id) != 64 {
		t.Errorf("the file holds %q, %v", id, err)
	}
	if got := i.run(t, "run", "--cidfile", path, "hello"); got.status != 125 || !strings.Contains(got.stderr, "container ID file found") {
		t.Errorf("got %+v", got)
	}
	absent := filepath.Join(t.TempDir(), "cid")
	i.run(t, "run", "--pull", "never", "--cidfile", absent, "no-such-image")
	if _, err := os.Stat(absent); !errors.Is(err, os.ErrNotExist) {
		t.Error("a container that was not created left its ID file")
	}
}

// TestRunForwardsSignals sends this process a signal, which has to arrive in
// the container.
func TestRunForwardsSignals(t *testing.T) {
	engine := fake.Start(t)
	ready := make(chan struct{})
	engine.Program("trap", func(p *fake.Process) int {
		close(ready)
		for {
			select {
			case s := <-p.Signals:
				if s == "USR1" {
					return 42
				}
			case <-time.After(10 * time.Second):
				return 1
			}
		}
	})
	go func() {
		<-ready
		_ = syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	}()
	if got := (invocation{engine: engine}).run(t, "run", "trap"); got.status != 42 {
		t.Errorf("got %+v", got)
	}
}

// onTerminal runs the client, as a process of its own, on a pseudo-terminal,
// typing keys once the program in the container has written its first line. It
// returns what was seen.
func onTerminal(t *testing.T, engine *fake.Engine, keys string, args ...string) (screen string, status int) {
	t.Helper()
	ours, theirs := fake.Terminal(t, 120, 40)
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = []string{asClient + "=1", "DAVIT_HOST=unix://" + engine.Socket, "DOCKER_CONFIG=" + t.TempDir(), "NO_COLOR=1"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	var seen strings.Builder
	typed := false
	for r := bufio.NewReader(ours); ; {
		line, err := r.ReadString('\n')
		seen.WriteString(line)
		if err != nil {
			break // the client, the last at the other end, is gone
		}
		if !typed {
			typed = true
			_, _ = io.WriteString(ours, keys)
		}
	}
	_ = cmd.Wait() // the status is the test's to judge
	return seen.String(), cmd.ProcessState.ExitCode()
}

func TestRunOnTerminal(t *testing.T) {
	engine := fake.Start(t)
	engine.Program("sh", func(p *fake.Process) int {
		fmt.Fprint(p.Stdout, "ready\r\n")
		line, _ := bufio.NewReader(p.Stdin).ReadString('\r')
		size := <-p.Sizes
		fmt.Fprintf(p.Stdout, "got %q at %dx%d\r\n", line, size[0], size[1])
		return 5
	})
	screen, status := onTerminal(t, engine, "hi\x03\r", "run", "-it", "sh")
	if want := "ready\r\ngot \"hi\\x03\\r\" at 120x40\r\n"; screen != want || status != 5 {
		t.Errorf("status %d, screen %q", status, screen)
	}
	if body := string(engine.Last(t, "POST", "/containers/create").Body); !strings.Contains(body, `"ConsoleSize":[40,120]`) {
		t.Errorf("the console's size is not in %s", body)
	}
}

func TestDetachKeys(t *testing.T) {
	for _, c := range []struct{ name, keys, args string }{
		{"usual", "x\x10\x11", "run -it sh"},
		{"own", "a\x01b", "run -it --detach-keys ctrl-a,b sh"},
	} {
		t.Run(c.name, func(t *testing.T) {
			engine := fake.Start(t)
			ended := make(chan struct{})
			engine.Program("sh", func(p *fake.Process) int {
				defer close(ended)
				fmt.Fprint(p.Stdout, "ready\r\n")
				_, _ = io.Copy(io.Discard, p.Stdin)
				return 0
			})
			if _, status := onTerminal(t, engine, c.keys, strings.Fields(c.args)...); status != 0 {
				t.Errorf("status %d", status)
			}
			<-ended
		})
	}
}

func TestTerminalWanted(t *testing.T) {
	engine := fake.Start(t)
	engine.Program("sh", hello)
	got := invocation{engine: engine}.run(t, "run", "-it", "sh")
	if got != (result{"", "the input device is not a TTY\n", 1}) {
		t.Errorf("got %+v", got)
	}
	if len(engine.Requests()) != 0 {
		t.Errorf("asked for %v", engine.Paths())
	}
}

func TestStartAttachWait(t *testing.T) {
	engine := fake.Start(t)
	engine.Program("cat", func(p *fake.Process) int {
		_, _ = io.Copy(p.Stdout, p.Stdin)
		return 9
	})
	i := invocation{engine: engine, stdin: strings.NewReader("some text")}
	if got := i.run(t, "create", "-i", "--name", "c", "cat"); got.status != 0 {
		t.Fatalf("got %+v", got)
	}
	if got := i.run(t, "attach", "c"); got.status != 1 || !strings.Contains(got.stderr, "cannot attach to a stopped container") {
		t.Errorf("got %+v", got)
	}
	if got := i.run(t, "start", "-ai", "c"); got != (result{"some text", "", 9}) {
		t.Errorf("got %+v", got)
	}
	if got := i.run(t, "wait", "c"); got != (result{"9\n", "", 0}) {
		t.Errorf("got %+v", got)
	}
	if got := i.run(t, "start", "-a", "c", "d"); got.status != 1 || !strings.Contains(got.stderr, "multiple containers") {
		t.Errorf("got %+v", got)
	}
}

// TestSeveral holds what commands with several arguments do: all of them, in
// order, and a failure at the end.
func TestSeveral(t *testing.T) {
	engine := fake.Start(t)
	answer := func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("id") == "bad" {
			fake.Reply(w, http.StatusNotFound, "No such container: bad")
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
	for _, verb := range []string{"POST /containers/{id}/stop", "POST /containers/{id}/kill", "POST /containers/{id}/restart", "DELETE /containers/{id}", "POST /containers/{id}/start"} {
		engine.Handle(verb, answer)
	}
	for _, args := range []string{"stop", "stop -t 3 -s INT", "kill -s HUP", "restart -t 1", "rm", "rm -v", "start"} {
		got := invocation{engine: engine}.run(t, append(strings.Fields(args), "a", "bad", "b")...)
		if got.stdout != "a\nb\n" || got.status != 1 || !strings.Contains(got.stderr, "Error response from daemon: No such container: bad\n") {
			t.Errorf("%s: %+v", args, got)
		}
	}
	if got := (invocation{engine: engine}).run(t, "rm", "-f", "a", "bad"); got.status != 0 || got.stdout != "a\n" {
		t.Errorf("rm -f: %+v", got)
	}
	stop := slices.IndexFunc(engine.Requests(), func(r fake.Request) bool {
		return r.Path == "/containers/a/stop" && r.Query.Get("t") == "3" && r.Query.Get("signal") == "INT"
	})
	if stop < 0 {
		t.Error("stop does not pass on its timeout and signal")
	}
}

func TestExit(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
	}{
		{nil, 0}, {errors.New("x"), 1}, {&env.Exit{Status: 125, Text: "x"}, 125}, {fmt.Errorf("wrapped: %w", &env.Exit{Status: 3}), 3},
	} {
		e := invocation{}.env(t, &term.Streams{Err: term.NewOutput(io.Discard, false)})
		if got := report(e, c.err); got != c.status {
			t.Errorf("%v: %d", c.err, got)
		}
	}
}
