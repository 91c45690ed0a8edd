package change

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/dialect"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// web is a container with something of everything.
func web(t *testing.T) *record.Container {
	t.Helper()
	port, err := network.ParsePort("80/tcp")
	if err != nil {
		t.Fatal(err)
	}
	ten := 10
	return &record.Container{
		Name: "web",
		Config: &container.Config{
			Hostname: "0123456789ab", Image: "nginx", Env: []string{"A=1", "LANG=de", "PATH=/bin"}, Labels: map[string]string{"mine": "1", "maker": "image"},
			StopSignal: "SIGQUIT", StopTimeout: &ten, ExposedPorts: network.PortSet{port: {}}, Volumes: map[string]struct{}{"/var/cache": {}},
			Healthcheck: &container.HealthConfig{Test: []string{"CMD-SHELL", "curl localhost"}, Interval: time.Minute},
		},
		HostConfig: &container.HostConfig{
			NetworkMode: "bridge", Binds: []string{"/srv/www:/www:ro", "logs:/var/log"}, Tmpfs: map[string]string{"/tmp": ""},
			Mounts:       []mount.Mount{{Type: mount.TypeVolume, Source: "data", Target: "/data"}},
			PortBindings: network.PortMap{port: {{HostPort: "8080"}}},
			Resources:    container.Resources{Memory: 64 << 20, MemorySwap: 128 << 20},
		},
		NetworkingConfig: &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{"bridge": {}}},
		Mounts: []record.Mount{
			{Type: mount.TypeVolume, Name: "4a5b", Destination: "/var/cache", RW: true, Anonymous: true},
			{Type: mount.TypeVolume, Name: "theirs", Destination: "/theirs", RW: true},
		},
		Origin: &record.Origin{Image: []string{"Env.PATH", "ExposedPorts.80/tcp", "Labels.maker", "StopSignal", "Volumes./var/cache"}, Engine: []string{"Hostname", "MemorySwap"}},
		State:  record.State{Status: container.StateRunning},
	}
}

