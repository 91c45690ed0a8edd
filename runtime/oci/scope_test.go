package oci

import (
	"os"
	"testing"
)

func TestSystemdThatDoesNotRun(t *testing.T) {
	for _, path := range []string{"/run/systemd/private", "/run/dbus/system_bus_socket"} {
		if _, err := os.Stat(path); err == nil {
			t.Skipf("%s is there", path)
		}
	}
	h := newHost(t)
	h.spec.Linux.CgroupsPath = "system.slice:davit:c1"
	h.write()
	h.fails(1, "systemd does not run on this host", "--systemd-cgroup", "run", "c1")
	h.fails(1, "slice:prefix:name", "--systemd-cgroup", "run", "c1", func() string { h.spec.Linux.CgroupsPath = "/a"; h.write(); return "-d" }())
	if left := h.groupLeft(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
