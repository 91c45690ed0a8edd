package systemd

import (
	"context"
	"errors"
	"flag"
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
	"github.com/davit-engine/davit/runtime/cgroup"
	"github.com/davit-engine/davit/runtime/cgroup/dbus"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func ptr[T any](v T) *T { return &v }

func TestParse(t *testing.T) {
	if u, err := Parse("", "a+b:c", false); err != nil || u.Name != `davit-a\x2bb\x3ac.scope` {
		t.Errorf("an id with signs: %v, %v", u, err)
	}
	for _, c := range []struct {
		path string
		user bool
		want string // slice and name; empty: an error
	}{
		{"", false, "system.slice davit-1a2b.scope"},
		{"", true, "user.slice davit-1a2b.scope"},
		{"machine.slice:libpod:x", false, "machine.slice libpod-x.scope"},
		{"a-b.slice::x", false, "a-b.slice x.scope"},
		{"::x", false, "system.slice x.scope"},
		{"-.slice:p:x", false, "-.slice p-x.scope"},
		{"/a/b", false, ""},
		{"a:b", false, ""},
		{"a.slice:b:", false, ""},
		{"a.slice:b:c.slice", false, ""},
		{"a:b:c", false, ""},
		{"a--b.slice:b:c", false, ""},
		{"-a.slice:b:c", false, ""},
		{".slice:b:c", false, ""},
		{"a/b.slice:b:c", false, ""},
		{"a.slice:b:c/d", false, ""},
		{"a.slice:b:c d", false, ""},
		{"a.slice:b:" + strings.Repeat("x", 250), false, ""},
	} {
		u, err := Parse(c.path, "1a2b", c.user)
		if c.want == "" && errs.Is(err, errs.InvalidParameter) {
			continue
		}
		if err != nil || u.Slice+" "+u.Name != c.want {
			t.Errorf("%q: got %v, %v; want %s", c.path, u, err, c.want)
		}
	}
}

func TestParseSet(t *testing.T) {
	for list, want := range map[string]string{"0": "01", "0-3,7": "8f", "8": "0001", " 1 , 2": "06", "63": "0000000000000080",
		"": "", "3-1": "", "x": "", "-1": "", "0-9000": "", "1-": ""} {
		got, err := parseSet(list)
		if want == "" && err != nil {
			continue
		}
		if err != nil || fmt.Sprintf("%x", got) != want {
			t.Errorf("%q: got %x, %v; want %s", list, got, err, want)
		}
	}
}

// Settings of both versions of cgroups, for a systemd of each age.
func TestProperties(t *testing.T) {
	const devices = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  1 ramdisk\n"
	v1 := settings("memory.limit_in_bytes 100; memory.memsw.limit_in_bytes 150; cpu.shares 512; cpu.cfs_period_us 50000; cpu.cfs_quota_us 12345; blkio.weight 300; pids.max max; cpuset.cpus 0-2; cpuset.mems 0")
	v2 := settings("memory.max 100; memory.low 50; memory.swap.max max; cpu.weight 59; cpu.max 20000 100000; pids.max 9; io.max 8:0 rbps=1; cpuset.cpus 9; memory.high 3\n")
	idle := settings("cpu.weight 59; cpu.idle 1; cpu.max max 100000")
	var b strings.Builder
	for _, c := range []struct {
		name     string
		settings []cgroup.Setting
		version  int
	}{{"v1", v1, 252}, {"v1, old", v1, 240}, {"v2", v2, 252}, {"v2, old", v2, 243}, {"idle", idle, 252}, {"idle, old", idle, 251},
		{"quota alone on v1", settings("cpu.cfs_quota_us 5000"), 252},
		{"period alone on v1", settings("cpu.cfs_period_us 5000"), 252},
		{"no limits on v1", settings("memory.limit_in_bytes -1; cpu.cfs_quota_us -1"), 252},
	} {
		list, err := properties(c.settings, c.version, func(file string) string {
			return map[string]string{"cpu.cfs_period_us": "20000", "cpu.cfs_quota_us": "1000"}[file]
		})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		fmt.Fprintf(&b, "%s: %s\n", c.name, print(list))
	}
	fmt.Fprintf(&b, "devices: %s\n", print(deviceProperties([]string{"c *:* m", "b *:* m", "c 1:3 rwm", "c 136:* rwm", "b 136:* r", "c *:7 r"}, false, devices)))
	fmt.Fprintf(&b, "all devices: %s\n", print(deviceProperties([]string{"c 1:3 rwm"}, true, devices)))
	golden(t, "properties", b.String())

	for _, s := range settings("memory.max much; cpu.max 1 0; cpu.max x 1; cpu.max 99999999999999999 1; cpu.weight -2; cpuset.cpus a") {
		if _, err := properties([]cgroup.Setting{s}, 252, nil); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%v: got %v", s, err)
		}
	}
}

