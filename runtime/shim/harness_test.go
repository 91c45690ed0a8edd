package shim

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/davit-engine/davit/runtime/cgroup"
	"github.com/davit-engine/davit/runtime/program"
	"github.com/davit-engine/davit/runtime/wire"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

const fakeVariable = "DAVIT_SHIM_TEST_FAKE"

// TestMain makes a shim of the test program when it is started as one.
func TestMain(m *testing.M) {
	if os.Args[0] != wire.Args()[0] {
		os.Exit(m.Run())
	}
	unix.CloseOnExec(wire.ShimFD)
	err := unix.SetNonblock(wire.ShimFD, true)
	if err == nil {
		err = Prepare()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	conn := os.NewFile(wire.ShimFD, "engine")
	if os.Getenv(fakeVariable) == "" {
		os.Exit(Run(conn))
	}
	s := newSupervisor()
	s.spawn, s.create = fakeSpawn, createFake
	os.Exit(s.run(conn))
}

// eachKind runs a test with real containers, if that can be, and with plain
// child processes.
func eachKind(t *testing.T, test func(t *testing.T, k kind)) {
	t.Run("process", func(t *testing.T) { test(t, kind{fake: true}) })
	t.Run("container", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("containers need root")
		}
		test(t, kind{root: rootfs(t)})
	})
}

type kind struct {
	fake    bool
	root    string
	program string // the shim; empty: this test program
}

// rootfs makes a root filesystem that holds busybox.
func rootfs(t testing.TB) string {
	t.Helper()
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("busybox is not installed")
	}
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"bin", "proc", "dev", "sys", "etc", "tmp", "run"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), busybox, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin/not-executable"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return root
}

// shimProcess is a shim and its engine's end.
type shimProcess struct {
	*wire.Client
	t      testing.TB
	kind   kind
	cmd    *exec.Cmd
	exited chan error // of the shim's process
	start  wire.Start
	state  wire.State
}

