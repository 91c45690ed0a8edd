package spawn

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/program"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func spec(f func(*specs.Spec)) func(*Request) { return func(r *Request) { f(r.Spec) } }

func process(f func(*specs.Process)) func(*Request) {
	return func(r *Request) { f(r.Spec.Process) }
}

// mountLine finds the mount table's line of a mount point.
func mountLine(t *testing.T, table, at string) string {
	t.Helper()
	line := ""
	for l := range strings.Lines(table) {
		if f := strings.Fields(l); len(f) > 6 && f[4] == at {
			line = l
		}
	}
	if line == "" {
		t.Errorf("nothing is mounted on %s:\n%s", at, table)
	}
	return line
}

func TestMountTable(t *testing.T) {
	needRoot(t)
	host, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	table := shell(t, "cat /proc/self/mountinfo")
	for at, want := range map[string][]string{
		"/":                {" rw,relatime ", "- overlay overlay"},
		"/proc":            {" rw,nosuid,nodev,noexec,", "- proc proc"},
		"/dev":             {" rw,nosuid", "- tmpfs tmpfs rw,size=65536k,mode=755"},
		"/dev/pts":         {"- devpts devpts rw,gid=5,mode=620,ptmxmode=666"},
		"/dev/shm":         {" rw,nosuid,nodev,noexec,", "- tmpfs shm rw,size=65536k"},
		"/dev/mqueue":      {"- mqueue mqueue"},
		"/sys":             {" ro,nosuid,nodev,noexec,", "- sysfs sysfs"},
		"/sys/fs/cgroup":   {" ro,nosuid,nodev,noexec,"},
		"/proc/sys":        {" ro,nosuid,nodev,noexec,", "- proc proc"},
		"/proc/keys":       {"/null /proc/keys "},
		"/sys/firmware":    {" ro,nosuid,nodev,noexec,", "- tmpfs"},
		"/proc/interrupts": {"/null /proc/interrupts "},
	} {
		line := mountLine(t, table, at)
		for _, w := range want {
			if line != "" && !strings.Contains(line, w) {
				t.Errorf("%s: %q is missing from %s", at, w, line)
			}
		}
	}
	if n := strings.Count(table, " / / "); n != 1 {
		t.Errorf("%d mounts on /, the host's must be gone:\n%s", n, table)
	}
	for l := range strings.Lines(table) {
		if strings.Contains(l, "shared:") || strings.Contains(l, "master:") {
			t.Errorf("tied to the host: %s", l)
		}
	}
	now, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	if string(now) != string(host) {
		t.Errorf("the host's mount table has changed:\n%s\n%s", host, now)
	}
}

func TestNothingOfTheHostIsReachable(t *testing.T) {
	needRoot(t)
	marker := filepath.Join(t.TempDir(), "host")
	must(t, os.WriteFile(marker, nil, 0o644))
	out := shell(t, "cd /..; pwd; ls; ls -d "+marker+" ../../.."+marker+" /proc/1/root"+marker+" 2>&1; ls /proc/self/fd /proc/1/fd; true")
	if strings.Contains(out, marker+"\n") {
		t.Errorf("the host's files are there:\n%s", out)
	}
	expect(t, out, "/\nbin\ndev\netc\nproc\nroot\nsys\ntmp\n")
	// sh holds nothing but its streams, ls has opened the directory as 3.
	expect(t, out, "/proc/1/fd:\n0\n1\n2\n\n/proc/self/fd:\n0\n1\n2\n3\n")
}

// TestLoopback: a new network namespace has its one interface up.
func TestLoopback(t *testing.T) {
	needRoot(t)
	if out := shell(t, "ip -o link show lo"); !strings.Contains(out, ",UP") {
		t.Errorf("the loopback interface: %s", out)
	}
	users := &Request{Spec: dockerSpec("ip", "-o", "link", "show", "lo"), Root: overlay(t, layer(t))}
	inUsers(users)
	if out, err := run(t, users); err != nil || !strings.Contains(out.out, ",UP") {
		t.Errorf("with a user namespace: %v %s", err, out.out)
	}
}

