package cgroup

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// fakeV2 behaves as a v2 hierarchy does as far as this package can tell: files
// come and go with controllers, a parent enables only what it has itself, a
// group with children or processes is busy.
type fakeV2 struct {
	groups  map[string]map[string]string // directory -> file -> content
	refuse  map[string]error             // directory+file -> what a write gives
	writes  []string
	missing []string // files that this kernel lacks
}

var v2Files = map[string][]string{
	"cpu": {"cpu.weight", "cpu.max", "cpu.max.burst", "cpu.idle"}, "cpuset": {"cpuset.cpus", "cpuset.mems"},
	"memory": {"memory.max", "memory.swap.max", "memory.low", "memory.high", "memory.events"},
	"io":     {"io.max", "io.weight", "io.bfq.weight"}, "pids": {"pids.max"},
	"hugetlb": {"hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"}, "rdma": {"rdma.max"},
}

func newFakeV2(controllers ...string) (*fakeV2, *Hierarchies) {
	f := &fakeV2{groups: map[string]map[string]string{"/cg": {
		"cgroup.controllers": strings.Join(controllers, " "), "cgroup.subtree_control": "", "cgroup.procs": ""}},
		refuse: map[string]error{}}
	return f, &Hierarchies{fs: f, all: []hierarchy{{mount: "/cg", v2: true, controllers: controllers}}}
}

func (f *fakeV2) children(dir string) (names []string, _ error) {
	for g := range f.groups {
		if path.Dir(g) == dir {
			names = append(names, path.Base(g))
		}
	}
	return names, nil
}

func (f *fakeV2) names(dir string) ([]string, error) {
	g, ok := f.groups[dir]
	if !ok {
		return nil, pathError("open", dir, unix.ENOENT)
	}
	return slices.Sorted(maps.Keys(g)), nil
}

func (f *fakeV2) chown(file string, uid, gid int) error {
	_, isFile := f.groups[path.Dir(file)][path.Base(file)]
	if !isFile && f.groups[file] == nil {
		return pathError("chown", file, unix.ENOENT)
	}
	f.writes = append(f.writes, fmt.Sprintf("%s of %d:%d", strings.TrimPrefix(file, "/cg"), uid, gid))
	return nil
}

func (f *fakeV2) writable(file string) error { return f.refuse[file] }

func (f *fakeV2) mkdir(dir string) error {
	if err := f.refuse[dir]; err != nil {
		return pathError("mkdir", dir, err)
	}
	parent, ok := f.groups[path.Dir(dir)]
	switch {
	case !ok:
		return pathError("mkdir", dir, unix.ENOENT)
	case f.groups[dir] != nil:
		return pathError("mkdir", dir, unix.EEXIST)
	}
	f.groups[dir] = map[string]string{"cgroup.controllers": "", "cgroup.subtree_control": "", "cgroup.procs": "", "cgroup.kill": ""}
	f.enable(dir, strings.Fields(parent["cgroup.subtree_control"]))
	return nil
}

func (f *fakeV2) enable(dir string, controllers []string) {
	g := f.groups[dir]
	for _, c := range controllers {
		if slices.Contains(strings.Fields(g["cgroup.controllers"]), c) {
			continue
		}
		g["cgroup.controllers"] = strings.TrimSpace(g["cgroup.controllers"] + " " + c)
		for _, file := range v2Files[c] {
			if !slices.Contains(f.missing, file) {
				g[file] = ""
			}
		}
	}
}

func (f *fakeV2) rmdir(dir string) error {
	g, ok := f.groups[dir]
	if !ok {
		return pathError("rmdir", dir, unix.ENOENT)
	}
	if names, _ := f.children(dir); len(names) > 0 || g["cgroup.procs"] != "" {
		return pathError("rmdir", dir, unix.EBUSY)
	}
	delete(f.groups, dir)
	return nil
}

func (f *fakeV2) read(file string) (string, error) {
	v, ok := f.groups[path.Dir(file)][path.Base(file)]
	if !ok {
		return "", pathError("open", file, unix.ENOENT)
	}
	return v, nil
}

