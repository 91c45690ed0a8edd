package attack

import (
	"slices"
	"strings"
	"testing"
)

// TestCalls: kernel interfaces with a history (CVE-2022-0185, CVE-2022-0492,
// CVE-2021-3490, CVE-2022-2588 and many more begin with one of them) are closed
// by the default profile and the missing capabilities.
func TestCalls(t *testing.T) {
	cli := engine(t)
	got := results(cli.OK(t, "run", "--rm", "hostile", "/hostile", "calls"))
	if len(got) < 35 {
		t.Fatalf("hostile reported %d calls: %v", len(got), got)
	}
	// As with Docker: ENOSYS for what programs have to do without, so that they
	// fall back; EINVAL where the kernel gets to look and refuses.
	exceptions := map[string][]string{
		"clone3":                      {"ENOSYS"},
		"socket AF_ALG":               {"EPERM", "EAFNOSUPPORT"},
		"socket AF_ALG above 32 bits": {"EPERM", "EAFNOSUPPORT"},
		"process_vm_readv of init":    {"EINVAL", "EPERM"}, // allowed since Docker 20.10: the kernel checks the target
		"kcmp":                        {"EPERM"},
		"name_to_handle_at":           {"EPERM", "EBADF", "ENOENT"}, // gives a name and opens nothing
		"umount2":                     {"EPERM"},
	}
	for what, result := range got {
		want := exceptions[what]
		if want == nil {
			want = []string{"EPERM"}
		}
		if !slices.Contains(want, result) {
			t.Errorf("%s: %s, want %s", what, result, strings.Join(want, " or "))
		}
	}
}

// TestGuardedPaths: files by which the host can be read or changed
// (CVE-2016-9962's class, PLATYPUS CVE-2020-8694 for powercap, thermal
// interrupts, sysrq, core_pattern, kcore, keys).
func TestGuardedPaths(t *testing.T) {
	cli := engine(t)
	hidden := []string{"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/acpi", "/proc/asound",
		"/proc/interrupts", "/sys/firmware", "/sys/devices/virtual/powercap"}
	for path, result := range results(cli.OK(t, append([]string{"run", "--rm", "hostile", "/hostile", "open", "r"}, hidden...)...)) {
		if result != "empty" && result != "ENOENT" {
			t.Errorf("reading %s: %s, want it to be empty", path, result)
		}
	}
	closed := []string{"/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/panic_on_oom", "/proc/sys/fs/binfmt_misc/register",
		"/proc/irq/0/smp_affinity", "/proc/bus/pci/devices", "/proc/fs/ext4", "/sys/kernel/uevent_helper", "/sys/power/state", "/sys/class/powercap/intel-rapl/enabled",
		"/sys/kernel/mm/transparent_hugepage/enabled", "/sys/fs/cgroup/release_agent", "/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/cpu/cpu.shares",
		"/sys/fs/cgroup/unified/cgroup.procs", "/sys/fs/cgroup/cgroup.procs"}
	for path, result := range results(cli.OK(t, append([]string{"run", "--rm", "hostile", "/hostile", "open", "w"}, closed...)...)) {
		if !slices.Contains([]string{"EROFS", "ENOENT", "EACCES", "EPERM", "EISDIR", "EIO"}, result) {
			t.Errorf("writing to %s: %s, want it to be refused", path, result)
		}
	}
	if out := cli.OK(t, "run", "--rm", "busybox", "sh", "-c", "ls /sys/class/powercap /sys/class/thermal/*/temp 2>/dev/null | head; cat /sys/class/powercap/*/energy_uj 2>/dev/null; true"); strings.Contains(out, "intel-rapl:") && strings.ContainsAny(out, "0123456789") {
		for line := range strings.Lines(out) {
			if strings.Trim(line, "0123456789\n") == "" {
				t.Errorf("the energy counter can be read: %s", line)
			}
		}
	}
}

// TestDevices: a node is made with CAP_MKNOD, and the device cgroup keeps it
// from being opened.
func TestDevices(t *testing.T) {
	cli := engine(t)
	got := results(cli.OK(t, "run", "--rm", "hostile", "/hostile", "devices"))
	if len(got) < 10 {
		t.Fatalf("hostile reported %d devices: %v", len(got), got)
	}
	for device, result := range got {
		if result != "EPERM" {
			t.Errorf("opening %s: %s, want EPERM", device, result)
		}
	}
}

// TestCapabilities: nothing inheritable (CVE-2022-24769), nothing ambient, and
// the group of the user is among its groups (CVE-2022-36109, CVE-2023-25173),
// so that a file closed to the group stays closed.
func TestCapabilities(t *testing.T) {
	cli := engine(t)
	status := func(args ...string) map[string]string {
		out := cli.OK(t, append(append([]string{"run", "--rm"}, args...), "busybox", "cat", "/proc/self/status")...)
		m := map[string]string{}
		for line := range strings.Lines(out) {
			key, value, _ := strings.Cut(line, ":")
			m[key] = strings.TrimSpace(value)
		}
		return m
	}
	for _, args := range [][]string{nil, {"-u", "1000"}, {"--cap-add", "SYS_ADMIN"}, {"--privileged"}, {"-u", "1000", "--cap-add", "ALL"}} {
		s := status(args...)
		for _, set := range []string{"CapInh", "CapAmb"} {
			if strings.Trim(s[set], "0") != "" {
				t.Errorf("run %v: %s is %s", args, set, s[set])
			}
		}
		if len(args) > 1 && args[0] == "-u" && strings.Trim(s["CapEff"], "0") != "" {
			t.Errorf("run %v: CapEff is %s for an ordinary user", args, s["CapEff"])
		}
	}
	if s := status("-u", "1000:2000"); s["Groups"] != "2000" {
		t.Errorf("the groups of 1000:2000 are %q, want its own", s["Groups"])
	}
	if s := status("-u", "1000:2000", "--group-add", "3000"); s["Groups"] != "2000 3000" {
		t.Errorf("the groups of 1000:2000 and 3000 are %q", s["Groups"])
	}
}
