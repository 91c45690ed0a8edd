package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestExec(t *testing.T) {
	h := newHost(t)
	h.ok("run", "-d", "c1")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"c1", "id"}, "uid=0 gid=0\n"},
		{[]string{"--user", "1000:50", "-g", "3", "-g", "4", "c1", "id"}, "uid=1000 gid=50 groups=3,4\n"},
		{[]string{"--cwd", "/bin", "-e", "A=b", "--env=C=d", "c1", "sh", "-c", "pwd; echo $A $C"}, "/bin\nb d\n"},
		{[]string{"c1", "echo", "-n", "--user", "1"}, "--user 1"},
		{[]string{"--cap", "CAP_NET_RAW", "c1", "sh", "-c", "while read k v; do test $k = CapEff: && echo $v; done < /proc/self/status; true"}, "0000000020002420\n"},
		{[]string{"c1", "ls", "/proc/self/fd"}, "0\n1\n2\n3\n"}, // the last one is its own, of the directory
	} {
		r := h.run(append([]string{"exec"}, c.args...)...)
		if r.status != 0 || r.stdout != c.want {
			t.Errorf("%q: %+v, want %q", c.args, r, c.want)
		}
	}
	if r := h.run("exec", "c1", "sh", "-c", "exit 9"); r.status != 9 {
		t.Errorf("%+v, want status 9", r)
	}
	if r := h.run("exec", "c1", "sh", "-c", "kill -9 $$"); r.status != 137 {
		t.Errorf("%+v, want status 137", r)
	}
	h.fails(255, "executable file not found in $PATH", "exec", "c1", "nothing")
	h.fails(255, "there is no command", "exec", "c1")
	h.fails(255, "does not exist", "exec", "c2", "true")
	h.fails(255, "--user", "exec", "--user", "root", "c1", "true")
	h.fails(1, "unknown option --bogus", "exec", "--bogus", "c1", "true")
	h.fails(255, "--console-socket", "exec", "-t", "-d", "c1", "true")

	cmd := h.cmd("exec", "c1", "cat")
	cmd.Stdin = strings.NewReader("typed")
	if r := h.finish(cmd); r != (result{0, "typed", ""}) {
		t.Errorf("%+v", r)
	}
}

