package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/wire"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestOutputGoesToLogAndClients(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		s := warmShim(t, k).sh(`echo out; echo err >&2; printf 'no end'; exit 7`)
		s.start.Log.Attrs = map[string]string{"tag": "x"}
		both, bothEnd := s.attachBefore(wire.Attach{ID: 1, Stdout: true, Stderr: true})
		one, oneEnd := s.attachBefore(wire.Attach{ID: 2, Stderr: true})
		s.run(bothEnd, oneEnd)
		bothEnd.Close()
		oneEnd.Close()
		if stdout, stderr, err := demux(both); stdout != "out\nno end" || stderr != "err\n" || err != nil {
			t.Errorf("client got %q, %q, %v", stdout, stderr, err)
		}
		if stdout, stderr, err := demux(one); stdout != "" || stderr != "err\n" || err != nil {
			t.Errorf("client of stderr got %q, %q, %v", stdout, stderr, err)
		}
		exit := s.waitExit()
		if exit.ExitCode != 7 || exit.Signal != 0 || exit.Error != "" || exit.OOMKilled || exit.ID != s.start.ID || time.Since(exit.ExitedAt) > patience {
			t.Errorf("exit %+v", exit)
		}
		entries := s.log()
		if out, err := logged(entries, "stdout"), logged(entries, "stderr"); out != "out\nno end" || err != "err\n" {
			t.Errorf("log holds %q, %q", out, err)
		}
		var state wire.State
		s.readJSON(wire.StateName, &state)
		if fmt.Sprint(state) != fmt.Sprint(s.state) || state.Pid == 0 || state.ShimPid != s.cmd.Process.Pid || len(state.Cgroup) == 0 {
			t.Errorf("state on disk %+v, answered %+v", state, s.state)
		}
		var onDisk wire.Exit
		s.readJSON(wire.ExitName, &onDisk)
		if onDisk != exit {
			t.Errorf("exit on disk %+v, told %+v", onDisk, exit)
		}
		if left, _ := filepath.Glob(s.start.RunDir + "/*"); len(left) != 2 {
			t.Errorf("run directory holds %v", left)
		}
		for _, dir := range s.state.Cgroup {
			if _, err := os.Stat(dir); err == nil {
				t.Errorf("cgroup %s is left", dir)
			}
		}
	})
}

func TestHowItEnds(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		for _, c := range []struct {
			script       string
			code, signal int
		}{
			{"exit 0", 0, 0},
			{"exit 255", 255, 0},
			{"kill -KILL $$", 137, 9},
		} {
			if !k.fake && c.signal != 0 {
				continue // PID 1 is deaf to its own signals
			}
			if exit := warmShim(t, k).sh(c.script).run().waitExit(); exit.ExitCode != c.code || exit.Signal != c.signal {
				t.Errorf("%s: %+v", c.script, exit)
			}
		}
	})
}

