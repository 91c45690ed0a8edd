package spawn

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/davit-engine/davit/runtime/namespace"
	"github.com/davit-engine/davit/runtime/program"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// mapTo maps the container's ids to those from first on.
func mapTo(first uint32) []specs.LinuxIDMapping {
	return []specs.LinuxIDMapping{{ContainerID: 0, HostID: first, Size: 65536}}
}

// inUsers gives a container a user namespace, with files that are idmapped.
func inUsers(r *Request) {
	l := r.Spec.Linux
	l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	l.UIDMappings, l.GIDMappings = mapTo(100000), mapTo(200000)
	r.Root.IDMap = true
	delete(l.Sysctl, "net.ipv4.ping_group_range") // its groups must be mapped
}

// giveAway shifts the owners of a tree into the container's ids.
func giveAway(t *testing.T, dir string) {
	t.Helper()
	must(t, filepath.Walk(dir, func(name string, info os.FileInfo, err error) error {
		if err != nil || info.Mode()&os.ModeDevice != 0 {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		if err := os.Lchown(name, 100000+int(st.Uid), 200000+int(st.Gid)); err != nil {
			return err
		}
		if info.Mode()&os.ModeSticky != 0 {
			return os.Chmod(name, info.Mode())
		}
		return nil
	}))
}

func owner(t *testing.T, name string) string {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(name, &st))
	return fmt.Sprintf("%d:%d", st.Uid, st.Gid)
}

