package cgroup

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestPlace(t *testing.T) {
	hosts := layouts()
	hosts["v2"].all[0].own = "/user.slice/user@7.service/app/me.scope"
	for _, c := range []struct {
		host, path, want string
		writable         bool
	}{
		{"v1", "", "/davit/id", true},
		{"v1", "/a/b", "/a/b", true},
		{"v1", "a/b", "/davit/a/b", true},
		{"v1", "../../a", "/davit/a", true},
		{"v1", "/../a//b/", "/a/b", true},
		{"v2", "a", "/davit/a", true},
		{"v2", "a", "/user.slice/user@7.service/app/a", false},
		{"v2", "", "/user.slice/user@7.service/app/id", false},
		{"v2", "/a", "/a", false},
		{"hybrid", "a", "/davit/a", false},
		{"v1", "/", "", true},
		{"v1", "..", "", true},
		{"v1", "a\nb", "", true},
	} {
		got, err := hosts[c.host].place(c.path, "id", c.writable)
		if c.want == "" && errs.Is(err, errs.InvalidParameter) {
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%q on %s: got %q, %v; want %q", c.path, c.host, got, err, c.want)
		}
	}
	hosts["v2"].all[0].own = "/"
	if got, err := hosts["v2"].place("a", "id", false); err != nil || got != "/a" {
		t.Errorf("beside the root: %q, %v", got, err)
	}
}

// asUser runs f on a thread that has no rights of root's on files.
func asUser(uid int, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends
		_, _, _ = unix.RawSyscall(unix.SYS_SETFSGID, uintptr(uid), 0, 0)
		_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, uintptr(uid), 0, 0)
		f()
	}()
	<-done
}

func TestRootlessInTheKernel(t *testing.T) {
	h := real(t, all)
	need(t, h, "pids")
	path := parent(t, h)
	const user = 54321
	asUser(user, func() {
		c, err := h.Create(path+"/none", &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}}}, Rootless())
		if err != nil {
			t.Errorf("without limits: %v", err)
			return
		}
		if len(c.Paths()) != 0 {
			t.Errorf("paths: %v", c.Paths())
		}
		if tasks, err := c.Tasks(); len(tasks) > 0 || err != nil {
			t.Errorf("tasks: %v, %v", tasks, err)
		}
		if dir, err := c.Dir(); dir != nil || err != nil {
			t.Errorf("directory: %v, %v", dir, err)
		}
		if _, err := c.Stats(); err != nil {
			t.Error(err)
		}
		if err := c.Update(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr[int64](4)}}); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("updating what is not there: %v", err)
		}
		if err := errors.Join(c.Kill(), c.Remove()); err != nil {
			t.Error(err)
		}
		limits := &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr[int64](4)}}
		_, err = h.Create(path+"/none", limits, Rootless())
		if !errs.Is(err, errs.Forbidden) || !strings.Contains(fmt.Sprint(err), "a limit on processes (pids.max)") {
			t.Errorf("with a limit: %v", err)
		}
		if _, err = h.Create(path+"/none", nil); err == nil {
			t.Error("a group was made without rights")
		}
	})
}

func TestDelegationInTheKernel(t *testing.T) {
	h := real(t, all)
	v2, ok := h.unified()
	if !ok {
		t.Skip("no v2 hierarchy here")
	}
	const user = 54321
	path := parent(t, h) + "/delegated"
	c, err := h.Create(path, nil, Delegate(user, -1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Remove(); err != nil {
			t.Error(err)
		}
	})
	owner := func(file string) (uid uint32) {
		var st unix.Stat_t
		if err := unix.Stat(file, &st); err != nil {
			t.Error(err)
		}
		return st.Uid
	}
	d, _ := c.unified()
	for file, want := range map[string]uint32{"": user, "/cgroup.procs": user, "/cgroup.subtree_control": user, "/cgroup.threads": user,
		"/cgroup.freeze": 0, "/cgroup.max.depth": 0} {
		if got := owner(d.path + file); got != want {
			t.Errorf("owner of %s: %d, want %d", file, got, want)
		}
	}
	for _, d := range c.dirs {
		if !d.v2 && owner(d.path) != 0 {
			t.Errorf("%s was given away", d.path)
		}
	}
	// A user outside cannot move processes in, and makes no group for nothing.
	asUser(user, func() {
		none, err := h.Create(path+"/inner", nil, Rootless())
		if err != nil || len(none.Paths()) > 0 {
			t.Errorf("from outside: %v", err)
		}
	})
	if _, err := os.Stat(d.path + "/inner"); err == nil {
		t.Error("a group that nobody can join is left")
	}
	// One inside makes groups there, in this hierarchy alone.
	h.all[v2].own = path
	asUser(user, func() {
		inner, err := h.Create(path+"/inner", nil, Rootless())
		if err != nil {
			t.Errorf("inside: %v", err)
			return
		}
		if p := inner.Paths(); len(p) != 1 || p[""] != h.all[v2].mount+path+"/inner" {
			t.Errorf("inside: %v", p)
		}
		if err := inner.Remove(); err != nil {
			t.Error(err)
		}
	})
	if _, err := os.Stat(d.path + "/inner"); err == nil {
		t.Error("the inner group is left")
	}
}

// A hierarchy that is left out does not shift the limits of the others.
func TestRootlessWritesToTheRightHierarchy(t *testing.T) {
	f, h := newFakeV2("pids")
	f.groups["/other"] = map[string]string{}
	f.refuse["/other/a"] = unix.EACCES
	h.all = append([]hierarchy{{mount: "/other", controllers: []string{"freezer"}}}, h.all...)
	c, err := h.Create("/a", &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr[int64](4)}}, Rootless(), Delegate(5, 6))
	if err != nil {
		t.Fatal(err)
	}
	if p := c.Paths(); len(p) != 1 || p[""] != "/cg/a" {
		t.Errorf("paths: %v", p)
	}
	want := "/cgroup.subtree_control = +pids; /a/pids.max = 4; /a of 5:6; /a/cgroup.procs of 5:6; /a/cgroup.subtree_control of 5:6"
	if got := strings.Join(f.writes, "; "); got != want {
		t.Errorf("writes: %s", got)
	}
}