func TestStartFails(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		notExecutable := "/bin/not-executable"
		if k.fake {
			notExecutable = "/etc/passwd"
		}
		for _, c := range []struct {
			name   string
			change func(*wire.Start)
			code   int
			kind   errs.Kind
		}{
			{"no command", func(r *wire.Start) { r.Spec.Process.Args = []string{"/bin/missing"} }, 127, errs.Unknown},
			{"not executable", func(r *wire.Start) { r.Spec.Process.Args = []string{notExecutable} }, 126, errs.Unknown},
			{"log driver", func(r *wire.Start) { r.Log.Driver = "syslog" }, 0, errs.NotImplemented},
			{"log path", func(r *wire.Start) { r.Log.Path = "/nowhere/at/all" }, 0, errs.Unknown},
			{"run directory", func(r *wire.Start) { r.RunDir = "/nowhere" }, 0, errs.Unknown},
			{"hook that is not run", func(r *wire.Start) { r.Spec.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/true"}}} }, 0, errs.NotImplemented},
			{"hook without a path", func(r *wire.Start) { r.Spec.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "true"}}} }, 0, errs.InvalidParameter},
			{"no process", func(r *wire.Start) { r.Spec.Process = nil }, 0, errs.InvalidParameter},
			{"no spec", func(r *wire.Start) { r.Spec = nil }, 0, errs.InvalidParameter},
			{"missing descriptor", func(r *wire.Start) { r.NetNS = true }, 0, errs.InvalidParameter},
		} {
			s := warmShim(t, k).sh("exit 0")
			mine, theirs := s.attachBefore(wire.Attach{ID: 1, Stdout: true})
			if err := os.WriteFile(filepath.Join(s.start.RunDir, wire.ExitName), []byte("of an earlier run"), 0o600); err != nil {
				t.Fatal(err)
			}
			runDir := s.start.RunDir
			c.change(&s.start)
			_, err := s.Start(context.Background(), &s.start, theirs)
			var e *wire.Error
			if !errors.As(err, &e) || e.ExitCode != c.code || c.kind != errs.Unknown && e.Kind != c.kind || e.Message == "" {
				t.Errorf("%s: %+v", c.name, err)
			}
			if err := <-s.exited; err == nil {
				t.Errorf("%s: shim says all is well", c.name)
			}
			s.exited <- nil
			left, _ := filepath.Glob(runDir + "/*")
			if early := c.code == 0; len(left) != 0 && !early {
				t.Errorf("%s: run directory holds %v", c.name, left)
			}
			// The engine still has the client's connection.
			if _, err := theirs.Write([]byte("x")); err != nil {
				t.Errorf("%s: writing to the client: %v", c.name, err)
			}
			mine.Close()
		}
	})
}

func TestNoStart(t *testing.T) {
	s := warmShim(t, kind{fake: true})
	ctx := context.Background()
	if h, err := s.Hello(ctx); err != nil || h.Version != wire.Version {
		t.Errorf("%+v, %v", h, err)
	}
	if err := s.Signal(ctx, wire.Signal{Signal: 9}); !errs.Is(err, errs.Conflict) {
		t.Errorf("signal to no container: %v", err)
	}
	s.Close()
	if err := <-s.exited; err != nil {
		t.Errorf("a shim that is not wanted says %v", err)
	}
	s.exited <- nil
}

func TestStdinEndsWithItsClient(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		s := warmShim(t, k).sh(`busybox cat; echo end`)
		s.start.Stdio = wire.Stdio{Stdin: true, StdinOnce: true}
		c, end := s.attachBefore(wire.Attach{ID: 1, Stdin: true, Stdout: true, Input: []byte("early ")})
		io.WriteString(c, "and late\n")
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		s.run(end)
		end.Close()
		if out, _, err := demux(c); out != "early and late\nend\n" || err != nil {
			t.Errorf("got %q, %v", out, err)
		}
		s.waitExit()
	})
}

func TestStdinOutlivesItsClient(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		s := warmShim(t, k).sh(`read a; read b; echo "$a $b"`)
		s.start.Stdio = wire.Stdio{Stdin: true}
		s.run()
		first := s.attach(wire.Attach{ID: 1, Stdin: true, Stdout: true})
		io.WriteString(first, "one\n")
		first.CloseWrite()
		if out, _, err := demux(first); out != "" || err != nil { // Docker lets it go, too
			t.Errorf("first client got %q, %v", out, err)
		}
		second := s.attach(wire.Attach{ID: 2, Stdin: true, Stdout: true})
		io.WriteString(second, "two\n")
		if out, _, err := demux(second); out != "one two\n" || err != nil {
			t.Errorf("second client got %q, %v", out, err)
		}
		s.waitExit()
	})
}

func TestLargeInput(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		s := warmShim(t, k).sh(`busybox wc -c`)
		s.start.Stdio = wire.Stdio{Stdin: true, StdinOnce: true}
		s.run()
		c := s.attach(wire.Attach{ID: 1, Stdin: true, Stdout: true})
		if _, err := c.Write(make([]byte, 8<<20)); err != nil {
			t.Fatal(err)
		}
		c.CloseWrite()
		if out, _, err := demux(c); strings.TrimSpace(out) != fmt.Sprint(8<<20) {
			t.Errorf("got %q, %v", out, err)
		}
		s.waitExit()
	})
}

