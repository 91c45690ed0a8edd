package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

func privateEngine(t *testing.T) *enginetest.Engine {
	t.Helper()
	return private.get(t)
}

// eachPrivate runs a test once for each command line of that engine.
func eachPrivate(t *testing.T, test func(t *testing.T, cli enginetest.CLI)) {
	t.Helper()
	for _, cli := range privateEngine(t).CLIs(t) {
		t.Run(cli.Name, func(t *testing.T) { test(t, cli) })
	}
}

const hostMap = "0 0 4294967295"

// words brings the columns of a proc file to one space.
func words(s string) string { return strings.Join(strings.Fields(s), " ") }

// rangeOf reads the first id of the host that a uid_map names.
func rangeOf(t *testing.T, text string) int {
	t.Helper()
	f := strings.Fields(text)
	if len(f) != 3 || f[0] != "0" || f[2] != "65536" {
		t.Fatalf("map %q, want one of 65536 ids from 0 on", text)
	}
	first, err := strconv.Atoi(f[1])
	if err != nil || first < 1<<16 {
		t.Fatalf("map %q", text)
	}
	return first
}

func owner(t *testing.T, path string) string {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d:%d", st.Uid, st.Gid)
}

// TestUserNS looks at a container from inside and at its files from outside.
func TestUserNS(t *testing.T) {
	eachPrivate(t, func(t *testing.T, cli enginetest.CLI) {
		n, other := name(t, cli), name(t, cli)+"-other"
		t.Cleanup(func() { cli.Run(t, "rm", "-f", other) })
		id := cli.OK(t, "run", "-d", "--init", "--name", n, "-u", "0", "busybox", "sh", "-c",
			"touch /made /made5; chown 5:6 /made5; echo 192.0.2.7 mine >>/etc/hosts; echo up >/dev/stdout; echo error >/dev/stderr; while :; do sleep 0.05; done")
		cli.OK(t, "run", "-d", "--init", "--name", other, "busybox", "sleep", "1000")
		waitLog(t, cli, n, "up")
		if mode := inspect(t, cli, n).HostConfig.UsernsMode; mode != "auto" {
			t.Errorf("inspect shows user namespace %q", mode)
		}
		if r := cli.Run(t, "run", "--rm", "-u", "1000", "busybox", "sh", "-c", "echo out >/dev/stdout; echo err >/dev/stderr"); r.Stdout != "out\n" || r.Stderr != "err\n" {
			t.Errorf("the streams opened anew by an ordinary user: %q %q", r.Stdout, r.Stderr)
		}
		look := func(n string) (uid, gid int) {
			pid := inspect(t, cli, n).State.Pid
			read := func(file string) string {
				b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
				if err != nil {
					t.Fatal(err)
				}
				return string(b)
			}
			return rangeOf(t, read("uid_map")), rangeOf(t, read("gid_map"))
		}
		uid, gid := look(n)
		if o := owner(t, fmt.Sprintf("/proc/%d", inspect(t, cli, n).State.Pid)); o != fmt.Sprintf("%d:%d", uid, gid) {
			t.Errorf("the container's first process runs as %s, want %d:%d", o, uid, gid)
		}
		if uid2, gid2 := look(other); uid2 == uid || gid2 == gid {
			t.Errorf("two containers share ids: %d %d, %d %d", uid, gid, uid2, gid2)
		}
		upper := filepath.Join(privateEngine(t).Data, "containers", id, "upper")
		for file, want := range map[string]string{"made": "0:0", "made5": "5:6", "../hosts": "0:0"} {
			if got := owner(t, filepath.Join(upper, file)); got != want {
				t.Errorf("%s on disk belongs to %s, want %s", file, got, want)
			}
		}
		inside := cli.OK(t, "run", "--rm", "--init", "busybox", "sh", "-c",
			"id -u; cat /proc/self/uid_map; stat -c %u:%g / /bin/busybox /etc/hosts /etc/resolv.conf /etc/hostname /dev/null; "+
				"ls /sys/class/net; ls /sys/fs/cgroup >/dev/null && echo cgroup; echo x >/dev/null && echo null; "+
				"su -s /bin/sh nobody -c 'id -u' 2>&1; hostname >/dev/null && ip -o addr show eth0 | grep -c inet")
		lines := strings.Split(inside, "\n")
		rangeOf(t, lines[1])
		if rest := words(strings.Join(lines[2:], " ")); lines[0] != "0" || !strings.HasPrefix(rest, "0:0 0:0 0:0 0:0 0:0 65534:65534 eth0 lo cgroup null ") || !strings.HasSuffix(rest, " 1") {
			t.Errorf("inside: %s", inside)
		}
	})
}

