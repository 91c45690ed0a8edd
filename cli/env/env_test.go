package env

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-engine/davit/cli/term"
)

// environment is an Env with these variables and nothing else.
func environment(t *testing.T, variables map[string]string) (*Env, *bytes.Buffer) {
	t.Helper()
	var talk bytes.Buffer
	return &Env{
		Streams: &term.Streams{In: term.NewInput(strings.NewReader("")), Out: term.NewOutput(io.Discard, false), Err: term.NewOutput(&talk, false)},
		Program: "davit", Getenv: func(name string) string { return variables[name] }, Global: Global{ConfigDir: t.TempDir()},
	}, &talk
}

func TestParseHost(t *testing.T) {
	for in, want := range map[string]string{
		"unix:///x.sock": "unix:///x.sock", "/x.sock": "unix:///x.sock", "tcp://h": "tcp://h:2375", "tcp://h:1": "tcp://h:1",
		"h": "tcp://h:2375", "h:5": "tcp://h:5", ":5": "tcp://localhost:5", "tcp://": "tcp://localhost:2375", "tcp://[::1]": "tcp://[::1]:2375",
		"tcp://[::1]:5": "tcp://[::1]:5", "tcp://h:1/path": "tcp://h:1/path", "ssh://u@h": "ssh://u@h", "https://h": "https://h", " h ": "tcp://h:2375",
	} {
		if got, err := parseHost(in, false); got != want || err != nil {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	if got, _ := parseHost("h", true); got != "tcp://h:2376" {
		t.Errorf("with TLS: %s", got)
	}
	if got, err := parseHost("fd://3", false); err == nil {
		t.Errorf("fd://3 gives %q", got)
	}
}

// TestPrecedence walks down the list of what names an engine.
func TestPrecedence(t *testing.T) {
	all := map[string]string{"DAVIT_HOST": "tcp://davit:1", "DOCKER_HOST": "tcp://docker:1", "DOCKER_CONTEXT": "named"}
	for _, c := range []struct {
		name  string
		clear []string
		set   func(*Global)
		host  string
		fails string
	}{
		{"-H", nil, func(g *Global) { g.Hosts = []string{"tcp://flag:1"} }, "tcp://flag:1", ""},
		{"-c default", nil, func(g *Global) { g.Context = "default" }, defaultHost(), ""},
		{"-c other", nil, func(g *Global) { g.Context = "other" }, "", `context "other"`},
		{"DAVIT_HOST", nil, func(*Global) {}, "tcp://davit:1", ""},
		{"DOCKER_HOST", []string{"DAVIT_HOST"}, func(*Global) {}, "tcp://docker:1", ""},
		{"DOCKER_CONTEXT", []string{"DAVIT_HOST", "DOCKER_HOST"}, func(*Global) {}, "", `context "named"`},
		{"nothing", []string{"DAVIT_HOST", "DOCKER_HOST", "DOCKER_CONTEXT"}, func(*Global) {}, defaultHost(), ""},
		{"two -H", nil, func(g *Global) { g.Hosts = []string{"a", "b"} }, "", "Specify only one -H"},
		{"-H and -c", nil, func(g *Global) { g.Hosts, g.Context = []string{"a"}, "b" }, "", "conflicting options"},
	} {
		t.Run(c.name, func(t *testing.T) {
			variables := map[string]string{}
			for k, v := range all {
				variables[k] = v
			}
			for _, name := range c.clear {
				delete(variables, name)
			}
			e, _ := environment(t, variables)
			c.set(&e.Global)
			got, err := e.endpoint()
			if c.fails == "" && (err != nil || got.Host != c.host) || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	e, _ := environment(t, nil)
	if err := os.WriteFile(filepath.Join(e.Global.ConfigDir, "config.json"), []byte(`{"currentContext":"current"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := e.endpoint(); err == nil || !strings.Contains(err.Error(), `context "current"`) || e.ContextName() != "current" {
		t.Errorf("the current context: %v", err)
	}
}

func TestTLS(t *testing.T) {
	e, _ := environment(t, map[string]string{"DOCKER_TLS_VERIFY": "1", "DOCKER_HOST": "tcp://h"})
	if _, err := e.Client(); err != nil {
		t.Errorf("without files the system's roots do: %v", err)
	}
	if e.Host() != "tcp://h:2376" {
		t.Errorf("host %s", e.Host())
	}
	e, _ = environment(t, map[string]string{"DOCKER_HOST": "tcp://h"})
	e.Global.TLSVerify, e.Global.TLSCA = true, "/does/not/exist"
	if _, err := e.Client(); err == nil || !strings.Contains(err.Error(), "setting up TLS") {
		t.Errorf("a CA that does not exist: %v", err)
	}
	// The files do not matter to a unix socket.
	e, _ = environment(t, map[string]string{"DOCKER_HOST": "unix:///x", "DOCKER_TLS_VERIFY": "1"})
	e.Global.TLSCA = "/does/not/exist"
	if _, err := e.Client(); err != nil {
		t.Error(err)
	}
}

func TestBrokenConfigurationIsSaid(t *testing.T) {
	e, talk := environment(t, nil)
	if err := os.WriteFile(filepath.Join(e.Global.ConfigDir, "config.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	e.Config()
	e.Config()
	if got := talk.String(); strings.Count(got, "WARNING: loading config file") != 1 {
		t.Errorf("said %q", got)
	}
}

func TestSSHArgs(t *testing.T) {
	for host, want := range map[string]string{
		"ssh://h":                "-T -o ConnectTimeout=30 -- h davit system dial-stdio",
		"ssh://me@h:22":          "-T -o ConnectTimeout=30 -l me -p 22 -- h davit system dial-stdio",
		"ssh://h/run/x.sock":     "-T -o ConnectTimeout=30 -- h davit --host 'unix:///run/x.sock' system dial-stdio",
		"ssh://h/a'%20;rm%20-rf": `-T -o ConnectTimeout=30 -- h davit --host 'unix:///a'\'' ;rm -rf' system dial-stdio`,
	} {
		if got, err := sshArgs(host); err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %q, %v", host, got, err)
		}
	}
	for _, host := range []string{"ssh://", "ssh://-oProxyCommand=x", "ssh://u:pw@h", "ssh://h?x=1", "ssh://h/x#y"} {
		if got, err := sshArgs(host); err == nil {
			t.Errorf("%s gives %q", host, got)
		}
	}
}

// TestDialCommand speaks through a program's standard streams, as ssh:// does.
func TestDialCommand(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell")
	}
	conn, err := dialCommand(shell, []string{"-c", "cat; echo and more"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("through\n")); err != nil {
		t.Fatal(err)
	}
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); string(got) != "through\nand more\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}

	conn, err = dialCommand(shell, []string{"-c", "echo no such host >&2; exit 255"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "no such host") {
		t.Errorf("%v", err)
	}
}

func TestStartError(t *testing.T) {
	for text, want := range map[string]int{
		"executable file not found in $PATH": 127, "x: no such file or directory": 127,
		"x: permission denied": 126, "x: is a directory": 126, "x": 125,
	} {
		if got := StartError(errors.New(text)).Status; got != want {
			t.Errorf("%s: %d", text, got)
		}
	}
	if Silent(0) != nil {
		t.Error("status 0 is no error")
	}
}

func TestHint(t *testing.T) {
	e, _ := environment(t, nil)
	e.host = "unix:///x"
	for text, want := range map[string]string{
		"Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?": "davitd &",
		"permission denied while trying to connect to the docker API at unix:///x":        "sudo",
		"Error response from daemon: x":                                                   "",
	} {
		if got := e.Hint(text); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q", text, got)
		}
	}
	e.host = "tcp://h"
	if got := e.Hint("Cannot connect to the Docker daemon at tcp://h"); !strings.Contains(got, "DOCKER_HOST") {
		t.Errorf("%q", got)
	}
}
