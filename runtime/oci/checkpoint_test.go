package oci

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// newCriuHost is a host whose kernel and criu know each other.
func newCriuHost(t *testing.T) *host {
	t.Helper()
	if _, err := exec.LookPath("criu"); err != nil {
		t.Skip("needs criu")
	}
	h := newHost(t)
	if out, err := exec.CommandContext(within(t), "criu", "check").CombinedOutput(); err != nil {
		said := strings.Split(strings.TrimSpace(string(out)), "\n")
		t.Skipf("criu check: %v: %s", err, said[len(said)-1])
	}
	h.spec.Root.Readonly = false
	return h
}

// images is a new directory for criu's files.
func (h *host) images() string {
	h.Helper()
	return filepath.Join(h.TempDir(), "images")
}

// counts has the container count in a file of its root filesystem.
func (h *host) counts() {
	h.command("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i >/count; sleep 0.05; done")
}

func (h *host) count() int {
	b, err := os.ReadFile(filepath.Join(h.bundle, "rootfs", "count"))
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0 // it is being written
	}
	return n
}

// wantCounting waits until the container has counted on, to more than n.
func (h *host) wantCounting(n int) {
	h.Helper()
	h.poll(func() error {
		if now := h.count(); now <= n {
			return fmt.Errorf("the container has counted to %d, after %d", now, n)
		}
		return nil
	})
}

func (h *host) view(id string) view {
	h.Helper()
	var v view
	if err := json.Unmarshal([]byte(h.ok("state", id)), &v); err != nil {
		h.Fatal(err)
	}
	return v
}

// wantNothing checks that nothing is left of any container.
func (h *host) wantNothing() {
	h.Helper()
	if left := h.groupLeft(); len(left) > 0 {
		h.Errorf("left: %q", left)
	}
	if left, err := os.ReadDir(h.root); err == nil && len(left) > 0 {
		h.Errorf("left: %v", left)
	}
	if b, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(b), h.bundle) || strings.Contains(string(b), h.root) {
		h.Errorf("mounts are left (%v): %s", err, b)
	}
}

