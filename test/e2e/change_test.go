package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// groupValue reads what the cgroup of a container's process holds in a file of
// the controller, by its v1 or its v2 name, whichever is here.
func groupValue(t *testing.T, pid int, controller, v1, v2 string) string {
	t.Helper()
	lines, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	unified := ""
	for line := range strings.Lines(string(lines)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		for _, name := range strings.Split(f[1], ",") {
			if name == controller {
				return fileText(t, "/sys/fs/cgroup/"+controller+f[2]+"/"+v1)
			}
		}
		if f[1] == "" {
			unified = f[2]
		}
	}
	return fileText(t, "/sys/fs/cgroup"+unified+"/"+v2)
}

func fileText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// TestUpdate changes limits of a container that runs and of one that does not.
func TestUpdate(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		cli.OK(t, "run", "-d", "--name", n, "-m", "64m", "busybox", "sleep", "1000")
		pid := inspect(t, cli, n).State.Pid
		memory := func() string { return groupValue(t, pid, "memory", "memory.limit_in_bytes", "memory.max") }
		pids := func() string { return groupValue(t, pid, "pids", "pids.max", "pids.max") }

		if out := cli.OK(t, "update", "-m", "32m", "--pids-limit", "20", "--cpus", "0.5", "--restart", "unless-stopped", n); out != n {
			t.Errorf("update printed %q", out)
		}
		if memory() != "33554432" || pids() != "20" {
			t.Errorf("memory %s, pids %s; want 33554432 and 20", memory(), pids())
		}
		h := inspect(t, cli, n).HostConfig
		if h.Memory != 32<<20 || h.MemorySwap != 128<<20 || h.NanoCPUs != 5e8 || *h.PidsLimit != 20 || h.RestartPolicy.Name != "unless-stopped" {
			t.Errorf("recorded: memory %d, with swap %d, CPUs %d, pids %d, restart %s", h.Memory, h.MemorySwap, h.NanoCPUs, *h.PidsLimit, h.RestartPolicy.Name)
		}
		cli.Fails(t, 1, "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time", "update", "-m", "200m", n)
		cli.Fails(t, 1, "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set", "update", "--cpu-quota", "5000", n)
		cli.Fails(t, 1, "Minimum memory limit allowed is 6MB", "update", "-m", "1m", n)
		cli.Fails(t, 1, "No such container", "update", "-m", "64m", "nobody-"+n)
		cli.Fails(t, 1, "you must provide one or more flags when using this command", "update", n)
		// The last of several settings is one that the kernel refuses.
		cli.Fails(t, 1, "Cannot update container", "update", "-m", "48m", "--cpuset-mems", "63", n)
		if memory() != "33554432" || inspect(t, cli, n).HostConfig.Memory != 32<<20 {
			t.Errorf("after a refused update: memory %s", memory())
		}

		cli.OK(t, "update", "--restart", "no", "--pids-limit", "-1", n)
		if pids() != "max" {
			t.Errorf("pids %s after the limit was taken away", pids())
		}
		cli.OK(t, "stop", "-t", "0", n)
		cli.OK(t, "update", "-m", "80m", n)
		cli.OK(t, "start", n)
		if pid = inspect(t, cli, n).State.Pid; memory() != fmt.Sprint(80<<20) {
			t.Errorf("memory %s after the start of a container that was updated", memory())
		}
	})
}
