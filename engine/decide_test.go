package engine

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	davitnet "github.com/davit-engine/davit/network"
	godigest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/engine/spec"
	"github.com/davit-engine/davit/errs"
)

// bare is an engine that can decide but not act.
func bare(recs ...*record.Container) *Engine {
	e := assemble(&core{
		table: newTable(), id: "test",
		host: &hostFacts{capabilities: []string{"CAP_CHOWN", "CAP_KILL"}, controllers: map[string]bool{}},
		cfg:  Config{LogDriver: "json-file", Defaults: spec.Defaults{ShmSize: 1 << 20}},
	})
	for _, r := range recs {
		e.table.names[r.Name] = r.ID
		e.table.add(r)
	}
	return e
}

func rec(id, name string, change func(*record.Container)) *record.Container {
	r := &record.Container{
		ID: strings.Repeat(id, 64/len(id)), Name: name, Config: &container.Config{}, HostConfig: &container.HostConfig{},
		State: record.State{Status: container.StateCreated},
	}
	if change != nil {
		change(r)
	}
	return r
}

func TestFind(t *testing.T) {
	e := bare(rec("ab12", "one", nil), rec("ab34", "two", nil), rec("cd", "ab1", nil))
	for ref, want := range map[string]string{
		strings.Repeat("ab12", 16): "one", "one": "one", "/two": "two", "ab3": "two", "cdc": "ab1",
		"ab1": "ab1", // a name goes before a prefix
	} {
		c, err := e.table.find(ref)
		if err != nil || c.rec.Name != want {
			t.Errorf("%s: %v, want %s", ref, err, want)
		}
	}
	for ref, want := range map[string]errs.Kind{"ab": errs.InvalidParameter, "zz": errs.NotFound, "": errs.InvalidParameter, "/": errs.InvalidParameter} {
		if _, err := e.table.find(ref); errs.KindOf(err) != want {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{"web": true, "/web": true, "a1_.-": true, "x": false, "-web": false, "we b": false, "": false, "wéb": false, "a/b": false} {
		if err := validName(name); (err == nil) != ok || err != nil && !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%q: %v", name, err)
		}
	}
	e := bare(rec("ab", "web", nil))
	if _, err := e.table.reserve("web", "x"); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), `The container name "/web" is already in use by container "abab`) {
		t.Errorf("a name in use: %v", err)
	}
	seen := map[string]bool{}
	for i := range 2000 {
		n, err := e.table.reserve("", fmt.Sprint(i))
		if err != nil || seen[n] || validName(n) != nil {
			t.Fatalf("%q: %v, seen %v", n, err, seen[n])
		}
		seen[n] = true
	}
	e.table.release("web", "somebody else's")
	if e.table.names["web"] == "" {
		t.Error("a name was released for another container")
	}
}

