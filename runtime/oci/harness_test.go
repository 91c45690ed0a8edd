package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// TestMain makes a runtime of the test program when it is called by its name,
// and of its copy in a container a service.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "service" {
		os.Exit(serve(os.Args[1]))
	}
	if filepath.Base(os.Args[0]) == Name {
		os.Exit(Main(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// host is a runtime with a directory of its own, and a bundle with a shell.
type host struct {
	*testing.T
	program string
	root    string
	bundle  string
	spec    *specs.Spec
	user    *syscall.Credential // nil: root
}

func newHost(t *testing.T) *host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("makes containers: needs root")
	}
	h := &host{T: t, root: filepath.Join(t.TempDir(), "root"), bundle: newBundle(t)}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h.program = filepath.Join(t.TempDir(), Name)
	if err := os.Symlink(self, h.program); err != nil {
		t.Fatal(err)
	}
	h.spec = example()
	h.spec.Process.Terminal = false
	h.spec.Linux.CgroupsPath = testGroup() + "/" + strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))
	t.Cleanup(func() { pruneTestGroup(t) })
	t.Cleanup(func() { h.deleteAll() }) // before that
	h.command("sleep", "1000")
	return h
}

// newBundle makes a bundle's directory with busybox for a root filesystem.
func newBundle(t *testing.T) string {
	t.Helper()
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("needs busybox-static: ", err)
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "rootfs", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "busybox"), busybox, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "cat", "echo", "false", "id", "ls", "pwd", "readlink", "sleep", "stty", "test", "touch", "true", "tty"} {
		if err := os.Symlink("busybox", filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// command sets what the container runs.
func (h *host) command(args ...string) { h.spec.Process.Args = args; h.write() }

// write writes the bundle's spec.
func (h *host) write() {
	h.Helper()
	b, err := json.Marshal(h.spec)
	if err == nil {
		err = os.WriteFile(filepath.Join(h.bundle, configName), b, 0o644)
	}
	if err != nil {
		h.Fatal(err)
	}
}

// result is how a command ended.
type result struct {
	status         int
	stdout, stderr string
}

// cmd is a command of the runtime that is not started yet.
func (h *host) cmd(args ...string) *exec.Cmd {
	c := exec.Command(h.program, append([]string{"--root", h.root}, args...)...)
	c.Dir = h.bundle
	if h.user != nil {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: h.user}
	}
	return c
}

// run runs a command to its end. What it prints goes through files, since a
// container keeps pipes open.
func (h *host) run(args ...string) result {
	h.Helper()
	return h.finish(h.cmd(args...))
}

func (h *host) finish(c *exec.Cmd) result {
	h.Helper()
	var out [2]*os.File
	for i := range out {
		f, err := os.CreateTemp(h.TempDir(), "")
		if err != nil {
			h.Fatal(err)
		}
		defer f.Close()
		out[i] = f
	}
	if c.Stdout == nil {
		c.Stdout = out[0]
	}
	if c.Stderr == nil {
		c.Stderr = out[1]
	}
	if err := c.Start(); err != nil {
		h.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { c.Process.Kill() })
	err := c.Wait()
	if !timer.Stop() {
		h.Errorf("%q takes too long", c.Args)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.Fatal(err)
	}
	var text [2]string
	for i, f := range out {
		b, err := os.ReadFile(f.Name())
		if err != nil {
			h.Fatal(err)
		}
		text[i] = string(b)
	}
	return result{c.ProcessState.ExitCode(), text[0], text[1]}
}

// ok runs a command that must not fail, and returns what it printed.
func (h *host) ok(args ...string) string {
	h.Helper()
	r := h.run(args...)
	if r.status != 0 {
		h.Fatalf("%q: status %d: %s", args, r.status, r.stderr)
	}
	return r.stdout
}

// fails runs a command that must fail with this status, and these words.
func (h *host) fails(status int, words string, args ...string) {
	h.Helper()
	r := h.run(args...)
	if r.status != status || !strings.Contains(r.stderr, words) {
		h.Errorf("%q: status %d, %q; want %d, %q", args, r.status, r.stderr, status, words)
	}
}

// status is the container's, or "" if there is none.
func (h *host) status(id string) string {
	h.Helper()
	r := h.run("state", id)
	if r.status != 0 {
		return ""
	}
	var v view
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil {
		h.Fatalf("%s: %v", r.stdout, err)
	}
	return string(v.Status)
}

func (h *host) wantStatus(id, want string) {
	h.Helper()
	h.poll(func() error {
		if got := h.status(id); got != want {
			return fmt.Errorf("container %s is %q, not %q", id, got, want)
		}
		return nil
	})
}

// poll waits until f has nothing to say.
func (h *host) poll(f func() error) {
	h.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	h.Fatal(err)
}

// deleteAll deletes what a test has left.
func (h *host) deleteAll() {
	r := h.run("list", "-q")
	for id := range strings.FieldsSeq(r.stdout) {
		if r := h.run("delete", "--force", id); r.status != 0 {
			h.Errorf("deleting %s: %s", id, r.stderr)
		}
	}
}

// testGroup is the parent of this run's control groups.
func testGroup() string { return "/davit-runtime-test-" + strconv.Itoa(os.Getpid()) }

// pruneTestGroup removes the parent of the tests' control groups.
func pruneTestGroup(t *testing.T) {
	for _, pattern := range []string{"/sys/fs/cgroup" + testGroup(), "/sys/fs/cgroup/*" + testGroup()} {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range dirs {
			left, _ := filepath.Glob(dir + "/*/cgroup.procs")
			if len(left) > 0 {
				t.Errorf("control groups are left: %q", left)
			}
			_ = os.Remove(dir)
		}
	}
}

// groupLeft tells what is left of a container's control group.
func (h *host) groupLeft() []string {
	var all []string
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		dirs, _ := filepath.Glob(pattern + h.spec.Linux.CgroupsPath)
		all = append(all, dirs...)
	}
	return all
}

// within runs f with a context that ends with the test's patience.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func lines(b *bytes.Buffer) []string { return strings.Split(strings.TrimSpace(b.String()), "\n") }
