package attack

import (
	"strings"
	"testing"
)

// TestUserNamespace: with a user namespace of its own, all capabilities and no
// seccomp filter a container has no right on the host: no device, no release
// agent (CVE-2022-0492), no parameter of the kernel, no file of root's but its own.
func TestUserNamespace(t *testing.T) {
	cli := engine(t)
	run := func(args ...string) string {
		t.Helper()
		all := append([]string{"run", "--rm", "--userns", "auto", "--cap-add", "ALL", "--security-opt", "seccomp=unconfined", "hostile"}, args...)
		r := cli.Run(t, all...)
		if r.Code != 0 {
			t.Fatalf("%v: %d: %s%s", args, r.Code, r.Stdout, r.Stderr)
		}
		return r.Stdout
	}
	for device, result := range results(run("/hostile", "devices")) {
		if result != "EPERM" && result != "EACCES" {
			t.Errorf("opening %s: %s, want it to be refused", device, result)
		}
	}
	for _, attempt := range []string{
		"mount -o remount,rw /sys && echo 1 > /sys/kernel/mm/ksm/run",                                                 // read-only is locked
		"mount -o remount,rw,bind /proc/sys && echo x > /proc/sys/kernel/core_pattern",                                //
		"mkdir /x && mount -t cgroup -o memory cgroup /x && echo /evil > /x/release_agent",                            // CVE-2022-0492
		"mkdir /x && mount -t cgroup2 cgroup2 /x && echo 1 > /x/../x/cgroup.kill",                                     //
		"mount -t tmpfs tmpfs /mnt 2>/dev/null; echo 1 > /proc/1/oom_score_adj; echo -999 > /proc/self/oom_score_adj", // CAP_SYS_RESOURCE of the host
		"echo x > /proc/sys/kernel/hostname_x || chroot /proc/1/root/../../.. ls /root/.ssh",
		"nice -n -20 true && renice -n -20 -p 1",
	} {
		if out := run("sh", "-c", "{ "+attempt+"; } >/dev/null 2>&1 && echo it worked; true"); strings.Contains(out, "it worked") {
			t.Errorf("%s: it worked", attempt)
		}
	}
	for what, result := range results(run("/hostile", "calls")) {
		switch what {
		case "bpf", "kexec_load", "init_module", "reboot", "settimeofday", "clock_settime", "swapon", "acct", "syslog", "open_by_handle_at":
			if result == "ok" {
				t.Errorf("%s: ok, want it to be refused", what)
			}
		}
	}
	if out := run("sh", "-c", "cat /proc/self/uid_map"); strings.HasPrefix(strings.Join(strings.Fields(out), " "), "0 0 ") {
		t.Errorf("the container has the host's ids: %s", out)
	}
}
