package engine

import (
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/errs"
)

// TestDiscard leaves out what a kernel does not have, with a warning each.
func TestDiscard(t *testing.T) {
	seven, yes := int64(7), true
	everything := func() *container.HostConfig {
		dev := []*blkiodev.ThrottleDevice{{Path: "/dev/x", Rate: 1}}
		return &container.HostConfig{Resources: container.Resources{
			Memory: 64 << 20, MemorySwap: 96 << 20, MemorySwappiness: &seven, MemoryReservation: 32 << 20, OomKillDisable: &yes, PidsLimit: &seven,
			CPUShares: 2, CPUPeriod: 5000, CPUQuota: 5000, CpusetCpus: "0", CpusetMems: "0", BlkioWeight: 10, BlkioWeightDevice: []*blkiodev.WeightDevice{{Path: "/dev/x", Weight: 10}},
			BlkioDeviceReadBps: dev, BlkioDeviceWriteBps: dev, BlkioDeviceReadIOps: dev, BlkioDeviceWriteIOps: dev,
		}}
	}
	e := bare()
	h := everything()
	w := e.drafter.discard(h)
	if len(w) != 15 {
		t.Errorf("a kernel without controllers: %d warnings: %q", len(w), w)
	}
	if h.Memory != 0 || h.MemorySwappiness != nil || h.OomKillDisable != nil || h.PidsLimit != nil || h.CPUShares != 0 || h.CPUQuota != 0 || h.CpusetCpus != "" ||
		h.BlkioWeight != 0 || h.BlkioWeightDevice != nil || h.BlkioDeviceReadBps != nil || h.BlkioDeviceWriteIOps != nil {
		t.Errorf("left: %+v", h.Resources)
	}

	e.host.cgroupV2 = true
	for _, c := range []string{"memory", "cpu", "cpuset", "pids", "io"} {
		e.host.controllers[c] = true
	}
	h = everything()
	w = e.drafter.discard(h)
	want := []string{
		"Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.",
		"Your kernel does not support OomKillDisable. OomKillDisable discarded.",
	}
	if !slices.Equal(w, want) || h.MemorySwappiness != nil || h.OomKillDisable != nil || h.Memory == 0 {
		t.Errorf("cgroup v2: %q", w)
	}
	if err := e.drafter.validateRealtime(nil, &container.HostConfig{Resources: container.Resources{CPURealtimeRuntime: 1}}); !errs.Is(err, errs.InvalidParameter) {
		t.Errorf("real time on cgroup v2: %v", err)
	}
	if w := e.drafter.discard(&container.HostConfig{}); len(w) != 0 {
		t.Errorf("nothing asked for: %q", w)
	}
}

func TestBlockDevices(t *testing.T) {
	for text, h := range map[string]*container.HostConfig{
		"is null":                   {Resources: container.Resources{BlkioDeviceReadBps: []*blkiodev.ThrottleDevice{nil}}},
		"BlkioWeightDevice":         {Resources: container.Resources{BlkioWeightDevice: []*blkiodev.WeightDevice{nil}}},
		"is not a block device":     {Resources: container.Resources{BlkioDeviceWriteIOps: []*blkiodev.ThrottleDevice{{Path: "/dev/null"}}}},
		"no such file or directory": {Resources: container.Resources{BlkioDeviceWriteBps: []*blkiodev.ThrottleDevice{{Path: "/dev/nothing-there"}}}},
		"from 10 to 1000":           {Resources: container.Resources{BlkioWeightDevice: []*blkiodev.WeightDevice{{Path: "/dev/x", Weight: 9}}}},
	} {
		if _, err := blockDevices(h); !errs.Is(err, errs.InvalidParameter) || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %q", err, text)
		}
	}
	if m, err := blockDevices(&container.HostConfig{}); m != nil || err != nil {
		t.Errorf("nothing asked for: %v, %v", m, err)
	}
}
