package cgroup

import (
	"context"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

func kinds() map[string]func(hierarchy) bool {
	return map[string]func(hierarchy) bool{"all hierarchies": all, "v1 only": isV1, "v2 only": isV2}
}

func TestFreezeAndThaw(t *testing.T) {
	for name, keep := range kinds() {
		t.Run(name, func(t *testing.T) {
			h := real(t, keep)
			c := mustCreate(t, h, parent(t, h)+"/freeze", nil)
			if _, ok := c.freezer(); !ok {
				t.Skip("no freezer here")
			}
			// A counter that moves as long as its process does, and one that forks.
			file := t.TempDir() + "/count"
			cmd := run(t, c, `(while :; do /bin/true; done) & i=0; while :; do i=$((i+1)); echo $i > `+file+`; done`)
			defer func() { _ = c.Kill(); _ = cmd.Wait() }()
			count := func() string { b, _ := os.ReadFile(file); return string(b) }
			moves := func() bool { was := count(); time.Sleep(10 * time.Millisecond); return count() != was }
			eventually(t, "the counter", moves)
			for range 20 {
				if err := c.Freeze(t.Context()); err != nil {
					t.Fatal(err)
				}
				if frozen, err := Open(c.Paths()).Frozen(); !frozen || err != nil {
					t.Fatalf("frozen: %v, %v", frozen, err)
				}
				if moves() {
					t.Fatal("a frozen process runs")
				}
				if err := c.Thaw(); err != nil {
					t.Fatal(err)
				}
				if frozen, err := c.Frozen(); frozen || err != nil {
					t.Fatalf("thawed: %v, %v", frozen, err)
				}
				eventually(t, "the counter after thawing", moves)
			}
		})
	}
}

func TestFreezeThatDoesNotSucceed(t *testing.T) {
	f, h := newFakeV2("cpu")
	c, err := h.Create("/one", nil)
	if err != nil {
		t.Fatal(err)
	}
	g := f.groups["/cg/one"]
	g["cgroup.freeze"], g["cgroup.events"] = "0", "populated 1\nfrozen 0"
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Freeze(ctx); !errs.Is(err, errs.Deadline) {
		t.Errorf("got %v", err)
	}
	if got := strings.Join(f.writes[1:], "; "); got != "/one/cgroup.freeze = 1; /one/cgroup.freeze = 0" {
		t.Errorf("writes: %s", got)
	}
	g["cgroup.events"] = "populated 1\nfrozen 1" // a group above is frozen
	if frozen, err := c.Frozen(); frozen || err != nil {
		t.Errorf("frozen: %v, %v", frozen, err)
	}
	g["cgroup.procs"], f.writes = strconv.Itoa(os.Getpid()), nil
	for _, err := range []error{c.Freeze(t.Context()), c.Signal(unix.SIGTERM)} {
		if !errs.Is(err, errs.Conflict) || strings.Contains(strings.Join(f.writes, ";"), "= 1") {
			t.Errorf("a group that we are in: %v, %q", err, f.writes)
		}
	}
	g["cgroup.procs"] = ""
	if err := h.fs.rmdir("/cg/one"); err != nil {
		t.Fatal(err)
	}
	if err := c.Freeze(t.Context()); !errs.Is(err, errs.NotFound) {
		t.Errorf("a group that is gone: %v", err)
	}
	none := &Cgroup{fs: f}
	if err := none.Freeze(t.Context()); !errs.Is(err, errs.NotImplemented) {
		t.Errorf("no freezer: %v", err)
	}
}

// Processes come and go while the signal is sent; none may stay.
func TestSignalReachesAll(t *testing.T) {
	for name, keep := range kinds() {
		for _, sig := range []unix.Signal{unix.SIGUSR1, unix.SIGKILL} {
			t.Run(name+", "+sig.String(), func(t *testing.T) {
				h := real(t, keep)
				c := mustCreate(t, h, parent(t, h)+"/signal", nil)
				script := `chain() { while :; do (exec sleep 0.001); done; }; chain & chain & (exec sleep 1000) & wait`
				cmd := run(t, c, script)
				done := make(chan error, 1)
				go func() { done <- cmd.Wait() }()
				eventually(t, "processes", func() bool { p, _ := c.Pids(); return len(p) > 4 })
				if err := Open(c.Paths()).Signal(sig); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the end of all", func() bool { p, err := c.Pids(); return err == nil && len(p) == 0 })
				<-done
				if err := c.Signal(sig); !errs.Is(err, errs.NotFound) {
					t.Errorf("an empty group: %v", err)
				}
			})
		}
	}
}

func TestSignalToFrozen(t *testing.T) {
	for name, keep := range kinds() {
		t.Run(name, func(t *testing.T) {
			h := real(t, keep)
			c := mustCreate(t, h, parent(t, h)+"/signal", nil)
			if _, ok := c.freezer(); !ok {
				t.Skip("no freezer here")
			}
			cmd := run(t, c, `trap "exit 7" USR1; while :; do sleep 0.01; done`)
			eventually(t, "the trap", func() bool {
				b, _ := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/status")
				for line := range strings.Lines(string(b)) {
					if set, ok := strings.CutPrefix(line, "SigCgt:\t"); ok {
						n, _ := strconv.ParseUint(strings.TrimSpace(set), 16, 64)
						return n&(1<<(unix.SIGUSR1-1)) != 0
					}
				}
				return false
			})
			if err := c.Freeze(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := c.Signal(unix.SIGWINCH); err != nil {
				t.Fatal(err)
			}
			if frozen, err := c.Frozen(); !frozen || err != nil {
				t.Errorf("a signal thawed the group: %v", err)
			}
			if err := c.Signal(unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			eventually(t, "the end of all", func() bool { p, err := c.Pids(); return err == nil && len(p) == 0 })
		})
	}
}