// mounted is what a process sees mounted, sorted: mount points with options,
// propagation and kind.
func mounted(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(b)) {
		left, right, _ := strings.Cut(line, " - ")
		f := strings.Fields(left)
		kind, _, _ := strings.Cut(right, " ")
		tied := ""
		for _, word := range f[6:] { // shared:1
			name, _, _ := strings.Cut(word, ":")
			tied += name + " "
		}
		all = append(all, f[4]+" "+f[5]+" "+tied+kind)
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

func TestCheckpoint(t *testing.T) {
	h := newCriuHost(t)
	h.counts()
	dir := h.images()
	h.ok("create", "c1")
	h.fails(1, "cannot be checkpointed in created state", "checkpoint", "--image-path", dir, "c1")
	h.ok("start", "c1")
	h.wantCounting(3)
	before := mounted(t, h.view("c1").Pid)
	h.ok("checkpoint", "--image-path", dir, "c1")
	h.wantStatus("c1", "stopped")
	h.fails(1, "cannot be checkpointed in stopped state", "checkpoint", "--image-path", dir, "c1")
	n := h.count()
	pidFile := filepath.Join(t.TempDir(), "pid")
	h.ok("restore", "-d", "--image-path", dir, "--pid-file", pidFile, "--bundle", h.bundle, "c1")
	h.wantStatus("c1", "running")
	h.wantCounting(n)
	v := h.view("c1")
	if b, err := os.ReadFile(pidFile); err != nil || string(b) != strconv.Itoa(v.Pid) {
		t.Errorf("pid file: %q, %v; state %+v", b, err, v)
	}
	if after := mounted(t, v.Pid); after != before {
		t.Errorf("mounted before:\n%s\nafter:\n%s", before, after)
	}
	if v.Bundle != h.bundle || v.Rootfs != h.bundle+"/rootfs" || time.Since(v.Created) > time.Minute {
		t.Errorf("%+v", v)
	}
	if got := h.ok("list", "-q"); got != "c1\n" {
		t.Errorf("list: %q", got)
	}
	h.ok("exec", "c1", "test", "-e", "/count")
	h.ok("pause", "c1")
	h.wantStatus("c1", "paused")
	h.ok("resume", "c1")
	h.ok("kill", "c1", "KILL")
	h.wantStatus("c1", "stopped")
	h.fails(1, "already exists", "restore", "-d", "--image-path", dir, "c1")
	h.ok("delete", "c1")
	h.wantNothing()
}

// What is left running and what is restored from its images under another
// name, with a control group of its own, do not meet.
func TestCheckpointLeaveRunning(t *testing.T) {
	h := newCriuHost(t)
	h.counts()
	dir, work := h.images(), filepath.Join(t.TempDir(), "work")
	h.ok("run", "-d", "c1")
	h.wantCounting(3)
	h.ok("checkpoint", "--leave-running", "--image-path", dir, "--work-path", work, "c1")
	h.wantStatus("c1", "running")
	if _, err := os.Stat(filepath.Join(work, "dump.log")); err != nil {
		t.Error(err)
	}
	h.wantCounting(h.count())
	n := h.count()
	h.ok("delete", "--force", "c1")
	h.wantNothing()
	h.spec.Linux.CgroupsPath += "-2"
	h.write()
	h.ok("restore", "-d", "--image-path", dir, "--work-path", work, "c2")
	h.wantCounting(n / 2) // it starts again from where the images were written
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", h.view("c2").Pid))
	if err != nil || !strings.Contains(string(b), h.spec.Linux.CgroupsPath+"\n") {
		t.Errorf("%s, %v", b, err)
	}
	var pids []int
	if err := json.Unmarshal([]byte(h.ok("ps", "--format", "json", "c2")), &pids); err != nil || len(pids) == 0 {
		t.Errorf("%v, %v", pids, err)
	}
	h.ok("delete", "--force", "c2")
	h.wantNothing()
}

func TestPreDump(t *testing.T) {
	h := newCriuHost(t)
	if err := exec.CommandContext(within(t), "criu", "check", "--feature", "mem_dirty_track").Run(); err != nil {
		t.Skip("this kernel does not track which memory is written to")
	}
	h.counts()
	dir := t.TempDir()
	h.ok("run", "-d", "c1")
	h.wantCounting(3)
	h.ok("checkpoint", "--pre-dump", "--image-path", dir+"/one", "c1")
	h.wantStatus("c1", "running")
	h.wantCounting(h.count())
	h.fails(1, "--parent-path", "checkpoint", "--image-path", dir+"/two", "--parent-path", dir+"/one", "c1")
	h.fails(1, "--parent-path", "checkpoint", "--image-path", dir+"/two", "--parent-path", "../none", "c1")
	h.ok("checkpoint", "--image-path", dir+"/two", "--parent-path", "../one", "c1")
	h.wantStatus("c1", "stopped")
	n := h.count()
	h.ok("restore", "-d", "--image-path", dir+"/two", "c1")
	h.wantCounting(n)
	h.ok("delete", "--force", "c1")
	h.wantNothing()
}

// Mounts come back as they were, above all what is read-only and what is
// hidden, and bind mounts from where the new bundle says.
func TestCheckpointMounts(t *testing.T) {
	h := newCriuHost(t)
	outside := t.TempDir()
	if err := os.MkdirAll(outside+"/below", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", outside+"/below", "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(outside+"/below", unix.MNT_DETACH) })
	for _, name := range []string{"file", "secret", "below/file"} {
		if err := os.WriteFile(filepath.Join(outside, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	rootfs := filepath.Join(h.bundle, "rootfs")
	if err := os.Symlink("data", rootfs+"/link"); err != nil {
		t.Fatal(err)
	}
	h.spec.Root.Readonly = true
	h.spec.Mounts = append(h.spec.Mounts,
		specs.Mount{Destination: "/link/tree", Type: "bind", Source: outside, Options: []string{"rbind"}},
		specs.Mount{Destination: "/etc/a file", Type: "bind", Source: outside + "/file", Options: []string{"bind", "ro"}},
		specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1m", "nosuid"}},
		specs.Mount{Destination: "/tmp/inner", Type: "bind", Source: outside, Options: []string{"bind", "rprivate"}})
	h.spec.Linux.MaskedPaths = append(h.spec.Linux.MaskedPaths, "/data/tree/secret")
	h.spec.Linux.ReadonlyPaths = append(h.spec.Linux.ReadonlyPaths, "/data/tree/file")
	h.command("sh", "-c", "echo kept >/tmp/kept; echo shared >/dev/shm/shared; i=0; while :; do i=$((i+1)); echo $i >/data/tree/count; sleep 0.05; done")
	h.ok("run", "-d", "c1")
	count := func() int {
		b, _ := os.ReadFile(outside + "/count")
		n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		return n
	}
	counting := func(n int) {
		t.Helper()
		h.poll(func() error {
			if count() <= n {
				return fs.ErrNotExist
			}
			return nil
		})
	}
	counting(3)
	const look = "cat /tmp/kept /dev/shm/shared /data/tree/below/file '/etc/a file' /tmp/inner/file; cat /data/tree/secret; echo >/data/tree/file; echo >/new; echo >'/etc/a file'; echo"
	dir := h.images()
	before, said := mounted(t, h.view("c1").Pid), h.run("exec", "c1", "sh", "-c", look)
	if !strings.HasPrefix(said.stdout, "kept\nshared\nbelow/filefilefile") || strings.Contains(said.stdout, "secret") || strings.Count(said.stderr, "ead-only") != 3 {
		t.Fatalf("%+v", said)
	}
	h.ok("checkpoint", "--image-path", dir, "c1")
	n := count()
	h.ok("restore", "-d", "--image-path", dir, "c1")
	counting(n)
	if after := mounted(t, h.view("c1").Pid); after != before {
		t.Errorf("mounted before:\n%s\nafter:\n%s", before, after)
	}
	if got := h.run("exec", "c1", "sh", "-c", look); got != said {
		t.Errorf("before: %+v, after: %+v", said, got)
	}
	h.ok("delete", "--force", "c1")
	h.wantNothing()
}

// The streams of a restored container are those of who restores it.
func TestCheckpointStreams(t *testing.T) {
	h := newCriuHost(t)
	h.command("sh", "-c", "echo ready; while read line; do echo got $line; done; echo end >&2")
	dir := h.images()
	begin := func(args ...string) (in, out, errs *os.File, end func() error) {
		t.Helper()
		cmd := h.cmd(args...)
		var theirs [3]*os.File
		var ours [3]*os.File
		for i := range theirs {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { r.Close(); w.Close() })
			theirs[i], ours[i] = w, r
			if i == 0 {
				theirs[i], ours[i] = r, w
			} else if err := r.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
		}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs[0], theirs[1], theirs[2]
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for _, f := range theirs {
			f.Close()
		}
		timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		t.Cleanup(func() { timer.Stop() })
		return ours[0], ours[1], ours[2], cmd.Wait
	}
	want := func(f *os.File, text string) {
		t.Helper()
		b := make([]byte, 1024)
		if n, err := f.Read(b); err != nil || string(b[:n]) != text {
			t.Fatalf("%q, %v, want %q", b[:n], err, text)
		}
	}
	in, out, _, end := begin("run", "--keep", "c1")
	want(out, "ready\n")
	fmt.Fprintln(in, "one")
	want(out, "got one\n")
	h.ok("checkpoint", "--image-path", dir, "c1")
	if err := end(); err == nil {
		t.Error("run has ended well")
	}
	in, out, errs, end := begin("restore", "--image-path", dir, "c1")
	fmt.Fprintln(in, "two")
	want(out, "got two\n")
	in.Close()
	want(errs, "end\n")
	if err := end(); err != nil {
		t.Error(err)
	}
	h.wantNothing()
}

// A terminal's other end comes over the console socket once more.
func TestCheckpointTerminal(t *testing.T) {
	h := newCriuHost(t)
	h.spec.Process.Terminal = true
	h.command("sh", "-c", "stty -echo; while read line; do test $line != end || exit 3; echo got $line; done")
	path := filepath.Join(t.TempDir(), "socket")
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	speak := func(args ...string) {
		t.Helper()
		masters := make(chan *os.File, 1)
		go func() { masters <- acceptMaster(t, socket) }()
		h.ok(args...)
		master := <-masters
		if master == nil {
			t.Fatal("no terminal came")
		}
		defer master.Close()
		fmt.Fprintln(master, "word")
		if err := master.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		for text := ""; !strings.Contains(text, "got word"); {
			b := make([]byte, 1024)
			n, err := master.Read(b)
			if text += string(b[:n]); err != nil {
				t.Fatalf("%q, %v", text, err)
			}
		}
		h.ok("checkpoint", "--image-path", h.bundle+"/images", "c1")
	}
	speak("run", "-d", "--console-socket", path, "c1")
	speak("restore", "-d", "--console-socket", path, "--image-path", h.bundle+"/images", "c1")
	cmd := h.cmd("restore", "--image-path", h.bundle+"/images", "c1")
	cmd.Stdin = strings.NewReader("again\nend\n")
	if r := h.finish(cmd); r.status != 3 || !strings.Contains(r.stdout, "got again") {
		t.Errorf("%+v", r)
	}
	h.wantNothing()
}

func acceptMaster(t *testing.T, l *net.UnixListener) *os.File {
	if err := l.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Error(err)
	}
	c, err := l.AcceptUnix()
	if err != nil {
		t.Error(err)
		return nil
	}
	defer c.Close()
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := c.ReadMsgUnix(make([]byte, 256), oob)
	if err != nil {
		t.Error(err)
		return nil
	}
	all, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(all) == 0 {
		t.Error(err, len(all))
		return nil
	}
	fds, err := unix.ParseUnixRights(&all[0])
	if err != nil {
		t.Error(err)
		return nil
	}
	_ = unix.SetNonblock(fds[0], true)
	return os.NewFile(uintptr(fds[0]), "master")
}

// Namespaces that the container was given are given to the restored one, and
// hooks see it before it goes on.
func TestCheckpointNamespaces(t *testing.T) {
	h := newCriuHost(t)
	holder := exec.Command("unshare", "--net", "sleep", "1000")
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer holder.Wait()
	defer holder.Process.Kill()
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	given := fmt.Sprintf("/proc/%d/ns/net", holder.Process.Pid)
	var want string
	h.poll(func() (err error) {
		if want, err = os.Readlink(given); err == nil && want == ours {
			err = fs.ErrNotExist
		}
		return err
	})
	for i := range h.spec.Linux.Namespaces {
		if ns := &h.spec.Linux.Namespaces[i]; ns.Type == specs.NetworkNamespace {
			ns.Path = given
		}
	}
	marks := t.TempDir()
	mark := func(name string) []specs.Hook {
		return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "cat >" + marks + "/" + name}}}
	}
	h.spec.Hooks = &specs.Hooks{CreateRuntime: mark("createRuntime"), Poststop: mark("poststop")}
	h.counts()
	dir := h.images()
	h.ok("run", "-d", "c1")
	h.wantCounting(3)
	h.ok("checkpoint", "--image-path", dir, "c1")
	for _, name := range []string{"createRuntime", "poststop"} {
		_ = os.Remove(filepath.Join(marks, name))
	}
	n := h.count()
	h.ok("restore", "-d", "--image-path", dir, "c1")
	h.wantCounting(n)
	pid := h.view("c1").Pid
	if got, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err != nil || got != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	var state specs.State
	b, err := os.ReadFile(marks + "/createRuntime")
	if err == nil {
		err = json.Unmarshal(b, &state)
	}
	if err != nil || state.Pid != pid || state.ID != "c1" || state.Status != specs.StateCreating {
		t.Errorf("%+v, %v", state, err)
	}
	h.ok("delete", "--force", "c1")
	h.wantNothing()
	if _, err := os.Stat(marks + "/poststop"); err != nil {
		t.Error(err)
	}
}

