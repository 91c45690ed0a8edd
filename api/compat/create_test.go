package compat

import (
	"reflect"
	"strings"
	"testing"

	"github.com/davit-engine/davit/errs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

func at(minor int) Version { return Version{1, minor} }

func TestVersions(t *testing.T) {
	for text, want := range map[string]Version{"1.24": {1, 24}, "1.9": {1, 9}, "1.44.2": {1, 44}, "2": {2, 0}} {
		if v, err := Parse(text); err != nil || v != want {
			t.Errorf("%s: %v, %v", text, v, err)
		}
	}
	for _, text := range []string{"", ".", "1.", "x", "1.x", "-1.2", "1.-2"} {
		if v, err := Parse(text); err == nil {
			t.Errorf("%q is read as %v", text, v)
		}
	}
	r := Range{Min: at(24), Max: at(56)}
	for _, v := range []Version{at(24), at(40), at(56)} {
		if err := r.Check(v, v.String()); err != nil {
			t.Error(err)
		}
	}
	for _, v := range []Version{at(9), at(23), at(57), {2, 0}, {0, 99}} {
		if err := r.Check(v, v.String()); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%v: %v", v, err)
		}
	}
}

// TestCreateDefaults compares what versions make of the same request.
func TestCreateDefaults(t *testing.T) {
	const mac = "02:42:ac:11:00:09"
	for _, tc := range []struct {
		name, body string
		look       func(container.CreateRequest) any
		before     int // versions before 1.before give old, the others give now
		old, now   any
	}{
		{"ipc", `{"Image":"a"}`, func(r container.CreateRequest) any { return string(r.HostConfig.IpcMode) }, 40, "shareable", ""},
		{"own ipc", `{"Image":"a","HostConfig":{"IpcMode":"private"}}`, func(r container.CreateRequest) any { return string(r.HostConfig.IpcMode) }, 40, "private", "private"},
		{"cgroup namespace", `{"Image":"a"}`, func(r container.CreateRequest) any { return string(r.HostConfig.CgroupnsMode) }, 41, "host", ""},
		{"console", `{"Image":"a","HostConfig":{"ConsoleSize":[24,80]}}`, func(r container.CreateRequest) any { return r.HostConfig.ConsoleSize }, 42, [2]uint{}, [2]uint{24, 80}},
		{"annotations", `{"Image":"a","HostConfig":{"Annotations":{"a":"b"}}}`, func(r container.CreateRequest) any { return len(r.HostConfig.Annotations) }, 43, 0, 1},
		{"start interval", `{"Image":"a","Healthcheck":{"StartInterval":5}}`, func(r container.CreateRequest) any { return int(r.Healthcheck.StartInterval) }, 44, 0, 5},
		{"gateway priority", `{"Image":"a","NetworkingConfig":{"EndpointsConfig":{"n":{"GwPriority":5}}}}`, func(r container.CreateRequest) any { return r.NetworkingConfig.EndpointsConfig["n"].GwPriority }, 48, 0, 5},
		{"umask", `{"Image":"a","HostConfig":{"Umask":18}}`, func(r container.CreateRequest) any { return r.HostConfig.Umask != nil }, 56, false, true},
		{"non-recursive bind", `{"Image":"a","HostConfig":{"Mounts":[{"Type":"bind","BindOptions":{"NonRecursive":true}}]}}`,
			func(r container.CreateRequest) any { return r.HostConfig.Mounts[0].BindOptions.NonRecursive }, 40, false, true},
		{"mount point", `{"Image":"a","HostConfig":{"Mounts":[{"Type":"bind","BindOptions":{"CreateMountpoint":true}}]}}`,
			func(r container.CreateRequest) any { return r.HostConfig.Mounts[0].BindOptions.CreateMountpoint }, 42, false, true},
		{"read-only bind", `{"Image":"a","HostConfig":{"Mounts":[{"Type":"bind","ReadOnly":true}]}}`,
			func(r container.CreateRequest) any {
				m := r.HostConfig.Mounts[0]
				return m.BindOptions != nil && m.BindOptions.ReadOnlyNonRecursive
			}, 44, true, false},
		{"container's MAC address", `{"Image":"a","MacAddress":"` + mac + `"}`,
			func(r container.CreateRequest) any {
				ep := r.NetworkingConfig.EndpointsConfig["bridge"]
				if ep == nil {
					return ""
				}
				return ep.MacAddress.String()
			}, 52, mac, ""},
		{"endpoint's MAC address", `{"Image":"a","NetworkingConfig":{"EndpointsConfig":{"bridge":{"MacAddress":"` + mac + `"}}}}`,
			func(r container.CreateRequest) any {
				return r.NetworkingConfig.EndpointsConfig["bridge"].MacAddress.String()
			}, 44, "", mac},
		{"default network", `{"Image":"a","HostConfig":{"NetworkMode":"default"},"NetworkingConfig":{"EndpointsConfig":{"default":null}}}`,
			func(r container.CreateRequest) any {
				return string(r.HostConfig.NetworkMode) + strings.Join(keys(r.NetworkingConfig.EndpointsConfig), ",")
			}, 24, "", "bridgebridge"},
		{"no limit of processes", `{"Image":"a","HostConfig":{"PidsLimit":0}}`, func(r container.CreateRequest) any { return r.HostConfig.PidsLimit == nil }, 24, nil, true},
		{"default swappiness", `{"Image":"a","HostConfig":{"MemorySwappiness":-1}}`, func(r container.CreateRequest) any { return r.HostConfig.MemorySwappiness == nil }, 24, nil, true},
		{"empty binding", `{"Image":"a","HostConfig":{"PortBindings":{"80/tcp":[]}}}`, func(r container.CreateRequest) any {
			return len(r.HostConfig.PortBindings[network.MustParsePort("80/tcp")])
		}, 24, nil, 1},
	} {
		for minor := 24; minor <= 56; minor++ {
			req, _, err := Create(at(minor), strings.NewReader(tc.body), Host{})
			if err != nil {
				t.Errorf("%s, 1.%d: %v", tc.name, minor, err)
				continue
			}
			want := tc.now
			if minor < tc.before {
				want = tc.old
			}
			if got := tc.look(req); !reflect.DeepEqual(got, want) {
				t.Errorf("%s, 1.%d: got %v, want %v", tc.name, minor, got, want)
			}
		}
	}
}

