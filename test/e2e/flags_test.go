package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// TestFlags looks at what flags of run do, from inside the container.
func TestFlags(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	profile := write("seccomp.json", `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}`)
	labels := write("labels", "from.file=yes\n")
	tests := []struct {
		name  string
		flags []string
		cmd   string // for sh -c
		want  string // regular expression for the whole of standard output
		only  string // the client that has the flag; empty: both
	}{
		{"umask", []string{"--umask", "027"}, "umask", "0027", "davit"},
		{"umask by default", nil, "umask", "0022", ""},
		{"domain name", []string{"-h", "box", "--domainname", "example.org"}, "cat /proc/sys/kernel/domainname; hostname; grep -c 'box.example.org box' /etc/hosts", `example.org\nbox\n1`, ""},
		{"score for the OOM killer", []string{"--oom-score-adj", "500"}, "cat /proc/self/oom_score_adj", "500", ""},
		{"limits of a process", []string{"--ulimit", "nproc=100:200", "--ulimit", "core=0"}, "ulimit -Hc; grep 'Max processes' /proc/self/limits | awk '{print $3,$4}'", `0\n100 200`, ""},
		{"groups", []string{"--group-add", "root", "--group-add", "1234", "-u", "7:8"}, "id -G | tr ' ' '\\n' | sort -n", `0\n8\n1234`, ""},
		{"shared memory", []string{"--shm-size", "3m"}, "df -k /dev/shm | tail -n 1 | awk '{print $2}'", "3072", ""},
		{"no shared memory", []string{"--ipc", "none"}, "grep -c /dev/shm /proc/mounts", "0", ""},
		{"the host's names", []string{"--uts", "host"}, "[ $(hostname) = " + hostname(t) + " ] && echo same", "same", ""},
		{"the host's processes", []string{"--pid", "host"}, "[ $$ != 1 ] && echo not one", "not one", ""},
		{"parameters of the network", []string{"--sysctl", "net.ipv4.ip_forward=0", "--sysctl", "kernel.shmmax=4096"}, "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax", `0\n4096`, ""},
		{"nothing masked", []string{"--security-opt", "systempaths=unconfined"}, "touch /proc/sys/kernel/hostname && echo writable", "writable", ""},
		{"a profile of system calls", []string{"--security-opt", "seccomp=" + profile}, "mkdir /x 2>/dev/null || echo refused", "refused", ""},
		{"no filter", []string{"--security-opt", "seccomp=unconfined"}, "grep ^Seccomp: /proc/self/status", `Seccomp:\s0`, ""},
		{"the built-in filter", []string{"--security-opt", "seccomp=builtin"}, "grep ^Seccomp: /proc/self/status", `Seccomp:\s2`, ""},
		{"no new privileges", []string{"--security-opt", "no-new-privileges"}, "grep NoNewPrivs /proc/self/status", `NoNewPrivs:\s1`, ""},
		{"no labels, no profile", []string{"--security-opt", "label=disable", "--security-opt", "apparmor=unconfined"}, "echo runs", "runs", ""},
		{"writable cgroups", []string{"--cgroupns", "private", "--security-opt", "writable-cgroups=true"}, "d=/sys/fs/cgroup/memory; [ -d $d ] || d=/sys/fs/cgroup; mkdir $d/mine && rmdir $d/mine && echo made", "made", ""},
		{"read-only cgroups", []string{"--cgroupns", "private"}, "d=/sys/fs/cgroup/memory; [ -d $d ] || d=/sys/fs/cgroup; mkdir $d/mine 2>/dev/null || echo refused", "refused", ""},
		{"a cgroup namespace", []string{"--cgroupns", "private"}, "grep memory /proc/self/cgroup || cat /proc/self/cgroup", `\d+:.*:/`, ""},
		{"the host's cgroup namespace", []string{"--cgroupns", "host"}, "grep -c '/davit-.*/[0-9a-f]*$' /proc/self/cgroup | sed 's/[1-9][0-9]*/some/'", `some`, ""},
		{"name servers", []string{"--dns", "192.0.2.1", "--dns-search", "example.org", "--dns-option", "ndots:3"}, "grep -v ^# /etc/resolv.conf | grep .", `nameserver 192.0.2.1\nsearch example.org\noptions ndots:3`, ""},
		{"no search domain", []string{"--dns-search", "."}, "grep -c ^search /etc/resolv.conf", "0", ""},
		{"hosts", []string{"--add-host", "a:192.0.2.9", "--add-host", "up:host-gateway"}, "grep -E '[[:space:]](a|up)$' /etc/hosts | awk '{print $2}'; [ $(awk '$2 == \"up\" {print $1}' /etc/hosts) = $(ip route | awk '/^default/ {print $3}') ] && echo gateway", `a\nup\ngateway`, ""},
		{"hardware address", []string{"--mac-address", "02:42:0a:0b:0c:0d"}, "cat /sys/class/net/eth0/address", "02:42:0a:0b:0c:0d", ""},
		{"parameters of the interface", []string{"--network", "name=bridge,driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1"}, "cat /proc/sys/net/ipv4/conf/eth0/log_martians", "1", ""},
		{"a device", []string{"--device", "/dev/full:/dev/other:rw"}, "ls -l /dev/other | cut -c 1; echo x 2>/dev/null >/dev/other || echo full", `c\nfull`, ""},
		{"a device to read", []string{"--device", "/dev/kmsg:/dev/other:r"}, "[ -e /dev/other ] && echo x 2>/dev/null >/dev/other || echo refused", `refused`, ""},
		{"a rule for devices", []string{"--device-cgroup-rule", "c 1:11 w"}, "mknod /x c 1 11 && true >/x && echo opened", "opened", ""},
		{"no rule for devices", nil, "mknod /x c 1 11 && true 2>/dev/null >/x || echo refused", "refused", ""},
		{"a folder of devices", []string{"--device", "/dev/mapper:/dev/inside"}, "ls -l /dev/inside/control | cut -c 1", "c", ""},
		{"flags of Windows", []string{"--cpu-count", "1", "--cpu-percent", "50", "--isolation", "default"}, "echo runs", "runs", "davit"},
		{"labels from a file", []string{"--label-file", labels, "--kernel-memory", "64m", "--disable-content-trust"}, "echo runs", "runs", ""},
		{"no processes beside", []string{"--pids-limit", "1"}, "echo runs", "runs", ""},
	}
	each(t, func(t *testing.T, cli enginetest.CLI) {
		for _, test := range tests {
			if test.only != "" && test.only != cli.Name || strings.Contains(strings.Join(test.flags, " "), "/dev/mapper") && !exists("/dev/mapper/control") {
				continue
			}
			r := cli.Run(t, append(append([]string{"run", "--rm"}, test.flags...), "busybox", "sh", "-c", test.cmd)...)
			if out := strings.TrimSuffix(r.Stdout, "\n"); !regexp.MustCompile(`^(?s:` + test.want + `)$`).MatchString(out) {
				t.Errorf("%s: run %q %q printed %q, want %q\n%s", test.name, test.flags, test.cmd, out, test.want, r.Stderr)
			}
		}
	})
}