func TestProcess(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		name, script string
		change       func(*Request)
		want         []string
	}{
		{"pid 1 in its own session", "echo pid $$; grep -E 'NSsid|NSpgid' /proc/self/status", nil, []string{"pid 1\n", "NSpgid:\t1\n", "NSsid:\t1\n"}},
		{"default capabilities", "", process(func(p *specs.Process) { p.Args = []string{"cat", "/proc/self/status"} }),
			[]string{"CapInh:\t0000000000000000", "CapPrm:\t00000000a80425fb", "CapEff:\t00000000a80425fb", "CapBnd:\t00000000a80425fb", "CapAmb:\t0000000000000000", "NoNewPrivs:\t0", "Seccomp:\t0", "SigIgn:\t0000000000000000", "SigBlk:\t0000000000000000"}},
		{"no capabilities", "cat /proc/self/status", process(func(p *specs.Process) { p.Capabilities = nil }),
			[]string{"CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"}},
		{"user", "id; cat /proc/self/status; echo >/dev/stdout; touch /root/x 2>&1 || true", process(func(p *specs.Process) {
			p.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{5, 44}}
		}), []string{"uid=1000 gid=1001 groups=5,44", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t00000000a80425fb", "Permission denied"}},
		{"ambient and inheritable", "cat /proc/self/status", process(func(p *specs.Process) {
			p.User = specs.User{UID: 1000, GID: 1000}
			one := []string{"CAP_NET_RAW", "CAP_UNHEARD_OF"}
			p.Capabilities = &specs.LinuxCapabilities{Bounding: one, Effective: one, Permitted: one, Inheritable: one, Ambient: one}
		}), []string{"CapInh:\t0000000000002000", "CapPrm:\t0000000000002000", "CapEff:\t0000000000002000", "CapBnd:\t0000000000002000", "CapAmb:\t0000000000002000"}},
		{"no new privileges", "grep NoNew /proc/self/status", process(func(p *specs.Process) { p.NoNewPrivileges = true }), []string{"NoNewPrivs:\t1"}},
		{"umask", "umask; touch /tmp/x; stat -c %a /tmp/x", process(func(p *specs.Process) { m := uint32(0o077); p.User.Umask = &m }), []string{"0077\n600"}},
		{"default umask", "umask", nil, []string{"0022\n"}},
		{"limits", "ulimit -n; ulimit -H -n; ulimit -c", process(func(p *specs.Process) {
			p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 200}, {Type: "RLIMIT_CORE"}}
		}), []string{"100\n200\n0\n"}},
		{"hardly any files", "", process(func(p *specs.Process) {
			p.Args, p.User.UID = []string{"cat", "/proc/self/limits"}, 1000
			p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 4, Hard: 4}}
		}), []string{"Max open files            4                    4"}},
		{"default limit of files", "ulimit -n", nil, []string{"1024\n"}},
		{"oom_score_adj", "cat /proc/self/oom_score_adj", process(func(p *specs.Process) { n := 321; p.OOMScoreAdj = &n }), []string{"321\n"}},
		{"working directory", "pwd", process(func(p *specs.Process) { p.Cwd = "/etc" }), []string{"/etc\n"}},
		{"working directory of the user alone", "pwd", process(func(p *specs.Process) {
			p.Cwd, p.User = "/home", specs.User{UID: 7, GID: 7}
			p.Capabilities = nil
		}), []string{"/home\n"}},
		{"environment", "env", process(func(p *specs.Process) { p.Env = append(p.Env, "A=b c") }), []string{"A=b c\n", "HOME=/root\n"}},
		{"host name", "hostname; cat /proc/sys/kernel/domainname", spec(func(s *specs.Spec) { s.Domainname = "example.org" }), []string{"davit-test\n", "example.org\n"}},
		{"sysctl", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; cat /proc/sys/kernel/shmmni", spec(func(s *specs.Spec) {
			s.Linux.Sysctl["kernel.shmmni"] = "77"
		}), []string{"0\n77\n"}},
		{"loopback alone", "ip link", nil, []string{"1: lo:"}},
		{"masked and read-only", "cat /proc/keys; ls /sys/firmware; echo x >/proc/sys/kernel/shmmni || echo refused; echo x >/sys/firmware/x || echo refused", nil, []string{"Read-only file system\nrefused", "Read-only file system\nrefused"}},
		{"cgroup namespace", "cat /proc/self/cgroup", nil, []string{":/\n"}},
		{"device numbers", "ls -l /dev/null /dev/tty /dev/random; readlink /dev/ptmx; readlink /dev/fd; readlink /dev/stdin; echo x >/dev/null", nil,
			[]string{"crw-rw-rw-    1 0        0           1,   3", "5,   0", "1,   8", "pts/ptmx\n/proc/self/fd\n/proc/self/fd/0\n"}},
		{"more devices", "ls -l /dev/fuse /dev/sub/p; stat -c '%a %u %g' /dev/fuse", spec(func(s *specs.Spec) {
			mode, uid, gid := os.FileMode(0o640), uint32(3), uint32(4)
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229, FileMode: &mode, UID: &uid, GID: &gid}, {Path: "/dev/sub/p", Type: "p"}}
		}), []string{"10, 229", "prw-rw-rw-", "640 3 4"}},
		{"read-only root", "touch /x 2>&1 || true; touch /tmp/x && echo tmp", spec(func(s *specs.Spec) {
			s.Root.Readonly = true
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1m", "mode=1777"}})
		}), []string{"touch: /x: Read-only file system", "tmp\n"}},
		{"read-only /dev", "touch /dev/x 2>&1 || true; ls /dev/null; touch /dev/shm/x && echo shm", spec(func(s *specs.Spec) {
			s.Mounts[1].Options = append(s.Mounts[1].Options, "ro")
		}), []string{"Read-only file system", "/dev/null\n", "shm\n"}},
		{"host namespaces", "hostname; cat /proc/self/cgroup; readlink /proc/self/ns/net", spec(func(s *specs.Spec) {
			s.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.MountNamespace}}
			s.Hostname, s.Linux.Sysctl = "", nil
			s.Mounts = append(s.Mounts[:5:5], s.Mounts[6])
		}), []string{read(t, "/proc/sys/kernel/hostname"), readlink(t, "/proc/self/ns/net")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := shell(t, c.script, func(r *Request) {
				home := filepath.Join(r.Root.Overlay.Lower[0], "home")
				must(t, os.Mkdir(home, 0o700))
				must(t, os.Chown(home, 7, 7))
				if c.change != nil {
					c.change(r)
				}
			})
			expect(t, out, c.want...)
		})
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	must(t, err)
	return string(b)
}

