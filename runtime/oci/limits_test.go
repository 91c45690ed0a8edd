package oci

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// groupFile reads a file of a container's control group on whichever version
// has it.
func (h *host) groupFile(names ...string) string {
	h.Helper()
	for _, dir := range h.groupLeft() {
		for _, name := range names {
			if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
				return strings.TrimSpace(string(b))
			}
		}
	}
	h.Fatalf("no group of the container has %q", names)
	return ""
}

func TestUpdate(t *testing.T) {
	h := newHost(t)
	h.ok("run", "-d", "c1")
	h.ok("update", "--memory", "64m", "--pids-limit=20", "c1")
	if got := h.groupFile("memory.limit_in_bytes", "memory.max"); got != "67108864" {
		t.Errorf("memory: %s", got)
	}
	if got := h.groupFile("pids.max"); got != "20" {
		t.Errorf("pids: %s", got)
	}
	file := filepath.Join(t.TempDir(), "resources.json")
	if err := os.WriteFile(file, []byte(`{"memory":{"limit":33554432},"cpu":{"quota":50000,"period":100000}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	h.ok("update", "--resources", file, "c1")
	if got := h.groupFile("memory.limit_in_bytes", "memory.max"); got != "33554432" {
		t.Errorf("memory: %s", got)
	}
	if got := h.groupFile("cpu.cfs_quota_us", "cpu.max"); !strings.HasPrefix(got, "50000") {
		t.Errorf("quota: %s", got)
	}
	cmd := h.cmd("update", "-r", "-", "c1")
	cmd.Stdin = strings.NewReader(`{"pids":{"limit":30}}`)
	if r := h.finish(cmd); r.status != 0 || h.groupFile("pids.max") != "30" {
		t.Errorf("%+v, pids: %s", r, h.groupFile("pids.max"))
	}
	h.fails(1, "resctrl", "update", "--l3-cache-schema", "L3:0=f", "c1")
	h.fails(1, "--resources", "update", "-r", "/nothing", "c1")
	h.fails(1, "not running", "update", "--memory", "1g", func() string { h.ok("kill", "c1", "9"); h.wantStatus("c1", "stopped"); return "c1" }())
}

func TestEvents(t *testing.T) {
	h := newHost(t)
	limit := int64(16 << 20)
	h.spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit}
	h.spec.Root.Readonly = false
	h.command("sh", "-c", "while test ! -e /go; do sleep 0.02; done; x=x; while :; do x=$x$x; done & wait; sleep 1000")
	h.ok("run", "-d", "c1")
	var stats struct {
		Type, ID string
		Data     struct {
			Memory struct {
				Usage struct{ Usage, Limit uint64 }
				Raw   map[string]uint64
			}
			Pids struct{ Current uint64 }
			CPU  struct{ Usage struct{ Total uint64 } }
		}
	}
	if err := json.Unmarshal([]byte(h.ok("events", "--stats", "c1")), &stats); err != nil {
		t.Fatal(err)
	}
	if d := stats.Data; stats.Type != "stats" || stats.ID != "c1" || d.Memory.Usage.Limit != uint64(limit) || d.Memory.Usage.Usage == 0 || len(d.Memory.Raw) == 0 ||
		d.Pids.Current == 0 || d.CPU.Usage.Total == 0 {
		t.Errorf("%+v", stats)
	}
	cmd := h.cmd("events", "--interval", "100ms", "c1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	if f, ok := out.(*os.File); ok {
		deadline, _ := within(t).Deadline()
		if err := f.SetReadDeadline(deadline); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]int{}
	for in := bufio.NewScanner(out); in.Scan(); {
		var e event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			t.Fatalf("%s: %v", in.Text(), err)
		}
		seen[e.Type]++
		if seen["stats"] == 2 && seen["oom"] == 0 {
			if err := os.WriteFile(filepath.Join(h.bundle, "rootfs", "go"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if seen["oom"] == 1 {
			h.run("kill", "c1", "KILL")
		}
	}
	if err := cmd.Wait(); err != nil || seen["oom"] == 0 {
		t.Errorf("%v; events %v", err, seen)
	}
	h.wantStatus("c1", "stopped")
	h.fails(1, "not running", "events", "c1")
}