func hostname(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// TestFlagsRefused asks for what cannot be had: the error names the flag or
// the field, or has Docker's words.
func TestFlagsRefused(t *testing.T) {
	e := engine(t)
	bridge := e.Docker(t).OK(t, "network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge")
	tests := []struct {
		flags []string
		text  string
	}{
		{[]string{"-p", "192.0.2.1:80:80"}, "failed to bind host port 192.0.2.1:80/tcp: cannot assign requested address"},
		{[]string{"--network", "mine"}, "network mine not found"},
		{[]string{"--isolation", "hyperv"}, "invalid isolation (hyperv): linux only supports 'default'"},
		{[]string{"--io-maxiops", "1"}, "on linux"},
		{[]string{"--ulimit", "nofile=20000000:20000000"}, "rlimit"},
		{[]string{"--ulimit", "nofile=2:1"}, "ulimit soft limit must be less than or equal to hard limit"},
		{[]string{"--oom-score-adj", "2000"}, "range for oom score adj is [-1000, 1000]"},
		{[]string{"--sysctl", "net.ipv4.ip_forward=1", "--network", "host"}, "net.ipv4.ip_forward"},
		{[]string{"--sysctl", "kernel.shmmax=4096", "--ipc", "host"}, "kernel.shmmax"},
		{[]string{"--security-opt", "writable-cgroups=true", "--cgroupns", "host"}, "takes --cgroupns private"},
		{[]string{"--security-opt", "coffee=hot"}, "invalid --security-opt"},
		{[]string{"--ip", bridge}, "Address already in use"},
		{[]string{"--ip", "10.99.99.99", "--network", "host"}, "user specified IP address is supported on user defined networks only"},
		{[]string{"--network-alias", "x"}, "network-scoped alias"},
		{[]string{"--ip6", "2001:db8::1"}, "no configured subnet"},
		{[]string{"--mac-address", "02:42:0a:0b:0c:0d", "--network", "none"}, "conflicting options: mac-address and the network mode"},
		{[]string{"--network", "name=bridge,driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.ip_forward=1"}, "is not of the form net.X.Y.IFNAME.Z=VALUE"},
		{[]string{"--device", "/dev/nothing-there"}, "/dev/nothing-there"},
		{[]string{"--device-cgroup-rule", "c 1:7 rx"}, "c 1:7 rx"},
		{[]string{"--blkio-weight", "5"}, "Range of blkio weight is from 10 to 1000"},
		{[]string{"--cpu-rt-period", "1000", "--cpu-rt-runtime", "2000"}, "cpu real-time runtime cannot be higher than cpu real-time period"},
		{[]string{"--pid", "container:nobody-there"}, "nobody-there"},
		{[]string{"--uts", "container:x"}, "invalid UTS mode"},
		{[]string{"--cgroupns", "coffee"}, "invalid CGROUP mode"},
		{[]string{"-h", "x", "--network", "container:y"}, "conflicting options: hostname and the network mode"},
	}
	each(t, func(t *testing.T, cli enginetest.CLI) {
		for _, test := range tests {
			r := cli.Run(t, append(append([]string{"run", "--rm"}, test.flags...), "busybox", "true")...)
			if r.Code == 0 || !strings.Contains(r.Stderr, test.text) {
				t.Errorf("run %q: exit code %d, want %q in\n%s", test.flags, r.Code, test.text, r.Stderr)
			}
		}
	})
}
