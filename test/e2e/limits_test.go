package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	enginetest "github.com/davit-engine/davit/test/engine"
	"golang.org/x/sys/unix"
)

// blockDevice is a block device of the host and its number.
func blockDevice(t *testing.T) (path, number string) {
	t.Helper()
	for _, pattern := range []string{"/dev/vd?", "/dev/sd?", "/dev/nvme?n?", "/dev/loop?"} {
		found, _ := filepath.Glob(pattern)
		for _, p := range found {
			var st unix.Stat_t
			if unix.Stat(p, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK {
				if _, err := os.Stat(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))); err == nil {
					return p, fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
				}
			}
		}
	}
	t.Skip("there is no block device on this host")
	return "", ""
}

// TestLimits looks at what limits become in the container's cgroup.
func TestLimits(t *testing.T) {
	dev, number := blockDevice(t)
	type file struct{ v1, v2, want string }
	tests := []struct {
		name  string
		flags []string
		files []file
	}{
		{"read bytes", []string{"--device-read-bps", dev + ":1mb"}, []file{{"blkio/blkio.throttle.read_bps_device", "io.max", number + " 1048576|rbps=1048576"}}},
		{"write bytes", []string{"--device-write-bps", dev + ":2mb"}, []file{{"blkio/blkio.throttle.write_bps_device", "io.max", number + " 2097152|wbps=2097152"}}},
		{"reads", []string{"--device-read-iops", dev + ":100"}, []file{{"blkio/blkio.throttle.read_iops_device", "io.max", number + " 100|riops=100"}}},
		{"writes", []string{"--device-write-iops", dev + ":200"}, []file{{"blkio/blkio.throttle.write_iops_device", "io.max", number + " 200|wiops=200"}}},
		{"processes", []string{"--pids-limit", "77"}, []file{{"pids/pids.max", "pids.max", "77"}}},
		{"processes without limit", []string{"--pids-limit", "-1"}, []file{{"pids/pids.max", "pids.max", "max"}}},
		{"processes by default", []string{"--pids-limit", "0"}, []file{{"pids/pids.max", "pids.max", "max"}}},
		{"memory", []string{"--memory", "64m", "--memory-swap", "96m", "--memory-reservation", "32m"}, []file{
			{"memory/memory.limit_in_bytes", "memory.max", "67108864"},
			{"memory/memory.memsw.limit_in_bytes", "memory.swap.max", "100663296|33554432"},
			{"memory/memory.soft_limit_in_bytes", "memory.low", "33554432"},
		}},
		{"memory with endless swap", []string{"--memory", "64m", "--memory-swap", "-1"}, []file{{"memory/memory.memsw.limit_in_bytes", "memory.swap.max", "9223372036854771712|max"}}},
		{"processors", []string{"--cpus", "0.5", "--cpu-shares", "512", "--cpuset-cpus", "0", "--cpuset-mems", "0"}, []file{
			{"cpu/cpu.cfs_quota_us", "cpu.max", "50000"},
			{"cpu/cpu.shares", "cpu.weight", "512|20|59"},
			{"cpuset/cpuset.cpus", "cpuset.cpus", "0"},
			{"cpuset/cpuset.mems", "cpuset.mems", "0"},
		}},
		{"period and quota", []string{"--cpu-period", "50000", "--cpu-quota", "25000"}, []file{
			{"cpu/cpu.cfs_period_us", "cpu.max", "50000"}, {"cpu/cpu.cfs_quota_us", "cpu.max", "25000"}}},
		{"swappiness", []string{"--memory-swappiness", "7"}, []file{{"memory/memory.swappiness", "", "7"}}},
		{"real time", []string{"--cpu-rt-period", "1000000", "--cpu-rt-runtime", "1000"}, []file{{"cpu/cpu.rt_runtime_us", "", "1000"}, {"cpu/cpu.rt_period_us", "", "1000000"}}},
		{"no OOM killer", []string{"--memory", "64m", "--oom-kill-disable"}, []file{{"memory/memory.oom_control", "", "oom_kill_disable 1"}}},
	}
	e := engine(t)
	each(t, func(t *testing.T, cli enginetest.CLI) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				if test.name == "real time" && !exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us") {
					cli.Fails(t, 125, "kernel does not support CPU real-time scheduler", append(append([]string{"run", "--rm"}, test.flags...), "busybox", "true")...)
					return
				}
				n := name(t, cli)
				cli.OK(t, append(append([]string{"run", "-d", "--name", n}, test.flags...), "busybox", "sleep", "1000")...)
				id := strings.TrimSpace(cli.OK(t, "inspect", "-f", "{{.Id}}", n))
				for _, f := range test.files {
					path := filepath.Join("/sys/fs/cgroup", e.Cgroup, id, f.v2)
					if controller, rest, _ := strings.Cut(f.v1, "/"); exists("/sys/fs/cgroup/" + controller) {
						path = filepath.Join("/sys/fs/cgroup", controller, e.Cgroup, id, rest)
					} else if f.v2 == "" {
						continue // a limit of v1 only
					}
					got, err := os.ReadFile(path)
					if err != nil {
						t.Error(err)
						continue
					}
					ok := false
					for want := range strings.SplitSeq(f.want, "|") {
						ok = ok || strings.Contains(string(got), want)
					}
					if !ok {
						t.Errorf("%s holds %q, want %q", path, got, f.want)
					}
				}
			})
		}
		// Docker's client takes what is not there for a missing command: 127.
		if r := cli.Run(t, "run", "--rm", "--device-read-bps", "/dev/nothing-there:1mb", "busybox", "true"); r.Code == 0 || !strings.Contains(r.Stderr, "stat /dev/nothing-there: no such file or directory") {
			t.Errorf("a limit on a device that is not there: exit code %d, %s", r.Code, r.Stderr)
		}
		cli.Fails(t, 125, "is not a block device", "run", "--rm", "--device-read-bps", "/dev/null:1mb", "busybox", "true")
	})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
