package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// recorder is a hook that appends a line to a file: its name, its mount
// namespace, whether it is in the container's root, and the state's status.
// The state itself goes to a file beside.
func recorder(name, log string, shell ...string) specs.Hook {
	script := `read state; s=${state#*'"status":"'}; s=${s%%'"'*}; root=host; test -e /bin/busybox -a ! -e /usr && root=container; ` +
		`echo ` + name + ` $(readlink /proc/self/ns/mnt) $root $s >> ` + log + `; echo "$state" > ` + log + `.` + name
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "sh"}
	}
	return specs.Hook{Path: shell[0], Args: append(slices.Clone(shell[1:]), "-c", script), Env: []string{"PATH=/usr/bin:/bin"}}
}

func TestHooks(t *testing.T) {
	h := newHost(t)
	log := filepath.Join(h.bundle, "rootfs", "log") // both outside and inside
	h.spec.Root.Readonly = false
	outside := func(name string) []specs.Hook { return []specs.Hook{recorder(name, log)} }
	h.spec.Hooks = &specs.Hooks{
		Prestart:        outside("prestart"), //lint:ignore SA1019 deprecated, and still in use
		CreateRuntime:   append(outside("createRuntime"), recorder("createRuntime2", log)),
		CreateContainer: outside("createContainer"),
		StartContainer:  []specs.Hook{recorder("startContainer", "/log", "/bin/busybox", "sh")},
		Poststart:       outside("poststart"),
		Poststop:        outside("poststop"),
	}
	h.spec.Annotations = map[string]string{"a": "b"}
	h.write()
	h.ok("create", "c1")
	var v view
	if err := json.Unmarshal([]byte(h.ok("state", "c1")), &v); err != nil {
		t.Fatal(err)
	}
	inside, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", v.Pid))
	if err != nil {
		t.Fatal(err)
	}
	ours, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	h.ok("start", "c1")
	h.ok("delete", "--force", "c1")
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"prestart " + ours + " host creating",
		"createRuntime " + ours + " host creating",
		"createRuntime2 " + ours + " host creating",
		"createContainer " + inside + " host creating",
		"startContainer " + inside + " container created",
		"poststart " + ours + " host running",
		"poststop " + ours + " host stopped",
	}, "\n") + "\n"
	if string(b) != want {
		t.Errorf("hooks ran as\n%swant\n%s", b, want)
	}
	for _, name := range []string{"prestart", "createContainer", "startContainer", "poststop"} {
		b, err := os.ReadFile(log + "." + name)
		if err != nil {
			t.Fatal(err)
		}
		var s specs.State
		if err := json.Unmarshal(b, &s); err != nil || s.ID != "c1" || s.Pid != v.Pid && name != "poststop" || s.Bundle != h.bundle || s.Annotations["a"] != "b" || s.Version != specs.Version {
			t.Errorf("%s: state %+v, %v", name, s, err)
		}
	}
}

// A hook that fails before the program has run, or right after, takes the
// container along; poststop hooks then run, and their failures mean nothing.
func TestHooksFail(t *testing.T) {
	for _, c := range []struct {
		kind, command string
		set           func(*specs.Hooks, []specs.Hook)
		shell         []string
	}{
		{"prestart", "create", func(h *specs.Hooks, l []specs.Hook) { h.Prestart = l }, nil}, //lint:ignore SA1019 deprecated, and still in use
		{"createRuntime", "create", func(h *specs.Hooks, l []specs.Hook) { h.CreateRuntime = l }, nil},
		{"createContainer", "create", func(h *specs.Hooks, l []specs.Hook) { h.CreateContainer = l }, nil},
		{"startContainer", "start", func(h *specs.Hooks, l []specs.Hook) { h.StartContainer = l }, nil},
		{"poststart", "start", func(h *specs.Hooks, l []specs.Hook) { h.Poststart = l }, nil},
	} {
		t.Run(c.kind, func(t *testing.T) {
			h := newHost(t)
			log := filepath.Join(t.TempDir(), "log")
			bad := specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", "echo no luck >&2; exit 3"}}
			h.spec.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "/bin/false"}, recorder("poststop", log)}}
			c.set(h.spec.Hooks, []specs.Hook{bad, recorder("next", log)})
			h.write()
			if c.command == "start" {
				h.ok("create", "c1")
			}
			r := h.run(c.command, "c1")
			last := r.stderr[strings.LastIndex(strings.TrimSpace(r.stderr), "\n")+1:]
			if want := c.kind + " hook 0: hook /bin/sh: exit status 3: no luck"; r.status != 1 || !strings.Contains(last, want) {
				t.Errorf("status %d, %s; want %s", r.status, r.stderr, want)
			}
			if !strings.Contains(r.stderr, "level=warning") {
				t.Errorf("no warning of the poststop hook that failed: %s", r.stderr)
			}
			b, err := os.ReadFile(log)
			if err != nil || !strings.HasPrefix(string(b), "poststop ") || strings.Count(string(b), "\n") != 1 {
				t.Errorf("hooks ran: %q, %v", b, err)
			}
			if s := h.status("c1"); s != "" {
				t.Errorf("the container is still there, %s", s)
			}
			if left := h.groupLeft(); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

func TestHookTimeout(t *testing.T) {
	second := 1
	for _, kind := range []string{"createRuntime", "createContainer"} {
		t.Run(kind, func(t *testing.T) {
			h := newHost(t)
			slow := []specs.Hook{{Path: "/bin/sleep", Args: []string{"sleep", "1000"}, Timeout: &second}}
			h.spec.Hooks = &specs.Hooks{CreateRuntime: slow}
			if kind == "createContainer" {
				h.spec.Hooks = &specs.Hooks{CreateContainer: slow}
			}
			h.write()
			h.fails(1, kind+" hook 0: hook /bin/sleep: it did not end in 1 seconds", "create", "c1")
			if s := h.status("c1"); s != "" {
				t.Errorf("the container is still there, %s", s)
			}
		})
	}
}

func TestHooksRefused(t *testing.T) {
	h := newHost(t)
	h.spec.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "relative"}}}
	h.write()
	h.fails(1, "hooks.poststop: hook: path must be absolute", "create", "c1")
}
