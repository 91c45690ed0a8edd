package e2e

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	enginetest "github.com/davit-engine/davit/test/engine"
	"github.com/davit-engine/davit/test/swagger"
)

// TestAnswers puts a proxy between clients and engine that holds every answer
// against Docker's description of its API, and lets both command lines do a bit
// of everything.
func TestAnswers(t *testing.T) {
	e := engine(t)
	checker, err := swagger.New()
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	wrong := map[string]bool{}
	handler := checker.Proxy(strings.TrimPrefix(e.Host(), "unix://"), func(err error) {
		mu.Lock()
		defer mu.Unlock()
		wrong[err.Error()] = true
	})
	socket := filepath.Join(t.TempDir(), "proxy.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen++
		mu.Unlock()
		handler.ServeHTTP(w, r)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })

	for _, cli := range e.CLIs(t) {
		cli.Env = append(cli.Env, "DOCKER_HOST=unix://"+socket, "DAVIT_HOST=unix://"+socket)
		session(t, cli, name(t, cli))
	}
	mu.Lock()
	defer mu.Unlock()
	for text := range wrong {
		t.Error(text)
	}
	if seen < 40 {
		t.Errorf("only %d requests came through the proxy", seen)
	}
}

// session calls every endpoint that exists, in success and in failure.
func session(t *testing.T, cli enginetest.CLI, c string) {
	t.Helper()
	cli.OK(t, "version")
	cli.OK(t, "info")
	cli.OK(t, "create", "--name", c, "--label", "a=b", "--memory", "64m", "--cpus", "0.5", "--pids-limit", "50", "--ulimit", "nofile=64:64",
		"-e", "X=1", "-w", "/tmp", "-v", "/tmp:/host:ro", "--tmpfs", "/run", "--mount", "type=bind,source=/tmp,target=/again",
		"--cap-add", "NET_ADMIN", "--security-opt", "no-new-privileges", "--add-host", "x:1.2.3.4", "--dns", "192.0.2.1",
		"busybox", "sh", "-c", "echo out; echo err >&2; sleep 1000")
	cli.OK(t, "inspect", c)
	cli.OK(t, "start", c)
	cli.OK(t, "ps", "-a", "-s", "--filter", "label=a=b")
	cli.OK(t, "inspect", "-s", c)
	cli.OK(t, "logs", "--details", "-t", c)
	cli.OK(t, "kill", "-s", "USR1", c)
	cli.OK(t, "restart", "-t", "0", c)
	cli.OK(t, "stop", "-t", "0", c)
	cli.OK(t, "wait", c)
	cli.OK(t, "events", "--since", "0", "--until", "1s")
	cli.OK(t, "rm", c)
	cli.OK(t, "run", "--rm", "--name", c, "busybox", "true")
	if cli.Name == "docker" {
		cli.OK(t, "network", "ls")
		cli.OK(t, "network", "inspect", "bridge", "host", "none")
		cli.OK(t, "network", "prune", "-f")
		cli.Fails(t, 1, "cannot be removed", "network", "rm", "host")
	}
	cli.OK(t, "images", "-a", "--digests")
	cli.OK(t, "inspect", "busybox")
	cli.OK(t, "history", "busybox")
	cli.OK(t, "tag", "busybox", "answers:1")
	cli.OK(t, "rmi", "answers:1")
	cli.Fails(t, 1, "No such container", "start", "no-such-container")
	cli.Fails(t, 1, "No such image", "rmi", "no-such-image")
	cli.Fails(t, 125, "is not supported yet", "run", "--rm", "-P", "busybox", "true")
	cli.Fails(t, 125, "invalid", "run", "--rm", "--cap-add", "COFFEE", "busybox", "true")
}