func readlink(t *testing.T, name string) string {
	t.Helper()
	s, err := os.Readlink(name)
	must(t, err)
	return s
}

func TestExitStatus(t *testing.T) {
	needRoot(t)
	dir := layer(t)
	for script, want := range map[string]string{"exit 0": "exit 0", "exit 42": "exit 42", "exec sleep 60 & kill -9 $!; wait $!; exit $?": "exit 137"} {
		res, err := run(t, &Request{Spec: dockerSpec("sh", "-c", script), Root: overlay(t, dir)})
		must(t, err)
		if got := fmt.Sprintf("exit %d", res.status.ExitStatus()); got != want {
			t.Errorf("%s: %s, want %s", script, got, want)
		}
	}
	p, err := Start(&Request{Spec: dockerSpec("sleep", "60"), Root: overlay(t, dir)})
	must(t, err)
	defer p.PidFD.Close()
	must(t, unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0))
	if s, err := p.Wait(); err != nil || !s.Signaled() || s.Signal() != unix.SIGKILL {
		t.Errorf("status %#x, %v", s, err)
	}
}

func TestFailures(t *testing.T) {
	needRoot(t)
	dir := layer(t)
	must(t, os.WriteFile(filepath.Join(dir, "bin/plain"), []byte("x"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "bin/garbage"), []byte("\x00\x01garbage"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "bin/script"), []byte("#!/no/such/interpreter\n"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "bin/data"), []byte("#!/bin/plain\n"), 0o755))
	must(t, os.Mkdir(filepath.Join(dir, "bin/sub"), 0o755))
	must(t, os.Symlink("/proc/self/fd", filepath.Join(dir, "fds")))
	must(t, os.Mkdir(filepath.Join(dir, "dir"), 0o755))
	args := func(list ...string) func(*Request) { return process(func(p *specs.Process) { p.Args = list }) }
	mount := func(m specs.Mount) func(*Request) {
		return spec(func(s *specs.Spec) { s.Mounts = append(s.Mounts, m) })
	}
	cwd := func(dir string) func(*Request) { return process(func(p *specs.Process) { p.Cwd = dir }) }
	for _, c := range []struct {
		name   string
		change func(*Request)
		text   string
		code   int
		kind   errs.Kind
	}{
		{"not in PATH", args("foo"), `exec: "foo": executable file not found in $PATH`, 127, errs.InvalidParameter},
		{"no PATH", process(func(p *specs.Process) { p.Env = nil }), `exec: "sh": executable file not found in $PATH`, 127, errs.InvalidParameter},
		{"no such file", args("/foo"), `exec: "/foo": stat /foo: no such file or directory`, 127, errs.InvalidParameter},
		{"not executable", args("/bin/plain"), `exec: "/bin/plain": permission denied`, 126, errs.InvalidParameter},
		{"not executable in PATH", args("plain"), `exec: "plain": executable file not found in $PATH`, 127, errs.InvalidParameter},
		{"directory in PATH", args("sub"), `exec: "sub": executable file not found in $PATH`, 127, errs.InvalidParameter},
		{"interpreter that is not executable", args("data"), `exec data: permission denied`, 126, errs.InvalidParameter},
		{"directory", args("/dir"), `exec: "/dir": is a directory`, 126, errs.InvalidParameter},
		{"not a program", args("/bin/garbage"), `exec /bin/garbage: exec format error`, 126, errs.InvalidParameter},
		{"not a program in PATH", args("garbage"), `exec garbage: exec format error`, 126, errs.InvalidParameter},
		{"no interpreter", args("/bin/script"), `exec /bin/script: no such file or directory`, 127, errs.InvalidParameter},
		{"missing cwd", cwd("/x"), `chdir to cwd ("/x") set in config.json failed: no such file or directory`, 127, errs.InvalidParameter},
		{"cwd is a file", cwd("/bin/busybox"), `chdir to cwd ("/bin/busybox") set in config.json failed: not a directory`, 126, errs.InvalidParameter},
		{"cwd is a descriptor", cwd("/proc/self/fd/5"), `chdir to cwd ("/proc/self/fd/5") set in config.json failed: too many levels of symbolic links`, 128, errs.System},
		{"cwd is a descriptor behind a link", cwd("/fds/5"), `chdir to cwd ("/fds/5") set in config.json failed: too many levels of symbolic links`, 128, errs.System},
		{"bind source", mount(specs.Mount{Destination: "/dst", Source: "/no/such/src", Type: "bind", Options: []string{"rbind"}}),
			`error mounting "/no/such/src" to rootfs at "/dst": opening /no/such/src: no such file or directory`, 127, errs.InvalidParameter},
		{"directory on a file", mount(specs.Mount{Destination: "/bin/plain", Source: t.TempDir(), Type: "bind", Options: []string{"rbind"}}), `not a directory: Are you trying to mount a directory onto a file`, 126, errs.InvalidParameter},
		{"unknown filesystem", mount(specs.Mount{Destination: "/dst", Source: "x", Type: "nofs"}), `error mounting "x" to rootfs at "/dst": opening filesystem type: no such device`, 128, errs.System},
		{"bad option", mount(specs.Mount{Destination: "/dst", Source: "x", Type: "tmpfs", Options: []string{"sizo=1"}}), `error mounting "x" to rootfs at "/dst": setting option: invalid argument`, 128, errs.System},
		{"limit", process(func(p *specs.Process) {
			p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1 << 40, Hard: 1 << 40}}
		}),
			`error setting rlimit RLIMIT_NOFILE to 1099511627776:1099511627776: prlimit: operation not permitted`, 128, errs.System},
		{"sysctl", spec(func(s *specs.Spec) { s.Linux.Sysctl["net.no.such"] = "1" }), `open sysctl net.no.such file: no such file or directory`, 127, errs.InvalidParameter},
		{"layer", func(r *Request) { r.Root.Overlay.Lower[0] = "/no/such/layer" }, `mounting the root filesystem: opening /no/such/layer: no such file or directory`, 127, errs.InvalidParameter},
		{"namespace", spec(func(s *specs.Spec) { s.Linux.Namespaces[4].Path = "/no/such/ns" }), `joining the ipc namespace /no/such/ns: opening /no/such/ns: no such file or directory`, 127, errs.InvalidParameter},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &Request{Spec: dockerSpec("sh", "-c", "true"), Root: overlay(t, dir)}
			c.change(r)
			_, err := Start(r)
			held := *r
			held.Hold = fifo(t)
			if p, again := Start(&held); again == nil {
				_ = unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0)
				p.PidFD.Close()
				if !strings.HasPrefix(c.text, "exec ") { // what only execve knows
					t.Error("with Hold it is no error")
				}
			} else if again.Error() != err.Error() {
				t.Errorf("with Hold it is %q", again)
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(e.Text, c.text) || e.ExitCode != c.code || errs.KindOf(err) != c.kind || e.Kind != c.kind {
				t.Errorf("got  %q, exit code %d, %v\nwant %q, exit code %d, %v", e.Text, e.ExitCode, e.Kind, c.text, c.code, c.kind)
			}
			if !errors.Is(err, e.Errno) {
				t.Errorf("the errno %v is not in the chain", e.Errno)
			}
		})
	}
}

