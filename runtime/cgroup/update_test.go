package cgroup

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// held returns what the group's file of the controller holds, by its v1 or its
// v2 name, whichever is here.
func held(t testing.TB, c *Cgroup, controller, v1, v2 string) string {
	t.Helper()
	if d, ok := c.controller(controller); ok {
		return contents(t, d.path+"/"+v1)
	}
	d, _ := c.unified()
	return contents(t, d.path+"/"+v2)
}

func need(t testing.TB, h *Hierarchies, controllers ...string) {
	t.Helper()
	for _, name := range controllers {
		if !h.Has(name) {
			t.Skipf("no controller %s here", name)
		}
	}
}

func TestUpdateInTheKernel(t *testing.T) {
	h := real(t, all)
	need(t, h, "memory", "cpu", "pids")
	c := mustCreate(t, h, parent(t, h)+"/update", &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr[int64](64 << 20), Swap: ptr[int64](96 << 20)},
		CPU:    &specs.LinuxCPU{Shares: ptr[uint64](512), Quota: ptr[int64](50000), Period: ptr[uint64](200000)},
		Pids:   &specs.LinuxPids{Limit: ptr[int64](10)},
	})
	again := Open(c.Paths())
	_, v1memory := c.controller("memory")
	state := func() string {
		var swap, cpu string
		if v1memory {
			swap = contents(t, c.Paths()["memory"]+"/memory.memsw.limit_in_bytes")
		} else {
			swap = "no limit"
			if max := held(t, c, "memory", "", "memory.max"); max != "max" {
				m, _ := strconv.Atoi(max)
				s, _ := strconv.Atoi(held(t, c, "memory", "", "memory.swap.max"))
				swap = strconv.Itoa(m + s)
			}
		}
		if d, ok := c.controller("cpu"); ok {
			cpu = contents(t, d.path+"/cpu.cfs_quota_us") + " " + contents(t, d.path+"/cpu.cfs_period_us")
		} else {
			cpu = held(t, c, "cpu", "", "cpu.max")
		}
		text := fmt.Sprintf("memory %s, with swap %s, shares %s, cpu %s, pids %s", held(t, c, "memory", "memory.limit_in_bytes", "memory.max"),
			swap, held(t, c, "cpu", "cpu.shares", "cpu.weight"), cpu, held(t, c, "pids", "pids.max", "pids.max"))
		text = strings.ReplaceAll(text, "9223372036854771712", "no limit")
		text = strings.ReplaceAll(text, "memory max", "memory no limit")
		text = strings.ReplaceAll(text, "cpu max", "cpu -1")
		text = strings.ReplaceAll(text, "shares 100,", "shares 1024,")
		return strings.ReplaceAll(text, "shares 59,", "shares 512,")
	}
	for _, step := range []struct {
		name string
		res  specs.LinuxResources
		want string
	}{
		{"nothing", specs.LinuxResources{Memory: &specs.LinuxMemory{}, CPU: &specs.LinuxCPU{}, Pids: &specs.LinuxPids{}},
			"memory 67108864, with swap 100663296, shares 512, cpu 50000 200000, pids 10"},
		{"both raised", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](128 << 20), Swap: ptr[int64](160 << 20)}},
			"memory 134217728, with swap 167772160, shares 512, cpu 50000 200000, pids 10"},
		{"both lowered", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](32 << 20), Swap: ptr[int64](40 << 20)}},
			"memory 33554432, with swap 41943040, shares 512, cpu 50000 200000, pids 10"},
		{"swap alone", specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: ptr[int64](48 << 20)}},
			"memory 33554432, with swap 50331648, shares 512, cpu 50000 200000, pids 10"},
		{"quota alone", specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr[int64](70000)}},
			"memory 33554432, with swap 50331648, shares 512, cpu 70000 200000, pids 10"},
		{"period alone", specs.LinuxResources{CPU: &specs.LinuxCPU{Period: ptr[uint64](100000)}},
			"memory 33554432, with swap 50331648, shares 512, cpu 70000 100000, pids 10"},
		{"defaults", specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr[uint64](1024)}, Pids: &specs.LinuxPids{Limit: ptr[int64](-1)}},
			"memory 33554432, with swap 50331648, shares 1024, cpu 70000 100000, pids max"},
		{"no limits", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](-1)}, CPU: &specs.LinuxCPU{Quota: ptr[int64](-1)}},
			"memory no limit, with swap no limit, shares 1024, cpu -1 100000, pids max"},
	} {
		if err := again.Update(&step.res); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if got := state(); got != step.want {
			t.Errorf("%s:\ngot  %s\nwant %s", step.name, got, step.want)
		}
	}
	if v1memory {
		if err := again.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](1 << 20), Swap: ptr[int64](2 << 20)}}); err != nil {
			t.Fatal(err)
		}
		err := again.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](3 << 20)}})
		if !errs.Is(err, errs.InvalidParameter) || !strings.Contains(err.Error(), "memory and swap together") {
			t.Errorf("memory above memory and swap: %v", err)
		}
	}
}