func TestMergeImage(t *testing.T) {
	img := dockerspec.DockerOCIImageConfig{ImageConfig: ocispec.ImageConfig{
		User: "bob", Env: []string{"A=img", "B=img"}, Entrypoint: []string{"/entry"}, Cmd: []string{"cmd"}, WorkingDir: "/w",
		Labels: map[string]string{"l": "img", "k": "img"}, StopSignal: "SIGINT", ExposedPorts: map[string]struct{}{"80/tcp": {}, "no port": {}},
	}}
	for _, c := range []struct {
		name            string
		entrypoint, cmd []string
		want            string
	}{
		{"both from the image", nil, nil, "/entry cmd"},
		{"own command", nil, []string{"x"}, "/entry x"},
		{"own entrypoint drops the image's command", []string{"/e"}, nil, "/e"},
		{"no entrypoint", []string{""}, []string{"x"}, "x"},
		{"empty entrypoint", []string{}, []string{"x"}, "x"},
	} {
		conf := &container.Config{Entrypoint: c.entrypoint, Cmd: c.cmd}
		mergeImage(conf, img)
		if got := strings.Join(slices.Concat(conf.Entrypoint, conf.Cmd), " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	conf := &container.Config{Env: []string{"A=own", "B"}, Labels: map[string]string{"l": "own"}}
	mergeImage(conf, img)
	if !slices.Equal(conf.Env, []string{"A=own", "B"}) || conf.Labels["l"] != "own" || conf.Labels["k"] != "img" || conf.User != "bob" ||
		conf.WorkingDir != "/w" || conf.StopSignal != "SIGINT" || len(conf.ExposedPorts) != 1 {
		t.Errorf("got %+v", conf)
	}
	if img.Labels["l"] != "img" {
		t.Error("the image's own labels were changed")
	}
}

func TestValidateRefuses(t *testing.T) {
	e := bare()
	for _, c := range []struct {
		name   string
		change func(*container.Config, *container.HostConfig)
		kind   errs.Kind
		text   string
	}{
		{"published port", func(_ *container.Config, h *container.HostConfig) {
			h.PortBindings = network.PortMap{network.MustParsePort("80"): {{HostPort: "80/tcp"}}}
		}, errs.InvalidParameter, `invalid port specification: "80/tcp"`},
		{"published range", func(_ *container.Config, h *container.HostConfig) {
			h.PortBindings = network.PortMap{network.MustParsePort("80"): {{HostPort: "9000-8000"}}}
		}, errs.InvalidParameter, `invalid port specification: "9000-8000"`},
		{"port 0", func(_ *container.Config, h *container.HostConfig) {
			h.PortBindings = network.PortMap{network.MustParsePort("0"): {{}}}
		}, errs.InvalidParameter, `invalid port specification: "0/tcp"`},
		{"unknown restart policy", func(_ *container.Config, h *container.HostConfig) { h.RestartPolicy.Name = "never" }, errs.InvalidParameter, "unknown policy"},
		{"health check", func(c *container.Config, _ *container.HostConfig) {
			c.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "x"}, Interval: 1}
		}, errs.InvalidParameter, "Interval in Healthcheck cannot be less than 1ms"},
		{"what to do about health", func(_ *container.Config, h *container.HostConfig) {
			h.Annotations = map[string]string{annotationOnFailure: "pray"}
		}, errs.InvalidParameter, "--health-on-failure must be one of"},
		{"ipc", func(_ *container.Config, h *container.HostConfig) { h.IpcMode = "odd" }, errs.InvalidParameter, "invalid IPC mode: odd"},
		{"cgroupns", func(_ *container.Config, h *container.HostConfig) { h.CgroupnsMode = "odd" }, errs.InvalidParameter, "invalid cgroup namespace mode: odd"},
		{"environment", func(c *container.Config, _ *container.HostConfig) { c.Env = []string{"=x"} }, errs.InvalidParameter, "invalid environment variable: =x"},
		{"null byte", func(c *container.Config, _ *container.HostConfig) { c.Cmd = []string{"a\x00b"} }, errs.InvalidParameter, "null byte"},
		{"working directory", func(c *container.Config, _ *container.HostConfig) { c.WorkingDir = "srv" }, errs.InvalidParameter, "needs to be an absolute path"},
		{"stop signal", func(c *container.Config, _ *container.HostConfig) { c.StopSignal = "SIGNOPE" }, errs.InvalidParameter, "invalid signal: SIGNOPE"},
		{"memory", func(_ *container.Config, h *container.HostConfig) { h.Memory = 100 }, errs.InvalidParameter, "Minimum memory limit allowed is 6MB"},
		{"swap without memory", func(_ *container.Config, h *container.HostConfig) { h.MemorySwap = 1 << 30 }, errs.InvalidParameter, "You should always set the Memory limit"},
		{"too many CPUs", func(_ *container.Config, h *container.HostConfig) { h.NanoCPUs = 1e15 }, errs.InvalidParameter, "Range of CPUs is from 0.01 to"},
		{"cpuset", func(_ *container.Config, h *container.HostConfig) { h.CpusetCpus = "0-9999" }, errs.InvalidParameter, "Requested CPUs are not available - requested 0-9999"},
		{"capability", func(_ *container.Config, h *container.HostConfig) { h.CapAdd = []string{"COFFEE"} }, errs.InvalidParameter, `invalid CapAdd: unknown capability: "CAP_COFFEE"`},
		{"seccomp profile", func(_ *container.Config, h *container.HostConfig) { h.SecurityOpt = []string{"seccomp={"} }, errs.InvalidParameter, "seccomp"},
		{"log driver", func(_ *container.Config, h *container.HostConfig) { h.LogConfig.Type = "carrier-pigeon" }, errs.InvalidParameter, "no log driver named 'carrier-pigeon'"},
		{"log option", func(_ *container.Config, h *container.HostConfig) {
			h.LogConfig.Config = map[string]string{"max-colour": "3"}
		}, errs.InvalidParameter, "unknown log opt 'max-colour'"},
		{"auto-remove and restart", func(_ *container.Config, h *container.HostConfig) {
			h.AutoRemove, h.RestartPolicy.Name = true, "always"
		}, errs.InvalidParameter, "can't create 'AutoRemove' container with restart policy"},
		{"extra host", func(_ *container.Config, h *container.HostConfig) { h.ExtraHosts = []string{"nothing"} }, errs.InvalidParameter, `bad format for add-host: "nothing"`},
		{"device", func(_ *container.Config, h *container.HostConfig) {
			h.Devices = []container.DeviceMapping{{PathOnHost: "/dev/none-of-this"}}
		}, errs.InvalidParameter, `custom device "/dev/none-of-this"`},
		{"volume", func(_ *container.Config, h *container.HostConfig) { h.Binds = []string{"data:data"} }, errs.InvalidParameter, "mount path must be absolute"},
	} {
		conf, h := &container.Config{}, &container.HostConfig{}
		c.change(conf, h)
		_, err := e.drafter.validate(container.CreateRequest{Config: conf, HostConfig: h})
		if errs.KindOf(err) != c.kind || !strings.Contains(fmt.Sprint(err), c.text) {
			t.Errorf("%s: %v (%v)", c.name, err, errs.KindOf(err))
		}
	}
}