func TestBind(t *testing.T) {
	needRoot(t)
	src := t.TempDir()
	must(t, os.WriteFile(filepath.Join(src, "file"), []byte("content\n"), 0o644))
	must(t, os.Mkdir(filepath.Join(src, "sub"), 0o755))
	must(t, unix.Mount("tmpfs", filepath.Join(src, "sub"), "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { must(t, unix.Unmount(filepath.Join(src, "sub"), 0)) })
	must(t, os.WriteFile(filepath.Join(src, "sub/deep"), nil, 0o644))
	bind := func(from, to string, options ...string) func(*Request) {
		return spec(func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Type: "bind", Source: from, Destination: to, Options: options})
		})
	}
	for _, c := range []struct {
		name, script string
		change       func(*Request)
		want         []string
	}{
		{"writable", "cat /new/dir/file; echo x >/new/dir/out && echo ok; ls /new/dir/sub", bind(src, "/new/dir", "bind", "rprivate"), []string{"content\nok\n"}},
		{"recursive", "ls /v/sub", bind(src, "/v", "rbind", "rprivate"), []string{"deep\n"}},
		{"read-only", "touch /v/x 2>&1 || true; touch /v/sub/x && echo sub", bind(src, "/v", "rbind", "ro"), []string{"Read-only file system", "sub\n"}},
		{"recursively read-only", "touch /v/x 2>&1 || true; touch /v/sub/x 2>&1 || true", bind(src, "/v", "rbind", "rro"), []string{"/v/x: Read-only", "/v/sub/x: Read-only"}},
		{"options", "cat /proc/self/mountinfo", bind(src, "/v", "bind", "nosuid", "nodev", "noexec", "noatime"), []string{" /v rw,nosuid,nodev,noexec,noatime "}},
		{"file, target made", "cat /etc/a/b", bind(filepath.Join(src, "file"), "/etc/a/b", "bind"), []string{"content\n"}},
		{"file over link into the root", "cat /etc/link /tmp/real; readlink /etc/link", bind(filepath.Join(src, "file"), "/etc/link", "bind"), []string{"content\ncontent\n/tmp/real\n"}},
		{"file over dangling link", "cat /etc/dangling /run/deep/er/x", bind(filepath.Join(src, "file"), "/etc/dangling", "bind"), []string{"content\ncontent\n"}},
		{"directory over dangling link", "ls /etc/dangling/; ls /run/deep/er/x", bind(src, "/etc/dangling", "bind"), []string{"file\n"}},
		{"below a link out of the root", "cat /escape/made/file; ls -d " + src + "/../escaped/made", bind(src, "/escape/made", "bind"), []string{"content\n"}},
		{"on /dev", "ls /dev", bind(src, "/dev", "bind"), []string{"file\n"}},
		{"cpuinfo", "cat /proc/cpuinfo", bind(filepath.Join(src, "file"), "/proc/cpuinfo", "bind"), []string{"content\n"}},
		{"shared", "grep ' /v ' /proc/self/mountinfo", bind(src, "/v", "bind", "shared"), []string{"shared:"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			outside := filepath.Join(filepath.Dir(src), "escaped")
			r := &Request{Spec: dockerSpec("sh", "-c", c.script), Root: overlay(t, layer(t))}
			etc := filepath.Join(r.Root.Overlay.Lower[0], "etc")
			must(t, os.Symlink("/tmp/real", filepath.Join(etc, "link")))
			must(t, os.WriteFile(filepath.Join(etc, "../tmp/real"), nil, 0o644))
			must(t, os.Symlink("../run/deep/../deep/er/x", filepath.Join(etc, "dangling")))
			must(t, os.Symlink(strings.Repeat("../", 10)+outside, filepath.Join(etc, "../escape")))
			c.change(r)
			if c.name == "on /dev" { // nothing to mask with, and nowhere to mount
				r.Spec.Linux.MaskedPaths = nil
				r.Spec.Mounts = append(append(r.Spec.Mounts[:1:1], r.Spec.Mounts[3:5]...), r.Spec.Mounts[7])
			}
			res, err := run(t, r)
			must(t, err)
			expect(t, res.out, c.want...)
			if _, err := os.Lstat(outside); err == nil {
				t.Error("something was made outside of the root")
			}
		})
	}
}