func TestTerminal(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		s := warmShim(t, k).sh(`busybox stty size; echo err >&2; read x; busybox stty size; busybox tty >/dev/null && echo "tty $x"`)
		s.start.Stdio = wire.Stdio{Stdin: true, StdinOnce: true}
		s.start.Spec.Process.Terminal = true
		s.start.Spec.Process.ConsoleSize = &specs.Box{Height: 33, Width: 111}
		c, end := s.attachBefore(wire.Attach{ID: 1, Stdin: true, Stdout: true, Stderr: true})
		s.run(end)
		end.Close()
		if got := readUntil(t, c, "err\r\n"); got != "33 111\r\nerr\r\n" {
			t.Errorf("got %q", got)
		}
		if err := s.Resize(context.Background(), wire.Resize{Width: 77, Height: 22}); err != nil {
			t.Error(err)
		}
		io.WriteString(c, "typed\r")
		rest, err := io.ReadAll(c)
		if string(rest) != "typed\r\n22 77\r\ntty typed\r\n" || err != nil {
			t.Errorf("got %q, %v", rest, err)
		}
		s.waitExit()
		if got := logged(s.log(), "stdout"); got != "33 111\r\nerr\r\ntyped\r\n22 77\r\ntty typed\r\n" {
			t.Errorf("log holds %q", got)
		}
	})
}

func TestDetachKeys(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		s := warmShim(t, k).sh(`busybox stty raw -echo; echo ready; busybox dd bs=1 count=4 2>/dev/null | busybox od -An -c; read x`)
		s.start.Stdio = wire.Stdio{Stdin: true}
		s.start.Spec.Process.Terminal = true
		watcher, end := s.attachBefore(wire.Attach{ID: 43, Stdout: true})
		s.run(end)
		c := s.attach(wire.Attach{ID: 42, Stdin: true, Stdout: true, DetachKeys: []byte{16, 17}})
		readUntil(t, watcher, "ready")
		for _, piece := range []string{"a", "\x10", "b", "\x10\x10", "\x11ignored"} {
			io.WriteString(c, piece)
		}
		if _, err := io.ReadAll(c); err != nil {
			t.Errorf("detached client: %v", err)
		}
		select {
		case e := <-s.Events():
			if e.Detached == nil || e.Detached.ID != 42 {
				t.Errorf("event %+v", e)
			}
		case <-time.After(patience):
			t.Fatal("no event")
		}
		if got := strings.Join(strings.Fields(readUntil(t, watcher, "\n")), " "); !strings.Contains(got, "a 020 b 020") {
			t.Errorf("container got %q", got)
		}
		if err := s.Signal(context.Background(), wire.Signal{Signal: int(unix.SIGKILL)}); err != nil {
			t.Error(err)
		}
		if exit := s.waitExit(); exit.ExitCode != 137 || exit.Signal != 9 {
			t.Errorf("exit %+v", exit)
		}
	})
}

func TestSignal(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		s := warmShim(t, k).sh(`trap 'echo caught; exit 3' USR1; echo ready; while :; do busybox sleep 0.01; done`).run()
		eventually(t, "the trap is set", func() bool { return logged(s.log(), "stdout") != "" })
		ctx := context.Background()
		if err := s.Resize(ctx, wire.Resize{Width: 1, Height: 1}); !errs.Is(err, errs.Conflict) {
			t.Errorf("resize without a terminal: %v", err)
		}
		if err := s.Signal(ctx, wire.Signal{Signal: 1000}); err == nil {
			t.Error("signal 1000 was sent")
		}
		if err := s.Signal(ctx, wire.Signal{Signal: int(unix.SIGUSR1)}); err != nil {
			t.Error(err)
		}
		if exit := s.waitExit(); exit.ExitCode != 3 || logged(s.log(), "stdout") != "ready\ncaught\n" {
			t.Errorf("exit %+v, log %v", exit, s.log())
		}
		if err := s.Signal(ctx, wire.Signal{Signal: 9}); !errors.Is(err, wire.ErrGone) {
			t.Errorf("signal after the end: %v", err)
		}
	})
}

