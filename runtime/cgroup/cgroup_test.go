package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ptr returns a pointer to v, for the OCI structs.
func ptr[T any](v T) *T { return &v }

// real returns the host's hierarchies, cut down to those that keep accepts.
func real(t testing.TB, keep func(hierarchy) bool) *Hierarchies {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making cgroups needs root")
	}
	h, err := Discover()
	if err != nil {
		t.Skipf("no cgroups here: %v", err)
	}
	h.all = slices.DeleteFunc(h.all, func(hy hierarchy) bool { return !keep(hy) })
	if len(h.all) == 0 {
		t.Skip("this host has no hierarchy of the kind")
	}
	for _, hy := range h.all {
		var st unix.Statfs_t
		if err := unix.Statfs(hy.mount, &st); err != nil || st.Flags&unix.ST_RDONLY != 0 {
			t.Skipf("%s cannot be written", hy.mount)
		}
	}
	return h
}

func all(hierarchy) bool    { return true }
func isV1(h hierarchy) bool { return !h.v2 }
func isV2(h hierarchy) bool { return h.v2 }

// parent returns a path for the test's groups, which is pruned after it.
func parent(t testing.TB, h *Hierarchies) string {
	t.Helper()
	path := "/davit-test-" + strconv.Itoa(os.Getpid())
	t.Cleanup(func() {
		if err := h.Prune(path); err != nil {
			t.Error(err)
		}
		for _, hy := range h.all {
			if _, err := os.Stat(hy.mount + path); err == nil {
				t.Errorf("%s is left behind", hy.mount+path)
			}
		}
	})
	return path
}

func mustCreate(t testing.TB, h *Hierarchies, path string, res *specs.LinuxResources) *Cgroup {
	t.Helper()
	c, err := h.Create(path, res)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Kill(); err != nil {
			t.Error(err)
		}
		if err := c.Remove(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// run starts a shell command inside the group, in the way that a container's
// process joins it.
func run(t testing.TB, c *Cgroup, script string) *exec.Cmd {
	t.Helper()
	procs, err := c.Tasks()
	if err != nil {
		t.Fatal(err)
	}
	join := ""
	for i := range procs {
		join += fmt.Sprintf("echo 0 >&%d && exec %d>&- && ", i+3, i+3)
	}
	cmd := exec.Command("/bin/bash", "-c", join+"{ "+script+"\n}")
	cmd.ExtraFiles = procs
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	dir, err := c.Dir()
	if err != nil {
		t.Fatal(err)
	}
	if dir != nil {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
		defer dir.Close()
	}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range procs {
		_ = f.Close()
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("output of the process: %s", out.String())
		}
	})
	return cmd
}

// eventually polls a condition, at most ten seconds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func contents(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func TestLimitsReachTheKernel(t *testing.T) {
	h := real(t, isV1)
	res := &specs.LinuxResources{
		Memory:  &specs.LinuxMemory{Limit: ptr[int64](64 << 20), Swap: ptr[int64](96 << 20), Reservation: ptr[int64](32 << 20), Swappiness: ptr[uint64](7)},
		CPU:     &specs.LinuxCPU{Shares: ptr[uint64](512), Quota: ptr[int64](5000), Period: ptr[uint64](20000), Cpus: "0"},
		Pids:    &specs.LinuxPids{Limit: ptr[int64](17)},
		BlockIO: &specs.LinuxBlockIO{Weight: ptr[uint16](300)},
		Devices: []specs.LinuxDeviceCgroup{
			{Allow: false, Access: "rwm"},
			{Allow: true, Type: "c", Major: ptr[int64](10), Minor: ptr[int64](200), Access: "rw"},
		},
	}
	for _, name := range []string{"memory", "cpu", "cpuset", "pids", "blkio", "devices"} {
		if !h.Has(name) {
			t.Skipf("no v1 controller %s here", name)
		}
	}
	c := mustCreate(t, h, parent(t, h)+"/limits", res)
	paths := c.Paths()
	for _, want := range []struct{ controller, file, value string }{
		{"memory", "memory.limit_in_bytes", "67108864"},
		{"memory", "memory.memsw.limit_in_bytes", "100663296"},
		{"memory", "memory.soft_limit_in_bytes", "33554432"},
		{"memory", "memory.swappiness", "7"},
		{"cpu", "cpu.shares", "512"},
		{"cpu", "cpu.cfs_quota_us", "5000"},
		{"cpu", "cpu.cfs_period_us", "20000"},
		{"cpuset", "cpuset.cpus", "0"},
		{"cpuset", "cpuset.mems", contents(t, filepath.Dir(filepath.Dir(paths["cpuset"]))+"/cpuset.mems")},
		{"pids", "pids.max", "17"},
	} {
		if got := contents(t, paths[want.controller]+"/"+want.file); got != want.value {
			t.Errorf("%s: got %q, want %q", want.file, got, want.value)
		}
	}
	if list := contents(t, paths["devices"]+"/devices.list"); !strings.Contains(list, "c 10:200 rw\n") || strings.Contains(list, "a *:*") {
		t.Errorf("devices.list: %q", list)
	}
	cmd := run(t, c, `[ $(cat /proc/self/cgroup | grep -c limits) -ge `+strconv.Itoa(len(h.all))+` ]`)
	if err := cmd.Wait(); err != nil {
		t.Errorf("the process is not in all hierarchies: %v", err)
	}
}

