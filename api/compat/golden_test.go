package compat

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/storage"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	goldenID     = "4a5b6c7d8e9f00112233445566778899aabbccddeeff00112233445566778899"
	goldenDigest = "sha256:aa11bb22cc33dd44ee55ff6600112233445566778899aabbccddeeff00112233"
	goldenTime   = "2026-01-02T03:04:05.000000006Z"
)

var goldenManifest = &ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: goldenDigest, Size: 7, Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64"}}

// TestGoldens holds the shape of each answer for all versions: one file for
// each range of versions that have the same, so that a change of one version's
// shape shows as a file.
func TestGoldens(t *testing.T) {
	for name, answer := range map[string]func(v Version) any{
		"inspect":    func(v Version) any { return Container(v, goldenInspect()) },
		"ps":         func(v Version) any { return Containers(v, goldenContainers()) },
		"event":      func(v Version) any { return goldenEvents(v) },
		"info":       func(v Version) any { return Info(v, goldenInfo()) },
		"version":    func(v Version) any { return SystemVersion(v, goldenVersion()) },
		"df":         func(v Version) any { return DiskUsage(v, goldenUsage(), false) },
		"df-verbose": func(v Version) any { return DiskUsage(v, goldenUsage(), true) },
		"images":     func(v Version) any { return Images(v, goldenImages()) },
		"image":      func(v Version) any { return Image(v, goldenImage()) },
		"networks":   func(v Version) any { return Networks(v, []network.Inspect{goldenNetwork()}) },
		"network":    func(v Version) any { return Network(v, goldenNetwork()) },
		"network-create": func(v Version) any {
			with, without := true, false
			return CreateNetwork(v, network.CreateRequest{Name: "n", EnableIPv4: &without, EnableIPv6: &with})
		},
		"stats":         func(v Version) any { return Stats(v, goldenStats()) },
		"create":        func(v Version) any { return goldenCreate(v, `{"Image":"a"}`) },
		"create-filled": func(v Version) any { return goldenCreate(v, goldenRequest) },
		"create-sysctl": func(v Version) any {
			return goldenCreate(v, `{"Image":"a","HostConfig":{"Sysctls":{"net.ipv4.conf.eth0.log_martians":"1","net.ipv4.ip_forward":"1"}}}`)
		},
	} {
		t.Run(name, func(t *testing.T) { compareGoldens(t, filepath.Join("testdata", name), answer) })
	}
}

