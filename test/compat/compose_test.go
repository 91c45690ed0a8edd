package compat

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// TestCompose brings a project up and down with Debian's docker-compose.
func TestCompose(t *testing.T) {
	enginetest.NeedRoot(t)
	compose := enginetest.NeedProgram(t, "docker-compose")
	e := enginetest.Start(t, enginetest.Config{})
	e.Busybox(t)
	cli := e.Davit()
	dir := filepath.Join(t.TempDir(), "project")
	if err := os.CopyFS(dir, os.DirFS("testdata/compose")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(code int, args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, compose, append([]string{"--no-ansi", "-p", "project"}, args...)...)
		cmd.Env, cmd.Dir = append(cli.Env, "PYTHONWARNINGS=ignore"), dir
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) || cmd.ProcessState.ExitCode() != code {
			t.Fatalf("docker-compose %v: %v, want exit code %d\n%s", args, err, code, out)
		}
		return string(out)
	}
	has := func(text, part string) {
		t.Helper()
		if !strings.Contains(text, part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
	run(0, "up", "-d")
	has(run(0, "ps"), "project_web_1")
	has(run(0, "ps", "job"), "Exit 3")
	has(run(0, "ps", "db"), "Up (healthy)")
	enginetest.Eventually(t, 10*time.Second, func() error {
		if out := run(0, "logs", "web"); !strings.Contains(out, "stored") {
			return errors.New(out)
		}
		return nil
	})
	has(run(0, "exec", "-T", "web", "sh", "-c", "echo $WHO; ulimit -n; touch /run/web/x; touch /x 2>&1; true"), "web\n100\ntouch: /x: Read-only file system")
	run(7, "exec", "-T", "db", "sh", "-c", "exit 7")
	has(run(0, "top", "db"), "sleep 1000")
	has(run(0, "run", "--rm", "db", "cat", "/data/value"), "stored")
	run(0, "pause", "db")
	run(0, "unpause", "db")
	run(0, "restart", "-t", "0", "web")
	has(run(0, "up", "-d"), "is up-to-date")
	run(0, "up", "-d", "--force-recreate", "--timeout", "0", "web")
	run(0, "up", "-d", "--no-deps", "--scale", "job=2", "job")
	run(0, "stop", "-t", "0")
	run(0, "start", "db")
	has(run(0, "images"), "busybox")
	run(0, "kill", "db")
	run(0, "rm", "-f", "-v")
	has(cli.OK(t, "volume", "ls", "-q"), "project_data")
	run(0, "down", "-v", "--remove-orphans", "-t", "0")
	if left := cli.OK(t, "ps", "-aq"); left != "" {
		t.Errorf("containers are left: %s", left)
	}
	// The anonymous volume that compose handed from the old container to the new
	// one counts as named there, so `rm -v` keeps it, with Docker too.
	if left := cli.OK(t, "volume", "ls", "-q", "--filter", "name=project"); left != "" {
		t.Errorf("volumes are left: %s", left)
	}
}