func TestSignalAll(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("containers need root")
	}
	s := warmShim(t, kind{root: rootfs(t)}).sh(`busybox sh -c 'trap "echo child; exit" USR1; echo ready; while :; do busybox sleep 0.01; done' & trap : USR1; while :; do wait; busybox sleep 0.01; done`).run()
	eventually(t, "the trap is set", func() bool { return logged(s.log(), "stdout") != "" })
	if err := s.Signal(context.Background(), wire.Signal{Signal: int(unix.SIGUSR1), All: true}); err != nil {
		t.Error(err)
	}
	eventually(t, "the child is signalled", func() bool { return strings.Contains(logged(s.log(), "stdout"), "child") })
	if err := s.Signal(context.Background(), wire.Signal{Signal: int(unix.SIGKILL), All: true}); err != nil {
		t.Error(err)
	}
	s.waitExit()
}

func TestEngineComesAndGoes(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		s := warmShim(t, k).sh(`echo before; while :; do read x || exit 9; echo "got $x"; [ "$x" = stop ] && exit 5; done`)
		s.start.Stdio = wire.Stdio{Stdin: true}
		old, end := s.attachBefore(wire.Attach{ID: 1, Stdout: true})
		s.run(end)
		end.Close()
		readUntil(t, old, "before\n")
		s.Close() // as when the engine is killed

		ctx := context.Background()
		second, err := wire.Dial(ctx, s.start.RunDir)
		if err != nil {
			t.Fatal(err)
		}
		third, err := wire.Dial(ctx, s.start.RunDir)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []*wire.Client{second, third} {
			defer c.Close()
			if h, err := c.Hello(ctx); err != nil || h.Version != wire.Version {
				t.Errorf("%+v, %v", h, err)
			}
			if state, err := c.State(ctx); err != nil || fmt.Sprint(state) != fmt.Sprint(s.state) {
				t.Errorf("state %+v, %v; was %+v", state, err, s.state)
			}
		}
		if _, err := second.Start(ctx, &wire.Start{ID: "again"}); !errs.Is(err, errs.Conflict) {
			t.Errorf("second start: %v", err)
		}
		mine, theirs := unixPair(t)
		if err := second.Attach(ctx, &wire.Attach{ID: 2, Stdin: true, Stdout: true}, theirs); err != nil {
			t.Fatal(err)
		}
		theirs.Close()
		io.WriteString(mine, "one\n")
		readUntil(t, mine, "got one\n")
		readUntil(t, old, "got one\n") // an attachment of the dead engine's goes on
		io.WriteString(mine, "stop\n")
		for _, c := range []*wire.Client{second, third} {
			if exit := waitExit(t, c); exit.ExitCode != 5 {
				t.Errorf("exit %+v", exit)
			}
		}
		if _, err := wire.Dial(ctx, s.start.RunDir); !errs.Is(err, errs.Unavailable) {
			t.Errorf("dialling a shim that has gone: %v", err)
		}
		var exit wire.Exit
		if s.readJSON(wire.ExitName, &exit); exit.ExitCode != 5 {
			t.Errorf("exit on disk %+v", exit)
		}
	})
}