func compareGoldens(t *testing.T, dir string, answer func(v Version) any) {
	type span struct {
		from, to Version
		text     []byte
	}
	var spans []span
	for v := Min; !Max.less(v); v.Minor++ {
		text, err := json.Marshal(answer(v))
		if err != nil {
			t.Fatalf("%v: %v", v, err)
		}
		var b bytes.Buffer
		if err := json.Indent(&b, text, "", " "); err != nil {
			t.Fatal(err)
		}
		if n := len(spans); n > 0 && bytes.Equal(spans[n-1].text, b.Bytes()) {
			spans[n-1].to = v
			continue
		}
		spans = append(spans, span{v, v, b.Bytes()})
	}
	if *update {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	there := map[string]bool{}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		there[f] = true
	}
	for _, s := range spans {
		file := filepath.Join(dir, fmt.Sprintf("%v-%v.json", s.from, s.to))
		if *update {
			if err := os.WriteFile(file, append(s.text, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Errorf("the shape of %v to %v has no golden file (-update writes it): %v", s.from, s.to, err)
			continue
		}
		if string(want) != string(s.text)+"\n" {
			t.Errorf("%v to %v differ from %s (run with -update to see how):\n%s", s.from, s.to, file, s.text)
		}
		delete(there, file)
	}
	if !*update {
		for f := range there {
			t.Errorf("%s is no version's shape any more", f)
		}
	}
}

func goldenInspect() container.InspectResponse {
	return container.InspectResponse{
		ID: goldenID, Created: goldenTime, Path: "sh", Args: []string{"-c", "true"}, Image: goldenDigest, ImageManifestDescriptor: goldenManifest,
		Name: "/web", Driver: "overlayfs", Platform: "linux", LogPath: "/log", RestartCount: 2,
		State:      &container.State{Status: container.StateExited, ExitCode: 3, StartedAt: goldenTime, FinishedAt: goldenTime},
		HostConfig: &container.HostConfig{NetworkMode: "bridge", IpcMode: "private", Annotations: map[string]string{"a": "b"}, RestartPolicy: container.RestartPolicy{Name: "no"}},
		Config:     &container.Config{Hostname: "webhost", Image: "busybox", Env: []string{"A=1"}, Cmd: []string{"-c", "true"}, Entrypoint: []string{"sh"}, Labels: map[string]string{"l": "v"}},
		Mounts:     []container.MountPoint{{Type: mount.TypeBind, Source: "/s", Destination: "/d", RW: true, Propagation: "rprivate"}},
		NetworkSettings: &container.NetworkSettings{SandboxID: goldenID, Ports: network.PortMap{network.MustParsePort("80/tcp"): nil}, Networks: map[string]*network.EndpointSettings{
			"bridge": goldenEndpoint(), "mine": {Aliases: []string{"x"}, DNSNames: []string{"web", "x"}},
		}},
		Storage: &storage.Storage{RootFS: &storage.RootFSStorage{Snapshot: &storage.RootFSStorageSnapshot{Name: "overlayfs"}}},
	}
}

func goldenEndpoint() *network.EndpointSettings {
	return &network.EndpointSettings{
		NetworkID: goldenID, EndpointID: goldenID, Gateway: netip.MustParseAddr("172.17.0.1"), IPAddress: netip.MustParseAddr("172.17.0.2"), IPPrefixLen: 16,
		MacAddress: network.HardwareAddr{2, 0x42, 0xac, 0x11, 0, 2},
	}
}

func goldenContainers() []container.Summary {
	s := container.Summary{
		ID: goldenID, Names: []string{"/web"}, Image: "busybox", ImageID: goldenDigest, ImageManifestDescriptor: goldenManifest, Command: "sh", Created: 1767323045,
		Ports: []container.PortSummary{{PrivatePort: 80, Type: "tcp"}}, Labels: map[string]string{}, State: container.StateRunning, Status: "Up 2 hours (healthy)",
		Health: &container.HealthSummary{Status: container.Healthy}, Mounts: []container.MountPoint{},
		NetworkSettings: &container.NetworkSettingsSummary{Networks: map[string]*network.EndpointSettings{"bridge": goldenEndpoint()}},
	}
	s.HostConfig.NetworkMode, s.HostConfig.Annotations = "bridge", map[string]string{"a": "b"}
	return []container.Summary{s}
}

func goldenEvents(v Version) []any {
	event := func(typ events.Type, action events.Action) any {
		return Event(v, events.Message{
			Type: typ, Action: action, Scope: "local", Time: 1767323045, TimeNano: 1767323045000000006,
			Actor: events.Actor{ID: goldenID, Attributes: map[string]string{"image": "busybox", "name": "web"}},
		})
	}
	return []any{
		event(events.ContainerEventType, events.ActionStart), event(events.ImageEventType, events.ActionPull),
		event(events.ImageEventType, events.ActionCreate), event(events.NetworkEventType, events.ActionConnect),
	}
}

func goldenInfo() system.Info {
	return system.Info{
		ID: "id", Containers: 1, Driver: "overlayfs", SecurityOptions: []string{"name=seccomp,profile=builtin", "name=cgroupns"}, CgroupDriver: "cgroupfs", CgroupVersion: "2",
		Runtimes:        map[string]system.RuntimeWithStatus{"davit": {Runtime: system.Runtime{Path: "/davit-shim"}, Status: map[string]string{"x": "y"}}},
		RegistryConfig:  &registry.ServiceConfig{IndexConfigs: map[string]*registry.IndexInfo{}},
		FirewallBackend: &system.FirewallInfo{Driver: "nftables"}, DiscoveredDevices: []system.DeviceInfo{{Source: "cdi", ID: "a/b=c"}}, CDISpecDirs: []string{"/etc/cdi"},
		Containerd: &system.ContainerdInfo{Address: "/c"}, NRI: &system.NRIInfo{}, DefaultAddressPools: []system.NetworkAddressPool{{Size: 24}}, Warnings: []string{"w"}, PidsLimit: true,
	}
}

func goldenVersion() system.VersionResponse {
	return system.VersionResponse{
		Platform: system.PlatformInfo{Name: "Davit"}, Version: "1", APIVersion: "1.56", MinAPIVersion: "1.24", Os: "linux", Arch: "amd64", GoVersion: "go", KernelVersion: "6.18",
		Components: []system.ComponentVersion{{Name: "Engine", Version: "1", Details: map[string]string{"Arch": "amd64"}}},
	}
}

func goldenUsage() system.DiskUsage {
	return system.DiskUsage{
		ImageUsage:     &image.DiskUsage{ActiveCount: 1, TotalCount: 1, TotalSize: 9, Reclaimable: 3, Items: goldenImages()},
		ContainerUsage: &container.DiskUsage{TotalCount: 1, TotalSize: 2, Items: goldenContainers()},
		VolumeUsage:    &volume.DiskUsage{TotalCount: 1, TotalSize: 5, Items: []volume.Volume{{Name: "v", Driver: "local", Scope: "local", UsageData: &volume.UsageData{RefCount: 1, Size: 5}}}},
	}
}

func goldenImages() []image.Summary {
	return []image.Summary{
		{ID: goldenDigest, RepoTags: []string{"busybox:latest"}, RepoDigests: []string{"busybox@" + goldenDigest}, Created: 1767323045, Size: 9, SharedSize: -1, Containers: 1, Descriptor: goldenManifest},
		{ID: goldenDigest, Created: 1767323045, Size: 9, SharedSize: -1},
	}
}

func goldenImage() image.InspectResponse {
	return image.InspectResponse{
		ID: goldenDigest, RepoTags: []string{"busybox:latest"}, Architecture: "amd64", Os: "linux", Size: 9, Descriptor: goldenManifest,
		Config: &dockerspec.DockerOCIImageConfig{ImageConfig: ocispec.ImageConfig{Cmd: []string{"sh"}}},
		RootFS: image.RootFS{Type: "layers", Layers: []string{goldenDigest}}, Metadata: image.Metadata{LastTagTime: time.Unix(1767323045, 0).UTC()},
	}
}

func goldenNetwork() network.Inspect {
	subnet := netip.MustParsePrefix("172.17.0.0/16")
	return network.Inspect{
		Network: network.Network{
			Name: "bridge", ID: goldenID, Created: time.Unix(1767323045, 0).UTC(), Scope: "local", Driver: "bridge", EnableIPv4: true,
			IPAM: network.IPAM{Driver: "default", Config: []network.IPAMConfig{{Subnet: subnet}}}, Options: map[string]string{}, Labels: map[string]string{},
		},
		Containers: map[string]network.EndpointResource{goldenID: {Name: "web"}},
		Status:     &network.Status{IPAM: network.IPAMStatus{Subnets: network.SubnetStatuses{subnet: {IPsInUse: 4, DynamicIPsAvailable: 65532}}}},
	}
}

func goldenStats() container.StatsResponse {
	return container.StatsResponse{
		ID: goldenID, Name: "/web", OSType: "linux", Read: time.Unix(1767323045, 0).UTC(), CPUStats: container.CPUStats{OnlineCPUs: 2, SystemUsage: 9},
		MemoryStats: container.MemoryStats{Usage: 5, Limit: 10, Stats: map[string]uint64{"cache": 1}}, PidsStats: container.PidsStats{Current: 1},
		Networks: map[string]container.NetworkStats{"eth0": {RxBytes: 1}},
	}
}

// goldenRequest asks for what some version changes or does not know.
const goldenRequest = `{"Image":"a","MacAddress":"02:42:ac:11:00:09","Healthcheck":{"Test":["CMD","true"],"StartInterval":1000000},
 "HostConfig":{"NetworkMode":"default","AutoRemove":true,"ConsoleSize":[24,80],"Annotations":{"a":"b"},"Umask":18,"PidsLimit":0,"MemorySwappiness":-1,"KernelMemory":4194304,
  "PortBindings":{"80/tcp":[]},"VolumeDriver":"x",
  "Mounts":[{"Type":"bind","Source":"/s","Target":"/t","ReadOnly":true,"BindOptions":{"NonRecursive":true,"CreateMountpoint":true}},
            {"Type":"tmpfs","Target":"/r","TmpfsOptions":{"Options":[["exec"]]}},{"Type":"volume","Source":"v","Target":"/v"}]},
 "NetworkingConfig":{"EndpointsConfig":{"default":{"GwPriority":7}}}}`

// goldenCreate is what a request comes to: its parts that are not empty, with
// the warnings, or the error.
func goldenCreate(v Version, body string) any {
	req, warnings, err := Create(v, strings.NewReader(body), Host{})
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	text, err := json.Marshal(req)
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	var all any
	if err := json.Unmarshal(text, &all); err != nil {
		return map[string]any{"error": err.Error()}
	}
	return map[string]any{"warnings": warnings, "request": filled(all)}
}

// filled drops what is empty.
func filled(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := map[string]any{}
	for k, v := range m {
		switch v := filled(v).(type) {
		case nil, map[string]any, []any, string, bool, float64:
			if s := fmt.Sprint(v); s != "<nil>" && s != "map[]" && s != "[]" && s != "" && s != "false" && s != "0" && s != "[0 0]" {
				out[k] = v
			}
		}
	}
	return out
}
