package daemon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/api"
	"golang.org/x/sys/unix"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func testOpener(dir string, hosts ...string) opener {
	return opener{cfg: Listen{Hosts: hosts, Group: "0"}, execRoot: dir, docker: filepath.Join(dir, "docker.sock"), log: quiet()}
}

// needRoot skips what only root may do.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("sockets are given to a group by root only")
	}
}

func TestUnixSocket(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "deep", "s")
	o := testOpener(dir, "unix://"+path, "unix://"+path)
	o.cfg.Group = "12345"
	set, err := o.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(set) != 1 {
		t.Fatalf("%d listeners for one path", len(set))
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Mode&0o777 != 0o660 || st.Gid != 12345 || st.Uid != uint32(os.Geteuid()) {
		t.Errorf("mode %o, group %d, %v", st.Mode, st.Gid, err)
	}
	set.close()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
}

func TestDefaultSockets(t *testing.T) {
	needRoot(t)
	live := func(t *testing.T, path string) {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	stale := func(t *testing.T, path string) {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		l.Close()
	}
	for _, tc := range []struct {
		name    string
		prepare func(t *testing.T, path string)
		taken   bool // Docker's socket becomes ours
	}{
		{"free", func(*testing.T, string) {}, true},
		{"left behind", stale, true},
		{"somebody's", live, false},
		{"a link", func(t *testing.T, path string) {
			if err := os.Symlink("/nowhere", path); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"a file", func(t *testing.T, path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			o := testOpener(dir)
			tc.prepare(t, o.docker)
			before, _ := os.Lstat(o.docker)
			set, err := o.open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := "unix://" + filepath.Join(dir, "davit.sock")
			if tc.taken {
				want += ", unix://" + o.docker
			}
			if set.String() != want {
				t.Errorf("listening at %s, want %s", set, want)
			}
			set.close()
			after, _ := os.Lstat(o.docker)
			if !tc.taken && !os.SameFile(before, after) {
				t.Error("somebody's file was touched")
			}
		})
	}
}

func TestSocketThatIsAnothers(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	first, err := testOpener(dir, "unix://"+path).open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := testOpener(dir, "unix://"+path).open(t.Context()); err == nil || !strings.Contains(err.Error(), "another program listens there: stop the other program, or choose another --host") {
		t.Errorf("%v", err)
	}
	// Whoever took the path meanwhile keeps it.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	first.close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("another's file was removed: %v", err)
	}
}

func TestListenErrors(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for _, tc := range []struct{ host, group, want string }{
		{"unix:///" + strings.Repeat("x", 120), "", "has 121 bytes, the kernel allows 107: choose a shorter one"},
		{"tcp://" + busy.Addr().String(), "", "the port is in use: stop the other program, or choose another --host"},
		{"unix://" + dir + "/s", "no-such-group", "group no-such-group not found: make it (groupadd no-such-group), or choose another --group"},
		{"fd://", "", "no sockets found via socket activation"},
		{"unix:///proc/nothing/s", "", "making the directory of socket"},
	} {
		o := testOpener(dir, "unix://"+dir+"/first", tc.host)
		if tc.group != "" {
			o.cfg.Group = tc.group
		}
		if _, err := o.open(t.Context()); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.host, err, tc.want)
		}
		if _, err := os.Lstat(dir + "/first"); err == nil {
			t.Errorf("%s: the first socket stays open", tc.host)
		}
	}
	o := testOpener(dir, "tcp://127.0.0.1:0")
	o.cfg.TLS, o.cfg.CACert, o.cfg.Cert, o.cfg.Key = true, "/nothing", "/nothing", "/nothing"
	if _, err := o.one(t.Context(), endpoint{"tcp", "127.0.0.1:0"}, 0); err == nil || !strings.Contains(err.Error(), "invalid TLS configuration") {
		t.Errorf("TLS without files: %v", err)
	}
}

