package devices

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/davit-engine/davit/errs"
)

const description = `
cdiVersion: "0.6.0"
kind: nvidia.com/gpu
containerEdits:
  env: ["VENDOR=here"]
devices:
- name: "0"
  containerEdits:
    env: ["FIRST=1"]
    deviceNodes: [{path: /dev/gpu0, hostPath: /dev/full}]
    mounts: [{hostPath: /etc/hostname, containerPath: /lib/driver.so, options: [ro, bind]}]
    hooks: [{hookName: createContainer, path: /bin/true}]
- name: "1"
  containerEdits:
    deviceNodes: [{path: /dev/null}]
- name: all
  containerEdits:
    env: ["ALL=1"]
`

func registry(t *testing.T, files map[string]string) *Registry {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return New([]string{filepath.Join(dir, "missing"), dir})
}

func bareSpec(user bool) *specs.Spec {
	s := &specs.Spec{Process: &specs.Process{Env: []string{"A=1"}}, Linux: &specs.Linux{Resources: &specs.LinuxResources{}}}
	if user {
		s.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.UserNamespace}}
	}
	return s
}

func TestInject(t *testing.T) {
	r := registry(t, map[string]string{"nvidia.yaml": description})
	gpu := [][]string{{"gpu"}}
	for _, c := range []struct {
		name    string
		request container.DeviceRequest
		env     string
		nodes   string
	}{
		{"by name", container.DeviceRequest{Driver: "cdi", DeviceIDs: []string{"nvidia.com/gpu=0"}}, "A=1 VENDOR=here FIRST=1", "/dev/gpu0"},
		{"the same twice", container.DeviceRequest{Driver: "cdi", DeviceIDs: []string{"nvidia.com/gpu=1", "nvidia.com/gpu=1"}}, "A=1 VENDOR=here", "/dev/null"},
		{"all of them", container.DeviceRequest{Count: -1, Capabilities: gpu}, "A=1 VENDOR=here ALL=1", ""},
		{"two of them", container.DeviceRequest{Count: 2, Capabilities: gpu}, "A=1 VENDOR=here FIRST=1", "/dev/gpu0 /dev/null"},
		{"one of them by its number", container.DeviceRequest{DeviceIDs: []string{"1"}, Capabilities: [][]string{{"tpu"}, {"gpu", "compute"}}}, "A=1 VENDOR=here", "/dev/null"},
		{"by driver", container.DeviceRequest{Driver: "nvidia", Count: 1}, "A=1 VENDOR=here FIRST=1", "/dev/gpu0"},
		{"none of them", container.DeviceRequest{Driver: "nvidia"}, "A=1", ""},
	} {
		s := bareSpec(false)
		if err := r.Inject(s, []container.DeviceRequest{c.request}); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var nodes []string
		for _, d := range s.Linux.Devices {
			nodes = append(nodes, d.Path)
		}
		if got := strings.Join(s.Process.Env, " "); got != c.env || strings.Join(nodes, " ") != c.nodes || len(s.Linux.Resources.Devices) != len(nodes) {
			t.Errorf("%s: variables %q, nodes %q, rules %+v", c.name, got, nodes, s.Linux.Resources.Devices)
		}
	}

	s := bareSpec(true)
	if err := r.Inject(s, []container.DeviceRequest{{Driver: "nvidia", Count: 1}}); err != nil {
		t.Fatal(err)
	}
	bound := slices.IndexFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == "/dev/gpu0" && m.Source == "/dev/full" })
	if len(s.Linux.Devices) != 0 || bound < 0 || s.Hooks == nil || len(s.Hooks.CreateContainer) != 1 {
		t.Errorf("with a user namespace: %+v, hooks %+v", s.Mounts, s.Hooks)
	}
}

func TestInjectRefuses(t *testing.T) {
	described := registry(t, map[string]string{"nvidia.yaml": description, "broken.json": `{"cdiVersion":`})
	for _, c := range []struct {
		r       *Registry
		request container.DeviceRequest
		text    string
	}{
		{described, container.DeviceRequest{Driver: "cdi", DeviceIDs: []string{"acme.com/disk=9"}}, "unresolvable CDI devices acme.com/disk=9 (CDI: "},
		{described, container.DeviceRequest{Driver: "cdi", Count: 1}, "unexpected count in CDI device request"},
		{described, container.DeviceRequest{Driver: "cdi", Options: map[string]string{"a": "b"}}, "unexpected options in CDI device request"},
		{described, container.DeviceRequest{Driver: "nvidia", Count: 1, DeviceIDs: []string{"0"}}, "cannot set both Count and DeviceIDs"},
		{described, container.DeviceRequest{Driver: "nvidia", Count: 1 << 30}, "more than a host has"},
		{described, container.DeviceRequest{Count: -1, Capabilities: [][]string{{"tpu"}}}, `could not select device driver "" with capabilities: [[tpu]]`},
		{described, container.DeviceRequest{Driver: "amd", Count: -1}, `could not select device driver "amd" with capabilities: []`},
		{registry(t, nil), container.DeviceRequest{Count: -1, Capabilities: [][]string{{"gpu"}}}, `could not select device driver "" with capabilities: [[gpu]]`},
		{New(nil), container.DeviceRequest{Driver: "cdi", DeviceIDs: []string{"a/b=c"}}, `could not select device driver "cdi" with capabilities: []`},
	} {
		s := bareSpec(false)
		err := c.r.Inject(s, []container.DeviceRequest{c.request})
		if !errs.Is(err, errs.InvalidParameter) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%+v: %v, want %q", c.request, err, c.text)
		}
	}
}

func TestList(t *testing.T) {
	list, complaints := registry(t, map[string]string{"nvidia.yaml": description, "broken.json": `{"cdiVersion":`}).List()
	if len(list) != 3 || list[0].Source != "cdi" || list[0].ID != "nvidia.com/gpu=0" || len(complaints) != 1 || !strings.Contains(complaints[0], "broken.json") {
		t.Errorf("got %+v, complaints %q", list, complaints)
	}
	if list, complaints := New(nil).List(); list != nil || complaints != nil {
		t.Errorf("without directories: %+v, %q", list, complaints)
	}
}
