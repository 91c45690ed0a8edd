package explain

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	davitnet "github.com/davit-engine/davit/network"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/engine/spec"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestFacts explains two containers, one with nothing said and one with all.
func TestFacts(t *testing.T) {
	port := func(s string) network.Port {
		p, err := network.ParsePort(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	plain := &record.Container{
		ID: "0123456789abcdef", Name: "plain", Path: "sh", Config: &container.Config{Cmd: []string{"sh"}, Hostname: "0123456789ab", Env: []string{"PATH=/bin"}},
		HostConfig: &container.HostConfig{ShmSize: 64 << 20, LogConfig: container.LogConfig{Type: "json-file"}},
		Image:      record.Image{Lower: []string{"a"}},
		Origin:     &record.Origin{Image: []string{"Cmd", "Entrypoint", "Env.PATH"}, Engine: []string{"Hostname", "LogConfig.Type", "Runtime", "ShmSize"}},
	}
	init, pids, timeout := true, int64(100), 3
	full := &record.Container{
		ID: "fedcba9876543210", Name: "full", Path: "/entry", Args: []string{"serve", "it's"},
		Config: &container.Config{
			Entrypoint: []string{"/entry"}, Cmd: []string{"serve", "it's"}, User: "web", WorkingDir: "/srv", Env: []string{"A=1", "PATH=/bin"}, Tty: true, OpenStdin: true,
			Hostname: "shop", StopSignal: "SIGINT", StopTimeout: &timeout, ExposedPorts: network.PortSet{port("80/tcp"): {}, port("53/udp"): {}}, Volumes: map[string]struct{}{"/data": {}},
			Healthcheck: &container.HealthConfig{Test: []string{"CMD", "check", "a b"}, Interval: time.Minute},
		},
		HostConfig: &container.HostConfig{
			ShmSize: 1 << 30, Init: &init, ReadonlyRootfs: true, NetworkMode: "none", AutoRemove: true, CapAdd: []string{"KILL"}, CapDrop: []string{"ALL"},
			Binds: []string{"/srv/www:/www:ro"}, VolumesFrom: []string{"other"}, SecurityOpt: []string{"no-new-privileges"}, PidMode: "host",
			PortBindings: network.PortMap{port("80/tcp"): {{HostPort: "8080"}}}, Sysctls: map[string]string{"net.ipv4.ip_forward": "1"}, ExtraHosts: []string{"db:10.0.0.1"},
			Annotations: map[string]string{"com.davit.health-on-failure": "restart"}, LogConfig: container.LogConfig{Type: "local", Config: map[string]string{"max-size": "1m"}},
			Resources: container.Resources{
				Memory: 64 << 20, MemorySwap: 128 << 20, NanoCPUs: 15e8, PidsLimit: &pids, CpusetCpus: "0-1",
				Ulimits: []*container.Ulimit{{Name: "nofile", Soft: 10, Hard: 20}}, Devices: []container.DeviceMapping{{PathOnHost: "/dev/fuse", PathInContainer: "/dev/fuse"}},
			},
		},
		Image: record.Image{Lower: []string{"a", "b"}},
		NetworkingConfig: &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
			"back": {}, "front": {DriverOpts: map[string]string{"davit.rate": "up=10mbit,down=50mbit"}},
		}},
		Endpoints: []davitnet.Endpoint{{Address4: netip.MustParsePrefix("10.0.0.2/24")}},
		Mounts: []record.Mount{
			{Type: mount.TypeBind, Source: "/srv/www", Destination: "/www"}, {Type: mount.TypeVolume, Name: "4a5b", Destination: "/data", RW: true, Anonymous: true},
			{Type: mount.TypeVolume, Name: "theirs", Destination: "/theirs", RW: true},
		},
		Origin: &record.Origin{Image: []string{"Entrypoint", "Env.PATH", "ExposedPorts.53/udp", "User", "Volumes./data", "WorkingDir"}, Engine: []string{"MemorySwap"}},
	}
	var out bytes.Buffer
	for _, rec := range []*record.Container{plain, full} {
		in := spec.Input{Container: rec, User: spec.User{UID: 7, GID: 8, Groups: []uint32{8, 9}, Home: "/home"},
			Host: spec.Host{Capabilities: []string{"CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN"}, Nofile: 1024}}
		in.Defaults = spec.Defaults{CgroupNS: container.CgroupnsModePrivate, IPC: container.IPCModePrivate}
		in.Security.NoNewPrivileges = rec == full
		s, err := spec.Build(in)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "== %s\n", rec.Name)
		for _, f := range Facts(Input{Record: rec, Spec: s, User: in.User, Seccomp: "filtered by the default profile", Defaults: in.Defaults, NetworkRates: map[string]string{"back": "down=1mbit", "front": "down=1mbit"}, Given: func(key string) bool { return key == "log-driver" }}) {
			fmt.Fprintf(&out, "%s / %s = %s [%s]\n", f.Group, f.Name, f.Value, f.From)
		}
		fmt.Fprintln(&out)
	}
	path := filepath.Join("testdata", "facts.txt")
	if *update {
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, out.Bytes()) {
		t.Errorf("facts differ from %s (rewrite it with -update):\n%s", path, out.String())
	}
}