// TestForeignEngines connects many times, with and without the protocol.
func TestForeignEngines(t *testing.T) {
	s := warmShim(t, kind{fake: true}).sh(`exec busybox sleep 1000`).run()
	before := s.fds()
	ctx := context.Background()
	for i := range 50 {
		if i%2 == 0 {
			c, err := wire.Dial(ctx, s.start.RunDir)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.State(ctx); err != nil {
				t.Error(err)
			}
			if err := c.Attach(ctx, &wire.Attach{}, os.Stdin); !errs.Is(err, errs.InvalidParameter) {
				t.Errorf("attaching what is no socket: %v", err)
			}
			c.Close()
			continue
		}
		c, err := net.Dial("unix", filepath.Join(s.start.RunDir, wire.SocketName))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
		io.Copy(io.Discard, c) // it hangs up
		c.Close()
	}
	if info, err := os.Stat(filepath.Join(s.start.RunDir, wire.SocketName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", info, err)
	}
	eventually(t, "the connections are closed", func() bool { return s.fds() == before })
	if _, err := s.State(ctx); err != nil {
		t.Error(err)
	}
}

func TestContainerDiesWithShim(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		s := warmShim(t, k).sh(`exec busybox sleep 1000`).run()
		if err := s.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the container dies with its shim", func() bool {
			start, err := wire.StartTime(s.state.Pid)
			return err != nil || start != s.state.PidStart || !alive(s.state.Pid) || isZombie(s.state.Pid)
		})
	})
}

func isZombie(pid int) bool {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return strings.Contains(string(b), ") Z ")
}

func TestShimIsADaemon(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		s := warmShim(t, k).sh(`busybox grep -E '^Sig(Ign|Blk)' /proc/self/status; read x`)
		s.start.Stdio = wire.Stdio{Stdin: true}
		s.run()
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", s.state.ShimPid))
		if err != nil || string(cmdline) != "davit-shim\x00"+s.start.ID+"\x00" {
			t.Errorf("command line %q, %v", cmdline, err)
		}
		if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", s.state.ShimPid)); err != nil || cwd != "/" {
			t.Errorf("working directory %s, %v", cwd, err)
		}
		if sid, err := unix.Getsid(s.state.ShimPid); err != nil || sid != s.state.ShimPid {
			t.Errorf("session %d, %v", sid, err)
		}
		for _, sig := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGPIPE} {
			unix.Kill(s.state.ShimPid, sig)
		}
		if _, err := s.State(context.Background()); err != nil {
			t.Errorf("after the signals: %v", err)
		}
		if k.fake {
			return // os/exec resets no signals
		}
		// The container must not inherit that they are ignored.
		eventually(t, "the container tells its signals", func() bool { return len(s.log()) == 2 })
		for _, e := range s.log() {
			if f := strings.Fields(e.Log); len(f) != 2 || f[1] != "0000000000000000" {
				t.Errorf("container has %q", e.Log)
			}
		}
	})
}

// TestClientsLeaveNothing attaches many clients that hang up in all ways.
func TestClientsLeaveNothing(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		s := warmShim(t, k).sh(`while read x; do echo "$x"; done`)
		s.start.Stdio = wire.Stdio{Stdin: true}
		s.run()
		feeder := s.attach(wire.Attach{ID: 1, Stdin: true})
		before := s.fds()
		for i := range 100 {
			a := wire.Attach{ID: uint64(i), Stdout: true, Stderr: true, Stdin: i%3 == 0}
			switch i % 4 {
			case 0:
				s.attach(a).Close()
			case 1: // half first
				c := s.attach(a)
				c.CloseWrite()
				c.Close()
			case 2: // with unread output
				c := s.attach(a)
				io.WriteString(feeder, "line\n")
				c.Close()
			default:
				s.attachTCP(a).Close()
			}
		}
		eventually(t, "the descriptors of 100 clients are closed", func() bool {
			io.WriteString(feeder, "is anybody there\n") // a TCP peer is seen to have gone when it is written to
			return s.fds() == before
		})
		s.Signal(context.Background(), wire.Signal{Signal: 9})
		s.waitExit()
	})
}

func (s *shimProcess) attachTCP(a wire.Attach) net.Conn {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	defer l.Close()
	mine, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { mine.Close() })
	theirs, err := l.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	defer theirs.Close()
	if err := s.Attach(context.Background(), &a, theirs.(*net.TCPConn)); err != nil {
		s.t.Fatal(err)
	}
	return mine
}

