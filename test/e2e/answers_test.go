package e2e

import (
	"net"
	"net/http"
	"path/filepath"
	"slices"
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
	cli.OK(t, "network", "ls")
	cli.OK(t, "network", "inspect", "bridge", "host", "none")
	cli.Fails(t, 1, "cannot be removed", "network", "rm", "host")
	answersOfNetworks(t, cli, c)
	cli.OK(t, "images", "-a", "--digests")
	cli.OK(t, "inspect", "busybox")
	cli.OK(t, "history", "busybox")
	cli.OK(t, "tag", "busybox", "answers:1")
	cli.OK(t, "rmi", "answers:1")
	cli.Fails(t, 1, "No such container", "start", "no-such-container")
	cli.Fails(t, 1, "No such image", "rmi", "no-such-image")
	cli.OK(t, "run", "--rm", "-P", "--expose", "80", "busybox", "true")
	cli.Fails(t, 125, "invalid", "run", "--rm", "--cap-add", "COFFEE", "busybox", "true")
}

// answersOfNetworks calls the endpoints of networks, with all that is shown of
// them.
func answersOfNetworks(t *testing.T, cli enginetest.CLI, c string) {
	t.Helper()
	nets := networks(t, cli, "--ipv6 --label answers -o com.docker.network.driver.mtu=1400", "--internal --subnet 10.231.21.0/24 --ip-range 10.231.21.0/25 --gateway 10.231.21.9 --aux-address a=10.231.21.5", "--config-only")
	cli.OK(t, "run", "-d", "--name", c, "--network", "name="+nets[0]+",alias=x", "--network", "name="+nets[1]+",gw-priority=-1", "busybox", "sleep", "1000")
	cli.OK(t, "inspect", c)
	cli.OK(t, "ps", "--filter", "network="+nets[1])
	cli.OK(t, slices.Concat([]string{"network", "inspect"}, nets)...)
	cli.OK(t, "network", "disconnect", nets[0], c)
	cli.OK(t, "network", "connect", "--alias", "y", nets[0], c)
	cli.Fails(t, 1, "already exists in network", "network", "connect", nets[0], c)
	cli.Fails(t, 1, "No such container", "network", "connect", nets[0], "no-such-container")
	cli.Fails(t, 1, "No such container", "network", "disconnect", nets[0], "no-such-container")
	cli.Fails(t, 1, "not found", "network", "connect", "no-such-network", c)
	cli.Fails(t, 1, "already exists", "network", "create", nets[0])
	cli.Fails(t, 1, "predefined", "network", "create", "host")
	cli.Fails(t, 1, "active endpoints", "network", "rm", nets[0])
	cli.OK(t, "rm", "-f", c)
	cli.OK(t, "network", "prune", "-f", "--filter", "label=answers")
	cli.Fails(t, 1, "not found", "network", "rm", nets[0])
	cli.OK(t, "network", "rm", nets[1], nets[2])
}
