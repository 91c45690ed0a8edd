package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/davit-engine/davit/api"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/engine/stats"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/image"
	"github.com/davit-engine/davit/runtime/cgroup"
	"github.com/davit-engine/davit/runtime/multiplex"
	"github.com/davit-engine/davit/test/swagger"
	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	id      = "4a5b6c7d8e9f00112233445566778899aabbccddeeff00112233445566778899"
	digest1 = "sha256:aa11bb22cc33dd44ee55ff6600112233445566778899aabbccddeeff00112233"
)

// fake is an engine in memory with one container, "web", and one image,
// "busybox:latest". Fields say what it does; got says what it was asked.
type fake struct {
	err     error         // what every verb answers; nil: it works
	tty     bool          // of the container
	output  []string      // of the container: "1text" to stdout, "2text" to stderr
	hold    chan struct{} // waits, logs and attachments last until it is closed
	updates []any         // messages of a pull or push, then its error
	past    []events.Message
	live    chan events.Message
	overrun bool // of the events, once live is closed

	mu  sync.Mutex
	got []any // guarded by mu
}

func (f *fake) note(v any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got = append(f.got, v)
}

func (f *fake) last(t *testing.T) any {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.got) == 0 {
		t.Fatal("the engine was not asked")
	}
	return f.got[len(f.got)-1]
}

func (f *fake) asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.got)
}

// find fails for every container but web.
func (f *fake) find(ref string) error {
	if f.err != nil {
		return f.err
	}
	if ref == "web" || ref != "" && strings.HasPrefix(id, ref) {
		return nil
	}
	return errs.New(errs.NotFound, "No such container: %s", ref)
}

func (f *fake) Create(_ context.Context, o engine.CreateOptions) (container.CreateResponse, error) {
	f.note(o)
	if f.err != nil {
		return container.CreateResponse{}, f.err
	}
	if o.Name == "web" {
		return container.CreateResponse{}, errs.New(errs.Conflict, "Conflict. The container name %q is already in use", "/web")
	}
	return container.CreateResponse{ID: id}, nil
}

func (f *fake) Start(_ context.Context, ref string, o engine.StartOptions) error {
	f.note("start " + ref + o.Checkpoint)
	return f.find(ref)
}

func (f *fake) Stop(_ context.Context, ref string, o engine.StopOptions) error {
	return f.stopped(ref, o)
}

func (f *fake) Restart(_ context.Context, ref string, o engine.StopOptions) error {
	return f.stopped(ref, o)
}

// stopped warns, and notes the rest: functions are never equal.
func (f *fake) stopped(ref string, o engine.StopOptions) error {
	o.Warn("it took long")
	o.Warn = nil
	f.note(o)
	return f.find(ref)
}

func (f *fake) Kill(_ context.Context, ref, signal string) error {
	f.note("kill " + ref + " " + signal)
	return f.find(ref)
}

func (f *fake) Pause(_ context.Context, ref string) error { f.note("pause " + ref); return f.find(ref) }

func (f *fake) Unpause(_ context.Context, ref string) error {
	f.note("unpause " + ref)
	return f.find(ref)
}

func (f *fake) Rename(_ context.Context, ref, name string) error {
	f.note("rename " + ref + " " + name)
	return f.find(ref)
}

func (f *fake) List(_ context.Context, o engine.ListOptions) ([]container.Summary, error) {
	f.note(o)
	s := container.Summary{
		ID: id, Names: []string{"/web"}, Image: "busybox", ImageID: digest1, Command: "sh", Created: 1700000000,
		Ports: []container.PortSummary{}, Labels: map[string]string{}, State: container.StateRunning, Status: "Up 2 hours",
		ImageManifestDescriptor: &ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest1, Size: 7},
		Health:                  &container.HealthSummary{Status: container.NoHealthcheck},
		NetworkSettings:         &container.NetworkSettingsSummary{Networks: map[string]*network.EndpointSettings{"bridge": endpoint()}},
		Mounts:                  []container.MountPoint{},
	}
	s.HostConfig.NetworkMode = "bridge"
	s.HostConfig.Annotations = map[string]string{"a": "b"}
	return []container.Summary{s}, f.err
}

