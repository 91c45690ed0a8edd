package attack

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLeakedDescriptors: a working directory or a command by way of a
// descriptor that the runtime left open (CVE-2024-21626), and what is open in
// the container at all.
func TestLeakedDescriptors(t *testing.T) {
	cli := engine(t)
	out := cli.OK(t, "run", "--rm", "hostile", "/hostile", "fds")
	if lines := strings.Split(out, "\n"); len(lines) != 3 {
		t.Errorf("a container's descriptors: %q, want 0, 1 and 2 only", out)
	}
	for _, dir := range []string{"/proc/self/fd/%d", "/proc/thread-self/fd/%d", "/proc/1/fd/%d", "/proc/self/fd/%d/../../..", "/dev/fd/%d"} {
		for fd := range 24 {
			path := fmt.Sprintf(dir, fd)
			r := cli.Run(t, "run", "--rm", "-w", path, "busybox", "sh", "-c", "pwd; ls ..; ls ../../../../../.. | tr '\\n' ' '")
			if r.Code == 0 && !strings.Contains(r.Stdout, "bin dev etc") {
				t.Errorf("-w %s led outside: %s", path, r.Stdout)
			}
			if dir != "/proc/self/fd/%d" && fd > 8 {
				break
			}
		}
	}
}

// TestWorkingDirectory: a working directory that the engine makes, by way of
// links of the image, on the host.
func TestWorkingDirectory(t *testing.T) {
	cli := engine(t)
	target := t.TempDir()
	up := strings.Repeat("../", 30)
	load(t, shared.engine, "workdirs", func(dir string) {
		must(t, os.Symlink(target, filepath.Join(dir, "absolute")))
		must(t, os.Symlink(up+target[1:], filepath.Join(dir, "relative")))
		must(t, os.Symlink("/proc/self/cwd", filepath.Join(dir, "cwd")))
		must(t, os.Symlink("/proc/1/root", filepath.Join(dir, "init")))
		must(t, os.Symlink("loop", filepath.Join(dir, "loop")))
		must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
	})
	for _, dir := range []string{"/absolute/made", "/relative/made", "/absolute", "/cwd/made", "/init/made", "/loop/made", "/file/made", "/../../../.." + target + "/made"} {
		r := cli.Run(t, "run", "--rm", "-w", dir, "workdirs", "sh", "-c", "pwd; ls / | tr '\\n' ' '")
		if r.Code == 0 && !strings.Contains(r.Stdout, "absolute bin cwd dev") {
			t.Errorf("-w %s: %s", dir, r.Stdout)
		}
		if list, _ := os.ReadDir(target); len(list) > 0 {
			t.Fatalf("-w %s made %s on the host", dir, list[0])
		}
	}
}

// TestCoveredKernelFiles: mounts over or below /proc and /sys, with which a
// container is made to write to files of the kernel in the belief that they
// are others (CVE-2019-16884, CVE-2025-52881), or sees what is masked.
func TestCoveredKernelFiles(t *testing.T) {
	cli := engine(t)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "exec"), nil, 0o666))
	for _, args := range [][]string{
		{"-v", dir + ":/proc"},
		{"-v", dir + ":/proc/self"},
		{"-v", dir + "/exec:/proc/self/attr/exec"},
		{"-v", dir + "/exec:/proc/sys/kernel/core_pattern"},
		{"-v", dir + ":/proc/sys"},
		{"--tmpfs", "/proc"},
		{"--tmpfs", "/proc/sys"},
		{"--tmpfs", "/proc/1"},
		{"-v", dir + ":/proc/../proc/self/attr"},
	} {
		r := cli.Run(t, append(append([]string{"run", "--rm"}, args...), "busybox", "true")...)
		if r.Code == 0 {
			t.Errorf("run %v was accepted", args)
		}
	}
	// The masks hold under another name of the same filesystem.
	out := cli.OK(t, "run", "--rm", "busybox", "sh", "-c", "mkdir /x; mount -t proc proc /x 2>&1; mount --bind /proc /x 2>&1; umount /proc/kcore 2>&1; mount -o remount,rw /sys 2>&1; true")
	if strings.Count(out, "ermission denied")+strings.Count(out, "not permitted")+strings.Count(out, "must be superuser") < 4 {
		t.Errorf("an unprivileged container mounts: %s", out)
	}
}

// TestLyingImage: the mount points of an image lead elsewhere: by links to the
// host, to each other, or up. What is mounted must be in the container, or the
// start refused, and nothing of the host is touched.
func TestLyingImage(t *testing.T) {
	cli := engine(t)
	outside := t.TempDir()
	up := strings.Repeat("../", 30)
	for name, links := range map[string]map[string]string{
		"dev":     {"dev": outside},
		"dev-up":  {"dev": up + outside[1:]},
		"devproc": {"dev": "proc"},
		"proc":    {"proc": outside},
		"proc-up": {"proc": up + "proc"},
		"procsys": {"proc": "sys", "sys": "proc"},
		"sys":     {"sys": "/proc/self/root"},
		"etc":     {"etc": outside},
		"chain":   {"dev": "a", "a": "b", "b": "/proc/1/root/dev"},
	} {
		t.Run(name, func(t *testing.T) {
			load(t, shared.engine, "lying-"+name, func(dir string) {
				for link, to := range links {
					must(t, os.RemoveAll(filepath.Join(dir, link)))
					must(t, os.Symlink(to, filepath.Join(dir, link)))
				}
			})
			r := cli.Run(t, "run", "--rm", "lying-"+name, "sh", "-c", "stat -f -c %T /proc; cat /proc/self/comm; ls /dev/null /dev/pts >/dev/null && echo devices")
			if r.Code == 0 && (!strings.Contains(r.Stdout, "proc\ncat") || !strings.Contains(r.Stdout, "devices")) {
				t.Errorf("it runs with %s%s", r.Stdout, r.Stderr)
			}
			if list, _ := os.ReadDir(outside); len(list) > 0 {
				t.Errorf("%s was made on the host", list[0].Name())
			}
			mounts, err := os.ReadFile("/proc/self/mountinfo")
			must(t, err)
			if strings.Contains(string(mounts), outside) {
				t.Errorf("something is mounted on the host")
			}
		})
	}
}