func TestUpdateBelowWhatIsInUse(t *testing.T) {
	h := real(t, all)
	need(t, h, "memory")
	c := mustCreate(t, h, parent(t, h)+"/used", nil)
	cmd := run(t, c, `printf -v x %30000000s; sleep 1000; echo $x`)
	defer func() { _ = c.Kill(); _ = cmd.Wait() }()
	eventually(t, "memory in use", func() bool {
		s, err := c.Stats()
		return err == nil && s.Memory.Stat["total_rss"]+s.Memory.Stat["anon"] > 30000000
	})
	// Nothing can be swapped out, so that the kernel has to say no.
	err := c.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](4 << 20), Swap: ptr[int64](4 << 20), CheckBeforeUpdate: ptr(true)}})
	if !errs.Is(err, errs.Conflict) || !strings.Contains(fmt.Sprint(err), "in use") {
		t.Errorf("got %v, want a conflict", err)
	}
	if s, err := c.Stats(); err != nil || s.Memory.Limit < 30000000 || s.Memory.OOMKills != 0 {
		t.Errorf("%v: limit %d, %d killed", err, s.Memory.Limit, s.Memory.OOMKills)
	}
}

// Devices change while a process opens one that stays allowed without pause.
func TestUpdateOfDevicesHasNoGap(t *testing.T) {
	for name, keep := range map[string]func(hierarchy) bool{
		"v1": func(h hierarchy) bool { return slices.Contains(h.controllers, "devices") && !h.v2 }, "v2": isV2} {
		t.Run(name, func(t *testing.T) {
			h := real(t, keep)
			denyAll := rule(false, "a", -1, -1, "rwm")
			lists := [][]specs.LinuxDeviceCgroup{
				{denyAll, rule(true, "c", 10, 200, "rw"), rule(true, "b", 7, -1, "r")},
				{denyAll, rule(true, "c", 1, 11, "r"), rule(true, "c", 10, 200, "r")},
			}
			c := mustCreate(t, h, parent(t, h)+"/gap", &specs.LinuxResources{Devices: lists[0]})
			null, stop := t.TempDir()+"/null", t.TempDir()+"/stop"
			if err := unix.Mknod(null, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
				t.Skip(err)
			}
			cmd := run(t, c, `while [ ! -e `+stop+` ]; do for i in 1 2 3 4 5 6 7 8 9; do : < `+null+` || exit 1; done; done`)
			for i := range 400 {
				if err := c.Update(&specs.LinuxResources{Devices: lists[(i+1)%2]}); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(stop, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("an allowed device could not be opened: %v", err)
			}
			if d, ok := c.controller("devices"); ok {
				text := contents(t, d.path+"/devices.list") + "\n"
				if !strings.Contains(text, "c 10:200 rw\n") || !strings.Contains(text, "b 7:* r\n") || strings.Contains(text, "1:11") {
					t.Errorf("devices.list: %s", text)
				}
				return
			}
			group, err := open(c.dirs[0].path, unix.O_RDONLY|unix.O_DIRECTORY)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(group)
			fds, err := devicePrograms(group)
			if err != nil || len(fds) != 1 {
				t.Errorf("%d programs are in force: %v", len(fds), err)
			}
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
		})
	}
}

func TestUpdateOnV2(t *testing.T) {
	f, h := newFakeV2("cpu", "memory", "pids", "io")
	c, err := h.Create("/one", nil)
	if err != nil {
		t.Fatal(err)
	}
	g := f.groups["/cg/one"]
	for _, u := range []struct {
		name   string
		before map[string]string
		res    specs.LinuxResources
		want   string
	}{
		{"no limits", nil, specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: ptr[int64](-1), Reservation: ptr[int64](-1)}, Pids: &specs.LinuxPids{Limit: ptr[int64](-1)},
			CPU: &specs.LinuxCPU{Quota: ptr[int64](-1), Burst: ptr[uint64](0), Idle: ptr[int64](0)}},
			"memory.max = max; memory.swap.max = max; memory.low = 0; cpu.idle = 0; cpu.max = max 100000; cpu.max.burst = 0; pids.max = max"},
		{"no processes", nil, specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr[int64](0)}}, "pids.max = 1"},
		{"period", map[string]string{"cpu.max": "40 100000"}, specs.LinuxResources{CPU: &specs.LinuxCPU{Period: ptr[uint64](50)}}, "cpu.max = 40 50"},
		{"swap", map[string]string{"memory.max": "100"}, specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: ptr[int64](150)}}, "memory.swap.max = 50"},
		{"free swap", nil, specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: ptr[int64](-1)}}, "memory.swap.max = max"},
		{"unchecked", map[string]string{"memory.current": "90"}, specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](80)}}, "memory.max = 80"},
		{"idle", nil, specs.LinuxResources{CPU: &specs.LinuxCPU{Idle: ptr[int64](1), Shares: ptr[uint64](9)}}, "cpu.idle = 1"},
		{"throttle off", nil, specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{{}}}},
			"io.max = 0:0 rbps=max"},
	} {
		for file, v := range u.before {
			g[file] = v
		}
		f.writes = nil
		if err := c.Update(&u.res); err != nil {
			t.Errorf("%s: %v", u.name, err)
		}
		if got := strings.ReplaceAll(strings.Join(f.writes, "; "), "/one/", ""); got != u.want {
			t.Errorf("%s:\ngot  %s\nwant %s", u.name, got, u.want)
		}
	}
	g["memory.max"], f.writes = "max", nil
	for _, u := range []struct {
		res  specs.LinuxMemory
		kind errs.Kind
	}{
		{specs.LinuxMemory{Limit: ptr[int64](80), CheckBeforeUpdate: ptr(true)}, errs.Conflict},
		{specs.LinuxMemory{Swap: ptr[int64](80)}, errs.InvalidParameter},
	} {
		if err := c.Update(&specs.LinuxResources{Memory: &u.res}); !errs.Is(err, u.kind) || len(f.writes) > 0 {
			t.Errorf("got %v and %q, want %v", err, f.writes, u.kind)
		}
	}
	if err := h.fs.rmdir("/cg/one"); err != nil {
		t.Fatal(err)
	}
	if err := c.Update(&specs.LinuxResources{}); !errs.Is(err, errs.NotFound) {
		t.Errorf("a group that is gone: %v", err)
	}
}