func endpoint() *network.EndpointSettings {
	return &network.EndpointSettings{
		NetworkID: id, EndpointID: id, Gateway: netip.MustParseAddr("172.17.0.1"), IPAddress: netip.MustParseAddr("172.17.0.2"),
		IPPrefixLen: 16, MacAddress: network.HardwareAddr{2, 0x42, 0xac, 0x11, 0, 2},
	}
}

func (f *fake) Inspect(_ context.Context, ref string, size bool) (container.InspectResponse, error) {
	f.note(fmt.Sprint("inspect ", ref, size))
	if err := f.find(ref); err != nil {
		return container.InspectResponse{}, err
	}
	user := endpoint()
	user.Aliases = []string{"www"}
	return container.InspectResponse{
		ID: id, Created: "2026-01-02T03:04:05.123456789Z", Path: "sh", Args: []string{}, Image: digest1, Name: "/web",
		State:  &container.State{Status: container.StateRunning, Running: true, Pid: 77, StartedAt: "2026-01-02T03:04:05.123456789Z", FinishedAt: "0001-01-01T00:00:00Z"},
		Driver: "overlayfs", Platform: "linux", Mounts: []container.MountPoint{},
		HostConfig: &container.HostConfig{LogConfig: container.LogConfig{Type: "json-file"}, NetworkMode: "bridge", IpcMode: "private", CgroupnsMode: "private"},
		Config:     &container.Config{Hostname: "webhost", Image: "busybox", Cmd: []string{"sh"}, Env: []string{"A=b<c"}, Tty: f.tty},
		NetworkSettings: &container.NetworkSettings{
			Ports: network.PortMap{}, Networks: map[string]*network.EndpointSettings{"bridge": endpoint(), "mine": user},
		},
		ImageManifestDescriptor: &ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest1, Size: 7},
	}, nil
}

// Stats shows one sample of a container that runs.
func (f *fake) Stats(_ context.Context, ref string, o engine.StatsOptions, show func(*stats.Sample) error) error {
	f.note(o)
	if err := f.find(ref); err != nil {
		return err
	}
	group := &cgroup.Stats{CPU: cgroup.CPUStats{Total: 90, PerCPU: []uint64{90}}, Memory: cgroup.MemoryStats{Stat: map[string]uint64{"cache": 1}}}
	return show(stats.New(id, "web", stats.Counted{At: time.Unix(1, 2), Group: group}, stats.Host{CPU: stats.CPU{Online: 1}}))
}

func (f *fake) Top(_ context.Context, ref, psArgs string) (container.TopResponse, error) {
	f.note("top " + ref + " " + psArgs)
	return container.TopResponse{Titles: []string{"PID", "CMD"}, Processes: [][]string{{"7", "sh"}}}, f.find(ref)
}

// DiskUsage is that of the one container and of one image.
func (f *fake) DiskUsage(_ context.Context, o engine.DiskUsageOptions) (system.DiskUsage, error) {
	defer f.note(o)
	var u system.DiskUsage
	if o.Containers {
		list, _ := f.List(context.Background(), engine.ListOptions{})
		u.ContainerUsage = &container.DiskUsage{ActiveCount: 1, TotalCount: 1, TotalSize: 5, Items: list}
	}
	if o.Images {
		u.ImageUsage = &imagetypes.DiskUsage{TotalCount: 1, TotalSize: 7, Reclaimable: 7, Items: []imagetypes.Summary{{ID: digest1, Size: 7}}}
	}
	if o.Volumes {
		u.VolumeUsage = &volume.DiskUsage{TotalCount: 1, Items: []volume.Volume{{Name: "data", Scope: "local"}}}
	}
	if o.BuildCache {
		u.BuildCacheUsage = &build.DiskUsage{}
	}
	return u, f.err
}