// noMqueue reports whether the host lacks what --ipc host shares.
func noMqueue() bool {
	_, err := os.Stat("/dev/mqueue")
	return err != nil
}

// TestUserNSHost: who asks for the host's user namespace, or for something else
// of the host's, gets it.
func TestUserNSHost(t *testing.T) {
	eachPrivate(t, func(t *testing.T, cli enginetest.CLI) {
		for _, args := range [][]string{{"--userns=host"}, {"--privileged"}, {"--network=host"}, {"--pid=host"}, {"--ipc=host"}} {
			if args[0] == "--ipc=host" && noMqueue() {
				continue
			}
			if got := words(cli.OK(t, append(append([]string{"run", "--rm"}, args...), "busybox", "cat", "/proc/self/uid_map")...)); got != hostMap {
				t.Errorf("%s: map %q", args[0], got)
			}
		}
		if out := cli.OK(t, "info", "--format", "{{.SecurityOptions}}"); !strings.Contains(out, "name=userns") {
			t.Errorf("info: %s", out)
		}
	})
}

// TestUserNSModes asks for user namespaces by --userns, which only Davit's own
// client passes on.
func TestUserNSModes(t *testing.T) {
	for kind, e := range map[string]*enginetest.Engine{"host by default": engine(t), "auto by default": privateEngine(t)} {
		t.Run(kind, func(t *testing.T) {
			cli := e.Davit()
			run := func(args ...string) string {
				t.Helper()
				return cli.OK(t, append([]string{"run", "--rm"}, args...)...)
			}
			for _, args := range [][]string{{}, {"--network=none"}, {"--network=host"}, {"--pid=host"}, {"--ipc=host"}, {"--cgroupns=host"}, {"--uts=host"},
				{"--read-only"}, {"--tmpfs=/t"}, {"--device=/dev/zero:/dev/nought"}, {"--cap-add=ALL"}, {"-u=1000:1000"}, {"-t"}, {"--security-opt=seccomp=unconfined"}} {
				if len(args) > 0 && args[0] == "--ipc=host" && noMqueue() {
					continue
				}
				rangeOf(t, run(append(append([]string{"--userns=auto"}, args...), "busybox", "cat", "/proc/self/uid_map")...))
			}
			rangeOf(t, run("--userns=private", "busybox", "cat", "/proc/self/uid_map"))
			cli.Fails(t, 125, "privileged mode is incompatible with user namespaces", "run", "--rm", "--userns=auto", "--privileged", "busybox", "true")
			cli.Fails(t, 125, "--userns: invalid USER mode", "run", "--rm", "--userns=keep-id", "busybox", "true")
			cli.Fails(t, 125, "No such container: nobody", "run", "--rm", "--userns=container:nobody", "busybox", "true")

			n := name(t, cli)
			cli.OK(t, "run", "-d", "--init", "--userns=auto", "--name", n, "busybox", "sleep", "1000")
			theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", inspect(t, cli, n).State.Pid))
			if err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"--userns=container:" + n}, {"--userns=container:" + n, "--network=none"}, {"--userns=container:" + n, "--network=container:" + n}} {
				if got := run(append(args, "busybox", "sh", "-c", "ls /sys/class/net >/dev/null && readlink /proc/self/ns/user")...); got != theirs {
					t.Errorf("%q: user namespace %s, want %s", args, got, theirs)
				}
			}
			cli.Fails(t, 125, "leave --userns out, or use --userns container:"+inspect(t, cli, n).ID, "run", "--rm", "--userns=auto", "--network=container:"+n, "busybox", "true")
			if kind == "auto by default" { // who shares a namespace shares this one
				for _, args := range []string{"--network=container:" + n, "--pid=container:" + n} {
					if got := run(args, "busybox", "readlink", "/proc/self/ns/user"); got != theirs {
						t.Errorf("%s: user namespace %s, want %s", args, got, theirs)
					}
				}
			}
			// Ids are in use as long as anybody lives with them.
			heir := n + "-heir"
			t.Cleanup(func() { cli.Run(t, "rm", "-f", heir) })
			cli.OK(t, "run", "-d", "--init", "--userns=container:"+n, "--name", heir, "busybox", "sleep", "1000")
			cli.OK(t, "rm", "-f", n)
			cli.Fails(t, 1, "No such container: "+n, "restart", "-t", "0", heir)
			cli.OK(t, "run", "-d", "--init", "--userns=auto", "--name", n, "busybox", "sleep", "1000")
			cli.OK(t, "restart", "-t", "0", heir)
			cli.OK(t, "kill", n)
			cli.Fails(t, 125, "cannot join namespace of a non running container", "run", "--rm", "--userns=container:"+n, "busybox", "true")
		})
	}
}