func TestUpdateOfWhichTheKernelRefusesAPart(t *testing.T) {
	h := real(t, all)
	need(t, h, "memory", "cpu", "pids")
	c := mustCreate(t, h, parent(t, h)+"/refused", &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr[int64](64 << 20), Swap: ptr[int64](96 << 20)},
		CPU:    &specs.LinuxCPU{Shares: ptr[uint64](512)},
	})
	state := func() string {
		return fmt.Sprint("memory ", held(t, c, "memory", "memory.limit_in_bytes", "memory.max"), ", shares ", held(t, c, "cpu", "cpu.shares", "cpu.weight"),
			", pids ", held(t, c, "pids", "pids.max", "pids.max"))
	}
	before := state()
	change := specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr[int64](128 << 20), Swap: ptr[int64](128 << 20)},
		CPU:    &specs.LinuxCPU{Shares: ptr[uint64](256)},
		Pids:   &specs.LinuxPids{Limit: ptr[int64](10)},
	}
	bad := change
	bad.CPU = &specs.LinuxCPU{Shares: ptr[uint64](256), Cpus: "4000-4001"}
	if err := c.Update(&bad); err == nil {
		t.Fatal("a CPU set that no host has is no error")
	}
	if after := state(); after != before {
		t.Errorf("after a refused update: %s\nbefore: %s", after, before)
	}
	undo, err := c.Change(&change)
	if err != nil {
		t.Fatal(err)
	}
	if after := state(); after == before {
		t.Fatalf("the update changed nothing: %s", after)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	if after := state(); after != before {
		t.Errorf("after an undone update: %s\nbefore: %s", after, before)
	}
}

func TestRefusedUpdateOnV2(t *testing.T) {
	f, h := newFakeV2("cpu", "memory", "pids", "cpuset")
	c, err := h.Create("/one", nil)
	if err != nil {
		t.Fatal(err)
	}
	g := f.groups["/cg/one"]
	g["memory.max"], g["memory.swap.max"], g["cpu.weight"], g["cpuset.cpus"] = "100", "50", "100", ""
	f.refuse["/cg/one/pids.max 7"] = unix.EINVAL
	err = c.Update(&specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr[int64](200), Swap: ptr[int64](300)},
		CPU:    &specs.LinuxCPU{Shares: ptr[uint64](512), Cpus: "0"}, Pids: &specs.LinuxPids{Limit: ptr[int64](7)},
	})
	if !errs.Is(err, errs.InvalidParameter) {
		t.Errorf("error %v (%s)", err, errs.KindOf(err))
	}
	if g["memory.max"] != "100" || g["memory.swap.max"] != "50" || g["cpu.weight"] != "100" || strings.TrimSpace(g["cpuset.cpus"]) != "" {
		t.Errorf("after a refused update the group holds memory %s, swap %s, weight %s, CPUs %q", g["memory.max"], g["memory.swap.max"], g["cpu.weight"], g["cpuset.cpus"])
	}
}