func TestHostileTargets(t *testing.T) {
	needRoot(t)
	host := t.TempDir()
	for _, c := range []struct {
		name  string
		image func(dir string) error
		mount *specs.Mount
		want  string // part of the error; empty: it starts, and the host is untouched
	}{
		{"proc is a link", func(d string) error { return os.Symlink("/tmp", filepath.Join(d, "proc")) }, nil, `filesystem "proc" must be mounted on ordinary directory`},
		{"proc is a link to the host", func(d string) error { return os.Symlink(host, filepath.Join(d, "proc")) }, nil, `filesystem "proc" must be mounted on ordinary directory`},
		{"proc is a file", func(d string) error { return os.WriteFile(filepath.Join(d, "proc"), nil, 0o644) }, nil, `filesystem "proc" must be mounted on ordinary directory`},
		{"sys is a link", func(d string) error { return os.Symlink("/tmp", filepath.Join(d, "sys")) }, nil, `filesystem "sysfs" must be mounted on ordinary directory`},
		{"dev is a link", func(d string) error { return os.Symlink(host, filepath.Join(d, "dev")) }, nil, ""},
		{"etc is a link to the host", func(d string) error {
			if err := os.Remove(filepath.Join(d, "etc")); err != nil {
				return err
			}
			return os.Symlink(host, filepath.Join(d, "etc"))
		}, &specs.Mount{Destination: "/etc/made", Type: "tmpfs"}, ""},
		{"target leads into proc", func(d string) error { return os.Symlink("/proc/self/attr", filepath.Join(d, "t")) },
			&specs.Mount{Destination: "/t", Type: "tmpfs"}, `"/t" cannot be mounted because it is inside /proc`},
		{"target is a descriptor", func(d string) error { return os.Symlink("/proc/self/fd/3", filepath.Join(d, "t")) },
			&specs.Mount{Destination: "/t", Type: "tmpfs"}, "too many levels of symbolic links"},
		{"false proc", func(string) error { return nil }, &specs.Mount{Destination: "/proc", Type: "bind", Source: host}, `"/proc" cannot be mounted because it is not of type proc`},
		{"link loop", func(d string) error { return os.Symlink("t", filepath.Join(d, "t")) },
			&specs.Mount{Destination: "/t/x", Type: "tmpfs"}, "too many levels of symbolic links"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := layer(t)
			must(t, c.image(dir))
			r := &Request{Spec: dockerSpec("true"), Root: overlay(t, dir)}
			if c.mount != nil {
				r.Spec.Mounts = append(r.Spec.Mounts, *c.mount)
			}
			res, err := run(t, r)
			switch {
			case c.want == "" && (err != nil || res.status != 0):
				t.Errorf("it does not start: %v, %#x", err, res.status)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			}
			left, err := os.ReadDir(host)
			must(t, err)
			if len(left) > 0 {
				t.Errorf("%s was made on the host", left[0].Name())
			}
		})
	}
}

