package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	enginetest "github.com/davit-engine/davit/test/engine"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestDescribedDevices gives containers devices that are described in the
// Container Device Interface.
func TestDescribedDevices(t *testing.T) {
	// A hook in a user namespace writes there too, and t.TempDir is closed to others.
	dir, err := os.MkdirTemp("", "davit-devices")
	if err == nil {
		err = os.Chmod(dir, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	state := filepath.Join(dir, "state")
	description := `{"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [
		{"name": "0", "containerEdits": {
			"env": ["GPU=zero"],
			"deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/full"}],
			"mounts": [{"hostPath": "` + dir + `/library", "containerPath": "/usr/lib/gpu/driver.so", "options": ["bind", "ro"]}],
			"hooks": [
				{"hookName": "createRuntime", "path": "/bin/sh", "args": ["sh", "-c", "cat >` + state + `"]},
				{"hookName": "createContainer", "path": "/bin/sh", "args": ["sh", "-c", "rm -f ` + state + `-inside; readlink /proc/self/ns/mnt >` + state + `-inside"]},
				{"hookName": "poststop", "path": "/bin/sh", "args": ["sh", "-c", "cat >` + state + `-stopped"]}
			]}},
		{"name": "broken", "containerEdits": {"hooks": [{"hookName": "createRuntime", "path": "/bin/sh", "args": ["sh", "-c", "echo no such gpu >&2; exit 3"]}]}},
		{"name": "all", "containerEdits": {"env": ["GPU=all"]}}]}`
	for name, text := range map[string]string{"gpu.json": description, "library": "a driver"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const look = "echo $GPU; echo x 2>/dev/null >/dev/gpu0 || echo full; cat /usr/lib/gpu/driver.so"
	for _, mode := range []string{"host", "auto"} {
		t.Run(mode, func(t *testing.T) {
			e := enginetest.Start(t, enginetest.Config{Args: []string{"--cdi-spec-dir", dir, "--default-userns", mode}})
			e.Busybox(t)
			for _, cli := range e.CLIs(t) {
				t.Run(cli.Name, func(t *testing.T) {
					for _, end := range []string{"", "-inside", "-stopped"} {
						_ = os.Remove(state + end) // of the engine before
					}
					if got, want := cli.OK(t, "run", "--rm", "--device", "nvidia.com/gpu=0", "busybox", "sh", "-c", look), "zero\nfull\na driver"; got != want {
						t.Errorf("the container prints %q, want %q", got, want)
					}
					for name, status := range map[string]specs.ContainerState{state: specs.StateCreating, state + "-stopped": specs.StateStopped} {
						text, err := os.ReadFile(name)
						if err != nil {
							t.Fatal(err)
						}
						var s specs.State
						if err := json.Unmarshal(text, &s); err != nil || s.Status != status || len(s.ID) != 64 {
							t.Errorf("a hook has read %s (%v), want %s", text, err, status)
						}
					}
					own, err := os.Readlink("/proc/self/ns/mnt")
					if err != nil {
						t.Fatal(err)
					}
					if inside, err := os.ReadFile(state + "-inside"); err != nil || !strings.HasPrefix(string(inside), "mnt:") || strings.TrimSpace(string(inside)) == own {
						t.Errorf("the hook that belongs inside was in %q (%v), the host is in %s", inside, err, own)
					}
					if got := cli.OK(t, "run", "--rm", "--gpus", "all", "busybox", "sh", "-c", "echo $GPU"); got != "all" {
						t.Errorf("with all GPUs the container prints %q", got)
					}
					if got := cli.OK(t, "run", "--rm", "--gpus", "device=0", "busybox", "sh", "-c", "echo $GPU"); got != "zero" {
						t.Errorf("with GPU 0 the container prints %q", got)
					}
					cli.Fails(t, 125, "no such gpu", "run", "--rm", "--device", "nvidia.com/gpu=broken", "busybox", "true")
					cli.Fails(t, 125, "unresolvable CDI devices nvidia.com/gpu=7", "run", "--rm", "--device", "nvidia.com/gpu=7", "busybox", "true")
				})
			}
			if got := e.Davit().OK(t, "info", "--format", "{{json .CDISpecDirs}} {{len .DiscoveredDevices}}"); got != `["`+dir+`"] 3` {
				t.Errorf("info shows %s", got)
			}
		})
	}
	each(t, func(t *testing.T, cli enginetest.CLI) {
		cli.Fails(t, 125, `could not select device driver "" with capabilities: [[gpu]]`, "run", "--rm", "--gpus", "all", "busybox", "true")
	})
}