// A restore that fails, at whatever point, leaves nothing, and says what criu
// says.
func TestRestoreFails(t *testing.T) {
	h := newCriuHost(t)
	h.counts()
	dir := h.images()
	h.ok("run", "-d", "c1")
	h.wantCounting(3)
	h.ok("checkpoint", "--image-path", dir, "c1")
	h.ok("delete", "c1")
	h.wantNothing()
	h.fails(1, "holds no checkpoint", "restore", "-d", "--image-path", t.TempDir(), "c1")
	h.wantNothing()
	h.fails(1, "pid file", "restore", "-d", "--pid-file", "/nothing/pid", "--image-path", dir, "c1")
	h.wantNothing()
	h.spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/false"}}}
	h.write()
	h.fails(1, "createRuntime hook 0: hook /bin/false: exit status 1", "restore", "-d", "--image-path", dir, "c1")
	h.wantNothing()
	h.spec.Hooks = nil
	h.write()
	if err := os.Remove(filepath.Join(dir, "inventory.img")); err != nil {
		t.Fatal(err)
	}
	h.fails(1, filepath.Join(dir, "restore.log"), "restore", "-d", "--image-path", dir, "c1")
	h.wantNothing()
}

// The ids of a user namespace are those that the spec maps, once more.
func TestCheckpointUserNamespace(t *testing.T) {
	h := newCriuHost(t)
	const first = 100000
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: first, Size: 65536}}
	h.spec.Linux.Namespaces = append(h.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	h.spec.Linux.UIDMappings, h.spec.Linux.GIDMappings = ids, ids
	if err := filepath.WalkDir(h.bundle, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, first, first)
	}); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("chmod", "-R", "a+rX", filepath.Dir(filepath.Dir(h.bundle))).Run(); err != nil {
		t.Fatal(err)
	}
	h.counts()
	dir := h.images()
	quiet := func(args ...string) { // criu opens a stream anew as root of the namespace
		t.Helper()
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer read.Close()
		defer write.Close()
		cmd := h.cmd(append([]string{"--log", dir + ".log"}, args...)...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = read, null, write
		if r := h.finish(cmd); r.status != 0 {
			text, _ := os.ReadFile(dir + ".log")
			t.Fatalf("%q: %s", args, text)
		}
	}
	quiet("run", "-d", "c1")
	h.wantCounting(3)
	h.ok("checkpoint", "--image-path", dir, "c1")
	n := h.count()
	quiet("restore", "-d", "--image-path", dir, "c1")
	h.wantCounting(n)
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/uid_map", h.view("c1").Pid)); err != nil || !strings.Contains(string(b), strconv.Itoa(first)) {
		t.Errorf("%s, %v", b, err)
	}
	h.ok("delete", "--force", "c1")
	h.wantNothing()
}