func TestDevicesOfTheImage(t *testing.T) {
	needRoot(t)
	noDev := spec(func(s *specs.Spec) {
		s.Mounts = append(append(s.Mounts[:1:1], s.Mounts[3]), s.Mounts[7:]...)
	})
	// Without a mount on /dev the image's own directory is used, and must not lie.
	dir := layer(t)
	must(t, os.Mkdir(filepath.Join(dir, "dev"), 0o755))
	must(t, unix.Mknod(filepath.Join(dir, "dev/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	r := &Request{Spec: dockerSpec("sh", "-c", "ls /dev; cat /proc/keys"), Root: overlay(t, dir)}
	noDev(r)
	expect(t, mustRun(t, r), "full\nnull\n")

	dir = layer(t)
	must(t, os.Mkdir(filepath.Join(dir, "dev"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "dev/null"), []byte("lie"), 0o666))
	r = &Request{Spec: dockerSpec("true"), Root: overlay(t, dir)}
	noDev(r)
	if _, err := Start(r); err == nil || !strings.Contains(err.Error(), "verifying") {
		t.Errorf("got %v", err)
	}
}

func TestRoots(t *testing.T) {
	needRoot(t)
	dir := layer(t)
	t.Run("directory", func(t *testing.T) {
		out := mustRun(t, &Request{Spec: dockerSpec("sh", "-c", "echo x >/made; cat /proc/self/mountinfo"), Root: program.Root{Dir: dir}})
		if !strings.Contains(mountLine(t, out, "/"), " - ") || strings.Contains(out, "overlay") {
			t.Error(out)
		}
		if read(t, filepath.Join(dir, "made")) != "x\n" {
			t.Error("it was not written to the directory")
		}
	})
	legacy := DetectFacts()
	legacy.OverlayFD = false
	for name, facts := range map[string]*program.Facts{"by descriptor": nil, "by mount options": &legacy} {
		t.Run(name, func(t *testing.T) {
			var lower []string
			for i := range 60 {
				d := filepath.Join(t.TempDir(), "with,comma:and\\such")
				must(t, os.Mkdir(d, 0o755))
				must(t, os.WriteFile(filepath.Join(d, "who"), fmt.Appendf(nil, "layer %d\n", i), 0o644))
				lower = append(lower, d)
			}
			r := &Request{Spec: dockerSpec("sh", "-c", "cat /who; echo upper >/new; cat /new; cat /proc/self/mountinfo"), Root: overlay(t, append(lower, dir)...), Facts: facts}
			r.Root.Overlay.Volatile, r.Root.Overlay.Options = true, []string{"redirect_dir=off", "metacopy=off"}
			expect(t, mustRun(t, r), "layer 0\nupper\n", "volatile")
			if read(t, filepath.Join(r.Root.Overlay.Upper, "new")) != "upper\n" {
				t.Error("it is not in the upper directory")
			}
			res, err := run(t, &Request{Spec: dockerSpec("sh", "-c", "cat /who"), Root: program.Root{Overlay: &program.Overlay{Lower: append(lower, layer(t))}}, Facts: facts})
			if err == nil || !errors.Is(err, unix.EROFS) {
				t.Errorf("a root that is read-only, with no place for /proc: %v %+v", err, res)
			}
		})
	}
}

func TestTerminal(t *testing.T) {
	needRoot(t)
	for _, uid := range []uint32{0, 1000} {
		r := &Request{Spec: dockerSpec("sh", "-c", "stty size; tty; stat -c '%u %g %a' /dev/pts/0; ls -l /dev/console; cat </dev/tty"), Root: overlay(t, layer(t))}
		r.Spec.Process.Terminal = true
		r.Spec.Process.User.UID = uid
		r.Spec.Process.ConsoleSize = &specs.Box{Height: 33, Width: 77}
		p, err := Start(r)
		must(t, err)
		_, err = p.Console.Write([]byte("typed\n\x04"))
		must(t, err)
		var out strings.Builder
		for in := bufio.NewScanner(p.Console); in.Scan(); { // ends with EIO when the last holder is gone
			out.WriteString(in.Text() + "\n")
		}
		s, err := p.Wait()
		if err != nil || s != 0 {
			t.Errorf("%v %#x", err, s)
		}
		p.Console.Close()
		p.PidFD.Close()
		expect(t, out.String(), "33 77\n", "/dev/pts/0\n", fmt.Sprintf("%d 5 620\n", uid), "136,   0", "typed\n")
	}
}

func TestJoin(t *testing.T) {
	needRoot(t)
	dir := layer(t)
	first, err := Start(&Request{Spec: dockerSpec("sleep", "60"), Root: overlay(t, dir)})
	must(t, err)
	defer func() {
		must(t, unix.PidfdSendSignal(int(first.PidFD.Fd()), unix.SIGKILL, nil, 0))
		_, err := first.Wait()
		must(t, err)
		first.PidFD.Close()
	}()
	r := &Request{Spec: dockerSpec("sh", "-c", "hostname; ps; for n in pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done"), Root: overlay(t, dir)}
	r.Spec.Hostname = ""
	var want []string
	for i, ns := range r.Spec.Linux.Namespaces {
		name := map[specs.LinuxNamespaceType]string{specs.PIDNamespace: "pid", specs.NetworkNamespace: "net", specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts", specs.CgroupNamespace: "cgroup"}[ns.Type]
		if name == "" {
			continue
		}
		r.Spec.Linux.Namespaces[i].Path = fmt.Sprintf("/proc/%d/ns/%s", first.Pid, name)
		want = append(want, readlink(t, r.Spec.Linux.Namespaces[i].Path)+"\n")
	}
	out := mustRun(t, r)
	expect(t, out, append(want, "davit-test\n", "sleep 60")...)

	r = &Request{Spec: dockerSpec("readlink", "/proc/self/ns/net"), Root: overlay(t, dir)}
	r.NetNS, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", first.Pid))
	must(t, err)
	defer r.NetNS.Close()
	if out := mustRun(t, r); out != readlink(t, r.NetNS.Name())+"\n" {
		t.Errorf("in network namespace %s", out)
	}
}

func TestCgroupV1(t *testing.T) {
	needRoot(t)
	facts := DetectFacts()
	if facts.CgroupV2 {
		t.Skip("this machine has cgroup v2 only")
	}
	for _, own := range []bool{true, false} {
		r := &Request{Spec: dockerSpec("sh", "-c", "cat /proc/self/cgroup; for f in /sys/fs/cgroup/*; do cat $f/cgroup.procs | head -n 1; touch $f/cgroup.procs 2>/dev/null && echo writable; done; cat /proc/self/mountinfo"), Root: overlay(t, layer(t))}
		if !own {
			r.Spec.Linux.Namespaces = r.Spec.Linux.Namespaces[:5]
		}
		name := fmt.Sprintf("davit-spawn-test-%d", os.Getpid())
		for _, controller := range []string{"pids", "freezer"} {
			dir := filepath.Join("/sys/fs/cgroup", controller, name)
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Skipf("cannot make a cgroup: %v", err)
			}
			defer func() { must(t, os.Remove(dir)) }()
			f, err := os.OpenFile(filepath.Join(dir, "cgroup.procs"), os.O_WRONLY, 0)
			must(t, err)
			defer f.Close()
			r.CgroupTasks = append(r.CgroupTasks, f)
		}
		out := mustRun(t, r)
		if own {
			expect(t, out, ":pids:/\n", ":freezer:/\n")
		} else {
			expect(t, out, ":pids:/"+name+"\n", ":freezer:/"+name+"\n")
		}
		if strings.Contains(out, "writable") {
			t.Error("a cgroup is writable")
		}
		root := "/"
		if !own {
			root = "/" + name
		}
		for _, controller := range []string{"pids", "freezer"} {
			if f := strings.Fields(mountLine(t, out, "/sys/fs/cgroup/"+controller)); len(f) < 5 || f[3] != root {
				t.Errorf("own namespace %v: %s has root %q, want %q", own, controller, f[3], root)
			}
		}
	}
}

func TestCgroupV2(t *testing.T) {
	needRoot(t)
	base := "/sys/fs/cgroup"
	if !DetectFacts().CgroupV2 {
		base += "/unified"
	}
	dir := filepath.Join(base, fmt.Sprintf("davit-spawn-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("cannot make a cgroup of v2: %v", err)
	}
	defer func() { must(t, os.Remove(dir)) }()
	f, err := os.Open(dir)
	must(t, err)
	defer f.Close()
	for _, own := range []bool{true, false} {
		r := &Request{Spec: dockerSpec("cat", "/proc/self/cgroup"), Root: overlay(t, layer(t)), CgroupDir: f}
		want := "0::/\n"
		if !own {
			r.Spec.Linux.Namespaces = r.Spec.Linux.Namespaces[:5]
			want = "0::/" + filepath.Base(dir) + "\n"
		}
		expect(t, mustRun(t, r), want)
	}
}

// TestWithoutMknod starts a container where devices cannot be made.
func TestWithoutMknod(t *testing.T) {
	needRoot(t)
	if os.Getenv("DAVIT_SPAWN_HELPER") != "" {
		os.Stdout.WriteString(shell(t, "cat /proc/self/mountinfo; echo x >/dev/null && cat /proc/keys && ls -l /dev/zero"))
		return
	}
	// The bounding set of this thread goes to the helper; it is put in no
	// other thread, and this one ends with the test.
	out := make(chan string)
	go func() {
		runtime.LockOSThread()
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_MKNOD, 0, 0, 0); err != nil {
			out <- err.Error()
			return
		}
		c := exec.Command("/proc/self/exe", "-test.run=^TestWithoutMknod$")
		c.Env = append(os.Environ(), "DAVIT_SPAWN_HELPER=1")
		b, err := c.CombinedOutput()
		if err != nil {
			b = append(b, err.Error()...)
		}
		out <- string(b)
	}()
	expect(t, <-out, "/null /dev/null ", "crw-rw-rw-    1 0        0           1,   5")
}

func TestLyingDevNull(t *testing.T) {
	needRoot(t)
	dev := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dev, "null"), []byte("what is masked shows this"), 0o666))
	r := &Request{Spec: dockerSpec("cat", "/proc/keys"), Root: overlay(t, layer(t))}
	r.Spec.Mounts = append(r.Spec.Mounts[:1:1], specs.Mount{Destination: "/dev", Type: "bind", Source: dev, Options: []string{"rbind"}}, r.Spec.Mounts[3])
	if _, err := Start(r); err == nil || !strings.Contains(err.Error(), "verifying /dev/null") {
		t.Errorf("got %v", err)
	}
}

