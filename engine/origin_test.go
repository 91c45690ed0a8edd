package engine

import (
	"encoding/json"
	"strings"
	"testing"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/image"
)

// TestOrigin makes records of requests and asks the records for the requests.
func TestOrigin(t *testing.T) {
	type config = container.Config
	port := func(s string) network.Port {
		p, err := network.ParsePort(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	full := dockerspec.DockerOCIImageConfig{ImageConfig: ocispec.ImageConfig{
		User: "web", Env: []string{"PATH=/bin", "LANG=C"}, Entrypoint: []string{"/entry"}, Cmd: []string{"serve"}, WorkingDir: "/srv",
		Labels: map[string]string{"maker": "me", "tier": "any"}, StopSignal: "SIGINT",
		Volumes: map[string]struct{}{"/data": {}}, ExposedPorts: map[string]struct{}{"80/tcp": {}},
	}}
	for _, c := range []struct {
		name  string
		asked config
		host  container.HostConfig
		from  string // what is not the user's
	}{
		{name: "nothing asked", from: "image Cmd Entrypoint Env.LANG Env.PATH ExposedPorts.80/tcp Labels.maker Labels.tier StopSignal User Volumes./data WorkingDir " +
			"engine Hostname LogConfig.Type LogConfig.Config.max-file Runtime ShmSize"},
		{name: "some of each", asked: config{
			User: "0", Env: []string{"PATH=/usr/bin", "A=1"}, Cmd: []string{"other"}, Labels: map[string]string{"tier": "front"},
			Volumes: map[string]struct{}{"/own": {}}, ExposedPorts: network.PortSet{port("81/tcp"): {}}, Hostname: "h",
		}, host: container.HostConfig{ShmSize: 5, Resources: container.Resources{Memory: 64 << 20}},
			from: "image Entrypoint Env.LANG ExposedPorts.80/tcp Labels.maker StopSignal Volumes./data WorkingDir " +
				"engine LogConfig.Type LogConfig.Config.max-file MemorySwap Runtime"},
		{name: "the same as the image's", asked: config{Env: []string{"LANG=C"}, Labels: map[string]string{"tier": "any"}, WorkingDir: "/srv", Cmd: []string{"serve"}},
			from: "image Entrypoint Env.PATH ExposedPorts.80/tcp Labels.maker StopSignal User Volumes./data " +
				"engine Hostname LogConfig.Type LogConfig.Config.max-file Runtime ShmSize"},
		{name: "no entrypoint", asked: config{Entrypoint: []string{""}, Cmd: []string{"sh"}, Env: []string{"LANG"}},
			host: container.HostConfig{LogConfig: container.LogConfig{Type: "none"}, Runtime: "runc"},
			from: "image Env.PATH ExposedPorts.80/tcp Labels.maker Labels.tier StopSignal User Volumes./data WorkingDir " +
				"engine Hostname ShmSize"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := bare()
			e.cfg.LogOpts = map[string]string{"max-file": "3"}
			before := text(t, c.asked, c.host)
			rec, _, err := e.drafter.newRecord(container.CreateRequest{Config: &c.asked, HostConfig: &c.host}, image.Image{Config: dockerspec.DockerOCIImage{Config: full}})
			if err != nil {
				t.Fatal(err)
			}
			from := "image " + strings.Join(rec.Origin.Image, " ") + " engine " + strings.Join(rec.Origin.Engine, " ")
			if from != c.from {
				t.Errorf("from %s\nwant %s", from, c.from)
			}
			config, host := rec.Origin.Asked(rec.Config, rec.HostConfig)
			if after := text(t, *config, *host); after != before {
				t.Errorf("the record says that this was asked:\n%s\nand it was this:\n%s", after, before)
			}
		})
	}
}

// text is settings as JSON, where an empty map or list is none.
func text(t *testing.T, c container.Config, h container.HostConfig) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{"Config": c, "HostConfig": h})
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(":{}", ":null", ":[]", ":null", `"ExposedPorts":null,`, "").Replace(string(b))
}
