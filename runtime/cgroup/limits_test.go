package cgroup

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// layouts are the three kinds of host.
func layouts() map[string]*Hierarchies {
	v1 := func(list ...string) (all []hierarchy) {
		for _, c := range list {
			all = append(all, hierarchy{mount: "/cg/" + c, controllers: strings.Split(c, ",")})
		}
		return all
	}
	one := v1("cpu,cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "net_cls,net_prio", "name=systemd")
	return map[string]*Hierarchies{
		"v1":     {all: append(one, v1("hugetlb", "rdma")...)},
		"hybrid": {all: append(one[:len(one):len(one)], hierarchy{mount: "/cg/unified", v2: true, controllers: []string{"hugetlb", "rdma"}})},
		"v2": {all: []hierarchy{{mount: "/cg", v2: true,
			controllers: []string{"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"}}}},
	}
}

func everyLimit() *specs.LinuxResources {
	dev := specs.LinuxThrottleDevice{Rate: 1000}
	dev.Major, dev.Minor = 8, 16
	free := dev
	free.Rate = 0
	w := specs.LinuxWeightDevice{Weight: ptr[uint16](200), LeafWeight: ptr[uint16](250)}
	w.Major = 8
	return &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr[int64](1000), Swap: ptr[int64](1500), Reservation: ptr[int64](700),
			Swappiness: ptr[uint64](60), DisableOOMKiller: ptr(true), CheckBeforeUpdate: ptr(true),
			//lint:ignore SA1019 the field is passed over, and it has to be
			Kernel: ptr[int64](1), KernelTCP: ptr[int64](1), UseHierarchy: ptr(true)}, // passed over as well
		CPU: &specs.LinuxCPU{Shares: ptr[uint64](512), // idle groups have none
			Quota: ptr[int64](5000), Period: ptr[uint64](20000), Burst: ptr[uint64](100),
			Idle: ptr[int64](1), Cpus: "0-1", Mems: "0"},
		Pids:    &specs.LinuxPids{Limit: ptr[int64](10)},
		Network: &specs.LinuxNetwork{ClassID: ptr[uint32](0x100001), Priorities: []specs.LinuxInterfacePriority{{Name: "lo", Priority: 3}}},
		BlockIO: &specs.LinuxBlockIO{Weight: ptr[uint16](500), LeafWeight: ptr[uint16](300), WeightDevice: []specs.LinuxWeightDevice{w},
			ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{dev}, ThrottleWriteBpsDevice: []specs.LinuxThrottleDevice{free},
			ThrottleReadIOPSDevice: []specs.LinuxThrottleDevice{dev}, ThrottleWriteIOPSDevice: []specs.LinuxThrottleDevice{dev}},
		HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}},
		Rdma:           map[string]specs.LinuxRdma{"mlx5_1": {HcaHandles: ptr[uint32](3), HcaObjects: ptr[uint32](4)}},
		Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"},
			{Allow: true, Type: "c", Major: ptr[int64](10), Minor: ptr[int64](229), Access: "rw"}},
	}
}

func text(h *Hierarchies, p plan) string {
	var b strings.Builder
	for i, hy := range h.all {
		for _, s := range p.settings[i] {
			fmt.Fprintf(&b, "%s: %s\n", hy.mount, s)
		}
	}
	if p.device != nil {
		fmt.Fprintf(&b, "device program of %d instructions\n", len(p.device))
	}
	return b.String()
}