func TestOOMScoreRefused(t *testing.T) {
	needRoot(t)
	if DetectFacts().Caps&(1<<unix.CAP_SYS_RESOURCE) != 0 {
		t.Skip("this machine lets us have any score")
	}
	r := &Request{Spec: dockerSpec("true"), Root: overlay(t, layer(t))}
	n := -500
	r.Spec.Process.OOMScoreAdj = &n
	if _, err := Start(r); err == nil || err.Error() != "can't set oom_score_adj -500: permission denied" {
		t.Errorf("got %v", err)
	}
}

func TestFacts(t *testing.T) {
	for s, want := range map[string][2]int{"6.18.44-fc-v595": {6, 18}, "5.14": {5, 14}, "6.1.0-25-amd64": {6, 1}, "": {0, 0}} {
		if major, minor := release(s); major != want[0] || minor != want[1] {
			t.Errorf("%q: %d.%d", s, major, minor)
		}
	}
	got := fmt.Sprint(controllers("12:cpu,cpuacct:/a:b\n3:name=systemd:/\n0::/user.slice\nnonsense\n"))
	if want := "[{cpu,cpuacct cpu,cpuacct} {systemd none,name=systemd}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if f := DetectFacts(); f.LastCap < 40 {
		t.Errorf("%d capabilities; Linux 5.9 has 40", f.LastCap)
	}
}

