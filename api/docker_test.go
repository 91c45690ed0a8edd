package api_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/api"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/jsonstream"
)

// TestDockerClient lets Docker's own command line talk to the fake.
func TestDockerClient(t *testing.T) {
	docker, err := exec.LookPath("docker")
	if err != nil {
		t.Skip("there is no docker command line on this machine")
	}
	hold := make(chan struct{})
	close(hold)
	f := &fake{
		hold: hold, output: []string{"1out", "2err"}, past: []events.Message{event("container", "start")},
		updates: []any{jsonstream.Message{Status: "Pulling from library/busybox", ID: "latest"}, jsonstream.Message{Status: "Status: Downloaded newer image for busybox:latest"}},
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: api.New(f.parts(), api.Config{Version: "0.1.0", Builder: "1", Log: slog.New(slog.DiscardHandler)})}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	home := t.TempDir()

	for _, tc := range []struct {
		args string
		code int
		want []string // parts of the output, errors included
	}{
		{"version", 0, []string{"Server: Davit", "API version:      1.56 (minimum version 1.24)"}},
		{"version --format {{.Server.APIVersion}}", 0, []string{"1.56"}},
		{"info", 0, []string{"Storage Driver: overlayfs", "Server Version: 0.1.0", "Cgroup Version: 2"}},
		{"ps", 0, []string{"4a5b6c7d8e9f", "busybox", "Up 2 hours", "web"}},
		{"inspect web --format {{.State.Status}},{{.NetworkSettings.IPAddress}},{{.Config.Hostname}}", 0, []string{"running,172.17.0.2,webhost"}},
		{"inspect nothing", 1, []string{"No such object: nothing"}},
		{"events --until 1700000001", 0, []string{"container start", "name=web"}},
		{"events --until 1700000001 --format {{.ID}},{{.Status}},{{.From}}", 0, []string{id + ",start,busybox"}},
		{"logs web", 0, []string{"out\n", "err\n"}},
		{"images", 0, []string{"busybox", "latest"}},
		{"image inspect busybox --format {{.Id}}", 0, []string{digest1}},
		{"history busybox", 0, []string{"IMAGE"}},
		{"tag busybox other", 0, nil},
		{"rmi busybox", 0, []string{"Untagged: busybox:latest", "Deleted: " + digest1}},
		{"pull busybox", 0, []string{"Pulling from library/busybox", "Downloaded newer image"}},
		{"push busybox", 0, []string{"Pulling from library/busybox"}},
		{"create --name db busybox", 0, []string{id}},
		{"create --name web busybox", 1, []string{"Conflict. The container name"}},
		{"start web", 0, []string{"web"}},
		{"stop web", 0, []string{"web"}},
		{"restart -t 1 web", 0, []string{"web"}},
		{"kill web", 0, []string{"web"}},
		{"kill nothing", 1, []string{"cannot kill container: nothing: No such container: nothing"}},
		{"wait web", 0, []string{"3"}},
		{"rm -f web", 0, []string{"web"}},
		{"exec -d web true", 0, nil},
		{"exec web true", 3, []string{"exec out"}},
		{"volume ls", 0, []string{"local", "data"}},
		{"network ls", 0, []string{"4a5b6c7d8e9f", "bridge"}},
		{"network inspect -v bridge", 0, []string{"172.17.0.0/16"}},
		{"network create -d bridge --ipv6 mine", 0, []string{id}},
		{"network create taken", 1, []string{"network with name taken already exists"}},
		{"network create --subnet 10.0.0.0 mine", 1, []string{"netip.ParsePrefix"}},
		{"network connect --ip 172.17.0.9 --gw-priority 3 bridge web", 0, nil},
		{"network disconnect -f bridge web", 0, nil},
		{"plugin ls", 1, []string{"GET /plugins is not implemented by this engine"}},
	} {
		t.Run(tc.args, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, docker, strings.Fields(tc.args)...)
			cmd.Env = []string{"DOCKER_HOST=unix://" + socket, "HOME=" + home, "PATH=" + os.Getenv("PATH")}
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState == nil {
				t.Fatal(err)
			}
			if cmd.ProcessState.ExitCode() != tc.code {
				t.Errorf("exit code %d: %s", cmd.ProcessState.ExitCode(), out)
			}
			for _, want := range tc.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("%q is not in the output: %s", want, out)
				}
			}
		})
	}
}
