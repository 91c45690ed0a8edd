package attack

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// TestOwnExecutable: what a container is born from cannot be had from inside
// for writing, neither as a command, nor as an interpreter of a script
// (CVE-2019-5736).
func TestOwnExecutable(t *testing.T) {
	cli := engine(t)
	load(t, shared.engine, "born", func(dir string) {
		program, err := os.ReadFile(hostile(t))
		must(t, err)
		must(t, os.WriteFile(dir+"/hostile", program, 0o755))
		must(t, os.WriteFile(dir+"/script", []byte("#!/proc/self/exe\n"), 0o755))
		must(t, os.Symlink("/proc/self/exe", dir+"/link"))
	})
	shim := shared.engine.Bin + "/davit-shim"
	before, err := os.ReadFile(shim)
	must(t, err)
	for _, command := range []string{"/proc/self/exe", "/script", "/link", "/proc/thread-self/exe"} {
		// In one pid namespace the one that looks sees the other.
		name := "looks" + strings.ReplaceAll(command, "/", "-")
		t.Cleanup(func() { cli.Run(t, "rm", "-f", name) })
		cli.OK(t, "run", "-d", "--name", name, "--cap-add", "SYS_PTRACE", "born", "/hostile", "executables")
		enginetest.Eventually(t, 10*time.Second, func() error {
			if !strings.Contains(cli.OK(t, "logs", name), "looking") {
				return fmt.Errorf("it does not look yet")
			}
			return nil
		})
		for range 20 {
			cli.Run(t, "run", "--rm", "--pid", "container:"+name, "born", command)
		}
		if out := cli.OK(t, "logs", name); strings.Contains(out, "writable") {
			t.Errorf("%s: an executable of the host could be opened for writing:\n%s", command, out)
		}
		cli.OK(t, "rm", "-f", name)
	}
	after, err := os.ReadFile(shim)
	must(t, err)
	if string(before) != string(after) {
		t.Fatal("davit-shim was overwritten")
	}
}

// TestHostPIDs: a container that sees the host's processes can neither trace
// the engine's nor look through /proc into them.
func TestHostPIDs(t *testing.T) {
	cli := engine(t)
	cli.OK(t, "run", "-d", "--name", "neighbour", "busybox", "sleep", "600")
	t.Cleanup(func() { cli.Run(t, "rm", "-f", "neighbour") })
	pids := []string{strconv.Itoa(shared.engine.Pid()), "1"}
	for _, s := range shared.engine.Shims() {
		pids = append(pids, strconv.Itoa(s.ShimPid))
	}
	if len(pids) < 3 {
		t.Fatal("there is no shim")
	}
	got := results(cli.OK(t, append([]string{"run", "--rm", "--pid", "host", "hostile", "/hostile", "trace"}, pids...)...))
	if len(got) != 9*len(pids) {
		t.Fatalf("hostile reported %d: %v", len(got), got)
	}
	for what, result := range got {
		if result != "EPERM" && result != "EACCES" && result != "ENOENT" {
			t.Errorf("%s: %s, want it to be refused", what, result)
		}
	}
}

// TestChroot: the root of a container is the root of its mount namespace: the
// classic walk out of a chroot ends where it began.
func TestChroot(t *testing.T) {
	out := engine(t).OK(t, "run", "--rm", "hostile", "/hostile", "chroot")
	if out != "the same root: true" {
		t.Errorf("the walk ended with: %s", out)
	}
}

// TestFlood: output that nobody takes does not fill the supervisor's memory,
// and output that somebody takes slowly waits for him.
func TestFlood(t *testing.T) {
	cli := engine(t)
	for name, args := range map[string][]string{
		"detached": {"-d", "--log-driver", "none"},
		"logged":   {"-d", "--log-opt", "max-size=1m"},
	} {
		t.Run(name, func(t *testing.T) {
			id := cli.OK(t, append(append([]string{"run"}, args...), "hostile", "/hostile", "flood", strconv.Itoa(64<<20))...)
			t.Cleanup(func() { cli.Run(t, "rm", "-f", id) })
			bounded(t, id)
			cli.OK(t, "wait", id)
		})
	}
	t.Run("attached", func(t *testing.T) {
		id := cli.OK(t, "create", "hostile", "/hostile", "flood", strconv.Itoa(256<<20))
		t.Cleanup(func() { cli.Run(t, "rm", "-f", id) })
		// The client's output is a pipe that nobody reads.
		r, w, err := os.Pipe()
		must(t, err)
		defer r.Close()
		cmd := cli.Command(t.Context(), "start", "-a", id)
		cmd.Stdout = w
		must(t, cmd.Start())
		w.Close()
		bounded(t, id)
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()
	})
}

// bounded watches a container's shim for a while.
func bounded(t testing.TB, id string) {
	t.Helper()
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, s := range shared.engine.Shims() {
			if s.ID != id {
				continue
			}
			if kb := statusKB(t, s.ShimPid, "VmHWM"); kb > 32<<10 {
				t.Fatalf("the shim has grown to %d MiB", kb>>10)
			}
		}
	}
}

// statusKB reads a line of /proc/PID/status that counts KiB; 0 when the
// process is gone.
func statusKB(t testing.TB, pid int, key string) int {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			must(t, err)
			return n
		}
	}
	return 0
}