func (f *fake) PruneContainers(_ context.Context, filters map[string]map[string]bool) (container.PruneReport, error) {
	f.note(filters)
	return container.PruneReport{ContainersDeleted: []string{id}, SpaceReclaimed: 5}, f.err
}

func (f *fake) PruneImages(_ context.Context, filters map[string]map[string]bool) (imagetypes.PruneReport, error) {
	f.note(filters)
	return imagetypes.PruneReport{ImagesDeleted: []imagetypes.DeleteResponse{{Deleted: digest1}}, SpaceReclaimed: 7}, f.err
}

// Save writes the names.
func (f fakeImages) Save(_ context.Context, w io.Writer, refs []string, o image.SaveOptions) error {
	f.note([]any{refs, o})
	if f.err != nil {
		return f.err
	}
	_, err := fmt.Fprint(w, refs)
	return err
}

// Load makes an image with a name, and one without.
func (f fakeImages) Load(_ context.Context, r io.Reader, o image.LoadOptions) ([]image.Loaded, error) {
	if o.Progress != nil {
		o.Progress(jsonstream.Message{Status: "Loading layer", ID: "abc", Progress: &jsonstream.Progress{Current: 1, Total: 2}})
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	o.Progress = nil
	f.note([]any{string(data), o})
	if f.err != nil {
		return nil, f.err
	}
	return []image.Loaded{{ID: digest1, Name: "a:1"}, {ID: digest1}}, nil
}

func (f *fake) Remove(_ context.Context, ref string, o engine.RemoveOptions) error {
	f.note(o)
	return f.find(ref)
}

func (f *fake) Wait(ctx context.Context, ref string, cond container.WaitCondition) (<-chan container.WaitResponse, error) {
	f.note(cond)
	if err := f.find(ref); err != nil {
		return nil, err
	}
	out := make(chan container.WaitResponse, 1)
	go func() {
		defer close(out)
		select {
		case <-f.hold:
			out <- container.WaitResponse{StatusCode: 3}
		case <-ctx.Done():
		}
	}()
	return out, nil
}

// Attach echoes what it reads, after what was output already, until the client
// ends its input.
func (f *fake) Attach(_ context.Context, ref string, o engine.AttachOptions) error {
	hijack := o.Hijack
	o.Hijack = nil
	f.note(o)
	if err := f.find(ref); err != nil {
		return err
	}
	conn, early, err := hijack(f.tty)
	if err != nil {
		return err
	}
	go func() {
		defer conn.Close()
		for _, line := range f.output {
			fmt.Fprintln(conn, line[1:])
		}
		_, _ = conn.Write(early)
		_, _ = io.Copy(conn, conn)
	}()
	return nil
}

func (f *fake) Logs(_ context.Context, ref string, o engine.LogsOptions) (engine.LogStream, error) {
	f.note(o)
	if err := f.find(ref); err != nil {
		return engine.LogStream{}, err
	}
	return engine.LogStream{TTY: f.tty, Copy: func(ctx context.Context, to io.Writer) error {
		for _, line := range f.output {
			w := to
			if !f.tty {
				w = multiplex.Writer{W: to, Stream: line[0] - '0'}
			}
			if _, err := io.WriteString(w, line[1:]+"\n"); err != nil {
				return err
			}
		}
		if !o.Follow {
			return nil
		}
		select {
		case <-f.hold:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}, nil
}

func (f *fake) Resize(_ context.Context, ref string, h, w uint32) error {
	f.note(fmt.Sprintf("resize %dx%d", h, w))
	return f.find(ref)
}

func (f *fake) Info(context.Context) (system.Info, error) {
	return system.Info{
		ID: "fake", Containers: 1, ContainersRunning: 1, Images: 1, Driver: "overlayfs", DriverStatus: [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}},
		Plugins: system.PluginsInfo{Volume: []string{"local"}, Network: []string{"bridge", "host", "null"}, Log: []string{"json-file"}},
		OSType:  "linux", Architecture: "x86_64", NCPU: 2, MemTotal: 1 << 30, SystemTime: "2026-01-02T03:04:05.123456789Z",
		CgroupDriver: "cgroupfs", CgroupVersion: "2", KernelVersion: "6.18", OperatingSystem: "Debian", ServerVersion: "0.1.0",
		RegistryConfig: &registry.ServiceConfig{IndexConfigs: map[string]*registry.IndexInfo{"docker.io": {Name: "docker.io", Mirrors: []string{}, Secure: true, Official: true}}},
		Runtimes:       map[string]system.RuntimeWithStatus{"davit": {Runtime: system.Runtime{Path: "davit-shim"}, Status: map[string]string{"a": "b"}}},
		DefaultRuntime: "davit", Name: "host", FirewallBackend: &system.FirewallInfo{Driver: "nftables"}, Containerd: &system.ContainerdInfo{},
		DiscoveredDevices: []system.DeviceInfo{{Source: "cdi", ID: "x"}}, SecurityOptions: []string{"name=seccomp,profile=builtin"},
	}, f.err
}

func (f *fake) Version(context.Context) (system.VersionResponse, error) {
	return system.VersionResponse{
		Platform: system.PlatformInfo{Name: "Davit"}, Version: "0.1.0", Os: "linux", Arch: "amd64", GoVersion: "go1.26", KernelVersion: "6.18",
		Components: []system.ComponentVersion{{Name: "Engine", Version: "0.1.0", Details: map[string]string{"Os": "linux"}}},
	}, f.err
}

func (f *fake) Events(_ context.Context, since, until time.Time, filters map[string]map[string]bool) (engine.EventStream, error) {
	f.note([]any{since, until, filters})
	if f.err != nil {
		return engine.EventStream{}, f.err
	}
	return engine.EventStream{Past: f.past, Live: f.live, Overrun: func() bool { return f.overrun }, Cancel: func() { f.note("events cancelled") }}, nil
}

func (f *fake) transfer(send func(jsonstream.Message)) error {
	for _, u := range f.updates {
		switch u := u.(type) {
		case jsonstream.Message:
			send(u)
		case error:
			return u
		}
	}
	return f.err
}

type fakeImages struct{ *fake }

func (f fakeImages) Pull(ctx context.Context, ref reference.Named, o image.PullOptions) (digest.Digest, error) {
	send := o.Progress
	o.Progress = nil
	f.note([]any{ref.String(), o})
	return digest1, f.transfer(send)
}

func (f fakeImages) Push(ctx context.Context, ref reference.Named, o image.PushOptions) error {
	send := o.Progress
	o.Progress = nil
	f.note([]any{ref.String(), o})
	return f.transfer(send)
}

func (f fakeImages) Import(_ context.Context, r io.Reader, o image.ImportOptions) (digest.Digest, error) {
	b, err := io.ReadAll(r)
	f.note([]any{string(b), o})
	if err == nil {
		err = f.err
	}
	return digest1, err
}

func (f fakeImages) List(_ context.Context, o image.ListOptions) ([]imagetypes.Summary, error) {
	f.note(o)
	return []imagetypes.Summary{
		{ID: digest1, RepoTags: []string{"busybox:latest"}, RepoDigests: []string{"busybox@" + digest1}, Created: 1700000000, Size: 42, SharedSize: -1, Containers: 1,
			Labels: map[string]string{}, Descriptor: &ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest1, Size: 7}},
		{ID: digest1, Created: 1700000000, Size: 42, SharedSize: -1, Labels: map[string]string{}},
	}, f.err
}

func (f fakeImages) known(ref string) error {
	if f.err != nil {
		return f.err
	}
	if ref == "busybox" || ref == "docker.io/library/busybox" || ref == "json" {
		return nil
	}
	return errs.New(errs.NotFound, "No such image: %s", ref)
}

func (f fakeImages) Inspect(_ context.Context, ref string, o image.InspectOptions) (imagetypes.InspectResponse, error) {
	f.note([]any{ref, o})
	return imagetypes.InspectResponse{
		ID: digest1, RepoTags: []string{"busybox:latest"}, Config: &dockerspec.DockerOCIImageConfig{ImageConfig: ocispec.ImageConfig{Cmd: []string{"sh"}}},
		Architecture: "amd64", Os: "linux", Size: 42, RootFS: imagetypes.RootFS{Type: "layers", Layers: []string{digest1}},
		Descriptor: &ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest1, Size: 7},
	}, f.known(ref)
}

