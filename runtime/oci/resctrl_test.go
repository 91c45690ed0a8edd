package oci

import (
	"os"
	"strings"
	"testing"

	"github.com/davit-engine/davit/runtime/resctrl"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestWithoutResctrl(t *testing.T) {
	if b, err := os.ReadFile("/proc/mounts"); err != nil || strings.Contains(string(b), " "+resctrl.Root+" resctrl ") {
		t.Skip("this machine has resctrl")
	}
	h := newHost(t)
	h.spec.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: "gold"}
	h.write()
	h.fails(1, "linux.intelRdt: resctrl is not mounted", "run", "-d", "c1")
	h.fails(1, "does not exist", "state", "c1")
}

func TestUnknownCapability(t *testing.T) {
	h := newHost(t)
	h.spec.Process.Capabilities.Bounding = append(h.spec.Process.Capabilities.Bounding, "CAP_OF_TOMORROW")
	h.write()
	log := t.TempDir() + "/log"
	h.ok("--log", log, "run", "-d", "c1")
	if b, err := os.ReadFile(log); err != nil || !strings.Contains(string(b), "ignoring unknown or unavailable capabilities: CAP_OF_TOMORROW") {
		t.Errorf("%v %s", err, b)
	}
}