func TestUserNamespace(t *testing.T) {
	needRoot(t)
	legacy := DetectFacts()
	legacy.OverlayFD, legacy.DetachedLayers = false, false
	given, err := namespace.User(mapTo(100000), mapTo(200000))
	must(t, err)
	defer given.Close()
	for _, c := range []struct {
		name   string
		change func(*Request)
	}{
		{"from the spec", func(*Request) {}},
		{"given", func(r *Request) { r.UserNS = given }},
		{"layers by path", func(r *Request) { r.Facts = &legacy }},
		{"given, layers by path, not idmapped", func(r *Request) {
			r.UserNS, r.Facts, r.Root.IDMap = given, &legacy, false
			for _, dir := range append([]string{r.Root.Overlay.Upper, r.Root.Overlay.Work}, r.Root.Overlay.Lower...) {
				giveAway(t, dir)
			}
		}},
		{"held", func(r *Request) {
			r.Created = func(pid int) error {
				if m := strings.Fields(read(t, fmt.Sprintf("/proc/%d/uid_map", pid))); len(m) < 2 || m[1] != "100000" {
					t.Errorf("uid_map of %d is %q", pid, m)
				}
				return nil
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := layer(t)
			must(t, os.WriteFile(filepath.Join(dir, "etc/five"), []byte("5\n"), 0o640))
			must(t, os.Chown(filepath.Join(dir, "etc/five"), 5, 6))
			must(t, os.WriteFile(filepath.Join(dir, "etc/gone"), nil, 0o644))
			top := t.TempDir() // a layer that removes a file and replaces a directory
			must(t, os.Mkdir(filepath.Join(top, "etc"), 0o755))
			must(t, unix.Mknod(filepath.Join(top, "etc/gone"), unix.S_IFCHR, 0))
			must(t, os.Mkdir(filepath.Join(top, "tmp"), 0o1777))
			must(t, unix.Setxattr(filepath.Join(top, "tmp"), "trusted.overlay.opaque", []byte("y"), 0))
			must(t, os.WriteFile(filepath.Join(dir, "tmp/covered"), nil, 0o644))
			r := &Request{Spec: dockerSpec("sh", "-c", `cat /proc/self/uid_map /proc/self/gid_map; id
				stat -c '%n %u:%g' /etc/five / /bin/busybox /proc/self/uid_map
				cat /etc/five; echo more >>/etc/five; ls /etc/gone /tmp 2>&1
				echo new >/new; mkdir /d; touch /d/f; chown 7:8 /new /d; rm /bin/ls
				echo x >/dev/null && echo null is there; head -c 3 /dev/zero | wc -c
				ls -l /dev/full /dev/tty; grep -E 'CapEff|NoNew|Seccomp:' /proc/self/status
				for d in /proc /sys /sys/fs/cgroup /dev/mqueue /dev/pts /dev/shm; do grep " $d " /proc/self/mountinfo || echo $d is missing; done
				cat /proc/sys/kernel/shmmni /proc/sys/net/ipv4/ip_default_ttl; cat /proc/self/oom_score_adj; ulimit -H -n
				true`),
				Root: overlay(t, top, dir)}
			inUsers(r)
			c.change(r)
			r.Spec.Linux.Sysctl["kernel.shmmni"], r.Spec.Linux.Sysctl["net.ipv4.ip_default_ttl"] = "77", "88"
			adj := 100
			r.Spec.Process.OOMScoreAdj = &adj
			out := mustRun(t, r)
			expect(t, out, " 0     100000      65536\n", " 0     200000      65536\n", "uid=0 gid=0", "/etc/five 5:6\n/ 0:0\n/bin/busybox 0:0\n",
				"5\nls: /etc/gone: No such file or directory\n/tmp:\nnull is there\n3\n", "  1,   7 ", "CapEff:\t00000000a80425fb\n", "77\n88\n100\n")
			if strings.Contains(out, "is missing") {
				t.Error(out)
			}
			upper := r.Root.Overlay.Upper
			for name, want := range map[string]string{"new": "7:8", "d": "7:8", "d/f": "0:0", "etc/five": "5:6", "bin/ls": "0:0"} {
				if !r.Root.IDMap && name != "bin/ls" {
					var uid, gid int
					_, err := fmt.Sscanf(want, "%d:%d", &uid, &gid)
					must(t, err)
					want = fmt.Sprintf("%d:%d", 100000+uid, 200000+gid)
				}
				if got := owner(t, filepath.Join(upper, name)); got != want {
					t.Errorf("%s has owner %s on disk, want %s", name, got, want)
				}
			}
			if got := owner(t, filepath.Join(dir, "etc/five")); r.Root.IDMap && got != "5:6" {
				t.Errorf("the layer was changed: %s", got)
			}
		})
	}
}

// TestUserNamespaceManyLayers has more layers than the names of fit an option
// of the new mount interface.
func TestUserNamespaceManyLayers(t *testing.T) {
	needRoot(t)
	dir := layer(t)
	legacy := DetectFacts()
	legacy.OverlayFD, legacy.DetachedLayers = false, false
	var lower []string
	for i := range 110 {
		lower = append(lower, t.TempDir())
		must(t, os.WriteFile(filepath.Join(lower[i], fmt.Sprintf("file%d", i)), nil, 0o644))
	}
	// One layer on a mount of its own, which hides another one, and one behind a link.
	other, link := lower[50], filepath.Join(t.TempDir(), "link")
	if tmpfsIDMaps(t) { // and so on another mount than the rest
		must(t, unix.Mount("tmpfs", other, "tmpfs", 0, "size=64k"))
		t.Cleanup(func() { must(t, unix.Unmount(other, unix.MNT_DETACH)) })
	}
	must(t, os.WriteFile(filepath.Join(other, "file50"), nil, 0o644))
	must(t, os.Symlink(lower[60], link))
	lower[60] = link
	for name, facts := range map[string]*program.Facts{"by descriptor": nil, "by path": &legacy} {
		t.Run(name, func(t *testing.T) {
			r := &Request{Spec: dockerSpec("sh", "-c", "ls -d /file* | wc -l; touch /made; stat -c %u /file109 /file50 /file60 /made"), Root: overlay(t, append(lower, dir)...), Facts: facts}
			inUsers(r)
			if out := mustRun(t, r); out != "110\n0\n0\n0\n0\n" {
				t.Errorf("got %q", out)
			}
		})
	}
}

// TestUserNamespaceOnManyMounts has each layer on a mount of its own, below one
// that cannot be idmapped.
func TestUserNamespaceOnManyMounts(t *testing.T) {
	needRoot(t)
	if !tmpfsIDMaps(t) {
		t.Skip("a tmpfs cannot be idmapped before Linux 6.3")
	}
	base := t.TempDir()
	mount := func(dir, fstype string) {
		must(t, os.MkdirAll(dir, 0o755))
		must(t, unix.Mount(fstype, dir, fstype, 0, ""))
		t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	}
	mount(base, "ramfs")
	for _, name := range []string{"a", "b", "c"} {
		mount(filepath.Join(base, name), "tmpfs")
	}
	must(t, exec.Command("cp", "-a", layer(t)+"/.", filepath.Join(base, "a")).Run())
	o := &program.Overlay{Lower: []string{filepath.Join(base, "b"), filepath.Join(base, "a")}, Upper: filepath.Join(base, "c/upper"), Work: filepath.Join(base, "c/work")}
	must(t, os.Mkdir(o.Upper, 0o755))
	must(t, os.Mkdir(o.Work, 0o755))
	r := &Request{Spec: dockerSpec("sh", "-c", "touch /made; stat -c %u /made /bin/busybox"), Root: program.Root{Overlay: o}}
	inUsers(r)
	if out := mustRun(t, r); out != "0\n0\n" {
		t.Errorf("got %q", out)
	}
}

func TestUserNamespaceOverDirectory(t *testing.T) {
	needRoot(t)
	for _, idmapped := range []bool{true, false} {
		dir := layer(t)
		if !idmapped { // as OCI bundles have it: owned by the ids of the host
			giveAway(t, dir)
		}
		shared(t, dir)
		r := &Request{Spec: dockerSpec("sh", "-c", "stat -c '%u:%g' /bin/busybox; touch /made; cat /proc/self/mountinfo"), Root: program.Root{Dir: dir}}
		inUsers(r)
		r.Root.IDMap = idmapped
		expect(t, mustRun(t, r), "0:0\n")
		want := map[bool]string{true: "0:0", false: "100000:200000"}[idmapped]
		if got := owner(t, filepath.Join(dir, "made")); got != want {
			t.Errorf("idmapped %v: the owner is %s on disk, want %s", idmapped, got, want)
		}
	}
}

// TestUserNamespaceInSandbox joins a network namespace that the host owns.
func TestUserNamespaceInSandbox(t *testing.T) {
	needRoot(t)
	made := make(chan *os.File)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends
		var f *os.File
		if err := unix.Unshare(unix.CLONE_NEWNET); err == nil {
			f, _ = os.Open("/proc/thread-self/ns/net")
		}
		made <- f
	}()
	netns := <-made
	if netns == nil {
		t.Fatal("no network namespace")
	}
	defer netns.Close()
	r := &Request{Spec: dockerSpec("sh", "-c", "readlink /proc/self/ns/net; cat /proc/sys/net/ipv4/ping_group_range; ls /sys/class/net; touch /sys/x 2>&1 | grep -o Read-only; true"),
		Root: overlay(t, layer(t)), NetNS: netns}
	inUsers(r)
	r.Spec.Linux.Sysctl["net.ipv4.ping_group_range"] = "0 2147483647"
	var st unix.Stat_t
	must(t, unix.Fstat(int(netns.Fd()), &st))
	// The parameter's numbers are those of the host, and none of the container's.
	expect(t, mustRun(t, r), fmt.Sprintf("net:[%d]\n", st.Ino), "65534\t65534\n", "lo\n", "Read-only\n")
}