func (f fakeImages) History(_ context.Context, ref string, p *ocispec.Platform) ([]imagetypes.HistoryResponseItem, error) {
	f.note([]any{ref, p})
	return nil, f.known(ref)
}

func (f fakeImages) Tag(_ context.Context, src string, dst reference.Named) (digest.Digest, error) {
	f.note(src + " as " + dst.String())
	return digest1, f.known(src)
}

func (f fakeImages) Remove(_ context.Context, ref string, o image.RemoveOptions) ([]imagetypes.DeleteResponse, error) {
	f.note([]any{ref, o})
	return []imagetypes.DeleteResponse{{Untagged: "busybox:latest"}, {Deleted: digest1}}, f.known(ref)
}

func (f *fake) Login(_ context.Context, a registry.AuthConfig) (string, error) {
	f.note(a)
	if f.err != nil {
		return "", f.err
	}
	if a.Password != "right" {
		return "", errs.New(errs.Unauthorized, "unauthorized: incorrect username or password")
	}
	return "token", nil
}

func (f *fake) parts() api.Parts {
	return api.Parts{
		Lifecycle: f, Freezer: f, Streams: f, Catalog: f, Changes: f, Explainer: fakeExplainer{f}, System: f,
		Transfer: fakeImages{f}, Images: fakeImages{f}, Registry: f,
		Networks: fakeNetworks{f}, Usage: f, Space: f, Archives: fakeImages{f},
		Execs: fakeExecs{f}, Checkpoints: fakeCheckpoints{f}, Volumes: fakeVolumes{f},
		Files: fakeFiles{f}, Committer: fakeFiles{f},
	}
}