// TestPlans asks for one change after the other of the same container, and
// keeps plans and settings as text.
func TestPlans(t *testing.T) {
	var out bytes.Buffer
	for _, c := range []struct {
		name   string
		change func(*record.Container)
		wish   string
	}{
		{name: "nothing", wish: `{}`},
		{name: "what it is already", wish: `{"Env":{"A":"1"},"Labels":{"mine":"1"},"Resources":{"Memory":67108864},"StopTimeout":10}`},
		{name: "what a process learns of", wish: `{"Resources":{"Memory":33554432,"NanoCPUs":1500000000,"PidsLimit":10},"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":3},
			"Labels":{"mine":"2","new":"","maker":null},"StopSignal":"SIGTERM","StopTimeout":3,"Healthcheck":{"Interval":5000000000,"Retries":2}}`},
		{name: "variables", wish: `{"Env":{"B":"2","A":null,"LANG":null,"PATH":"/usr/bin","EMPTY":""}}`},
		{name: "variables of a stopped container", wish: `{"Env":{"B":"2"}}`, change: func(r *record.Container) { r.State.Status = container.StateExited }},
		{name: "variables without an origin", wish: `{"Env":{"B":"2"}}`, change: func(r *record.Container) { r.Origin = nil }},
		{name: "host name", wish: `{"Hostname":"shop"}`},
		{name: "no host name", wish: `{"Hostname":""}`, change: func(r *record.Container) { r.Origin.Own("Hostname") }},
		{name: "annotations", wish: `{"Annotations":{"com.davit.health-on-failure":"restart","org.example.x":"1"}}`},
		{name: "no health check", wish: `{"Healthcheck":{"Test":["NONE"]}}`},
		{name: "another health check", wish: `{"Healthcheck":{"Test":["CMD","true"]}}`},
		{name: "ports", wish: `{"PortBindings":{"80/tcp":null,"443/tcp":[{"HostIp":"127.0.0.1","HostPort":"8443"}],"53/udp":[{}]}}`},
		{name: "another network", wish: `{"Networks":{"back":{"Aliases":["db"]}}}`},
		{name: "a network rate", wish: `{"NetworkRate":"up=10mbit,down=50mbit"}`},
		{name: "another network rate, on a network that is joined too", wish: `{"Networks":{"back":{}},"NetworkRate":"down=1mbit"}`, change: func(r *record.Container) {
			r.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{"bridge": {DriverOpts: map[string]string{"davit.rate": "up=1mbit", "x": "y"}}}}
		}},
		{name: "no network rate of its own", wish: `{"NetworkRate":""}`, change: func(r *record.Container) {
			r.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{"bridge": {DriverOpts: map[string]string{"davit.rate": "up=1mbit"}}}}
		}},
		{name: "instead of a network", wish: `{"Networks":{"back":{},"bridge":null}}`},
		{name: "another place on a network", wish: `{"Networks":{"bridge":{"IPAMConfig":{"IPv4Address":"10.0.0.9"}}}}`},
		{name: "no network", wish: `{"Networks":{"bridge":null}}`},
		{name: "the host's network", wish: `{"Networks":{"host":{}}}`},
		{name: "from none to a bridge", wish: `{"Networks":{"bridge":{}}}`, change: func(r *record.Container) { r.HostConfig.NetworkMode, r.NetworkingConfig = "none", nil }},
		{name: "from the host's to a network", wish: `{"Networks":{"back":{}}}`, change: func(r *record.Container) { r.HostConfig.NetworkMode, r.NetworkingConfig = "host", nil }},
		{name: "mounts", wish: `{"Mounts":{"/www":{"Type":"bind","Source":"/srv/new"},"/tmp":null,"/data/":{"Type":"volume","Source":"data","ReadOnly":true},"/cache":{"Type":"tmpfs"},"/var/cache":null}}`},
		{name: "with --rm, what needs no restart", wish: `{"Labels":{"mine":"2"}}`, change: func(r *record.Container) { r.HostConfig.AutoRemove = true }},
	} {
		rec := web(t)
		if c.change != nil {
			c.change(rec)
		}
		before := encode(t, rec)
		got, err := Make(rec, []string{"PATH=/bin", "LANG=C"}, decode(t, c.wish))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if after := encode(t, rec); after != before {
			t.Errorf("%s: the record was changed in place:\n%s\nbefore:\n%s", c.name, after, before)
		}
		fmt.Fprintf(&out, "== %s\n", c.name)
		for _, s := range got.Plan.Settings {
			fmt.Fprintf(&out, "%-8s %s: %q -> %q\n", s.When, s.Name, s.From, s.To)
		}
		for _, w := range got.Plan.Warnings {
			fmt.Fprintf(&out, "warning  %s\n", w)
		}
		if len(got.Unmounted) > 0 {
			fmt.Fprintf(&out, "unmounts %v\n", got.Unmounted)
		}
		fmt.Fprintf(&out, "restarts %v\n", got.Plan.Restarts)
		differences(&out, "Config", *rec.Config, *got.Config)
		differences(&out, "HostConfig", *rec.HostConfig, *got.HostConfig)
		if got.Networking != rec.NetworkingConfig {
			fmt.Fprintf(&out, "  Networking = %s\n", strings.Join(slices.Sorted(maps.Keys(got.Networking.EndpointsConfig)), ", "))
		}
		if rec.Origin != nil {
			differences(&out, "Origin", *rec.Origin, *got.Origin)
		}
		fmt.Fprintln(&out)
	}
	path := filepath.Join("testdata", "plans.txt")
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
		t.Errorf("plans differ from %s (rewrite it with -update):\n%s", path, out.String())
	}
}