func TestUserNamespaceOfHost(t *testing.T) {
	needRoot(t)
	// Namespaces of the host, but for those that a container always has.
	r := &Request{Spec: dockerSpec("sh", "-c", "for n in pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done; cat /proc/self/uid_map; ls /sys/class/net /proc/1/comm; mount"), Root: overlay(t, layer(t))}
	inUsers(r)
	r.Spec.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.UserNamespace}}
	r.Spec.Hostname, r.Spec.Linux.Sysctl = "", nil
	want := []string{" 100000 ", "lo\n", "/proc/1/comm\n", " on /sys/fs/cgroup"}
	for _, n := range []string{"pid", "net", "ipc", "uts", "cgroup"} {
		want = append(want, readlink(t, "/proc/self/ns/"+n)+"\n")
	}
	expect(t, mustRun(t, r), want...)
}

func TestUserNamespaceJoined(t *testing.T) {
	needRoot(t)
	dir := layer(t)
	first := &Request{Spec: dockerSpec("sleep", "60"), Root: overlay(t, dir)}
	inUsers(first)
	p, err := Start(first)
	must(t, err)
	defer func() {
		must(t, unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0))
		_, err := p.Wait()
		must(t, err)
		p.PidFD.Close()
	}()
	r := &Request{Spec: dockerSpec("sh", "-c", "ps; for n in user pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done"), Root: overlay(t, dir)}
	inUsers(r) // the maps are those of the namespace, and needed for the root
	r.Spec.Hostname = ""
	want := []string{"sleep 60"}
	for i := range r.Spec.Linux.Namespaces {
		n := &r.Spec.Linux.Namespaces[i]
		name := string(n.Type)
		switch n.Type {
		case specs.MountNamespace:
			continue
		case specs.NetworkNamespace:
			name = "net"
		}
		n.Path = fmt.Sprintf("/proc/%d/ns/%s", p.Pid, name)
		want = append(want, readlink(t, n.Path)+"\n")
	}
	expect(t, mustRun(t, r), want...)
}