// fakeVolumes is the fake's one volume, "data".
type fakeVolumes struct{ *fake }

var dataVolume = volume.Volume{Name: "data", Driver: "local", Mountpoint: "/v/data/_data", Scope: "local", CreatedAt: "2026-01-02T03:04:05Z"}

func (f fakeVolumes) Create(_ context.Context, r volume.CreateRequest) (volume.Volume, error) {
	f.note(r)
	return dataVolume, f.err
}

func (f fakeVolumes) Inspect(_ context.Context, name string) (volume.Volume, error) {
	f.note("inspect " + name)
	if name != "data" {
		return volume.Volume{}, errs.New(errs.NotFound, "get %s: no such volume", name)
	}
	return dataVolume, f.err
}

func (f fakeVolumes) List(_ context.Context, filters map[string]map[string]bool) ([]volume.Volume, error) {
	f.note(filters)
	return []volume.Volume{dataVolume}, f.err
}

func (f fakeVolumes) Remove(_ context.Context, name string, force bool) error {
	f.note(fmt.Sprint("remove ", name, " ", force))
	return f.err
}

func (f fakeVolumes) Prune(_ context.Context, filters map[string]map[string]bool) (volume.PruneReport, error) {
	f.note(filters)
	return volume.PruneReport{VolumesDeleted: []string{"data"}, SpaceReclaimed: 5}, f.err
}

// fakeNetworks is the fake's one network, "bridge".
type fakeNetworks struct{ *fake }

func (f fakeNetworks) List(_ context.Context, filters map[string]map[string]bool) ([]network.Inspect, error) {
	f.note(filters)
	n, err := f.Inspect(context.Background(), "bridge")
	return []network.Inspect{n}, err
}