func TestEachGroupGetsACpuset(t *testing.T) {
	h := real(t, func(hy hierarchy) bool { return slices.Contains(hy.controllers, "cpuset") && !hy.v2 })
	c := mustCreate(t, h, parent(t, h)+"/a/b/c", nil)
	t.Cleanup(func() {
		_ = h.Prune(filepath.Dir(strings.TrimPrefix(c.dirs[0].path, h.all[0].mount)))
		_ = h.Prune(filepath.Dir(filepath.Dir(strings.TrimPrefix(c.dirs[0].path, h.all[0].mount))))
	})
	if err := c.Remove(); err != nil { // and once more, below parents that are there
		t.Fatal(err)
	}
	c = mustCreate(t, h, strings.TrimPrefix(c.dirs[0].path, h.all[0].mount), nil)
	for _, file := range []string{"/cpuset.cpus", "/cpuset.mems"} {
		if got, want := contents(t, c.dirs[0].path+file), contents(t, h.all[0].mount+file); got != want {
			t.Errorf("%s: got %q, want %q", file, got, want)
		}
	}
}

func TestKillAndRemove(t *testing.T) {
	for _, kind := range []struct {
		name string
		keep func(hierarchy) bool
	}{{"all hierarchies", all}, {"v1 only", isV1}, {"v2 only", isV2}} {
		t.Run(kind.name, func(t *testing.T) {
			h := real(t, kind.keep)
			path := parent(t, h) + "/kill"
			c := mustCreate(t, h, path, nil)
			// Children, nested groups, one process inside a nested group.
			ready := filepath.Join(t.TempDir(), "ready")
			nested := c.dirs[0].path + "/inner/deep"
			cmd := run(t, c, `mkdir -p `+nested+`; for i in 1 2 3 4 5; do sleep 1000 & done; (echo $BASHPID > `+
				nested+`/cgroup.procs; exec sleep 1000) & echo > `+ready+`; trap "" TERM; wait; wait`)
			eventually(t, "processes", func() bool {
				pids, err := c.pids()
				return err == nil && len(pids) >= 7 && os.Remove(ready) == nil
			})
			if kind.name == "v1 only" { // once is enough: it takes the whole deadline
				if err := c.Remove(); !errs.Is(err, errs.Conflict) {
					t.Errorf("removing a group in use: got %v, want a conflict", err)
				}
			}
			// As after a crash: all that is known are the paths.
			again := Open(c.Paths())
			done := make(chan error, 1)
			go func() { done <- cmd.Wait() }()
			if err := again.Kill(); err != nil {
				t.Fatal(err)
			}
			<-done
			if !cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
				t.Error("the process was not signalled")
			}
			if err := again.Remove(); err != nil {
				t.Fatal(err)
			}
			for _, dir := range c.Paths() {
				if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is left: %v", dir, err)
				}
			}
			// Nothing there is no error.
			if err := again.Kill(); err != nil {
				t.Error(err)
			}
			if err := again.Remove(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestKillFrozenAndForking(t *testing.T) {
	for _, kind := range []struct {
		name string
		keep func(hierarchy) bool
	}{{"all hierarchies", all}, {"v1 only", isV1}, {"v2 only", isV2}} {
		t.Run(kind.name+", frozen", func(t *testing.T) {
			h := real(t, kind.keep)
			c := mustCreate(t, h, parent(t, h)+"/frozen", nil)
			cmd := run(t, c, "exec sleep 1000")
			eventually(t, "the process", func() bool { p, _ := c.pids(); return len(p) > 0 })
			file, value := "", "FROZEN"
			if d, ok := c.unified(); ok {
				file, value = d.path+"/cgroup.freeze", "1"
			}
			if d, ok := c.controller("freezer"); ok {
				file, value = d.path+"/freezer.state", "FROZEN"
			}
			if err := c.fs.write(file, value); err != nil {
				t.Skip(err)
			}
			go func() { _ = cmd.Wait() }()
			if err := c.Kill(); err != nil {
				t.Fatal(err)
			}
		})
		t.Run(kind.name+", fork bomb", func(t *testing.T) {
			h := real(t, kind.keep)
			var res specs.LinuxResources
			script := "f() { sleep 1000 & }; for i in 1 2 3 4 5 6 7 8 9; do f; done; while :; do :; done"
			if h.Has("pids") {
				res.Pids = &specs.LinuxPids{Limit: ptr[int64](60)}
				script = "f() { f & f & }; while :; do f; done 2>/dev/null"
			}
			c := mustCreate(t, h, parent(t, h)+"/bomb", &res)
			cmd := run(t, c, script)
			eventually(t, "the bomb", func() bool { p, _ := c.pids(); return len(p) > 8 })
			go func() { _ = cmd.Wait() }()
			if err := c.Kill(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestOOMKills(t *testing.T) {
	h := real(t, all)
	if !h.Has("memory") {
		t.Skip("no memory controller here")
	}
	c := mustCreate(t, h, parent(t, h)+"/oom", &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr[int64](8 << 20), Swap: ptr[int64](8 << 20)}})
	if n, err := c.OOMKills(); n != 0 || err != nil {
		t.Fatalf("before: %d, %v", n, err)
	}
	if err := run(t, c, "head -c 60000000 /dev/zero | tail").Wait(); err == nil {
		t.Log("the shell ended well: only its child was killed")
	}
	if n, err := c.OOMKills(); n == 0 || err != nil {
		t.Errorf("after: %d, %v", n, err)
	}
}

func TestNothingIsLeftAfterAnError(t *testing.T) {
	h := real(t, all)
	path := parent(t, h) + "/broken" // parent checks that nothing is left
	_, err := h.Create(path, &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "4000-4001"}})
	if !errs.Is(err, errs.InvalidParameter) {
		t.Errorf("got %v, want an invalid parameter", err)
	}
	for _, hy := range h.all {
		if _, err := os.Stat(hy.mount + filepath.Dir(path)); err == nil {
			t.Errorf("%s is left", hy.mount+filepath.Dir(path))
		}
	}
}

func TestLeftoversAreReplaced(t *testing.T) {
	h := real(t, all)
	path := parent(t, h) + "/left"
	first := mustCreate(t, h, path, &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr[int64](5)}})
	if err := os.MkdirAll(first.dirs[0].path+"/x/y", 0o755); err != nil {
		t.Fatal(err)
	}
	second := mustCreate(t, h, path, nil)
	if dir, ok := second.controller("pids"); ok {
		if got := contents(t, dir.path+"/pids.max"); got != "max" {
			t.Errorf("the old limit is still there: %s", got)
		}
	}
	cmd := run(t, second, "exec sleep 1000")
	eventually(t, "the process", func() bool {
		p, _ := second.pids()
		return len(p) == 1 && contents(t, fmt.Sprintf("/proc/%d/comm", p[0])) == "sleep"
	})
	if _, err := h.Create(path, nil); !errs.Is(err, errs.Conflict) {
		t.Errorf("a group in use: got %v, want a conflict", err)
	}
	for _, dir := range second.Paths() {
		if p, err := pidsBelow(second.fs, dir, nil); err != nil || len(p) != 1 {
			t.Errorf("the group in use was touched: %s has %v, %v", dir, p, err)
		}
	}
	if err := second.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
}

func TestForeignPathsAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	h, err := Discover()
	if err != nil {
		t.Skipf("no cgroups here: %v", err)
	}
	for _, path := range []string{dir, "relative", "/", h.all[0].mount, h.all[0].mount + "/../" + filepath.Base(h.all[0].mount)} {
		c := Open(map[string]string{"x": path})
		if err := c.Kill(); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("killing %q: got %v", path, err)
		}
		if err := c.Remove(); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("removing %q: got %v", path, err)
		}
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}