// settings reads "file value; file value".
func settings(text string) (list []cgroup.Setting) {
	for one := range strings.SplitSeq(text, "; ") {
		file, v, _ := strings.Cut(one, " ")
		list = append(list, cgroup.Setting{File: file, Value: v})
	}
	return list
}

// print shows properties as the fake reads them.
func print(list []property) string {
	m := &dbus.Message{}
	m.SetBody("a(sv)", func(e *dbus.Encoder) { encodeProperties(e, list) })
	return (&fakeSystemd{}).show(m)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := "testdata/" + name + ".txt"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]int{"252.38-1~deb12u1": 252, "v245.4": 245, "257": 257, "": -1, "x": -1} {
		got, err := parseVersion(text)
		if (err == nil) != (want >= 0) || err == nil && got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

func TestNoSystemd(t *testing.T) {
	h, err := cgroup.Discover()
	if err != nil {
		t.Skip(err)
	}
	m := Manager{sockets: []socket{{path: t.TempDir() + "/private"}, {path: t.TempDir() + "/bus", bus: true}}}
	_, err = m.Create(t.Context(), h, Unit{"system.slice", "x.scope"}, nil, Options{})
	if !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "systemd does not run on this host") {
		t.Errorf("got %v", err)
	}
}

// host returns the hierarchies of this host, and those that systemd would keep.
func host(t *testing.T) (*cgroup.Hierarchies, []string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making cgroups needs root")
	}
	h, err := cgroup.Discover()
	if err != nil {
		t.Skip(err)
	}
	if h.Version() == 2 {
		return h, []string{"/sys/fs/cgroup"}
	}
	for _, dir := range []string{"/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory"} {
		if _, err := os.Stat(dir + "/cgroup.procs"); err != nil {
			t.Skipf("%s is not there", dir)
		}
	}
	return h, []string{"/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory"}
}