// The socket for readiness is a mount that no spec has.
func TestCheckpointNotify(t *testing.T) {
	h := newCriuHost(t)
	h.counts()
	dir := h.images()
	t.Setenv(notifyVariable, "/nobody")
	h.ok("create", "c1")
	t.Setenv(notifyVariable, "")
	h.ok("start", "c1")
	h.wantCounting(3)
	for range 2 {
		h.ok("checkpoint", "--image-path", dir, "c1")
		n := h.count()
		h.ok("restore", "-d", "--image-path", dir, "c1")
		h.wantCounting(n)
	}
	h.ok("exec", "c1", "ls", "/run/notify")
	h.ok("delete", "--force", "c1")
	h.wantNothing()
}

// A checkpoint that fails leaves the container as it was, and says why.
func TestCheckpointFails(t *testing.T) {
	h := newCriuHost(t)
	h.addService()
	h.command("service", "lock")
	dir := h.images()
	h.ok("run", "-d", "c1")
	h.wantCounting(3)
	h.fails(1, filepath.Join(dir, "dump.log"), "checkpoint", "--image-path", dir, "c1")
	h.fails(1, "lock", "checkpoint", "--image-path", dir, "c1")
	h.wantStatus("c1", "running")
	h.wantCounting(h.count())
	h.ok("pause", "c1")
	h.ok("checkpoint", "--leave-running", "--file-locks", "--image-path", dir, "c1")
	h.wantStatus("c1", "paused")
	h.ok("delete", "--force", "c1")
	h.ok("restore", "-d", "--file-locks", "--image-path", dir, "c1")
	h.wantCounting(h.count())
	h.ok("delete", "--force", "c1")
	h.wantNothing()
}