func (f fakeNetworks) Inspect(_ context.Context, ref string) (network.Inspect, error) {
	if ref != "bridge" {
		return network.Inspect{}, errs.New(errs.NotFound, "network %s not found", ref)
	}
	subnet := netip.MustParsePrefix("172.17.0.0/16")
	return network.Inspect{
		Network: network.Network{
			Name: "bridge", ID: id, Created: time.Unix(1700000000, 0).UTC(), Scope: "local", Driver: "bridge", EnableIPv4: true,
			IPAM:    network.IPAM{Driver: "default", Config: []network.IPAMConfig{{Subnet: subnet, Gateway: netip.MustParseAddr("172.17.0.1")}}},
			Options: map[string]string{"com.docker.network.bridge.name": "davit0"}, Labels: map[string]string{},
		},
		Containers: map[string]network.EndpointResource{id: {Name: "web", EndpointID: id, IPv4Address: netip.MustParsePrefix("172.17.0.2/16")}},
		Status:     &network.Status{IPAM: network.IPAMStatus{Subnets: network.SubnetStatuses{subnet: {IPsInUse: 4, DynamicIPsAvailable: 65532}}}},
	}, f.err
}

func (f fakeNetworks) Create(_ context.Context, r network.CreateRequest) (network.CreateResponse, error) {
	f.note(r)
	if r.Name == "taken" {
		return network.CreateResponse{}, errs.New(errs.Conflict, "network with name taken already exists")
	}
	return network.CreateResponse{ID: id, Warning: "mind the gap"}, f.err
}

func (f fakeNetworks) Connect(_ context.Context, ref, container string, settings *network.EndpointSettings) error {
	f.note([]any{"connect", ref, container, settings})
	return f.err
}

func (f fakeNetworks) Disconnect(_ context.Context, ref, container string, force bool) error {
	f.note([]any{"disconnect", ref, container, force})
	return f.err
}

func (f fakeNetworks) Remove(_ context.Context, ref string) error {
	if _, err := f.Inspect(context.Background(), ref); err != nil {
		return err
	}
	return errs.New(errs.Forbidden, "%s is a pre-defined network and cannot be removed", ref)
}

func (f fakeNetworks) Prune(_ context.Context, filters map[string]map[string]bool) (network.PruneReport, error) {
	f.note(filters)
	return network.PruneReport{NetworksDeleted: []string{}}, f.err
}

var checker = sync.OnceValues(swagger.New)

// serve starts a server for the fake whose every JSON answer is checked
// against Docker's description.
func serve(t *testing.T, f *fake) (*httptest.Server, *api.Server) {
	t.Helper()
	if f.hold == nil {
		f.hold = make(chan struct{})
	}
	c, err := checker()
	if err != nil {
		t.Fatal(err)
	}
	s := api.New(f.parts(), api.Config{Version: "0.1.0", Builder: "1", Log: slog.New(slog.DiscardHandler)})
	checked := c.Middleware(s, func(err error) { t.Errorf("not as described: %v", err) })
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Reading a version's description takes a second: these stand for all.
		for _, v := range []string{"/v1.30/", "/v1.41/", "/v1.51/", "/v1.56/"} {
			if strings.HasPrefix(r.URL.Path, v) || !strings.HasPrefix(r.URL.Path, "/v1.") && r.Method != http.MethodOptions {
				checked.ServeHTTP(w, r)
				return
			}
		}
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(s.EndStreams)
	return srv, s
}

// ask sends one request; headers are name, value in turn.
func ask(t *testing.T, srv *httptest.Server, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if body != "" && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := srv.Client().Transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// message returns the text of an error answer.
func message(t *testing.T, body string) string {
	t.Helper()
	var v map[string]string
	if err := json.Unmarshal([]byte(body), &v); err != nil || len(v) != 1 {
		t.Fatalf("not an error: %s", body)
	}
	return v["message"]
}

// object decodes a JSON object.
func object(t *testing.T, body string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return v
}

// dial opens a raw connection to the server.
func dial(t *testing.T, srv *httptest.Server) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}