func BenchmarkCreateRemove(b *testing.B) {
	h := real(b, all)
	path := parent(b, h)
	var some, none *specs.LinuxResources
	some = &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr[int64](64 << 20), Swap: ptr[int64](128 << 20)},
		CPU:    &specs.LinuxCPU{Shares: ptr[uint64](512), Quota: ptr[int64](50000)},
		Pids:   &specs.LinuxPids{Limit: ptr[int64](100)},
		Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"},
			{Allow: true, Type: "c", Major: ptr[int64](1), Minor: ptr[int64](3), Access: "rwm"}},
	}
	for _, k := range []struct {
		name string
		res  *specs.LinuxResources
	}{{"no limits", none}, {"limits and devices", some}} {
		b.Run(k.name, func(b *testing.B) {
			var create, remove time.Duration
			for b.Loop() {
				t0 := time.Now()
				c, err := h.Create(path+"/bench", k.res)
				t1 := time.Now()
				if err != nil {
					b.Fatal(err)
				}
				if err := c.Remove(); err != nil {
					b.Fatal(err)
				}
				create, remove = create+t1.Sub(t0), remove+time.Since(t1)
			}
			b.ReportMetric(float64(create.Microseconds())/float64(b.N), "µs/create")
			b.ReportMetric(float64(remove.Microseconds())/float64(b.N), "µs/remove")
		})
	}
	b.Run("bare mkdir and rmdir", func(b *testing.B) {
		if err := os.Mkdir(h.all[0].mount+path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			b.Fatal(err)
		}
		var create, remove time.Duration
		for b.Loop() {
			t0 := time.Now()
			for _, hy := range h.all {
				if err := unix.Mkdir(hy.mount+path+"/bare", 0o755); err != nil {
					b.Fatal(err)
				}
			}
			t1 := time.Now()
			for _, hy := range h.all {
				if err := unix.Rmdir(hy.mount + path + "/bare"); err != nil {
					b.Fatal(err)
				}
			}
			create, remove = create+t1.Sub(t0), remove+time.Since(t1)
		}
		b.ReportMetric(float64(create.Microseconds())/float64(b.N), "µs/create")
		b.ReportMetric(float64(remove.Microseconds())/float64(b.N), "µs/remove")
	})
}