func TestPlans(t *testing.T) {
	for name, h := range layouts() {
		t.Run(name, func(t *testing.T) {
			res := everyLimit()
			if h.Version() == 2 { // these it refuses
				res.Network, res.BlockIO.LeafWeight, res.BlockIO.WeightDevice[0].LeafWeight = nil, nil, nil
			}
			p, err := h.plan(res)
			if err != nil {
				t.Fatal(err)
			}
			golden := "testdata/plan-" + name + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(text(h, p)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got := text(h, p); got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// What a new group holds anyway is not written.
func TestPlansThatSayNothing(t *testing.T) {
	for name, h := range layouts() {
		for what, res := range map[string]*specs.LinuxResources{
			"nil": nil, "empty": {},
			"unlimited": {Memory: &specs.LinuxMemory{Limit: ptr[int64](-1), Swap: ptr[int64](-1), Reservation: ptr[int64](-1)},
				CPU:  &specs.LinuxCPU{Shares: ptr[uint64](1024), Quota: ptr[int64](-1), Period: ptr[uint64](100000), Idle: ptr[int64](0)},
				Pids: &specs.LinuxPids{Limit: ptr[int64](-1)}},
			"zero":       {Memory: &specs.LinuxMemory{Limit: ptr[int64](0)}, CPU: &specs.LinuxCPU{Shares: ptr[uint64](0)}, Pids: &specs.LinuxPids{}},
			"privileged": {Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}},
		} {
			p, err := h.plan(res)
			if err != nil || text(h, p) != "" {
				t.Errorf("%s on %s: %v: %s", what, name, err, text(h, p))
			}
		}
	}
}

func TestPlanErrors(t *testing.T) {
	bare := &Hierarchies{all: []hierarchy{{mount: "/cg/pids", controllers: []string{"pids"}}}}
	hosts := layouts()
	for _, c := range []struct {
		name string
		host *Hierarchies
		res  specs.LinuxResources
		want string // in the error
	}{
		{"no memory controller", bare, specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](5)}}, "mount -t cgroup -o memory"},
		{"no CPU controller", bare, specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr[uint64](5)}}, `"cpu"`},
		{"no devices controller", bare, specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}}}, `"devices"`},
		{"real time on v2", hosts["v2"], specs.LinuxResources{CPU: &specs.LinuxCPU{RealtimeRuntime: ptr[int64](5)}}, "real-time"},
		{"swap below memory", hosts["v1"], specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](5), Swap: ptr[int64](4)}}, "not be less"},
		{"swap alone on v2", hosts["v2"], specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: ptr[int64](4)}}, "needs a memory limit"},
		{"negative memory", hosts["v1"], specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](-2)}}, "negative"},
		{"few shares", hosts["v1"], specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr[uint64](1)}}, "minimum allowed cpu-shares is 2"},
		{"many shares", hosts["v1"], specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr[uint64](262145)}}, "maximum allowed cpu-shares is 262144"},
		{"swappiness", hosts["v1"], specs.LinuxResources{Memory: &specs.LinuxMemory{Swappiness: ptr[uint64](101)}}, "between 0 and 100"},
		{"block weight", hosts["v1"], specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: ptr[uint16](9)}}, "between 10 and 1000"},
		{"leaf weight on v2", hosts["v2"], specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{LeafWeight: ptr[uint16](10)}}, "needs cgroup v1"},
		{"network class on v2", hosts["v2"], specs.LinuxResources{Network: &specs.LinuxNetwork{ClassID: ptr[uint32](1)}}, `"net_cls"`},
		{"network priority on v2", hosts["v2"], specs.LinuxResources{Network: &specs.LinuxNetwork{
			Priorities: []specs.LinuxInterfacePriority{{Name: "eth0", Priority: 1}}}}, `"net_prio"`},
		{"page size", hosts["v1"], specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "../x"}}}, "page size"},
		{"unified on v1", hosts["v1"], specs.LinuxResources{Unified: map[string]string{"memory.high": "1"}}, "v2 controller"},
		{"unified path", hosts["v2"], specs.LinuxResources{Unified: map[string]string{"../memory.high": "1"}}, "file name"},
		{"device type", hosts["v1"], specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Type: "p", Access: "r"}}}, "device type"},
		{"device access", hosts["v1"], specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Type: "c", Access: "x"}}}, "device access"},
		{"device number", hosts["v1"], specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Type: "c", Major: ptr[int64](-7), Access: "r"}}}, "device number"},
	} {
		_, err := c.host.plan(&c.res)
		if !errs.Is(err, errs.InvalidParameter) || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: got %v, want an invalid parameter with %q", c.name, err, c.want)
		}
	}
}