func TestUserNamespaceTerminal(t *testing.T) {
	needRoot(t)
	r := &Request{Spec: dockerSpec("sh", "-c", "tty; stat -c '%u %g' /dev/pts/0; ls -l /dev/console"), Root: overlay(t, layer(t)), Hold: fifo(t)}
	inUsers(r)
	r.Spec.Process.Terminal, r.Spec.Process.User.UID = true, 1000
	p, err := Start(r)
	must(t, err)
	_, err = r.Hold.Write([]byte{0})
	must(t, err)
	var out strings.Builder
	_, _ = io.Copy(&out, p.Console)
	p.Console.Close()
	_, err = p.Wait()
	must(t, err)
	p.PidFD.Close()
	expect(t, out.String(), "/dev/pts/0", "1000 5", "136,   0")
}

func TestUserNamespaceFails(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		change func(*Request)
		text   string
	}{
		{process(func(p *specs.Process) { p.User.UID = 70000 }), "changing to user 70000:0: setuid: invalid argument"},
		{spec(func(s *specs.Spec) {
			s.Linux.Devices = append(s.Linux.Devices, specs.LinuxDevice{Path: "/dev/ptmx", Type: "c", Major: 1, Minor: 3})
		}), "creating device /dev/ptmx: verifying the host's: no such device"},
		{process(func(p *specs.Process) { p.Args = []string{"foo"} }), `exec: "foo": executable file not found in $PATH`},
		{func(r *Request) { r.Root.Overlay.Lower[0] = "/no/such/layer" }, "mounting the root filesystem: opening /no/such/layer: no such file or directory"},
		{spec(func(s *specs.Spec) { s.Linux.UIDMappings = append(s.Linux.UIDMappings, s.Linux.UIDMappings...) }), "making a user namespace: writing uid_map (0 100000 65536, 0 100000 65536): invalid argument"},
		{spec(func(s *specs.Spec) {
			n := s.Linux.Namespaces
			n[len(n)-1].Path = "/no/such/ns"
		}), "joining the user namespace /no/such/ns: opening /no/such/ns: no such file or directory"},
	} {
		r := &Request{Spec: dockerSpec("true"), Root: overlay(t, layer(t))}
		inUsers(r)
		c.change(r)
		if _, err := Start(r); err == nil || err.Error() != c.text {
			t.Errorf("got %v, want %s", err, c.text)
		}
	}
	if _, err := namespace.User(nil, []specs.LinuxIDMapping{{Size: 0}}); err == nil {
		t.Error("an empty map is accepted")
	}
}