func (f *fakeV2) write(file string, values ...string) error {
	for _, value := range values {
		if err := f.writeOne(file, value); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeV2) writeOne(file, value string) error {
	dir, name := path.Dir(file), path.Base(file)
	g := f.groups[dir]
	if _, ok := g[name]; !ok {
		return pathError("open", file, unix.ENOENT)
	}
	if err := f.refuse[file+" "+value]; err != nil {
		return pathError("write", file, err)
	}
	f.writes = append(f.writes, strings.TrimPrefix(file, "/cg")+" = "+value)
	if name != "cgroup.subtree_control" {
		g[name] = value
		if name == "cgroup.kill" {
			for d := range f.groups {
				if d == dir || strings.HasPrefix(d, dir+"/") {
					f.groups[d]["cgroup.procs"] = ""
				}
			}
		}
		return nil
	}
	for c := range strings.FieldsSeq(value) {
		c = strings.TrimPrefix(c, "+")
		if !slices.Contains(strings.Fields(g["cgroup.controllers"]), c) || f.refuse[file+" "+c] != nil {
			return pathError("write", file, unix.ENOENT)
		}
	}
	list := strings.Fields(strings.ReplaceAll(value, "+", ""))
	g[name] = strings.TrimSpace(g[name] + " " + strings.Join(list, " "))
	names, _ := f.children(dir)
	for _, child := range names {
		f.enable(dir+"/"+child, list)
	}
	return nil
}

func TestV2EnablesControllersFromTheTop(t *testing.T) {
	f, h := newFakeV2("cpu", "memory", "pids")
	res := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr[int64](100), Swap: ptr[int64](150)}, Pids: &specs.LinuxPids{Limit: ptr[int64](9)}}
	c, err := h.Create("/davit/one", res)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"/cgroup.subtree_control = +cpu +memory +pids",
		"/davit/cgroup.subtree_control = +cpu +memory +pids",
		"/davit/one/memory.max = 100",
		"/davit/one/memory.swap.max = 50",
		"/davit/one/pids.max = 9",
	}
	if !slices.Equal(f.writes, want) {
		t.Errorf("writes:\n%s", strings.Join(f.writes, "\n"))
	}
	if p := c.Paths(); len(p) != 1 || p[""] != "/cg/davit/one" {
		t.Errorf("paths: %v", p)
	}
	// The second group finds all enabled.
	f.writes = nil
	if _, err := h.Create("/davit/two", nil); err != nil || len(f.writes) != 0 {
		t.Errorf("second: %v, %q", err, f.writes)
	}
	// Processes, some of them in a nested group, and the end.
	if err := f.mkdir("/cg/davit/one/nested"); err != nil {
		t.Fatal(err)
	}
	f.groups["/cg/davit/one"]["cgroup.procs"], f.groups["/cg/davit/one/nested"]["cgroup.procs"] = "7\n8", "9"
	f.groups["/cg/davit/one"]["memory.events"] = "oom 3\noom_kill 2\noom_group_kill 0"
	if n, err := c.OOMKills(); n != 2 || err != nil {
		t.Errorf("OOM kills: %d, %v", n, err)
	}
	if err := c.Kill(); err != nil {
		t.Error(err)
	}
	if err := c.Remove(); err != nil || f.groups["/cg/davit/one"] != nil || f.groups["/cg/davit/two"] == nil {
		t.Errorf("removing: %v, left: %v", err, f.groups)
	}
}

func TestV2OneControllerCannotBeEnabled(t *testing.T) {
	f, h := newFakeV2("cpu", "memory", "pids")
	f.refuse["/cg/davit/cgroup.subtree_control cpu"] = unix.EINVAL // as with real-time processes in the root group
	if _, err := h.Create("/davit/one", &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr[int64](9)}}); err != nil {
		t.Errorf("the others work: %v", err)
	}
	_, err := h.Create("/davit/two", &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr[uint64](2)}})
	if !errs.Is(err, errs.InvalidParameter) || !strings.Contains(fmt.Sprint(err), "Delegate=yes") {
		t.Errorf("got %v", err)
	}
	if f.groups["/cg/davit/two"] != nil || f.groups["/cg/davit"] == nil {
		t.Errorf("what is left: %v", f.groups)
	}
}

func TestUndoInReverse(t *testing.T) {
	f, h := newFakeV2("pids")
	f.refuse["/cg/a/b/c/pids.max 9"] = unix.EPERM
	if _, err := h.Create("/a/b/c", &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr[int64](9)}}); err == nil {
		t.Error("no error")
	}
	if len(f.groups) != 1 {
		t.Errorf("left: %v", f.groups)
	}
}

func TestRefusedValuesAreTriedOnceMore(t *testing.T) {
	f, h := newFakeV2("cpu")
	f.refuse["/cg/a/cpu.max.burst 5"] = unix.EINVAL
	_, err := h.Create("/a", &specs.LinuxResources{CPU: &specs.LinuxCPU{Burst: ptr[uint64](5), Quota: ptr[int64](10)}})
	if !errs.Is(err, errs.InvalidParameter) || len(f.groups) != 1 {
		t.Errorf("got %v, left %v", err, f.groups)
	}
	f.missing = []string{"memory.swap.max", "hugetlb.2MB.rsvd.max", "io.bfq.weight"}
	h.all[0].controllers = []string{"cpu", "memory", "hugetlb", "io"}
	f.groups["/cg"]["cgroup.controllers"] = "cpu memory hugetlb io"
	f.writes = nil
	_, err = h.Create("/b", &specs.LinuxResources{
		Memory:         &specs.LinuxMemory{Limit: ptr[int64](10), Swap: ptr[int64](10)},
		HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4}},
		BlockIO:        &specs.LinuxBlockIO{Weight: ptr[uint16](500)},
	})
	if err != nil {
		t.Error(err)
	}
	if got := strings.Join(f.writes[1:], "; "); got != "/b/memory.max = 10; /b/io.weight = 4950; /b/hugetlb.2MB.max = 4" {
		t.Errorf("writes: %s", got)
	}
	_, err = h.Create("/c", &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](10), Swap: ptr[int64](20)}})
	if !errs.Is(err, errs.InvalidParameter) || !strings.Contains(fmt.Sprint(err), "swapaccount=1") {
		t.Errorf("got %v", err)
	}
}