func TestTCPClient(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		s := warmShim(t, k).sh(`busybox cat`)
		s.start.Stdio = wire.Stdio{Stdin: true, StdinOnce: true}
		s.run()
		c := s.attachTCP(wire.Attach{ID: 1, Stdin: true, Stdout: true})
		io.WriteString(c, "over tcp")
		c.(*net.TCPConn).CloseWrite()
		if out, _, err := demux(c); out != "over tcp" || err != nil {
			t.Errorf("got %q, %v", out, err)
		}
		s.waitExit()
	})
}

// TestStalledClient floods a client that does not read: the container waits,
// and the shim's memory stays small.
func TestStalledClient(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		s := warmShim(t, k).sh(`exec busybox yes`)
		stalled, end := s.attachBefore(wire.Attach{ID: 1, Stdout: true})
		s.run(end)
		end.Close()
		var size int64
		settled := 0
		eventually(t, "the container waits for its client", func() bool {
			info, err := os.Stat(s.start.Log.Path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Size() == size && size > 0 {
				settled++
			} else {
				size, settled = info.Size(), 0
			}
			return settled > 20
		})
		limit := 6 << 10
		if underRace() {
			limit *= 5
		}
		if anon := s.memory("Pss_Anon"); anon > limit {
			t.Errorf("the shim has grown to %d KiB", anon)
		}
		if _, err := io.CopyN(io.Discard, stalled, 4<<20); err != nil { // it goes on
			t.Error(err)
		}
		stalled.Close()
		s.Signal(context.Background(), wire.Signal{Signal: 9})
		s.waitExit()
	})
}

// underRace tells whether the race detector multiplies the memory.
func underRace() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// TestNothingIsLost compares a lot of output as client and log have it.
func TestNothingIsLost(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		const lines = 50_000
		s := warmShim(t, k).sh(fmt.Sprintf(`busybox seq 1000000 %d`, 1000000+lines-1))
		c, end := s.attachBefore(wire.Attach{ID: 1, Stdout: true})
		s.run(end)
		end.Close()
		var want strings.Builder
		for i := range lines {
			fmt.Fprintln(&want, 1000000+i)
		}
		if out, _, err := demux(c); err != nil || out != want.String() {
			t.Errorf("client got %d bytes, %v", len(out), err)
		}
		if exit := s.waitExit(); exit.ExitCode != 0 || exit.Error != "" {
			t.Errorf("exit %+v", exit)
		}
		if got := logged(s.log(), "stdout"); got != want.String() {
			t.Errorf("log has %d bytes", len(got))
		}
	})
}

// TestStalledClientDoesNotHoldTheExit: it may read what is left later.
func TestStalledClientDoesNotHoldTheExit(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		s := warmShim(t, k).sh(`busybox dd if=/dev/zero bs=1000 count=900 2>/dev/null`)
		s.start.Log.Driver = "none"
		c, end := s.attachBefore(wire.Attach{ID: 1, Stdout: true})
		gone, goneEnd := s.attachBefore(wire.Attach{ID: 2, Stdout: true})
		s.run(end, goneEnd)
		end.Close()
		goneEnd.Close()
		began := time.Now()
		waitExit(t, s.Client)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the exit took %v", took)
		}
		gone.Close()
		if out, _, err := demux(c); len(out) != 900_000 || err != nil {
			t.Errorf("client got %d bytes, %v", len(out), err)
		}
		if err := <-s.exited; err != nil {
			t.Error(err)
		}
		s.exited <- nil
	})
}

// TestOutputHeldOpen: a process that left the container keeps its output open.
func TestOutputHeldOpen(t *testing.T) {
	s := warmShim(t, kind{fake: true}).sh(`busybox setsid busybox sleep 30 & echo $!`).run()
	began := time.Now()
	s.waitExit()
	if took := time.Since(began); took < drainTime*9/10 || took > drainTime+5*time.Second {
		t.Errorf("the exit took %v", took)
	}
	var pid int
	if _, err := fmt.Sscan(logged(s.log(), "stdout"), &pid); err == nil && pid > 1 {
		unix.Kill(pid, unix.SIGKILL)
	}
}