func TestStatus(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		s    record.State
		want string
	}{
		{record.State{Status: container.StateCreated}, "Created"},
		{record.State{Status: container.StateRunning, StartedAt: now.Add(-5 * time.Minute)}, "Up 5 minutes"},
		{record.State{Status: container.StatePaused, StartedAt: now.Add(-time.Hour)}, "Up About an hour (Paused)"},
		{record.State{Status: container.StateExited, ExitCode: 3, FinishedAt: now.Add(-3 * time.Second)}, "Exited (3) 3 seconds ago"},
		{record.State{Status: container.StateDead}, "Dead"},
	} {
		if got := status(&c.s, now); got != c.want {
			t.Errorf("%s: %q, want %q", c.s.Status, got, c.want)
		}
	}
}

func TestListFilters(t *testing.T) {
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	e := bare(
		rec("a1", "web", func(r *record.Container) {
			r.Created, r.State = day, record.State{Status: container.StateRunning, StartedAt: day}
			r.Config.Labels, r.Image.Name = map[string]string{"tier": "front", "x": ""}, "nginx"
			r.Mounts = []record.Mount{{Type: "bind", Source: "/srv", Destination: "/data"}}
		}),
		rec("b2", "db", func(r *record.Container) {
			r.Created = day.Add(time.Hour)
			r.State = record.State{Status: container.StateExited, ExitCode: 137, FinishedAt: day}
			r.Config.Labels, r.HostConfig.NetworkMode = map[string]string{"tier": "back"}, "none"
			r.Config.ExposedPorts = network.PortSet{network.MustParsePort("5432/tcp"): {}}
		}),
		rec("c3", "job-1", func(r *record.Container) { r.Created = day.Add(2 * time.Hour) }),
	)
	f := func(kv ...string) map[string]map[string]bool {
		out := map[string]map[string]bool{}
		for _, s := range kv {
			k, v, _ := strings.Cut(s, "~")
			if out[k] == nil {
				out[k] = map[string]bool{}
			}
			out[k][v] = true
		}
		return out
	}
	for _, c := range []struct {
		name string
		o    ListOptions
		want string
	}{
		{"running only", ListOptions{}, "web"},
		{"all, newest first", ListOptions{All: true}, "job-1 db web"},
		{"limit shows stopped ones", ListOptions{Limit: 2}, "job-1 db"},
		{"status", ListOptions{Filters: f("status~exited", "status~created")}, "job-1 db"},
		{"exited", ListOptions{All: true, Filters: f("exited~137")}, "db"},
		{"name is a pattern", ListOptions{All: true, Filters: f("name~^/?(db|web)$")}, "db web"},
		{"id", ListOptions{All: true, Filters: f("id~c3")}, "job-1"},
		{"label", ListOptions{All: true, Filters: f("label~tier")}, "db web"},
		{"all labels", ListOptions{All: true, Filters: f("label~tier=front", "label~x")}, "web"},
		{"no label", ListOptions{All: true, Filters: f("label!~tier")}, "job-1"},
		{"before", ListOptions{All: true, Filters: f("before~db")}, "web"},
		{"since", ListOptions{All: true, Filters: f("since~db")}, "job-1"},
		{"volume", ListOptions{All: true, Filters: f("volume~/data")}, "web"},
		{"network", ListOptions{All: true, Filters: f("network~none")}, "db"},
		{"expose", ListOptions{All: true, Filters: f("expose~5432/tcp")}, "db"},
		{"both keys", ListOptions{All: true, Filters: f("label~tier", "network~bridge")}, "web"},
	} {
		got, err := e.List(context.Background(), c.o)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var names []string
		for _, s := range got {
			names = append(names, s.Names[0][1:])
		}
		if strings.Join(names, " ") != c.want {
			t.Errorf("%s: got %v, want %s", c.name, names, c.want)
		}
	}
	for _, bad := range []string{"colour~red", "status~asleep", "exited~soon", "name~(", "before~nobody"} {
		if _, err := e.List(context.Background(), ListOptions{Filters: f(bad)}); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestHosts(t *testing.T) {
	e := bare()
	r := rec("ab", "x", func(r *record.Container) {
		r.Config.Hostname, r.Config.Domainname = "box", "example.org"
		r.Endpoints = []davitnet.Endpoint{{Address4: netip.MustParsePrefix("172.20.0.2/16"), Gateway4: netip.MustParseAddr("172.20.0.1")}}
		r.HostConfig.ExtraHosts = []string{"db:10.0.0.5", "me=host-gateway", "six:[::2]"}
	})
	got, err := e.launcher.hosts(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"127.0.0.1\tlocalhost\n", "10.0.0.5\tdb\n", "172.20.0.1\tme\n", "::2\tsix\n", "172.20.0.2\tbox.example.org box\n"} {
		if !bytes.Contains(got, []byte(line)) {
			t.Errorf("%q is missing in:\n%s", line, got)
		}
	}
	e.cfg.HostGateways = []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}
	if got, err := e.launcher.hosts(r); err != nil || !bytes.Contains(got, []byte("192.0.2.7\tme\n2001:db8::7\tme\n")) {
		t.Errorf("with addresses of the host's that the engine was told: %v\n%s", err, got)
	}
	r.HostConfig.ExtraHosts = []string{"db:nowhere"}
	if _, err := e.launcher.hosts(r); !errs.Is(err, errs.InvalidParameter) {
		t.Errorf("a host without an address: %v", err)
	}
}

func TestResolvConf(t *testing.T) {
	e := bare()
	e.cfg.DNS = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	r := rec("ab", "x", func(r *record.Container) {
		r.HostConfig.DNSSearch, r.HostConfig.DNSOptions = []string{"."}, []string{"ndots:2"}
	})
	check := func(name, servers string, want bool) {
		t.Helper()
		conf, through, err := e.naming.resolvConf(r)
		if err != nil || through != want || !strings.Contains(string(conf.Text()), "\nnameserver "+servers+"\noptions ndots:2\n") {
			t.Errorf("%s: %v, through the resolver %v\n%s", name, err, through, conf.Text())
		}
	}
	check("the engine's server", "192.0.2.1", false)
	r.HostConfig.DNS = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	check("the container's own server", "127.0.0.1", false)
	r.Endpoints = []davitnet.Endpoint{{ID: "e"}}
	check("the same on the default bridge", "127.0.0.1", false)
	r.Endpoints = append(r.Endpoints, davitnet.Endpoint{ID: "f", Names: []string{"x"}})
	check("on a network with names", "127.0.0.11", true)
}

func TestEndpointIsShown(t *testing.T) {
	r := rec("ab", "x", func(r *record.Container) {
		r.Endpoints = []davitnet.Endpoint{{ID: "e", HostVeth: "v", Address4: netip.MustParsePrefix("10.1.2.3/24"), Gateway4: netip.MustParseAddr("10.1.2.1")}}
	})
	if s := bare().nets.shown(r)["bridge"]; s.IPAddress.String() != "10.1.2.3" || s.IPPrefixLen != 24 || s.Gateway.String() != "10.1.2.1" {
		t.Errorf("inspect shows %+v", s)
	}
}

func TestMountPoints(t *testing.T) {
	r := rec("ab", "x", func(r *record.Container) {
		r.HostConfig.Binds = []string{"/a:/b:ro"}
		r.HostConfig.Mounts = []mount.Mount{{Type: mount.TypeTmpfs, Target: "/t/"}}
		r.HostConfig.Tmpfs = map[string]string{"/run": ""}
	})
	bare().keeper.mounts.restore(t.Context(), r) // as from a record that was written before it held mounts
	want := []container.MountPoint{
		{Type: mount.TypeBind, Source: "/a", Destination: "/b", Mode: "ro", Propagation: "rprivate"},
		{Type: mount.TypeTmpfs, Destination: "/t", RW: true},
	}
	if got := mountPoints(r); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestWaitWhileRestarting waits for a container between two runs: to a client
// it runs.
func TestWaitWhileRestarting(t *testing.T) {
	e := bare()
	e.store, _ = record.Open(t.TempDir())
	e.log = slog.New(slog.DiscardHandler)
	e.keeper.reviver.open = true
	r := rec(strings.Repeat("ab", 32), "x", func(r *record.Container) { r.State = record.State{Status: container.StateRestarting, ExitCode: 7} })
	if err := e.store.Create(r, false, nil); err != nil {
		t.Fatal(err)
	}
	c := e.table.add(r)
	e.keeper.reviver.after(c, time.Hour)
	var answers []<-chan container.WaitResponse
	for _, condition := range []container.WaitCondition{"", container.WaitConditionNotRunning, container.WaitConditionNextExit} {
		w, err := e.Wait(t.Context(), c.id, condition)
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, w)
	}
	select {
	case w := <-answers[0]:
		t.Errorf("answered at once: %+v", w)
	default:
	}
	if !e.keeper.reviver.giveUp(c) || e.keeper.reviver.giveUp(c) {
		t.Error("there is one wait to give up")
	}
	for i, w := range answers {
		if got := <-w; got.StatusCode != 7 {
			t.Errorf("%d: %+v", i, got)
		}
	}
	if s := c.snapshot().State; s.Status != container.StateExited || !s.ManuallyStopped || c.retry != nil {
		t.Errorf("%+v", s)
	}
}

func TestWaitConditions(t *testing.T) {
	c := newCtr(rec("ab", "x", func(r *record.Container) { r.State = record.State{Status: container.StateRunning, ExitCode: 7} }))
	e := bare()
	e.table.byID[c.id] = c
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	exit, err := e.Wait(ctx, c.id, container.WaitConditionNextExit)
	if err != nil {
		t.Fatal(err)
	}
	removed, err := e.Wait(ctx, c.id, container.WaitConditionRemoved)
	if err != nil {
		t.Fatal(err)
	}
	given, giveUp := context.WithCancel(ctx)
	left, err := e.Wait(given, c.id, "")
	if err != nil {
		t.Fatal(err)
	}
	giveUp()
	if _, ok := <-left; ok {
		t.Error("a waiter that went away was answered")
	}
	c.answer(container.WaitConditionNextExit, container.WaitResponse{StatusCode: 9})
	if w := <-exit; w.StatusCode != 9 {
		t.Errorf("next-exit: %+v", w)
	}
	select {
	case <-removed:
		t.Error("an exit ended the wait for the removal")
	default:
	}
	c.answer(container.WaitConditionRemoved, container.WaitResponse{StatusCode: 9})
	if w := <-removed; w.StatusCode != 9 {
		t.Errorf("removed: %+v", w)
	}
	c.rec.State.Status = container.StateExited
	if w := <-must(e.Wait(ctx, c.id, container.WaitConditionNotRunning)); w.StatusCode != 7 {
		t.Errorf("not-running on a stopped container: %+v", w)
	}
	if _, err := e.Wait(ctx, c.id, "soon"); !errs.Is(err, errs.InvalidParameter) {
		t.Errorf("unknown condition: %v", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestHungUp(t *testing.T) {
	near, far, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	gone := make(chan bool)
	go func() { gone <- hungUp(near.(*net.UnixConn)) }()
	far.Close()
	if !<-gone {
		t.Error("a client that went away was not seen")
	}
}

func TestDetachKeys(t *testing.T) {
	for text, want := range map[string][]byte{
		"": {16, 17}, "ctrl-p,ctrl-q": {16, 17}, "ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_": {0, 27, 28, 29, 30, 31}, "a,B,ctrl-Z": {'a', 'B', 26},
		"ctrl-": nil, "ctrl-1": nil, "ab": nil, "a,,b": nil,
	} {
		got, err := detachKeys(text)
		if (err != nil) != (want == nil) || !bytes.Equal(got, want) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
}

// TestOverlayOptions turns off what the kernel does by default, and nothing
// else.
func TestOverlayOptions(t *testing.T) {
	dir := t.TempDir()
	for name, value := range map[string]string{"redirect_dir": "Y\n", "metacopy": "N\n", "index": "Y\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := overlayOptions(dir); !slices.Equal(got, []string{"redirect_dir=off"}) {
		t.Errorf("got %q", got)
	}
	if got := overlayOptions(filepath.Join(dir, "none")); got != nil {
		t.Errorf("without the module: %q", got)
	}
}

// TestLateness tells a user why a stop took its whole time-out.
func TestLateness(t *testing.T) {
	status := func(blocked, ignored, caught string) string {
		return "Name:\tx\nSigBlk:\t" + blocked + "\nSigIgn:\t" + ignored + "\nSigCgt:\t" + caught + "\n"
	}
	const none, term = "0000000000000000", "0000000000004000"
	for _, c := range []struct {
		name, status, want string
	}{
		{"nothing", status(none, none, "fffffffffffb9fff"), "does not handle SIGTERM, which therefore does nothing to the process with number 1; run it with --init, or name a signal that it handles with --stop-signal"},
		{"a handler", status(none, none, term), "handles SIGTERM but was not done in time; --stop-timeout"},
		{"a signalfd", status(term, none, none), "handles SIGTERM but was not done in time; --stop-timeout"},
		{"ignored", status(none, term, none), "ignores SIGTERM; name a signal that it handles with --stop-signal, or run it with --init"},
		{"gone", "", "and was killed"},
		{"odd", status("x", none, none), "and was killed"},
	} {
		got := lateness("web", unix.SIGTERM, 10, readAnswer(c.status, unix.SIGTERM))
		if !strings.HasPrefix(got, "container web did not end within 10 s of SIGTERM and was killed") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", c.name, got)
		}
	}
	if got := lateness("web", 40, 1, answerUnknown); got != "container web did not end within 1 s of signal 40 and was killed" {
		t.Error(got)
	}
}

func TestSameSource(t *testing.T) {
	of := func(digest string) *record.Image {
		return &record.Image{ID: "sha256:index", Manifest: &ocispec.Descriptor{Digest: godigest.Digest(digest)}}
	}
	r := rec("a", "a", func(r *record.Container) {
		r.Image = *of("sha256:1")
		r.Mounts = []record.Mount{{Type: mount.TypeVolume, Name: "v", Source: "/v"}, {Type: mount.TypeImage, Name: "other", Image: of("sha256:2")}}
	})
	for _, c := range []struct {
		old  record.Mount
		held bool
	}{
		{record.Mount{Type: mount.TypeVolume, Name: "v", Source: "/v", Destination: "/elsewhere"}, true},
		{record.Mount{Type: mount.TypeVolume, Name: "w", Source: "/w"}, false},
		{record.Mount{Type: mount.TypeImage, Name: "its own, by another name", Image: of("sha256:1")}, true},
		{record.Mount{Type: mount.TypeImage, Name: "other", Image: of("sha256:2")}, true},
		{record.Mount{Type: mount.TypeImage, Name: "third", Image: of("sha256:3")}, false},
	} {
		if held := slices.ContainsFunc(holds(r), func(m record.Mount) bool { return sameSource(&m, &c.old) }); held != c.held {
			t.Errorf("%s %s: held %v, want %v", c.old.Type, c.old.Name, held, c.held)
		}
	}
}