// BenchmarkDeviceProgram: what limiting devices costs on v2.
func BenchmarkDeviceProgram(b *testing.B) {
	h := real(b, isV2)
	c := mustCreate(b, h, parent(b, h)+"/devices", nil)
	r, err := deviceRules([]specs.LinuxDeviceCgroup{{Access: "rwm"}})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := setDeviceProgram(c.dirs[0].path, r.program()); err != nil {
			b.Skip(err)
		}
	}
}

func BenchmarkDiscover(b *testing.B) {
	for b.Loop() {
		if _, err := Discover(); err != nil {
			b.Skip(err)
		}
	}
}

// The real v2 hierarchy, with whatever controllers it has here.
func TestV2InTheKernel(t *testing.T) {
	h := real(t, isV2)
	if _, err := os.Stat("/sys/kernel/mm/hugepages/hugepages-2048kB"); err != nil || !h.Has("hugetlb") {
		t.Skip("the v2 hierarchy has no hugetlb controller here, or there are no huge pages of 2 MB")
	}
	path := parent(t, h)
	c := mustCreate(t, h, path+"/huge", &specs.LinuxResources{
		HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}},
		Unified:        map[string]string{"cgroup.max.descendants": "7"},
	})
	for file, want := range map[string]string{"hugetlb.2MB.max": "4194304", "hugetlb.2MB.rsvd.max": "4194304", "cgroup.max.descendants": "7"} {
		if got := contents(t, c.dirs[0].path+"/"+file); got != want {
			t.Errorf("%s: got %s, want %s", file, got, want)
		}
	}
	_, err := h.Create(path+"/refused", &specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "3MB", Limit: 1}}})
	if !errs.Is(err, errs.InvalidParameter) {
		t.Errorf("a page size that is none: %v", err)
	}
	if _, err := os.Stat(h.all[0].mount + path + "/refused"); err == nil {
		t.Error("the refused group is left")
	}
	if h.Has("memory") {
		m := mustCreate(t, h, path+"/memory", &specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: ptr[int64](16 << 20), Swap: ptr[int64](16 << 20)}, Pids: &specs.LinuxPids{Limit: ptr[int64](9)}})
		for file, want := range map[string]string{"memory.max": "16777216", "pids.max": "9"} {
			if got := contents(t, m.dirs[0].path+"/"+file); got != want {
				t.Errorf("%s: got %s, want %s", file, got, want)
			}
		}
	}
}