func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a tmpfs needs root")
	}
	eachKind(t, func(t *testing.T, k kind) {
		s := warmShim(t, k).sh(`busybox seq 100000 119999; exit 4`)
		small := filepath.Join(t.TempDir(), "small")
		if err := os.Mkdir(small, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=64k"); err != nil {
			t.Skipf("mounting a tmpfs: %v", err)
		}
		t.Cleanup(func() { unix.Unmount(small, unix.MNT_DETACH) })
		s.start.Log.Path = filepath.Join(small, "log")
		c, end := s.attachBefore(wire.Attach{ID: 1, Stdout: true})
		s.run(end)
		end.Close()
		if out, _, err := demux(c); len(out) != 7*20000 || err != nil {
			t.Errorf("client got %d bytes, %v", len(out), err)
		}
		exit := s.waitExit()
		if exit.ExitCode != 4 || !strings.Contains(exit.Error, "no space left") || strings.Count(exit.Error, "no space") != 1 {
			t.Errorf("exit %+v", exit)
		}
		s.log() // each line of it is whole
	})
}

func TestOOMKilled(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("containers need root")
	}
	s := warmShim(t, kind{root: rootfs(t)}).sh(`busybox dd if=/dev/zero of=/dev/null bs=256M count=1; exit 6`)
	limit := int64(16 << 20)
	s.start.Spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit}
	if exit := s.run().waitExit(); !exit.OOMKilled {
		t.Errorf("exit %+v, log %v", exit, s.log())
	}
}

func TestDetachKeysInPieces(t *testing.T) {
	for _, c := range []struct {
		keys  string
		input []string
		pass  string
		rest  string
		found bool
	}{
		{"", []string{"anything"}, "anything", "", false},
		{"pq", []string{"abc"}, "abc", "", false},
		{"pq", []string{"abpqc"}, "ab", "", true},
		{"pq", []string{"p", "q"}, "", "", true},
		{"pq", []string{"p", "x", "q"}, "pxq", "", false},
		{"pq", []string{"pp", "q"}, "p", "", true},
		{"pq", []string{"p"}, "", "p", false},
		{"aab", []string{"aaa", "b"}, "a", "", true},
		{"abac", []string{"ababac"}, "ab", "", true},
		{"abac", []string{"abaa", "x"}, "abaax", "", false},
		{"a", []string{"xa"}, "x", "", true},
	} {
		d := detachKeys{keys: []byte(c.keys)}
		var pass []byte
		var found bool
		for _, p := range c.input {
			var out []byte
			out, found = d.filter([]byte(p))
			pass = append(pass, out...)
		}
		if string(pass) != c.pass || string(d.rest()) != c.rest || found != c.found {
			t.Errorf("%q in %q: passed %q, held %q, found %v", c.keys, c.input, pass, d.rest(), found)
		}
	}
}

func FuzzDetachKeys(f *testing.F) {
	f.Add([]byte{16, 17}, []byte("ab\x10\x10\x11c"), 3)
	f.Fuzz(func(t *testing.T, keys, input []byte, piece int) {
		if len(keys) == 0 || len(keys) > 16 {
			return
		}
		piece = max(1, min(piece, 64))
		d := detachKeys{keys: keys}
		var pass []byte
		var found bool
		for rest := input; len(rest) > 0 && !found; {
			n := min(piece, len(rest))
			var out []byte
			out, found = d.filter(rest[:n])
			pass, rest = append(pass, out...), rest[n:]
		}
		want, _, wantFound := strings.Cut(string(input), string(keys))
		if got := string(pass) + string(d.rest()); got != want || found != wantFound {
			t.Errorf("%q in %q by %d: got %q, %v; want %q, %v", keys, input, piece, got, found, want, wantFound)
		}
	})
}
