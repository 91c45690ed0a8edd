package systemd

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/cgroup"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// startSystemd runs a systemd of this machine as a user's manager, in a group
// of its own, and returns the Manager for it. It believes that it was booted.
func startSystemd(t *testing.T, roots []string) Manager {
	t.Helper()
	program := ""
	for _, path := range []string{"/usr/lib/systemd/systemd", "/lib/systemd/systemd"} {
		if _, err := os.Stat(path); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		t.Skip("there is no systemd here")
	}
	group := "/davit-sd-real-" + strconv.Itoa(os.Getpid())
	join := ""
	for _, root := range roots {
		passOn(root) // as the host's systemd would
		if err := os.Mkdir(root+group, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { removeGroups(t, root+group) })
		join += "echo $$ > " + root + group + "/cgroup.procs && "
	}
	home := t.TempDir()
	cmd := exec.Command("/bin/sh", "-c", join+"mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec "+program+" --user --log-target=console")
	cmd.Env = []string{"XDG_RUNTIME_DIR=" + home, "HOME=" + home, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("systemd says: %s", out.String())
		}
	})
	m := Manager{sockets: []socket{{path: filepath.Join(home, "systemd/private")}}}
	eventually(t, "systemd", func() bool {
		conn, err := m.dial(t.Context())
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	return m
}

// removeGroups kills who is in a tree of groups and removes it.
func removeGroups(t *testing.T, top string) {
	t.Helper()
	eventually(t, "the end of "+top, func() bool {
		var dirs []string
		_ = filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) {
			b, _ := os.ReadFile(dir + "/cgroup.procs")
			for pid := range strings.FieldsSeq(string(b)) {
				if n, err := strconv.Atoi(pid); err == nil {
					_ = unix.Kill(n, unix.SIGKILL)
				}
			}
			_ = os.Remove(dir)
		}
		_, err := os.Stat(top)
		return os.IsNotExist(err)
	})
}

// What we say is what a systemd that is not ours understands.
func TestRealSystemd(t *testing.T) {
	h, roots := host(t)
	if h.Version() != 2 {
		roots = roots[:2] // a user's systemd keeps no controllers on v1
	}
	m := startSystemd(t, roots)
	u := Unit{"davit.slice", "davit-real.scope"}
	res := &specs.LinuxResources{
		CPU:  &specs.LinuxCPU{Shares: ptr[uint64](512), Quota: ptr[int64](50000), Period: ptr[uint64](200000), Cpus: "0", Mems: "0"},
		Pids: &specs.LinuxPids{Limit: ptr[int64](9)},
		Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"},
			{Allow: true, Type: "c", Major: ptr[int64](1), Minor: ptr[int64](3), Access: "rwm"}},
		Memory: &specs.LinuxMemory{Limit: ptr[int64](64 << 20), Reservation: ptr[int64](32 << 20)},
	}
	g, err := m.Create(t.Context(), h, u, res, Options{Annotations: map[string]string{
		annotation + "TimeoutStopSec": "7", annotation + "CollectMode": "'inactive-or-failed'", annotation + "After": "['basic.target']"}})
	if err != nil {
		t.Fatal(err)
	}
	if h.Version() != 2 {
		var tops []string // of the hierarchies that systemd does not keep
		for _, dir := range g.Paths() {
			if top := filepath.Dir(filepath.Dir(dir)); strings.Contains(top, "davit-sd-real") {
				tops = append(tops, top)
			}
		}
		t.Cleanup(func() {
			for _, top := range tops {
				removeGroups(t, top)
			}
		})
	}
	defer func() { _ = g.Kill(); _ = g.Remove() }()
	if pids, err := g.Pids(); err != nil || len(pids) != 1 || pids[0] != g.placeholder.pid {
		t.Errorf("%v: in the group: %v, the placeholder is %d", err, pids, g.placeholder.pid)
	}
	if _, err := m.Create(t.Context(), h, u, nil, Options{}); !errs.Is(err, errs.Conflict) {
		t.Errorf("a unit of that name is there: got %v", err)
	}
	again := m.Open(u, g.Paths())
	if err := again.Update(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr[int64](-1)}, Memory: &specs.LinuxMemory{Limit: ptr[int64](-1)},
		CPU: &specs.LinuxCPU{Quota: ptr[int64](-1)}, Devices: res.Devices}); err != nil {
		t.Error(err)
	}
	if s, err := again.Stats(); err != nil || s.Pids.Limit != cgroup.Unlimited || s.Memory.Limit != cgroup.Unlimited {
		t.Errorf("%v: %+v, %+v", err, s.Pids, s.Memory.Amount)
	}
	conn, err := m.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if place, err := conn.place(t.Context(), u.Name); err != nil || !strings.HasSuffix(g.Paths()[""], place) {
		t.Errorf("%v: systemd's group is %s, ours %v", err, place, g.Paths())
	}
	// An empty scope goes by itself, and removing what is gone is no error.
	g.Release()
	eventually(t, "the scope's end", func() bool { _, err := conn.place(t.Context(), u.Name); return errs.Is(err, errs.NotFound) })
	if err := again.Remove(); err != nil {
		t.Error(err)
	}
	for _, dir := range g.Paths() {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is left", dir)
		}
	}
	// One with processes is stopped.
	g, err = m.Create(t.Context(), h, u, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
	// What systemd does not understand is the caller's fault, in its words.
	err = conn.start(t.Context(), u.Name, []property{text("NoSuchProperty", "x")})
	if err == nil || !strings.Contains(err.Error(), "NoSuchProperty") {
		t.Errorf("an unknown property: %v", err)
	}
}
