package spawn

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/runtime/program"
	"golang.org/x/sys/unix"
)

func children(t *testing.T) (pids []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/children")
	must(t, err)
	for _, f := range files {
		b, _ := os.ReadFile(f) // a thread may have ended
		for _, s := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(s)
			must(t, err)
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// TestDeathOfTheFirst kills the first of two children that borrow our memory,
// while the second is at work in it: we go on, and it has to end.
func TestDeathOfTheFirst(t *testing.T) {
	needRoot(t)
	if runtime.GOMAXPROCS(0) < 2 {
		t.Skip("the thread that forks keeps its processor")
	}
	// A collection would wait for the thread that forks, and have us wait too.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	runtime.GC()
	for range 20 {
		p := &program.Program{Clone: unix.CLONE_NEWUSER, LowFD: 3, Twice: true, Borrow: true, Contexts: []string{""}, Messages: []string{""},
			Blocks: []program.Block{{Size: 3 * unix.PathMax}, {Data: []byte{10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, Size: 16}}, // 10 s
			Steps: []program.Step{{Op: program.OpClone, Out: program.None},
				{Op: program.OpCall, Nr: unix.SYS_PPOLL, N: 5, Out: program.None, Args: [6]program.Arg{{}, {}, {Kind: program.Mem, Val: 1}}},
				{Op: program.OpCall, Nr: unix.SYS_EXIT_GROUP, N: 1, Out: program.None}},
			Last: 2}
		before := children(t)
		result := make(chan error)
		go func() {
			var in inputs
			defer in.close()
			if err := in.open(p, &Request{}); err != nil {
				result <- err
				return
			}
			_, err := begin(&forking{program: p, borrow: true}, &in, &Request{})
			result <- err
		}()
		var born []int
		poll(t, "both are there", func() bool {
			born = slices.DeleteFunc(children(t), func(pid int) bool { return slices.Contains(before, pid) })
			return len(born) == 2
		})
		must(t, unix.Kill(born[0], unix.SIGKILL))
		select {
		case err := <-result:
			if !errors.Is(err, unix.ESRCH) {
				t.Errorf("got %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("it waits for the second")
		}
		for _, pid := range born {
			if err := unix.Kill(pid, 0); err != unix.ESRCH {
				t.Errorf("%d is still there: %v", pid, err)
			}
		}
	}
}
