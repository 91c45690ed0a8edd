package cli

import (
	"bytes"
	"context"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/fake"
	"github.com/davit-engine/davit/cli/system"
	"github.com/davit-engine/davit/cli/term"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// asClient, in the environment, makes the test binary be the client.
const asClient = "DAVIT_TEST_AS_CLIENT"

func TestMain(m *testing.M) {
	if os.Getenv(asClient) != "" {
		os.Exit(Main(env.New("davit"), system.Build{Version: "1.2.3"}, os.Args[1:]))
	}
	flag.Parse()
	os.Exit(m.Run())
}

// result is what an invocation left behind.
type result struct {
	stdout, stderr string
	status         int
}

// invocation is one run of the client in this process.
type invocation struct {
	engine *fake.Engine
	stdin  io.Reader
	getenv map[string]string
	config string // directory, an empty one if ""
}

func (i invocation) run(t testing.TB, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	stdin := i.stdin
	if stdin == nil {
		stdin = strings.NewReader("")
	}
	e := i.env(t, &term.Streams{In: term.NewInput(stdin), Out: term.NewOutput(&stdout, false), Err: term.NewOutput(&stderr, false)})
	status := Main(e, system.Build{Version: "1.2.3", Commit: "abc1234", Time: "2026-01-02T03:04:05Z"}, args)
	return result{stdout.String(), stderr.String(), status}
}

func (i invocation) env(t testing.TB, streams *term.Streams) *env.Env {
	t.Helper()
	if i.config == "" {
		i.config = t.TempDir()
	}
	return &env.Env{
		Streams: streams, Program: "davit",
		Getenv: func(name string) string {
			if v, ok := i.getenv[name]; ok {
				return v
			}
			if name == "DAVIT_HOST" && i.engine != nil {
				return "unix://" + i.engine.Socket
			}
			return ""
		},
		Global: env.Global{ConfigDir: i.config},
	}
}

// docker runs the real docker client against the engine, or skips.
func docker(t testing.TB, engine *fake.Engine, args ...string) result {
	t.Helper()
	program, err := exec.LookPath("docker")
	if err != nil {
		t.Skip("there is no docker client on the PATH to compare with")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+engine.Socket, "DOCKER_CONFIG="+t.TempDir(), "DOCKER_CONTEXT=")
	_ = cmd.Run() // the status is looked at by the test
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// golden compares text with testdata/name, or rewrites that file.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, text, want)
	}
}