// TestUserNSBinds: in bind mounts owners are as on disk, unless noidmap says
// that they are the host's.
func TestUserNSBinds(t *testing.T) {
	eachPrivate(t, func(t *testing.T, cli enginetest.CLI) {
		dir := t.TempDir()
		for file, uid := range map[string]int{"root": 0, "user": 1000} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(file), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(filepath.Join(dir, file), uid, uid); err != nil {
				t.Fatal(err)
			}
		}
		script := "cd /d; stat -c %u:%g root user; cat root user; touch new && chown 7:8 new; id -u"
		if out := words(cli.OK(t, "run", "--rm", "-v", dir+":/d", "busybox", "sh", "-c", script)); out != "0:0 1000:1000 rootuser0" {
			t.Errorf("inside: %q", out)
		}
		if got := owner(t, filepath.Join(dir, "new")); got != "7:8" {
			t.Errorf("what the container made belongs to %s, want 7:8", got)
		}
		if out := words(cli.OK(t, "run", "--rm", "--mount", "type=bind,source="+dir+",target=/d,readonly", "busybox", "stat", "-c", "%u:%g", "/d/root")); out != "0:0" {
			t.Errorf("--mount: %q", out)
		}
		if out := words(cli.OK(t, "run", "--rm", "-v", dir+":/d:noidmap", "busybox", "sh", "-c", "cd /d; stat -c %u:%g root; cat root 2>&1; touch no 2>&1; true")); out !=
			"65534:65534 cat: can't open 'root': Permission denied touch: no: Permission denied" {
			t.Errorf("noidmap: %q", out)
		}
		if out := cli.OK(t, "run", "--rm", "--mount", "type=bind,source="+dir+",target=/d,consistency=noidmap", "busybox", "stat", "-c", "%u:%g", "/d/root"); out != "65534:65534" {
			t.Errorf("--mount with noidmap: %q", out)
		}
		// Two containers with different ids share a directory.
		cli.OK(t, "run", "--rm", "-v", dir+":/d", "busybox", "sh", "-c", "echo one >/d/shared; chmod 600 /d/shared")
		if out := cli.OK(t, "run", "--rm", "-v", dir+":/d", "busybox", "cat", "/d/shared"); out != "one" {
			t.Errorf("shared: %q", out)
		}
		// A file system that cannot map owners is mounted as it is, unless asked for.
		if out := cli.OK(t, "run", "--rm", "-v", "/sys/kernel:/k:ro", "busybox", "stat", "-c", "%u", "/k"); out != "65534" {
			t.Errorf("/sys/kernel belongs to %s, want nobody", out)
		}
		cli.Fails(t, 125, "its file system, or one below it, knows no mapped owners", "run", "--rm", "-v", "/sys/kernel:/k:ro,idmap", "busybox", "true")
		cli.Fails(t, 125, "invalid mode", "run", "--rm", "-v", dir+":/d:idmap,noidmap", "busybox", "true")
		// In the host's user namespace the options mean nothing.
		if out := cli.OK(t, "run", "--rm", "--userns=host", "-v", dir+":/d:noidmap", "busybox", "stat", "-c", "%u", "/d/root"); out != "0" {
			t.Errorf("host: %q", out)
		}
	})
}

// TestUserNSLast: a container keeps its ids when it is started again and when
// the engine is, killed or not; those of containers that are gone are free.
func TestUserNSLast(t *testing.T) {
	e := enginetest.Start(t, enginetest.Config{Args: []string{"--default-userns", "auto"}})
	e.Busybox(t)
	cli := e.Davit()
	ids := func(n string) int {
		t.Helper()
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/uid_map", inspect(t, cli, n).State.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return rangeOf(t, string(b))
	}
	seen := map[int]string{}
	start := func(n string) {
		t.Helper()
		cli.OK(t, "run", "-d", "--init", "--name", n, "busybox", "sh", "-c", "cat /kept 2>/dev/null; touch /kept; chmod 600 /kept; while :; do sleep 0.05; done")
		i := ids(n)
		if seen[i] != "" {
			t.Errorf("%s got the ids of %s", n, seen[i])
		}
		seen[i] = n
	}
	start("runs")
	start("stopped")
	runs, stopped := ids("runs"), ids("stopped")
	cli.OK(t, "stop", "stopped")
	cli.OK(t, "create", "--name", "created", "busybox", "sleep", "1000")
	e.Kill(t)
	e.Restart(t)
	start("new")
	if got := ids("runs"); got != runs {
		t.Errorf("a running container had ids from %d on, then from %d", runs, got)
	}
	cli.OK(t, "start", "stopped")
	if got := ids("stopped"); got != stopped {
		t.Errorf("a stopped container had ids from %d on, then from %d", stopped, got)
	}
	cli.OK(t, "start", "created")
	if i := ids("created"); seen[i] != "" {
		t.Errorf("created got the ids of %s", seen[i])
	}
	cli.OK(t, "restart", "-t", "0", "runs")
	if got := ids("runs"); got != runs {
		t.Errorf("a restarted container had ids from %d on, then from %d", runs, got)
	}
	// An engine that no longer wants user namespaces changes nothing for those that have one.
	cli.OK(t, "stop", "runs")
	e.Stop(t)
	again, err := enginetest.New(e.Bin, enginetest.Config{Root: e.Root, Args: []string{"--default-userns", "host"}})
	if err != nil {
		t.Fatal(err)
	}
	cli.OK(t, "start", "runs")
	if got := ids("runs"); got != runs {
		t.Errorf("with another default, ids from %d on, then from %d", runs, got)
	}
	for _, left := range again.Close() {
		t.Errorf("left behind: %s", left)
	}
}

