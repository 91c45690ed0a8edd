package spawn

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/runtime/program"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 && os.Getenv("DAVIT_SPAWN_ROOTLESS") == "" {
		t.Skip("making namespaces and mounts needs root")
	}
	if _, err := os.Stat("/bin/busybox"); err != nil {
		t.Skip("the containers here run /bin/busybox (Debian: busybox-static)")
	}
}

var applets = []string{"sh", "cat", "ls", "id", "echo", "mount", "stty", "tty", "hostname", "true", "false", "sleep", "stat", "readlink", "touch", "grep",
	"sed", "ps", "mkdir", "kill", "test", "pwd", "env", "wc", "head", "sysctl", "dd", "ip", "date"}

// layer makes a root filesystem with busybox.
func layer(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"bin", "etc", "tmp", "root"} {
		must(t, os.Mkdir(filepath.Join(dir, d), 0o755))
	}
	data, err := os.ReadFile("/bin/busybox")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "bin/busybox"), data, 0o755))
	for _, a := range applets {
		must(t, os.Symlink("busybox", filepath.Join(dir, "bin", a)))
	}
	return dir
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// overlay returns a root over layers, with a fresh upper directory.
func overlay(t testing.TB, lower ...string) program.Root {
	t.Helper()
	dir := t.TempDir()
	o := &program.Overlay{Lower: lower, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}
	must(t, os.Mkdir(o.Upper, 0o755))
	must(t, os.Mkdir(o.Work, 0o755))
	return program.Root{Overlay: o}
}

var dockerCaps = []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"}

// dockerSpec is what Docker gives a container by default.
func dockerSpec(args ...string) *specs.Spec {
	return &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Args: args, Cwd: "/", Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"},
			Capabilities: &specs.LinuxCapabilities{Bounding: dockerCaps, Effective: dockerCaps, Permitted: dockerCaps},
		},
		Root:     &specs.Root{Path: "rootfs"},
		Hostname: "davit-test",
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "nosuid", "noexec", "nodev"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=67108864"}},
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.UTSNamespace},
				{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.CgroupNamespace}},
			MaskedPaths: []string{"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
				"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
			Sysctl:        map[string]string{"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"},
		},
	}
}

// result is what a container left.
type result struct {
	out    string // both streams
	status unix.WaitStatus
}

// run starts r with its output in a pipe, and waits for the end.
func run(t testing.TB, r *Request) (result, error) {
	t.Helper()
	pr, pw, err := os.Pipe()
	must(t, err)
	defer pr.Close()
	r.Stdout, r.Stderr = pw, pw
	p, err := Start(r)
	pw.Close()
	if err != nil {
		return result{}, err
	}
	defer p.PidFD.Close()
	must(t, pr.SetReadDeadline(time.Now().Add(20*time.Second)))
	var out bytes.Buffer
	if _, err := io.Copy(&out, pr); err != nil {
		unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0)
		t.Errorf("reading output: %v", err)
	}
	status, err := p.Wait()
	must(t, err)
	return result{out.String(), status}, nil
}

// mustRun is run for a container that exits with 0; it returns its output.
func mustRun(t testing.TB, r *Request) string {
	t.Helper()
	res, err := run(t, r)
	if err != nil {
		t.Fatal(err)
	}
	if res.status != 0 {
		t.Fatalf("wait status %#x, output:\n%s", res.status, res.out)
	}
	return res.out
}

// shell runs a script in a container of the default spec.
func shell(t testing.TB, script string, change ...func(*Request)) string {
	t.Helper()
	r := &Request{Spec: dockerSpec("sh", "-c", script), Root: overlay(t, layer(t))}
	for _, f := range change {
		f(r)
	}
	return mustRun(t, r)
}

func expect(t testing.TB, out string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("%q is missing from:\n%s", w, out)
		}
	}
}

// shared makes a directory a shared mount, as directories of most hosts are:
// what is mounted below a copy of it appears below it too, unless the copy has
// been cut off. It fails at the end if anything did.
func shared(t *testing.T, dir string) {
	t.Helper()
	must(t, unix.Mount(dir, dir, "", unix.MS_BIND, ""))
	t.Cleanup(func() {
		for line := range strings.Lines(read(t, "/proc/self/mountinfo")) {
			if strings.Contains(line, " "+dir+"/") {
				t.Errorf("a mount of the container is on the host: %s", line)
			}
		}
		must(t, unix.Unmount(dir, unix.MNT_DETACH))
	})
	must(t, unix.Mount("", dir, "", unix.MS_SHARED, ""))
}

// tmpfsIDMaps reports whether a tmpfs can be idmapped here: since Linux 6.3.
func tmpfsIDMaps(t testing.TB) bool {
	t.Helper()
	var u unix.Utsname
	must(t, unix.Uname(&u))
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major > 6 || major == 6 && minor >= 3
}
