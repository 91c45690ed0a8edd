package oci

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// A user without rights has containers as well: in a user namespace, and
// without control groups.
func TestRootless(t *testing.T) {
	h := newHost(t)
	before := *h
	program, dir := copyProgram(t)
	t.Cleanup(func() {
		h.deleteAll()
		*h = before
	})
	h.program, h.root = program, filepath.Join(dir, "root")
	if out, err := exec.Command("cp", "-a", h.bundle, filepath.Join(dir, "bundle")).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	h.bundle = filepath.Join(dir, "bundle")
	if out, err := exec.Command("chown", "-R", "65534:65534", dir).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	if err := os.Chmod(h.bundle, 0o755); err != nil {
		t.Fatal(err)
	}
	h.user = &syscall.Credential{Uid: nobody, Gid: nobody}
	if err := os.Remove(filepath.Join(h.bundle, configName)); err != nil {
		t.Fatal(err)
	}
	h.ok("spec", "--rootless")
	b, err := readBundle(h.bundle)
	if err != nil {
		t.Fatal(err)
	}
	h.spec = b.spec
	h.spec.Process.Terminal = false
	h.spec.Hooks = &specs.Hooks{
		CreateContainer: []specs.Hook{{Path: "/bin/true"}},
		StartContainer:  []specs.Hook{{Path: "/bin/true"}},
	}
	h.command("sh", "-c", "id; exit 3")
	if r := h.run("run", "c1"); r.status != 3 || r.stdout != "uid=0 gid=0\n" {
		t.Fatalf("%+v", r)
	}
	h.command("sleep", "1000")
	h.ok("create", "c1")
	h.ok("start", "c1")
	if got := h.ok("exec", "c1", "cat", "/proc/self/uid_map"); strings.Join(strings.Fields(got), " ") != "0 65534 1" {
		t.Errorf("%s", got)
	}
	if got := h.ok("exec", "--tty", "c1", "tty"); got != "/dev/pts/0\r\n" {
		t.Errorf("%q", got)
	}
	var v view
	if err := json.Unmarshal([]byte(h.ok("state", "c1")), &v); err != nil || v.Status != specs.StateRunning {
		t.Errorf("%+v, %v", v, err)
	}
	if got := h.ok("list"); !strings.Contains(got, "nobody") {
		t.Errorf("%s", got)
	}
	h.fails(1, "no control group", "pause", "c1")
	h.fails(1, "no control group", "update", "--memory", "1g", "c1")
	h.ok("kill", "c1", "KILL")
	h.wantStatus("c1", "stopped")
	h.ok("delete", "c1")

	limit := int64(64 << 20)
	h.spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
	h.write()
	h.fails(1, "memory", "create", "c1")
}