// TestUserNSGranted: ranges come from /etc/subuid where it has lines for them,
// running out is an error that says so, and a removed container's is free.
func TestUserNSGranted(t *testing.T) {
	e := enginetest.Start(t, enginetest.Config{Etc: map[string]string{"subuid": "davit:7000000:65536\n", "subgid": "davit:8000000:65600\n"}})
	e.Busybox(t)
	cli := e.Davit()
	n := name(t, cli)
	cli.OK(t, "create", "--name", n, "--userns=auto", "busybox", "cat", "/proc/self/uid_map", "/proc/self/gid_map")
	cli.Fails(t, 1, "no range of 65536 ids is left for another user namespace (1 exist, in /etc/subuid and subgid)", "create", "--userns=auto", "busybox", "true")
	if out := words(cli.OK(t, "start", "-a", n)); out != "0 7000000 65536 0 8000000 65536" {
		t.Errorf("maps: %s", out)
	}
	cli.OK(t, "rm", n)
	enginetest.Eventually(t, 10*time.Second, func() error {
		if r := cli.Run(t, "run", "--rm", "--userns=auto", "busybox", "true"); r.Code != 0 {
			return fmt.Errorf("after a removal: %s", r.Stderr)
		}
		return nil
	})
}

// TestUserNSRemap is Docker's userns-remap: every container has the ids of one
// user, and bind mounts show the host's.
func TestUserNSRemap(t *testing.T) {
	e := enginetest.Start(t, enginetest.Config{
		Args: []string{"--userns-remap", "default", "--default-userns", "host"},
		Etc:  map[string]string{"subuid": "dockremap:7100000:65536\n", "subgid": "dockremap:7200000:65536\n"},
	})
	e.Busybox(t)
	for _, cli := range e.CLIs(t) {
		t.Run(cli.Name, func(t *testing.T) {
			for range 2 {
				if out := words(cli.OK(t, "run", "--rm", "busybox", "cat", "/proc/self/uid_map", "/proc/self/gid_map")); out != "0 7100000 65536 0 7200000 65536" {
					t.Errorf("maps: %s", out)
				}
			}
			if out := words(cli.OK(t, "run", "--rm", "--userns=host", "--privileged", "busybox", "cat", "/proc/self/uid_map")); out != hostMap {
				t.Errorf("--userns host: %s", out)
			}
			const docker = "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode"
			cli.Fails(t, 125, docker, "run", "--rm", "--privileged", "busybox", "true")
			cli.Fails(t, 125, "cannot share the host's network namespace when user namespaces are enabled", "run", "--rm", "--network=host", "busybox", "true")
			cli.Fails(t, 125, "cannot share the host PID namespace when user namespaces are enabled", "run", "--rm", "--pid=host", "busybox", "true")
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if out := cli.OK(t, "run", "--rm", "-v", dir+":/d", "busybox", "sh", "-c", "stat -c %u /d; touch /d/x 2>/dev/null || echo denied"); words(out) != "65534 denied" {
				t.Errorf("a directory of the host's root: %q", out)
			}
			cli.OK(t, "run", "--rm", "-v", dir+"/sub:/d", "busybox", "touch", "/d/x")
			if got := owner(t, filepath.Join(dir, "sub", "x")); got != "7100000:7200000" {
				t.Errorf("what the container made in a directory made for it belongs to %s", got)
			}
			if out := cli.OK(t, "info", "--format", "{{.SecurityOptions}}"); !strings.Contains(out, "name=userns") {
				t.Errorf("info: %s", out)
			}
		})
	}
}