// TestActivation starts this program again as systemd would, with two sockets.
func TestActivation(t *testing.T) {
	if os.Getenv("DAVIT_TEST_ACTIVATED") != "" {
		set, err := testOpener(t.TempDir(), "fd://"+os.Getenv("DAVIT_TEST_ACTIVATED")).open(context.Background())
		fmt.Println("SET", set, err, os.Getenv("LISTEN_FDS"))
		for _, l := range set {
			conn, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			l.Close()
		}
		return
	}
	dir := t.TempDir()
	var files []*os.File
	for _, name := range []string{"a", "b"} {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		f, err := l.(*net.UnixListener).File()
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	for name, want := range map[string][]string{"*": {"a", "b"}, "two": {"b"}, "3": {"a"}} {
		cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" -test.run=^TestActivation$`, os.Args[0])
		cmd.Env = append(os.Environ(), "LISTEN_FDS=2", "LISTEN_FDNAMES=one:two", "DAVIT_TEST_ACTIVATED="+name)
		cmd.ExtraFiles = files
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		var at []string
		for _, n := range want {
			at = append(at, "unix://"+filepath.Join(dir, n))
		}
		if expected := "SET " + strings.Join(at, ", ") + " <nil> \n"; err != nil || line != expected {
			t.Errorf("%s: %q, %v, want %q", name, line, err, expected)
		}
		for _, n := range want {
			conn, err := net.Dial("unix", filepath.Join(dir, n))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.ReadAll(conn)
			conn.Close()
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, n := range want {
			if _, err := os.Lstat(filepath.Join(dir, n)); err != nil {
				t.Errorf("%s: systemd's socket was removed", n)
			}
		}
	}
}

func TestLockRoot(t *testing.T) {
	root := filepath.Join(t.TempDir(), "data")
	first, err := lockRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	want := "another engine (pid " + strconv.Itoa(os.Getpid()) + ") uses " + root
	if _, err := lockRoot(root); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	first.Close()
	again, err := lockRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()

	docker := t.TempDir()
	if err := os.Mkdir(filepath.Join(docker, "overlay2"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := lockRoot(docker); err == nil || !strings.Contains(err.Error(), "holds Docker's data") {
		t.Errorf("%v", err)
	}
	if _, err := lockRoot("/proc/davit"); err == nil || !strings.Contains(err.Error(), "/proc/davit") {
		t.Errorf("%v", err)
	}
}

func TestReadOnlyRoot(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Skipf("mounting is not allowed here: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	if _, err := lockRoot(filepath.Join(dir, "x")); err == nil || !strings.Contains(err.Error(), "read-only file system: remount it, or choose another --data-root") {
		t.Errorf("%v", err)
	}
}

func TestPIDFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "pid")
	remove, err := writePID(path)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(path); err != nil || string(raw) != strconv.Itoa(os.Getpid()) {
		t.Errorf("%q, %v", raw, err)
	}
	remove()
	if _, err := os.Stat(path); err == nil {
		t.Error("the file stays")
	}
	// A process with that number which is no engine means nothing; one that is another's
	// stays when we go.
	if err := os.WriteFile(path, []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if remove, err = writePID(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	remove()
	if _, err := os.Stat(path); err != nil {
		t.Error("another's file was removed")
	}
}

// TestDaemon starts and stops a daemon around parts that do nothing.
func TestDaemon(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	notify, err := net.ListenPacket("unixgram", filepath.Join(dir, "notify"))
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "notify"))
	told := make(chan string, 16)
	go func() {
		buf := make([]byte, 256)
		for {
			n, _, err := notify.ReadFrom(buf)
			if err != nil {
				return
			}
			told <- string(buf[:n])
		}
	}()
	file := filepath.Join(dir, "daemon.json")
	if err := os.WriteFile(file, []byte(`{"hosts":["unix://`+socket+`"],"data-root":"`+dir+`/data","exec-root":"`+dir+`/exec","shutdown-timeout":5,"group":"0"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load("davitd", []string{"--config-file", file})
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	log, level := newLog(&lines, c.Log)
	closed := false
	d, err := newDaemon(t.Context(), c, log, level, func(context.Context, *Config, *slog.Logger) (parts, error) {
		return parts{offered: api.Parts{}, close: func(context.Context) { closed = true }}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if first, _, _ := strings.Cut(lines.String(), "\n"); !strings.Contains(first, "listening at unix://"+socket) {
		t.Errorf("the log begins with %s", first)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	if got := <-told; got != "READY=1" {
		t.Errorf("systemd is told %q", got)
	}
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	resp, err := client.Get("http://davit/_ping")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	client.CloseIdleConnections()
	if raw, err := os.ReadFile(dir + "/exec/davitd.pid"); err != nil || string(raw) != strconv.Itoa(os.Getpid()) {
		t.Errorf("pid file: %q, %v", raw, err)
	}

	if err := os.WriteFile(file, []byte(`{"hosts":["unix://`+socket+`"],"data-root":"`+dir+`/data","exec-root":"`+dir+`/exec","debug":true,"shutdown-timeout":1,"group":"0"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Reload("davitd", []string{"--config-file", file})
	if level.Level() != slog.LevelDebug || d.timeout.Load() != 1 {
		t.Errorf("after the reload: level %v, %d seconds", level.Level(), d.timeout.Load())
	}
	if err := os.WriteFile(file, []byte(`{"debug":5}`), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Reload("davitd", []string{"--config-file", file})
	if level.Level() != slog.LevelDebug {
		t.Error("a configuration with an error changed something")
	}
	d.Stacks()
	if found, err := filepath.Glob(dir + "/exec/goroutine-stacks-*.log"); err != nil || len(found) != 1 {
		t.Errorf("stacks: %v, %v", found, err)
	}

	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !closed {
		t.Error("the parts were not closed")
	}
	for _, path := range []string{socket, dir + "/exec/davitd.pid"} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s stays", path)
		}
	}
	for _, want := range []string{"RELOADING=1", "READY=1", "RELOADING=1", "READY=1", "STOPPING=1"} {
		if got := <-told; !strings.HasPrefix(got, want) {
			t.Errorf("systemd is told %q, want %q", got, want)
		}
	}
	// Everything is free again.
	if lock, err := lockRoot(dir + "/data"); err != nil {
		t.Error(err)
	} else {
		lock.Close()
	}
}

// TestDaemonThatFails leaves nothing behind.
func TestDaemonThatFails(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	c, err := load(t, "", "-H", "unix://"+dir+"/s", "--data-root", dir+"/data", "--exec-root", dir+"/exec", "--group", "0")
	if err != nil {
		t.Fatal(err)
	}
	_, err = newDaemon(t.Context(), c, quiet(), new(slog.LevelVar), func(context.Context, *Config, *slog.Logger) (parts, error) {
		return parts{}, errors.New("a part is broken")
	})
	if err == nil || err.Error() != "a part is broken" {
		t.Fatalf("%v", err)
	}
	for _, path := range []string{"/s", "/exec/davitd.pid"} {
		if _, err := os.Lstat(dir + path); err == nil {
			t.Errorf("%s stays", path)
		}
	}
}