// warmShim starts a shim.
func warmShim(t testing.TB, k kind) *shimProcess {
	t.Helper()
	client, end, err := wire.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer end.Close()
	args := wire.Args()
	cmd := &exec.Cmd{Path: "/proc/self/exe", Args: args, Env: wire.Env(), ExtraFiles: []*os.File{end}, Stderr: os.Stderr}
	if k.program != "" {
		cmd.Path = k.program
	}
	if k.fake {
		cmd.Env = append(cmd.Env, fakeVariable+"=1")
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &shimProcess{Client: client, t: t, kind: k, cmd: cmd, exited: make(chan error, 1)}
	go func() { s.exited <- cmd.Wait() }()
	t.Cleanup(func() {
		client.Close()
		if s.state.Pid != 0 {
			unix.Kill(s.state.Pid, unix.SIGKILL)
		}
		select {
		case <-s.exited:
		case <-time.After(patience):
			t.Error("shim does not end")
			cmd.Process.Kill()
		}
		if !k.fake && s.state.Cgroup != nil {
			cgroup.Open(s.state.Cgroup).Remove() // what a killed shim leaves
		}
		for _, dir := range s.state.Cgroup {
			os.Remove(filepath.Dir(dir))
		}
	})
	id := fmt.Sprintf("%064x", time.Now().UnixNano())
	runDir := filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(runDir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.start = wire.Start{
		ID: id, RunDir: runDir, Root: program.Root{Dir: k.root},
		Spec: &specs.Spec{
			Version: "1.2.0",
			Process: &specs.Process{Cwd: "/", Env: []string{"PATH=/bin"}},
			Root:    &specs.Root{Path: "rootfs"},
			Mounts: []specs.Mount{
				{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
				{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
				{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			},
			Linux: &specs.Linux{
				Namespaces: []specs.LinuxNamespace{
					{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.NetworkNamespace},
				},
				CgroupsPath: "/davit-shim-test/" + id,
				Resources:   &specs.LinuxResources{},
			},
		},
		Log: wire.Log{Driver: "json-file", Path: filepath.Join(filepath.Dir(runDir), "log")},
	}
	return s
}

// sh sets the command: a script for busybox's shell.
func (s *shimProcess) sh(script string) *shimProcess {
	s.start.Spec.Process.Args = []string{"/bin/busybox", "sh", "-c", script}
	return s
}

// run starts the container.
func (s *shimProcess) run(files ...syscall.Conn) *shimProcess {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	state, err := s.Start(ctx, &s.start, files...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.state = state
	return s
}

// waitExit waits for the exit event, the end of the connection and of the shim.
func (s *shimProcess) waitExit() wire.Exit {
	s.t.Helper()
	e := waitExit(s.t, s.Client)
	select {
	case err := <-s.exited:
		s.exited <- nil
		if err != nil {
			s.t.Errorf("shim: %v", err)
		}
	case <-time.After(patience):
		s.t.Fatal("shim does not end")
	}
	return e
}

func waitExit(t testing.TB, c *wire.Client) wire.Exit {
	t.Helper()
	var exit *wire.Exit
	timeout := time.After(patience)
	for {
		select {
		case e, ok := <-c.Events():
			if !ok {
				if exit == nil {
					t.Fatalf("connection ended with no exit: %v", c.Err())
				}
				return *exit
			}
			if e.Exited != nil {
				exit = e.Exited
			}
		case <-timeout:
			t.Fatal("container does not end")
		}
	}
}

// attachBefore adds an attachment to the start request, and returns the
// client's side with the file that run needs.
func (s *shimProcess) attachBefore(a wire.Attach) (*net.UnixConn, *net.UnixConn) {
	s.t.Helper()
	mine, theirs := unixPair(s.t)
	s.start.Attachments = append(s.start.Attachments, a)
	return mine, theirs
}

// attach attaches a client while the container runs.
func (s *shimProcess) attach(a wire.Attach) *net.UnixConn {
	s.t.Helper()
	mine, theirs := unixPair(s.t)
	defer theirs.Close()
	if err := s.Attach(context.Background(), &a, theirs); err != nil {
		s.t.Fatal(err)
	}
	return mine
}

func unixPair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	conns := make([]*net.UnixConn, 2)
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "client")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
		conns[i] = c.(*net.UnixConn)
	}
	return conns[0], conns[1]
}

// demux reads Docker's multiplexed stream to its end.
func demux(r io.Reader) (stdout, stderr string, err error) {
	var out [3]bytes.Buffer
	for {
		var head [8]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			if err == io.EOF {
				err = nil
			}
			return out[1].String(), out[2].String(), err
		}
		if head[0] > 2 || head[1]|head[2]|head[3] != 0 {
			return "", "", fmt.Errorf("bad header %v", head)
		}
		if _, err := io.CopyN(&out[head[0]], r, int64(binary.BigEndian.Uint32(head[4:]))); err != nil {
			return "", "", err
		}
	}
}

type entry struct{ Log, Stream string }

// log reads the container's log.
func (s *shimProcess) log() (entries []entry) {
	s.t.Helper()
	b, err := os.ReadFile(s.start.Log.Path)
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			s.t.Errorf("log line %q: %v", line, err)
		}
		entries = append(entries, e)
	}
	return entries
}

func logged(entries []entry, stream string) string {
	var b strings.Builder
	for _, e := range entries {
		if e.Stream == stream {
			b.WriteString(e.Log)
		}
	}
	return b.String()
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// readUntil reads until want has come.
func readUntil(t *testing.T, r io.Reader, want string) string {
	t.Helper()
	var got []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(got, []byte(want)) {
		n, err := r.Read(buf)
		got = append(got, buf[:n]...)
		if err != nil {
			t.Fatalf("waiting for %q: got %q, %v", want, got, err)
		}
	}
	return string(got)
}

func (s *shimProcess) readJSON(name string, v any) {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.start.RunDir, name))
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		s.t.Error(err)
	}
}

// fds counts the shim's descriptors.
func (s *shimProcess) fds() int {
	s.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.state.ShimPid))
	if err != nil {
		s.t.Fatal(err)
	}
	return len(entries)
}

// memory returns a field of the shim's smaps_rollup, in KiB.
func (s *shimProcess) memory(field string) int {
	s.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", s.state.ShimPid))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var n int
		if strings.HasPrefix(line, field+":") {
			if _, err := fmt.Sscan(strings.TrimPrefix(line, field+":"), &n); err == nil {
				return n
			}
		}
	}
	s.t.Fatalf("no %s", field)
	return 0
}

func alive(pid int) bool { return !errors.Is(unix.Kill(pid, 0), unix.ESRCH) }