// refusing is a filter: if the call is nr then errno 77 else allow.
func refusing(nr uint32) (out []byte) {
	for _, i := range []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: nr},
		{Code: unix.BPF_RET, K: 0x00050000 | 77}, {Code: unix.BPF_RET, K: 0x7fff0000}} {
		out = append(out, byte(i.Code), byte(i.Code>>8), i.Jt, i.Jf, byte(i.K), byte(i.K>>8), byte(i.K>>16), byte(i.K>>24))
	}
	return out
}

func TestSeccomp(t *testing.T) {
	needRoot(t)
	for _, nnp := range []bool{false, true} {
		for _, uid := range []uint32{0, 1000} {
			out := shell(t, "grep -E 'Seccomp|NoNew' /proc/self/status; hostname 2>&1 || true", func(r *Request) {
				r.Spec.Process.NoNewPrivileges, r.Spec.Process.User.UID = nnp, uid
				r.Seccomp = refusing(unix.SYS_UNAME)
			})
			expect(t, out, "Seccomp:\t2", map[bool]string{true: "NoNewPrivs:\t1", false: "NoNewPrivs:\t0"}[nnp])
			if strings.Contains(out, "davit-test") {
				t.Errorf("the filter does not hold:\n%s", out)
			}
		}
	}
	_, err := Start(&Request{Spec: dockerSpec("true"), Root: overlay(t, layer(t)), Seccomp: make([]byte, 8)})
	if err == nil || !strings.Contains(err.Error(), "loading the seccomp filter: invalid argument") {
		t.Errorf("got %v", err)
	}
}