func TestIDMappedBind(t *testing.T) {
	needRoot(t)
	src := t.TempDir()
	must(t, os.WriteFile(filepath.Join(src, "file"), nil, 0o644))
	must(t, os.Chown(filepath.Join(src, "file"), 1000, 1001))
	mount := func(options string, uids, gids []specs.LinuxIDMapping) func(*Request) {
		return spec(func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Type: "bind", Source: src, Destination: "/v", Options: strings.Split(options, ","), UIDMappings: uids, GIDMappings: gids})
		})
	}
	one := func(container, host uint32) []specs.LinuxIDMapping {
		return []specs.LinuxIDMapping{{ContainerID: container, HostID: host, Size: 1}}
	}
	for _, c := range []struct {
		name   string
		users  bool
		change func(*Request)
		want   string
	}{
		{"not mapped", true, mount("rbind", nil, nil), "65534:65534"},
		{"the container's maps", true, mount("rbind,idmap", nil, nil), "1000:1001"},
		{"own maps in a user namespace", true, mount("rbind,ridmap", one(1000, 100007), one(1001, 200008)), "7:8"},
		{"own maps", false, mount("bind", one(1000, 7), one(1001, 8)), "7:8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &Request{Spec: dockerSpec("stat", "-c", "%u:%g", "/v/file"), Root: overlay(t, layer(t))}
			if c.users {
				inUsers(r)
			}
			c.change(r)
			if got := strings.TrimSpace(mustRun(t, r)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestTimeNamespace(t *testing.T) {
	needRoot(t)
	dir := layer(t)
	for _, users := range []bool{false, true} {
		r := &Request{Spec: dockerSpec("sh", "-c", "echo $$; cat /proc/uptime; readlink /proc/self/ns/time; sleep 60"), Root: overlay(t, dir)}
		if users {
			inUsers(r)
		}
		r.Spec.Linux.Namespaces = append(r.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		r.Spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1e8}, "monotonic": {Secs: 1000, Nanosecs: 1}}
		pr, pw, err := os.Pipe()
		must(t, err)
		r.Stdout = pw
		p, err := Start(r)
		pw.Close()
		must(t, err)
		look := func(from io.Reader) string {
			var pid, ns string
			var uptime, idle float64
			_, err = fmt.Fscan(from, &pid, &uptime, &idle, &ns)
			must(t, err)
			if uptime < 1e8 || uptime > 2e8 {
				t.Errorf("it is up for %f s", uptime)
			}
			return pid + " " + ns
		}
		got := look(pr)
		if want := "1 " + readlink(t, fmt.Sprintf("/proc/%d/ns/time", p.Pid)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		j := &Request{Spec: dockerSpec("sh", "-c", "echo $$; cat /proc/uptime; readlink /proc/self/ns/time"), Root: overlay(t, dir)}
		j.Spec.Linux.Namespaces = append(j.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace, Path: fmt.Sprintf("/proc/%d/ns/time", p.Pid)})
		if joined := look(strings.NewReader(mustRun(t, j))); joined != got {
			t.Errorf("joined: got %q, want %q", joined, got)
		}
		must(t, unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0))
		_, err = p.Wait()
		must(t, err)
		p.PidFD.Close()
		pr.Close()
	}
}

// TestStreamsOfUserNamespace has a container open its output by name, which
// takes that it is its own.
func TestStreamsOfUserNamespace(t *testing.T) {
	needRoot(t)
	dir := layer(t)
	const script = "echo start >/dev/stdout"
	for _, uid := range []uint32{0, 1000} {
		r := &Request{Spec: dockerSpec("sh", "-c", script), Root: overlay(t, dir)}
		inUsers(r)
		r.Spec.Process.User.UID, r.Spec.Process.Capabilities = uid, nil
		if out := mustRun(t, r); out != "start\n" {
			t.Errorf("as %d: %q", uid, out)
		}
	}
	first := &Request{Spec: dockerSpec("sleep", "60"), Root: overlay(t, dir)}
	inUsers(first)
	p, err := Start(first)
	must(t, err)
	defer func() {
		must(t, unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0))
		_, err := p.Wait()
		must(t, err)
		p.PidFD.Close()
	}()
	pr, pw, err := os.Pipe()
	must(t, err)
	defer pr.Close()
	process := dockerSpec("sh", "-c", script).Process
	process.Capabilities = nil
	e, err := Exec(&ExecRequest{PidFD: p.PidFD, Pid: p.Pid, Process: process, Stdout: pw, Stderr: pw})
	pw.Close()
	must(t, err)
	out, err := io.ReadAll(pr)
	must(t, err)
	if _, err := e.Wait(); err != nil || string(out) != "start\n" {
		t.Errorf("exec: %v, %q", err, out)
	}
	e.PidFD.Close()
}