func TestExecProcess(t *testing.T) {
	h := newHost(t)
	h.ok("create", "c1") // it need not run
	p := specs.Process{Args: []string{"sh", "-c", "echo $A; pwd; id"}, Cwd: "/proc", Env: []string{"A=b", "PATH=/bin"}, User: specs.User{UID: 7, GID: 8}}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "process.json")
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := h.ok("exec", "--process", file, "c1"); got != "b\n/proc\nuid=7 gid=8\n" {
		t.Errorf("%q", got)
	}
	pidFile := filepath.Join(t.TempDir(), "pid")
	p.Args = []string{"sleep", "1000"}
	if b, err = json.Marshal(p); err == nil {
		err = os.WriteFile(file, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.ok("exec", "--process", file, "--detach", "--pid-file", pidFile, "c1")
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	if got := h.ok("ps", "-f", "json", "c1"); !strings.Contains(got, string(pid)) {
		t.Errorf("processes %s, without %s", got, pid)
	}
	n, err := strconv.Atoi(string(pid))
	if err != nil {
		t.Fatal(err)
	}
	h.ok("delete", "c1")
	if !zombie(n) {
		t.Error("the process outlives its container")
	}
}

// A process that ends right after its start leaves its status to whoever
// adopts it, as containerd's shim and conmon do.
func TestDetachedEnd(t *testing.T) {
	h := newHost(t)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	pidFile := filepath.Join(t.TempDir(), "pid")
	ended := func(want int) {
		t.Helper()
		b, err := os.ReadFile(pidFile)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(string(b))
		if err != nil {
			t.Fatal(err)
		}
		var s unix.WaitStatus
		h.poll(func() error {
			if got, err := unix.Wait4(pid, &s, unix.WNOHANG, nil); err != nil {
				t.Fatal(err)
			} else if got != pid {
				return errors.New("it has not ended")
			}
			return nil
		})
		if s.ExitStatus() != want {
			t.Errorf("status %d, want %d", s.ExitStatus(), want)
		}
	}
	h.ok("run", "-d", "--pid-file", filepath.Join(t.TempDir(), "other"), "c1")
	for range 20 {
		h.ok("exec", "-d", "--pid-file", pidFile, "c1", "sh", "-c", "exit 4")
		ended(4)
	}
	h.ok("delete", "-f", "c1")
	h.command("sh", "-c", "exit 5")
	h.ok("run", "-d", "--pid-file", pidFile, "c2")
	ended(5)
	h.wantStatus("c2", "stopped")
}

// Descriptors get in by number, and only those asked for.
func TestPreserveFDs(t *testing.T) {
	h := newHost(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	h.command("sh", "-c", "echo run >&3; test ! -e /proc/self/fd/4 && echo none >&3; sleep 1000")
	cmd := h.cmd("run", "--preserve-fds", "1", "-d", "c1")
	cmd.ExtraFiles = []*os.File{w, w}
	if r := h.finish(cmd); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	cmd = h.cmd("exec", "--preserve-fds=2", "c1", "sh", "-c", "echo exec >&4")
	cmd.ExtraFiles = []*os.File{nil, w}
	if got := h.finish(cmd); got.status == 0 {
		t.Error("descriptor 3 is not open, and exec says nothing")
	}
	cmd.Process = nil
	cmd = h.cmd("exec", "--preserve-fds=2", "c1", "sh", "-c", "echo exec >&4")
	cmd.ExtraFiles = []*os.File{r, w}
	if got := h.finish(cmd); got.status != 0 {
		t.Errorf("%+v", got)
	}
	h.ok("delete", "-f", "c1")
	w.Close()
	var b bytes.Buffer
	if err := r.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(lines(&b), " "); got != "run none exec" {
		t.Errorf("%q", got)
	}
}

// receiver listens for a descriptor.
func receiver(t *testing.T) (path string, accept func() (*os.File, string)) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return path, func() (*os.File, string) {
		t.Helper()
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, int(patience.Milliseconds())); n != 1 {
			t.Fatal("nobody has connected: ", err)
		}
		conn, _, err := unix.Accept(fd)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(conn)
		name, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
		n, k, _, _, err := unix.Recvmsg(conn, name, oob, unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		messages, err := unix.ParseSocketControlMessage(oob[:k])
		if err != nil || len(messages) != 1 {
			t.Fatalf("%d messages, %v", len(messages), err)
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			t.Fatalf("%d descriptors, %v", len(fds), err)
		}
		return os.NewFile(uintptr(fds[0]), "received"), string(name[:n])
	}
}

// pollable returns the file as one that can be read with a deadline.
func pollable(t *testing.T, f *os.File) *os.File {
	t.Helper()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	return os.NewFile(uintptr(fd), f.Name())
}

// screenReader reads what a terminal shows.
type screenReader struct {
	master *os.File
	seen   string // and not expected yet
}

// expect reads until the text comes.
func (r *screenReader) expect(t *testing.T, text string) {
	t.Helper()
	if err := r.master.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	for {
		if _, rest, ok := strings.Cut(r.seen, text); ok {
			r.seen = rest
			return
		}
		n, err := r.master.Read(b)
		if err != nil {
			t.Fatalf("%v after %q, without %q", err, r.seen, text)
		}
		r.seen += string(b[:n])
	}
}

func TestConsoleSocket(t *testing.T) {
	h := newHost(t)
	h.spec.Process.Terminal = true
	h.spec.Process.ConsoleSize = &specs.Box{Height: 33, Width: 77}
	h.command("sh", "-c", "tty; stty size; read word; echo got $word; sleep 1000")
	path, accept := receiver(t)
	h.ok("create", "--console-socket", path, "c1")
	master, name := accept()
	defer master.Close()
	if flags, err := unix.FcntlInt(master.Fd(), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("the master is not blocking: %#x, %v", flags, err)
	}
	master = pollable(t, master)
	if name != "/dev/ptmx" {
		t.Errorf("the message says %q", name)
	}
	h.ok("start", "c1")
	screen := &screenReader{master: master}
	screen.expect(t, "/dev/pts/0\r\n33 77\r\n")
	if _, err := master.WriteString("this\n"); err != nil {
		t.Fatal(err)
	}
	screen.expect(t, "got this\r\n")

	path, accept = receiver(t)
	h.ok("exec", "--tty", "--detach", "--console-socket", path, "c1", "sh", "-c", "tty; read word; echo got $word")
	second, _ := accept()
	second = pollable(t, second)
	defer second.Close()
	other := &screenReader{master: second}
	other.expect(t, "/dev/pts/1\r\n")
	if _, err := second.WriteString("that\n"); err != nil {
		t.Fatal(err)
	}
	other.expect(t, "got that\r\n")
}

// A terminal in the foreground is joined with ours, which is raw meanwhile.
func TestTerminalForeground(t *testing.T) {
	h := newHost(t)
	h.spec.Process.Terminal = true
	h.command("sh", "-c", "stty size; read word; echo got $word; trap 'stty size' WINCH; echo ready; while :; do sleep 0.02; done")
	master, slave := openTerminal(t)
	before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	resize := func(rows, columns uint16) {
		raw, err := master.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) {
				if err := unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
					t.Error(err)
				}
			})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	resize(21, 83)
	cmd := h.cmd("run", "c1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	screen := &screenReader{master: master}
	screen.expect(t, "21 83")
	if _, err := master.WriteString("this\r"); err != nil {
		t.Fatal(err)
	}
	screen.expect(t, "got this")
	screen.expect(t, "ready")
	resize(22, 84)
	screen.expect(t, "22 84")
	h.ok("kill", "c1", "KILL")
	timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 137 {
		t.Errorf("%v, want status 137", err)
	}
	after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the terminal was not put back: %+v, %v", after, err)
	}
}

func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}
