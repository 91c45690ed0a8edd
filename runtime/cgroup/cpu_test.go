package cgroup

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// The kernel gives a new group no real time, and a child none that its parents
// do not have.
func TestRealtimeIsGrantedFromTheTop(t *testing.T) {
	h := real(t, isV1)
	i, ok := h.find("cpu", "")
	if !ok {
		t.Skip("no v1 controller cpu here")
	}
	if _, err := os.Stat(h.all[i].mount + "/cpu.rt_runtime_us"); err != nil {
		t.Skip("this kernel gives no real time to groups")
	}
	root := contents(t, h.all[i].mount+"/cpu.rt_runtime_us")
	path := parent(t, h)
	t.Cleanup(func() { // the first to be cleaned up is what lies deepest
		if err := h.Prune(path + "/deep"); err != nil {
			t.Error(err)
		}
	})
	first := mustCreate(t, h, path+"/deep/one", &specs.LinuxResources{CPU: &specs.LinuxCPU{RealtimeRuntime: ptr[int64](10000)}})
	second := mustCreate(t, h, path+"/deep/two", &specs.LinuxResources{
		CPU: &specs.LinuxCPU{RealtimeRuntime: ptr[int64](10000), RealtimePeriod: ptr[uint64](500000)}})
	d, _ := second.controller("cpu")
	for dir, want := range map[string]string{d.path: "10000", first.Paths()["cpu"]: "10000",
		filepath.Dir(d.path): "30000", filepath.Dir(filepath.Dir(d.path)): "30000", h.all[i].mount: root} {
		if got := contents(t, dir+"/cpu.rt_runtime_us"); got != want {
			t.Errorf("%s: got %s, want %s", dir, got, want)
		}
	}
	_, err := h.Create(path+"/deep/three", &specs.LinuxResources{CPU: &specs.LinuxCPU{RealtimeRuntime: ptr[int64](999000)}})
	if !errs.Is(err, errs.InvalidParameter) {
		t.Errorf("more than there is: %v", err)
	}
}