// What is refused is refused by name, criu or not.
func TestCheckpointRefusals(t *testing.T) {
	h := newHost(t)
	for _, c := range []struct {
		words string
		args  []string
	}{
		{"--lazy-pages", []string{"--lazy-pages"}},
		{"--page-server", []string{"--page-server", "localhost:1"}},
		{"--status-fd", []string{"--status-fd", "3"}},
		{"--empty-ns", []string{"--empty-ns", "mount"}},
		{"--manage-cgroups-mode", []string{"--manage-cgroups-mode", "hard"}},
	} {
		h.ok("run", "-d", "c1")
		h.fails(1, c.words, append(append([]string{"checkpoint"}, c.args...), "c1")...)
		h.fails(1, c.words, append(append([]string{"restore"}, c.args...), "c2")...)
		h.wantStatus("c1", "running")
		h.ok("delete", "--force", "c1")
	}
	h.fails(1, "--no-pivot", "restore", "--no-pivot", "c1")
	h.fails(1, "does not exist", "checkpoint", "c1")
	h.fails(1, "holds no checkpoint", "restore", "c1")
	h.ok("run", "-d", "c1")
	h.fails(1, "running criu", "--criu", "/nothing/criu", "checkpoint", "--image-path", h.images(), "c1")
	h.wantStatus("c1", "running")
}