// theBus starts a bus that is not ours.
func theBus(t *testing.T) string {
	t.Helper()
	daemon, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("there is no dbus-daemon here")
	}
	path := filepath.Join(t.TempDir(), "bus")
	cmd := exec.Command(daemon, "--session", "--nofork", "--nopidfile", "--address=unix:path="+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	eventually(t, "the bus", func() bool {
		c, err := dbus.Dial(t.Context(), path)
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
	return path
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestScope(t *testing.T) {
	for name, connect := range map[string]func(*testing.T, *fakeSystemd) Manager{
		"private":    func(t *testing.T, f *fakeSystemd) Manager { return f.listen(t) },
		"over a bus": func(t *testing.T, f *fakeSystemd) Manager { return f.join(t, theBus(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			h, roots := host(t)
			f := newFake(roots...)
			m := connect(t, f)
			t.Cleanup(func() {
				if err := h.Prune(f.parent); err != nil {
					t.Error(err)
				}
			})
			u := Unit{"machine.slice", "davit-one.scope"}
			f.failed[u.Name] = true // what a crash left behind
			res := &specs.LinuxResources{
				CPU:  &specs.LinuxCPU{Quota: ptr[int64](50000), Period: ptr[uint64](200000)},
				Pids: &specs.LinuxPids{Limit: ptr[int64](9)},
				Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"},
					{Allow: true, Type: "c", Major: ptr[int64](1), Minor: ptr[int64](3), Access: "rwm"}},
			}
			g, err := m.Create(t.Context(), h, u, res, Options{Description: "Davit container one"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = g.Kill(); _ = g.Remove() })
			pids, err := g.Pids()
			if err != nil || len(pids) != 1 || pids[0] != g.placeholder.pid {
				t.Errorf("%v: in the group: %v, the placeholder is %d", err, pids, g.placeholder.pid)
			}
			if s, err := g.Stats(); err != nil || s.Pids.Limit != 9 {
				t.Errorf("%v: %+v", err, s.Pids)
			}
			for _, dir := range g.Paths() {
				if !strings.HasSuffix(dir, f.parent+"/davit-one.scope") {
					t.Errorf("the group lies at %s", dir)
				}
			}
			// A process joins as any container's does; then the placeholder goes.
			sleep := exec.Command("sleep", "1000")
			sleep.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
			if err := sleep.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = sleep.Process.Kill(); _ = sleep.Wait() }()
			for _, dir := range g.Paths() {
				if err := os.WriteFile(dir+"/cgroup.procs", []byte(strconv.Itoa(sleep.Process.Pid)), 0); err != nil {
					t.Fatal(err)
				}
			}
			g.Release()
			if pids, err := g.Pids(); err != nil || !slices.Equal(pids, []int{sleep.Process.Pid}) {
				t.Errorf("%v: in the group: %v", err, pids)
			}
			if _, err := m.Create(t.Context(), h, u, nil, Options{}); !errs.Is(err, errs.Conflict) {
				t.Errorf("a unit of that name is there: got %v", err)
			}
			again := m.Open(g.Unit(), g.Paths())
			if err := again.Update(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr[int64](-1)}, Devices: res.Devices[:1]}); err != nil {
				t.Error(err)
			}
			if s, err := again.Stats(); err != nil || s.Pids.Limit != cgroup.Unlimited {
				t.Errorf("%v: %+v", err, s.Pids)
			}
			if frozen, err := again.Frozen(); frozen || err != nil {
				t.Errorf("frozen: %v, %v", frozen, err)
			}
			if err := again.Kill(); err != nil {
				t.Error(err)
			}
			_ = sleep.Wait()
			if err := again.Remove(); err != nil {
				t.Error(err)
			}
			for _, dir := range g.Paths() {
				if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is left", dir)
				}
			}
			if err := again.Remove(); err != nil { // once more is no error
				t.Error(err)
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			golden(t, fmt.Sprintf("calls-v%d", h.Version()), strings.Join(f.calls, "\n")+"\n")
		})
	}
}

// Whatever fails, nothing stays.
func TestScopeThatFails(t *testing.T) {
	h, roots := host(t)
	for _, c := range []struct {
		name   string
		damage func(*fakeSystemd)
		res    *specs.LinuxResources
		kind   errs.Kind
	}{
		{"job", func(f *fakeSystemd) { f.result = "failed" }, nil, errs.System},
		{"version", func(f *fakeSystemd) { f.version = "none" }, nil, errs.System},
		{"limit", func(*fakeSystemd) {}, &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "4000"}}, errs.InvalidParameter},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(roots...)
			c.damage(f)
			m := f.listen(t)
			_, err := m.Create(t.Context(), h, Unit{"system.slice", "davit-two.scope"}, c.res, Options{})
			if !errs.Is(err, c.kind) {
				t.Errorf("got %v, want kind %v", err, c.kind)
			}
			for _, root := range roots { // as systemd does once a scope is empty
				dir := root + f.parent + "/davit-two.scope"
				if b, err := os.ReadFile(dir + "/cgroup.procs"); err == nil && len(b) > 0 {
					t.Errorf("in %s: %s", dir, b)
				}
				eventually(t, "the group's end", func() bool { err := os.Remove(dir); return err == nil || os.IsNotExist(err) })
			}
			if err := h.Prune(f.parent); err != nil {
				t.Error(err)
			}
		})
	}
	f := newFake()
	m := f.listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Create(ctx, h, Unit{"system.slice", "davit-two.scope"}, nil, Options{}); !errs.Is(err, errs.Cancelled) {
		t.Errorf("cancelled: got %v", err)
	}
}

func TestPlaceholder(t *testing.T) {
	p, err := newPlaceholder()
	if err != nil {
		t.Fatal(err)
	}
	stat := func() string {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
		return string(b)
	}
	eventually(t, "the placeholder to wait", func() bool { return strings.Contains(stat(), fmt.Sprintf(" S %d ", os.Getpid())) })
	p.end()
	if s := stat(); s != "" {
		t.Errorf("it is still there: %s", s)
	}
	p.end()
}