func TestUnifiedLinesAreWrittenOneByOne(t *testing.T) {
	h := layouts()["v2"]
	p, err := h.plan(&specs.LinuxResources{Unified: map[string]string{
		"io.max": "8:0 rbps=1\n8:16 wbps=2\n", "cgroup.max.depth": "3", "memory.high": "9"}})
	want := "/cg: cgroup.max.depth = 3\n/cg: io.max = 8:0 rbps=1\n/cg: io.max = 8:16 wbps=2\n/cg: memory.high = 9\n"
	if got := text(h, p); err != nil || got != want {
		t.Errorf("%v: got\n%s", err, got)
	}
}

// The values are those that runc's conversion gives.
func TestConversions(t *testing.T) {
	for shares, want := range map[uint64]uint64{0: 1, 1: 1, 2: 1, 3: 2, 100: 17, 512: 59, 1024: 100, 2048: 174, 262143: 10000, 262144: 10000, 1 << 40: 10000} {
		if got := weightOfShares(shares); got != want {
			t.Errorf("%d shares: got weight %d, want %d", shares, got, want)
		}
	}
	for w, want := range map[uint16]uint64{10: 1, 100: 910, 500: 4950, 1000: 10000} {
		if got := ioWeight(w); got != want {
			t.Errorf("blkio weight %d: got %d, want %d", w, got, want)
		}
	}
}

func TestParseMounts(t *testing.T) {
	for _, c := range []struct{ name, mounts, own, want string }{
		{"v2", "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate", "0::/user.slice",
			"/sys/fs/cgroup v2"},
		{"hybrid of systemd", `31 23 0:27 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
32 31 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
33 31 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
36 31 0:32 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct`, "3:cpu,cpuacct:/\n1:name=systemd:/init.scope\n0::/init.scope",
			"/sys/fs/cgroup/unified v2; /sys/fs/cgroup/systemd name=systemd; /sys/fs/cgroup/cpu,cpuacct cpu cpuacct"},
		{"other mounts of the same", `50 1 0:32 / /my\040cgroups/cpu rw - cgroup cgroup rw,cpu
51 1 0:32 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu
52 1 0:32 / /other/cpu rw - cgroup cgroup rw,cpu
53 1 0:33 / /my\040cgroups/pids rw - cgroup cgroup rw,pids`, "1:cpu:/\n2:pids:/",
			"/sys/fs/cgroup/cpu cpu; /my cgroups/pids pids"},
		{"a directory of that name", "53 1 0:33 / /mnt/ - cgroup rw - ext4 /dev/vda rw\n54 1 0:3 / /a rw - cgroupx x rw,cpu", "1:cpu:/", ""},
		{"truncated", "53 1 - cgroup\n54 1 0:33 / /x rw - cgroup", "1:cpu:/", ""},
	} {
		var got []string
		for _, hy := range parseMounts(c.mounts, parseGroups(c.own)) {
			if hy.v2 {
				got = append(got, hy.mount+" v2")
				continue
			}
			got = append(got, hy.mount+" "+strings.Join(hy.controllers, " "))
		}
		if strings.Join(got, "; ") != c.want {
			t.Errorf("%s: got %q, want %q", c.name, strings.Join(got, "; "), c.want)
		}
	}
}

func TestPathsAreChecked(t *testing.T) {
	_, h := newFakeV2("pids")
	for _, path := range []string{"", "/", "a", "/a/", "/a/../b", "/a//b", "/a\nb", "/" + strings.Repeat("x", 256)} {
		if _, err := h.Create(path, nil); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%q: got %v", path, err)
		}
	}
}