func keys(m map[string]*network.EndpointSettings) []string {
	var list []string
	for k := range m {
		list = append(list, k)
	}
	return list
}

func TestCgroupNamespaceOnUnifiedHosts(t *testing.T) {
	req, _, err := Create(at(40), strings.NewReader(`{"Image":"a"}`), Host{CgroupUnified: true})
	if err != nil || req.HostConfig.CgroupnsMode != "" {
		t.Errorf("%q, %v", req.HostConfig.CgroupnsMode, err)
	}
}

// TestCreateRefused lists what is refused, from and until which version.
func TestCreateRefused(t *testing.T) {
	const all = 99
	mounts := func(m string) string { return `{"Image":"a","HostConfig":{"Mounts":[` + m + `]}}` }
	host := func(h string) string { return `{"Image":"a","HostConfig":` + h + `}` }
	for _, tc := range []struct {
		body, want  string
		from, until int // the versions 1.from to before 1.until refuse it
	}{
		{mounts(`{"Type":"bind","VolumeOptions":{}}`), `VolumeOptions must not be specified on mount type "bind"`, 42, all},
		{mounts(`{"Type":"volume","BindOptions":{}}`), `BindOptions must not be specified on mount type "volume"`, 42, all},
		{mounts(`{"Type":"bind","TmpfsOptions":{}}`), `TmpfsOptions must not be specified on mount type "bind"`, 42, all},
		{mounts(`{"Type":"bind","BindOptions":{"ReadOnlyForceRecursive":true}}`), "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer", 0, 44},
		{mounts(`{"Type":"volume","VolumeOptions":{"Subpath":"a"}}`), "VolumeOptions.Subpath needs API v1.45 or newer", 0, 45},
		{mounts(`{"Type":"image"}`), `Mount type "Image" needs API v1.48 or newer`, 0, 48},
		{`{"Image":"a","NetworkingConfig":{"EndpointsConfig":{"b":{},"a":{}}}}`, "Container cannot be created with multiple network endpoints: a, b", 0, 44},
		{`{"Image":"a","MacAddress":"02:42:ac:11:00:09","HostConfig":{"NetworkMode":"none"}}`, "conflicting options: mac-address and the network mode", 0, 44},
		{`{"Image":"a","MacAddress":"02:42:ac:11:00:09","NetworkingConfig":{"EndpointsConfig":{"bridge":{"MacAddress":"02:42:ac:11:00:08"}}}}`,
			"the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty", 44, 52},
		{host(`{"Sysctls":{"net.ipv4.conf.eth0.forwarding":"1"}}`), `interface specific sysctl setting "net.ipv4.conf.eth0.forwarding" must be supplied using driver option 'com.docker.network.endpoint.sysctls'`, 48, all},
		{host(`{"Sysctls":{"net.ipv4.conf.eth1.forwarding":"1"}}`), `unable to determine network endpoint for sysctl net.ipv4.conf.eth1.forwarding, use driver option`, 0, 48},
		{host(`{"NetworkMode":"container:"}`), "invalid network mode: invalid container format container:<name|id>", 0, all},
		{host(`{"NetworkMode":"container:x","Dns":["1.1.1.1"]}`), "conflicting options: dns and the network mode", 0, all},
		{host(`{"NetworkMode":"container:x","PublishAllPorts":true}`), "conflicting options: port publishing and the container type network mode", 0, all},
		{`{"Image":"a","Hostname":"h","HostConfig":{"NetworkMode":"container:x"}}`, "conflicting options: hostname and the network mode", 0, all},
		{`{"Image":"a","Hostname":"h","HostConfig":{"UTSMode":"host"}}`, "conflicting options: hostname and the UTS mode", 0, all},
		{host(`{"Isolation":"hyperv"}`), "invalid isolation (hyperv): linux only supports 'default'", 0, all},
		{host(`{"CpuShares":-1}`), "invalid CPU shares (-1): value must be a positive integer", 0, all},
		{host(`{"CpuRealtimePeriod":1,"CpuRealtimeRuntime":2}`), "cpu real-time runtime cannot be higher than cpu real-time period", 0, all},
	} {
		for minor := 24; minor <= 56; minor++ {
			_, _, err := Create(at(minor), strings.NewReader(tc.body), Host{})
			refused := minor >= tc.from && minor < tc.until
			switch {
			case refused && (!errs.Is(err, errs.InvalidParameter) || !strings.HasPrefix(err.Error(), tc.want)):
				t.Errorf("1.%d %s: %v, want %q", minor, tc.body, err, tc.want)
			case !refused && err != nil && strings.HasPrefix(err.Error(), tc.want):
				t.Errorf("1.%d %s is refused: %v", minor, tc.body, err)
			}
		}
	}
}

