package enginetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// CLI is a command line that talks to one engine.
type CLI struct {
	Name string // "davit" or "docker"
	Path string
	Env  []string
}

// commandLimit ends a command that hangs, so that a test fails with its output
// and not with the whole package's timeout.
const commandLimit = 90 * time.Second

// Davit returns Davit's own command line.
func (e *Engine) Davit() CLI { return e.cli("davit", filepath.Join(e.Bin, "davit")) }

// Docker returns the docker command line of the machine, unmodified.
func (e *Engine) Docker(t testing.TB) CLI {
	t.Helper()
	return e.cli("docker", NeedProgram(t, "docker"))
}

// CLIs returns Davit's command line, and docker's if the machine has one: what
// holds for one holds for the other.
func (e *Engine) CLIs(t testing.TB) []CLI {
	t.Helper()
	clis := []CLI{e.Davit()}
	if path, err := program("docker"); err == nil {
		clis = append(clis, e.cli("docker", path))
	} else {
		t.Log("no docker client on this machine: only davit is tested")
	}
	return clis
}

func (e *Engine) cli(name, path string) CLI {
	// A home of its own: what the person who runs the tests has configured plays no part.
	env := append(os.Environ(), "HOME="+e.Root, "DOCKER_CONFIG="+filepath.Join(e.Root, ".docker"), "DOCKER_CONTEXT=",
		"DOCKER_HOST="+e.Host(), "DAVIT_HOST="+e.Host(), "NO_COLOR=1")
	return CLI{Name: name, Path: path, Env: env}
}

// Result is how a command ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Command prepares a command; the caller runs it.
func (c CLI) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.Path, args...)
	cmd.Env = c.Env
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Run runs a command to its end with no input.
func (c CLI) Run(t testing.TB, args ...string) Result {
	t.Helper()
	return c.Feed(t, nil, args...)
}

// Feed runs a command to its end with the given input; nil is none.
func (c CLI) Feed(t testing.TB, stdin io.Reader, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	cmd := c.Command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		t.Fatalf("%s did not end within %v\nstdout: %s\nstderr: %s", c.line(args), commandLimit, &stdout, &stderr)
	case err != nil && !errors.As(err, &exit):
		t.Fatalf("%s: %v", c.line(args), err)
	}
	return Result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// OK runs a command that has to succeed and returns its standard output with
// the white space around it trimmed.
func (c CLI) OK(t testing.TB, args ...string) string {
	t.Helper()
	r := c.Run(t, args...)
	if r.Code != 0 {
		t.Fatalf("%s: exit code %d\nstdout: %s\nstderr: %s", c.line(args), r.Code, r.Stdout, r.Stderr)
	}
	return strings.TrimSpace(r.Stdout)
}

// Fails runs a command that has to fail with the given code and with the given
// text in what it says on standard error.
func (c CLI) Fails(t testing.TB, code int, text string, args ...string) {
	t.Helper()
	r := c.Run(t, args...)
	if r.Code != code || !strings.Contains(r.Stderr, text) {
		t.Errorf("%s: exit code %d, want %d\nstderr: %s\nwant in it: %s", c.line(args), r.Code, code, r.Stderr, text)
	}
}

func (c CLI) line(args []string) string { return c.Name + " " + strings.Join(args, " ") }

// Background is a command that runs beside the test.
type Background struct {
	out  syncBuffer
	cmd  *exec.Cmd
	done chan struct{}
}

// Start starts a command that runs beside the test, and is killed with it if
// it still does. Its two output streams are kept together.
func (c CLI) Start(t testing.TB, args ...string) *Background {
	t.Helper()
	return c.StartWith(t, nil, args...)
}

// StartWith is Start with input; nil is none.
func (c CLI) StartWith(t testing.TB, stdin *os.File, args ...string) *Background {
	t.Helper()
	b := &Background{done: make(chan struct{})}
	b.cmd = c.Command(context.Background(), args...)
	b.cmd.Stdout, b.cmd.Stderr = &b.out, &b.out
	if stdin != nil {
		b.cmd.Stdin = stdin
	}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = b.cmd.Wait() // the exit code is in ProcessState
		close(b.done)
	}()
	t.Cleanup(b.Kill)
	return b
}

// Output is what the command has printed so far.
func (b *Background) Output() string { return b.out.String() }

// Kill ends the command with SIGKILL and waits for it.
func (b *Background) Kill() {
	_ = b.cmd.Process.Kill() // it may have ended
	<-b.done
}

// Wait waits for the command's end and returns its exit code.
func (b *Background) Wait(t testing.TB) int {
	t.Helper()
	select {
	case <-b.done:
	case <-time.After(commandLimit):
		t.Fatalf("%v did not end within %v; its output: %s", b.cmd.Args, commandLimit, b.Output())
	}
	return b.cmd.ProcessState.ExitCode()
}

// WaitFor waits until the command has printed text.
func (b *Background) WaitFor(t testing.TB, text string) {
	t.Helper()
	Eventually(t, 30*time.Second, func() error {
		if out := b.Output(); !strings.Contains(out, text) {
			return errors.New("no " + text + " in the output: " + out)
		}
		return nil
	})
}