func TestRefusedPlans(t *testing.T) {
	for _, c := range []struct {
		wish   string
		change func(*record.Container)
		kind   errs.Kind
		text   string
	}{
		{wish: `{"Env":{"B":null}}`, text: "the container has no variable B"},
		{wish: `{"Env":{"A=":"1"}}`, text: "invalid environment variable"},
		{wish: `{"Env":{"":"1"}}`, text: "invalid environment variable"},
		{wish: `{"Labels":{"no":null}}`, text: "the container has no label no"},
		{wish: `{"Labels":{"":"1"}}`, text: "invalid label"},
		{wish: `{"PortBindings":{"81/tcp":null}}`, text: "port 81/tcp of the container is not published"},
		{wish: `{"Networks":{"back":null}}`, text: "the container is not on network back"},
		{wish: `{"Networks":{"host":{}},"NetworkRate":"up=1mbit"}`, text: "needs a network of the container's own: it is on host"},
		{wish: `{"Networks":{"host":{},"back":{}}}`, text: "network host stands alone"},
		{wish: `{"Networks":{"container:x":{}}}`, text: "port publishing and the container type network mode"},
		{wish: `{"Mounts":{"/no":null}}`, text: "nothing is mounted at /no"},
		{wish: `{"Mounts":{"/theirs":null}}`, text: "comes from another container (--volumes-from)"},
		{wish: `{"Mounts":{"data":{"Type":"tmpfs"}}}`, text: "must be an absolute path"},
		{wish: `{"Mounts":{"/":{"Type":"tmpfs"}}}`, text: "must be an absolute path"},
		{wish: `{"Mounts":{"/a":{"Type":"tmpfs","Target":"/b"}}}`, text: "the mount for /a has the target /b"},
		{wish: `{"RestartPolicy":{"Name":"sometimes"}}`, text: "sometimes"},
		{wish: `{"Healthcheck":{"Retries":3}}`, text: "give its command", change: func(r *record.Container) { r.Config.Healthcheck = nil }},
		{wish: `{"Resources":{"Ulimits":[{"Name":"nofile"}]}}`, text: "Resources.Ulimits of a container cannot be changed"},
		{wish: `{"Resources":{"Memory":629145600}}`, text: "update the memoryswap at the same time", kind: errs.Conflict},
		{wish: `{"RestartPolicy":{"Name":"always"}}`, text: "AutoRemove is enabled", kind: errs.Conflict, change: func(r *record.Container) { r.HostConfig.AutoRemove = true }},
		{wish: `{"Env":{"A":"2"}}`, text: "env A cannot change while the container runs", kind: errs.Conflict, change: func(r *record.Container) { r.HostConfig.AutoRemove = true }},
	} {
		rec := web(t)
		if c.change != nil {
			c.change(rec)
		}
		if c.kind == errs.Unknown {
			c.kind = errs.InvalidParameter
		}
		_, err := Make(rec, nil, decode(t, c.wish))
		if err == nil || !strings.Contains(err.Error(), c.text) || !errs.Is(err, c.kind) {
			t.Errorf("%s: %v (%s), want %s (%s)", c.wish, err, errs.KindOf(err), c.text, c.kind)
		}
	}
}

// FuzzMake wishes anything: no wish may panic or change the record in place.
func FuzzMake(f *testing.F) {
	for _, wish := range []string{
		`{}`, `{"Env":{"A":null,"B":"1"}}`, `{"Mounts":{"/data":{"Type":"tmpfs"},"/www":null}}`, `{"Networks":{"host":{},"bridge":null}}`,
		`{"PortBindings":{"80/tcp":null,"1-3/udp":[]}}`, `{"Healthcheck":{"Test":["NONE"]}}`, `{"Resources":{"Memory":-1,"PidsLimit":0}}`,
	} {
		f.Add(wish)
	}
	f.Fuzz(func(t *testing.T, text string) {
		wish := new(dialect.Change)
		if json.Unmarshal([]byte(text), wish) != nil {
			return
		}
		rec := web(t)
		before := encode(t, rec)
		out, err := Make(rec, nil, wish)
		if after := encode(t, rec); after != before {
			t.Errorf("%s changes the record in place:\n%s", text, after)
		}
		if err == nil && out.Plan.Restarts && len(out.Plan.Settings) == 0 {
			t.Errorf("%s restarts for nothing", text)
		}
	})
}

func decode(t *testing.T, wish string) *dialect.Change {
	t.Helper()
	w := new(dialect.Change)
	d := json.NewDecoder(strings.NewReader(wish))
	d.DisallowUnknownFields()
	if err := d.Decode(w); err != nil {
		t.Fatalf("%s: %v", wish, err)
	}
	return w
}

func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// differences prints the fields in which two structs differ.
func differences(out *bytes.Buffer, name string, from, to any) {
	a, b := reflect.ValueOf(from), reflect.ValueOf(to)
	var lines []string
	for i := range a.NumField() {
		old, now := a.Field(i).Interface(), b.Field(i).Interface()
		if !reflect.DeepEqual(old, now) {
			text, err := json.Marshal(now)
			if err != nil {
				text = []byte(err.Error())
			}
			lines = append(lines, fmt.Sprintf("  %s.%s = %s\n", name, a.Type().Field(i).Name, text))
		}
	}
	slices.Sort(lines)
	out.WriteString(strings.Join(lines, ""))
}