func TestCreateWarnings(t *testing.T) {
	for _, tc := range []struct {
		minor int
		body  string
		want  string // the only warning; empty: none
	}{
		{51, `{"Image":"a","MacAddress":"02:42:ac:11:00:09"}`, "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."},
		{43, `{"Image":"a","MacAddress":"02:42:ac:11:00:09"}`, ""},
		{47, `{"Image":"a","HostConfig":{"Sysctls":{"net.ipv4.conf.eth0.forwarding":"1"}}}`,
			`Migrated sysctl "net.ipv4.conf.eth0.forwarding" to DriverOpts{"com.docker.network.endpoint.sysctls":"net.ipv4.conf.IFNAME.forwarding=1"}.`},
		{51, `{"Image":"a","HostConfig":{"PortBindings":{"80/tcp":[]}}}`, ""},
		{52, `{"Image":"a","HostConfig":{"PortBindings":{"80/tcp":[]}}}`, "Following container port(s) have an empty list of port-bindings: 80/tcp. Such bindings will be discarded in a future version."},
		{48, `{"Image":"a","HostConfig":{"VolumeDriver":"x","Mounts":[{"Type":"volume"}]}}`,
			"WARNING: the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. Use '--mount type=volume,volume-driver=...' instead"},
		{47, `{"Image":"a","HostConfig":{"VolumeDriver":"x","Mounts":[{"Type":"volume"}]}}`, ""},
	} {
		_, warnings, err := Create(at(tc.minor), strings.NewReader(tc.body), Host{})
		if err != nil || strings.Join(warnings, "|") != tc.want {
			t.Errorf("1.%d %s: %q, %v, want %q", tc.minor, tc.body, warnings, err, tc.want)
		}
	}
}

func TestExtendedKeepsOrder(t *testing.T) {
	base := struct{ B, A, C any }{map[string]any{"x": 1}, "<&>", nil}
	got, err := Extended{Base: base, Add: map[string]any{"B": map[string]any{"y": 2}, "D": true}, Default: map[string]any{"A": 5, "E": nil}}.MarshalJSON()
	if want := `{"B":{"x":1,"y":2},"A":"<&>","C":null,"D":true,"E":null}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func FuzzCreate(f *testing.F) {
	f.Add(24, `{"Image":"a","MacAddress":"02:42:ac:11:00:09","HostConfig":{"NetworkMode":"default","Mounts":[{"Type":"bind","ReadOnly":true}],"PortBindings":{"80/tcp":[]}}}`)
	f.Add(44, `{"NetworkingConfig":{"EndpointsConfig":{"a":null}},"HostConfig":{"Sysctls":{"net.ipv4.conf.eth0.x":"1"}}}`)
	f.Fuzz(func(t *testing.T, minor int, body string) {
		req, _, err := Create(at(minor), strings.NewReader(body), Host{})
		if err != nil {
			if !errs.Is(err, errs.InvalidParameter) {
				t.Errorf("%v is not the client's fault", err)
			}
			return
		}
		if req.Config == nil || req.HostConfig == nil || req.NetworkingConfig == nil || req.NetworkingConfig.EndpointsConfig == nil {
			t.Error("a part is missing")
		}
	})
}