// TestInsideUserNamespace starts a container as root of a user namespace, as
// rootless engines do.
func TestInsideUserNamespace(t *testing.T) {
	needRoot(t)
	if dir := os.Getenv("DAVIT_SPAWN_ROOTLESS"); dir != "" {
		r := &Request{Spec: dockerSpec("sh", "-c", "id; cat /proc/self/oom_score_adj; echo x >/dev/null && echo null is there; hostname; cat /proc/self/uid_map"), Root: program.Root{Dir: dir}}
		adj := -900
		r.Spec.Process.OOMScoreAdj = &adj
		delete(r.Spec.Linux.Sysctl, "net.ipv4.ping_group_range")
		os.Stdout.WriteString(mustRun(t, r))
		return
	}
	dir := layer(t)
	giveAway(t, dir)
	for d := filepath.Dir(dir); d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		must(t, os.Chmod(d, 0o755)) // so that others get through
	}
	c := exec.Command("/proc/self/exe", "-test.run=^TestInsideUserNamespace$")
	c.Env = append(os.Environ(), "DAVIT_SPAWN_ROOTLESS="+dir)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, GidMappingsEnableSetgroups: true,
		UidMappings: []syscall.SysProcIDMap{{HostID: 100000, Size: 65536}}, GidMappings: []syscall.SysProcIDMap{{HostID: 200000, Size: 65536}},
		Credential: &syscall.Credential{}}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	expect(t, string(out), "uid=0 gid=0", "null is there\ndavit-test\n", " 100000 ")
}

// TestRootless has an ordinary user start a container.
func TestRootless(t *testing.T) {
	needRoot(t)
	const uid, gid = 12345, 12346
	if dir := os.Getenv("DAVIT_SPAWN_ROOTLESS"); dir != "" {
		os.Stdout.WriteString(rootless(t, dir))
		return
	}
	dir, err := os.MkdirTemp("", "davit-rootless") // t.TempDir is closed to others
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, exec.Command("cp", "-a", layer(t), dir+"/root").Run())
	must(t, os.MkdirAll(dir+"/src", 0o755))
	must(t, os.WriteFile(dir+"/src/file", []byte("bound\n"), 0o644))
	must(t, exec.Command("chown", "-R", fmt.Sprintf("%d:%d", uid, gid), dir).Run())
	self, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	must(t, os.WriteFile(dir+"/test", self, 0o755))
	c := exec.Command(dir+"/test", "-test.run=^TestRootless$")
	c.Dir = dir
	c.Env = append(os.Environ(), "DAVIT_SPAWN_ROOTLESS="+dir, "TMPDIR="+dir)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	expect(t, string(out), "uid=0 gid=0", strconv.Itoa(uid), "bound\n", "null is there\n", "1: sleeps\n", "Read-only file system", "exec:\nuid=0 gid=0", "CapEff:\t00000000a80425fb", "/dev/pts/0")
	if got := owner(t, dir+"/root/made"); got != fmt.Sprintf("%d:%d", uid, gid) {
		t.Errorf("the file's owner is %s", got)
	}
}

func rootless(t *testing.T, dir string) string {
	if os.Geteuid() == 0 {
		t.Fatal("not as root")
	}
	r := &Request{Spec: dockerSpec("sh", "-c", `id; cat /proc/self/uid_map /proc/self/setgroups; cat /v/file; touch /made
		echo x >/dev/null && echo null is there; hostname x 2>&1; ls -l /dev; echo 1: sleeps; touch /v/file 2>&1; mount`),
		Root: program.Root{Dir: dir + "/root"}}
	r.Spec.Linux.Namespaces = append(r.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	r.Spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(os.Geteuid()), Size: 1}}
	r.Spec.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(os.Getegid()), Size: 1}}
	r.Spec.Mounts = append(r.Spec.Mounts, specs.Mount{Type: "bind", Source: dir + "/src", Destination: "/v", Options: []string{"rbind", "ro"}})
	r.Spec.Linux.Namespaces = append(r.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
	r.Spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1e8}}
	adj := -900 // more than one can have, which is no error here
	r.Spec.Process.OOMScoreAdj = &adj
	delete(r.Spec.Linux.Sysctl, "net.ipv4.ping_group_range")
	out := mustRun(t, r)

	r.Spec.Process.Args = []string{"sleep", "600"}
	r.Stdout, r.Stderr = nil, nil
	p, err := Start(r)
	must(t, err)
	defer func() {
		must(t, unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0))
		_, err := p.Wait()
		must(t, err)
		p.PidFD.Close()
	}()
	out += mustExec(t, p, "echo exec:; id; cat /proc/self/uid_map; cat /proc/uptime; cat /v/file; grep CapEff /proc/self/status")
	e := execIn(p, "tty")
	e.Process.Terminal = true
	q, err := Exec(e)
	must(t, err)
	defer q.PidFD.Close()
	defer q.Console.Close()
	line, err := bufio.NewReader(q.Console).ReadString('\n')
	must(t, err)
	_, err = q.Wait()
	must(t, err)
	return out + line
}
