package resctrl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// fake makes a directory that looks like resctrl with one group.
func fake(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"info", "gold/mon_groups"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"info/last_cmd_status": "ok\n", "gold/schemata": "L3:0=ff\n", "gold/tasks": ""} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestGroup(t *testing.T) {
	root := fake(t)
	r := &specs.LinuxIntelRdt{ClosID: "gold", L3CacheSchema: "L3:0=f;1=f\n", MemBwSchema: "MB:0=50", EnableMonitoring: true}
	g, err := New(root, "box", r)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(filepath.Join(root, "gold/schemata")); string(b) != "L3:0=f;1=f\nMB:0=50\n" {
		t.Errorf("schemata %q", b)
	}
	monitor := filepath.Join(root, "gold/mon_groups/box")
	if _, err := g.Tasks(); err == nil {
		t.Error("the fake's monitoring group has no tasks file")
	}
	if err := os.WriteFile(filepath.Join(monitor, "tasks"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	files, err := g.Tasks()
	if err != nil || len(files) != 2 || files[0].Name() != filepath.Join(root, "gold/tasks") || files[1].Name() != filepath.Join(monitor, "tasks") {
		t.Errorf("%v, %v", files, err)
	}
	for _, f := range files {
		f.Close()
	}
	if err := os.Remove(filepath.Join(monitor, "tasks")); err != nil { // a real one goes with its directory
		t.Fatal(err)
	}
	for range 2 {
		if err := Open(root, "box", r).Remove(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(monitor); !os.IsNotExist(err) {
		t.Errorf("the monitoring group: %v", err)
	}
	if _, err := os.Stat(filepath.Join(root, "gold/tasks")); err != nil {
		t.Errorf("a named group stays: %v", err)
	}

	own := &specs.LinuxIntelRdt{}
	if _, err := New(root, "box", own); err != nil {
		t.Error(err)
	}
	if _, err := New(root, "box", own); errs.KindOf(err) != errs.System {
		t.Errorf("a second container of that name: %v", err)
	}
	if err := Open(root, "box", own).Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(root, "box")); !os.IsNotExist(err) {
		t.Errorf("a group of its own: %v", err)
	}
}

func TestRefused(t *testing.T) {
	root := fake(t)
	for _, c := range []struct {
		r    specs.LinuxIntelRdt
		kind errs.Kind
		text string
	}{
		{specs.LinuxIntelRdt{ClosID: "silver"}, errs.InvalidParameter, `no group "silver"`},
		{specs.LinuxIntelRdt{ClosID: "silver", Schemata: []string{"L3:0=f"}}, errs.System, "setting shares"}, // the fake makes no files
		{specs.LinuxIntelRdt{ClosID: "../x"}, errs.InvalidParameter, "not a group's name"},
		{specs.LinuxIntelRdt{ClosID: ".."}, errs.InvalidParameter, "not a group's name"},
		{specs.LinuxIntelRdt{ClosID: "info"}, errs.InvalidParameter, "not a group's name"},
		{specs.LinuxIntelRdt{L3CacheSchema: "MB:0=1"}, errs.InvalidParameter, "l3CacheSchema"},
		{specs.LinuxIntelRdt{MemBwSchema: "L3:0=1"}, errs.InvalidParameter, "memBwSchema"},
		{specs.LinuxIntelRdt{Schemata: []string{"L3:0=1\nMB:0=1"}}, errs.InvalidParameter, "schemata"},
	} {
		_, err := New(root, "box", &c.r)
		if errs.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), "linux.intelRdt: ") {
			t.Errorf("%+v: got %v, want %v %q", c.r, err, c.kind, c.text)
		}
	}
	left, err := os.ReadDir(root)
	if err != nil || len(left) != 2 {
		t.Errorf("%v, %v", left, err)
	}
	var st unix.Statfs_t
	if unix.Statfs(Root, &st) == nil && st.Type == unix.RDTGROUP_SUPER_MAGIC {
		return
	}
	if _, err := New(Root, "box", &specs.LinuxIntelRdt{}); errs.KindOf(err) != errs.NotImplemented || !strings.Contains(err.Error(), "not mounted") {
		t.Errorf("without resctrl: %v", err)
	}
}
