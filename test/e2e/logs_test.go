package e2e

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// logFiles lists the files of a container's log, with their sizes.
func logFiles(t *testing.T, cli enginetest.CLI, e *enginetest.Engine, name string) map[string]int64 {
	t.Helper()
	id := cli.OK(t, "inspect", "-f", "{{.Id}}", name)
	found, err := filepath.Glob(filepath.Join(e.Root, "*", "containers", id, id+"*.log*"))
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]int64{}
	for _, f := range found {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		sizes[strings.TrimPrefix(filepath.Base(f), id)] = info.Size()
	}
	return sizes
}

// lines is a shell command that writes n numbered lines of 100 bytes.
func lines(n int) string {
	return fmt.Sprintf(`busybox awk 'BEGIN{for(i=0;i<%d;i++) printf "%%099d\n", i}'`, n)
}

// TestLogRotation: without a word from anybody a log is rotated and compressed,
// and still read as one.
func TestLogRotation(t *testing.T) {
	e := engine(t)
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		cli.OK(t, "run", "--name", n, "busybox", "sh", "-c", lines(200_000))
		enginetest.Eventually(t, 10*time.Second, func() error {
			if files := logFiles(t, cli, e, n); len(files) != 2 || files["-json.log.1.gz"] == 0 {
				return fmt.Errorf("files %v", files)
			}
			return nil
		})
		if out := cli.OK(t, "logs", n); strings.Count(out, "\n") != 199_999 || !strings.HasSuffix(out, "199999") {
			t.Errorf("%d lines", strings.Count(out, "\n"))
		}
		if got := cli.OK(t, "logs", "--tail", "70000", n); !strings.HasPrefix(got, fmt.Sprintf("%099d\n", 130_000)) {
			t.Errorf("--tail reads %.200q", got)
		}
	})
}

// TestLogDrivers runs with each driver that only keeps a file.
func TestLogDrivers(t *testing.T) {
	e := engine(t)
	each(t, func(t *testing.T, cli enginetest.CLI) {
		const script = `echo out; echo err >&2; printf '\377\000bin\n'; busybox head -c 40000 /dev/zero | busybox tr '\0' x; echo; printf open`
		long := strings.Repeat("x", 40_000)
		for driver, text := range map[string]string{"json-file": "\ufffd\x00bin\n", "local": "\xff\x00bin\n"} {
			n := name(t, cli) + "-" + driver
			t.Cleanup(func() { cli.Run(t, "rm", "-f", n) })
			cli.OK(t, "run", "--name", n, "--log-driver", driver, "--log-opt", "max-size=10k", "--log-opt", "max-file=9", "--log-opt", "tag={{.Name}}", "busybox", "sh", "-c", script)
			if r := cli.Run(t, "logs", n); r.Stdout != "out\n"+text+long+"\nopen" || r.Stderr != "err\n" {
				t.Errorf("%s: stdout of %d bytes %.60q, stderr %q", driver, len(r.Stdout), r.Stdout, r.Stderr)
			}
			// Time and attributes stand where lines begin.
			got := cli.OK(t, "logs", "-t", "--details", n)
			if strings.Count(got, "Z tag="+n+" ") != 4 || strings.Count(got, "xZ") != 0 {
				t.Errorf("%s: -t --details: %.200q", driver, got)
			}
			if len(logFiles(t, cli, e, n)) < 3 {
				t.Errorf("%s: %v", driver, logFiles(t, cli, e, n))
			}
			path := cli.OK(t, "inspect", "-f", "{{.LogPath}}", n)
			if strings.HasSuffix(path, "-json.log") != (driver == "json-file") {
				t.Errorf("%s: LogPath %q", driver, path)
			}
		}
		cli.Fails(t, 125, "unknown log opt 'colour' for json-file log driver", "run", "--log-opt", "colour=1", "busybox", "true")
		cli.Fails(t, 125, "log driver 'awslogs' is not supported", "run", "--log-driver", "awslogs", "busybox", "true")
		cli.Fails(t, 125, "logger: no log driver named 'grafana/loki' is registered", "run", "--log-driver", "grafana/loki", "busybox", "true")
		n := name(t, cli)
		cli.OK(t, "run", "--name", n, "--log-driver", "none", "busybox", "echo", "x")
		cli.Fails(t, 1, "configured logging driver does not support reading", "logs", n)
	})
}

// TestLogsFollowRotation follows a log that is rotated and compressed all the
// time, to its end.
func TestLogsFollowRotation(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		cli.OK(t, "run", "-d", "--name", n, "--log-opt", "max-size=100k", "--log-opt", "max-file=99", "busybox", "sh", "-c",
			`busybox awk 'BEGIN{for(i=0;i<10000;i++) {printf "%099d\n", i; if (i%100==0) {fflush(); system("busybox usleep 5000")}}}'`)
		out := cli.OK(t, "logs", "-f", n)
		for i, line := range strings.Split(out, "\n") {
			if line != fmt.Sprintf("%099d", i) {
				t.Fatalf("line %d: %.120q", i, line)
			}
		}
		if !strings.HasSuffix(out, "9999") {
			t.Errorf("ends in %.120q", out[len(out)-100:])
		}
	})
}

// TestNonBlockingLog: a container whose log is slow goes on.
func TestNonBlockingLog(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		cli.OK(t, "run", "--name", n, "--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=64k", "busybox", "sh", "-c", "echo first; "+lines(20_000)+"; echo last")
		r := cli.Run(t, "logs", n)
		if !strings.HasPrefix(r.Stdout, "first\n") {
			t.Errorf("stdout %.80q", r.Stdout)
		}
		// All of it, or a word about what is missing.
		if strings.Count(r.Stdout, "\n") != 20_002 && !strings.Contains(r.Stderr, "[davit: output that was not logged") {
			t.Errorf("%d lines, stderr %.300q", strings.Count(r.Stdout, "\n"), r.Stderr)
		}
	})
}

// syslogServer takes lines by tcp.
type syslogServer struct {
	listen net.Listener
	mu     sync.Mutex
	lines  []string // guarded by mu
}

func serveSyslog(t *testing.T, address string) *syslogServer {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &syslogServer{listen: l}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for in := bufio.NewScanner(conn); in.Scan(); {
					_, text, _ := strings.Cut(in.Text(), "]: ")
					s.mu.Lock()
					s.lines = append(s.lines, text)
					s.mu.Unlock()
				}
			}()
		}
	}()
	return s
}

func (s *syslogServer) address() string { return s.listen.Addr().String() }

// await waits until lines 0 to n-1 have come, in order but for repetitions.
func (s *syslogServer) await(t *testing.T, n int) {
	t.Helper()
	enginetest.Eventually(t, 20*time.Second, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		next := 0
		for _, l := range s.lines {
			if l == fmt.Sprintf("%099d", next) {
				next++
			}
		}
		if next != n {
			return fmt.Errorf("%d of %d lines, %d with repetitions", next, n, len(s.lines))
		}
		return nil
	})
}

// TestLogShipped: a driver with a target sends all, also of a container that is
// removed at its end, and the log is read as ever.
func TestLogShipped(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		server := serveSyslog(t, "127.0.0.1:0")
		opts := []string{"--log-driver", "syslog", "--log-opt", "syslog-address=tcp://" + server.address(), "busybox", "sh", "-c", lines(20_000)}
		cli.OK(t, append([]string{"run", "--rm"}, opts...)...)
		server.await(t, 20_000)

		other := serveSyslog(t, "127.0.0.1:0")
		opts[3] = "syslog-address=tcp://" + other.address()
		cli.OK(t, append([]string{"run", "--name", n}, opts...)...)
		other.await(t, 20_000)
		if out := cli.OK(t, "logs", "--tail", "1", n); out != fmt.Sprintf("%099d", 19_999) {
			t.Errorf("logs: %q", out)
		}
		cli.Fails(t, 125, "unknown log opt 'max-size' for syslog log driver", "run", "--log-driver", "syslog", "--log-opt", "max-size=1m", "busybox", "true")
	})
}

// TestLogTargets: the drivers' options come through both clients to the wire.
func TestLogTargets(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer udp.Close()
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer tcp.Close()
		deadline := time.Now().Add(20 * time.Second)
		packet := func() (string, error) {
			buf := make([]byte, 1<<16)
			_ = udp.SetReadDeadline(deadline) // fails with the read
			n, _, err := udp.ReadFrom(buf)
			return string(buf[:n]), err
		}
		for _, c := range []struct {
			opts []string
			read func() (string, error)
			want []string
		}{
			{[]string{"gelf", "gelf-address=udp://" + udp.LocalAddr().String(), "gelf-compression-type=none", "labels=l"}, packet,
				[]string{`"short_message":"hello"`, `"_l":"v"`, `"_tag":"TAG"`}},
			{[]string{"syslog", "syslog-address=udp://" + udp.LocalAddr().String(), "syslog-format=rfc5424micro", "syslog-facility=local0"}, packet,
				[]string{"<134>1 ", " TAG ", " TAG - hello\n"}},
			{[]string{"fluentd", "fluentd-address=" + tcp.Addr().String(), "labels-regex=^l"}, func() (string, error) {
				conn, err := tcp.Accept()
				if err != nil {
					return "", err
				}
				defer conn.Close()
				buf := make([]byte, 1<<16)
				_ = conn.SetReadDeadline(deadline) // fails with the read
				n, err := conn.Read(buf)
				return string(buf[:n]), err
			}, []string{"\xa3TAG", "\xa3log\xa5hello", "\xa1l\xa1v", "container_name"}},
		} {
			args := []string{"run", "--rm", "--label", "l=v", "--log-opt", "tag=TAG", "--log-driver", c.opts[0]}
			for _, o := range c.opts[1:] {
				args = append(args, "--log-opt", o)
			}
			cli.OK(t, append(args, "busybox", "echo", "hello")...)
			got, err := c.read()
			for _, want := range c.want {
				if err != nil || !strings.Contains(got, want) {
					t.Errorf("%s: got %q, %v, want %q", c.opts[0], got, err, want)
				}
			}
		}
	})
}

// TestLogShippedLater: nothing waits for a target that is away, and it gets
// everything when it is back, whatever happened to the engine meanwhile.
func TestLogShippedLater(t *testing.T) {
	enginetest.NeedRoot(t)
	e := enginetest.Start(t, enginetest.Config{})
	e.Busybox(t)
	cli := e.Davit()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	cli.OK(t, "run", "-d", "--name", "slow", "--log-driver", "syslog", "--log-opt", "syslog-address=tcp://"+address, "busybox", "sh", "-c",
		`busybox awk 'BEGIN{for(i=0;i<300;i++) {printf "%099d\n", i; fflush(); system("busybox usleep 10000")}}'`)
	cli.OK(t, "run", "--name", "quick", "--log-driver", "syslog", "--log-opt", "syslog-address=tcp://"+address, "--log-opt", "tag=quick", "busybox", "echo", "done")
	enginetest.Eventually(t, 10*time.Second, func() error {
		if out := cli.Run(t, "info"); !strings.Contains(out.Stdout+out.Stderr, "do not reach their targets") {
			return fmt.Errorf("info says nothing of it: %s", out.Stdout)
		}
		return nil
	})
	e.Kill(t)
	server := serveSyslog(t, address)
	e.Restart(t)
	enginetest.Eventually(t, 10*time.Second, func() error {
		server.mu.Lock()
		defer server.mu.Unlock()
		if len(server.lines) < 30 {
			return fmt.Errorf("%d lines", len(server.lines))
		}
		return nil
	})
	e.Kill(t)
	e.Restart(t)
	server.await(t, 300)
	if got := strings.Count(strings.Join(server.lines, "\n"), "done"); got < 1 {
		t.Errorf("the log of a container that had ended was sent %d times", got)
	}
	cli.OK(t, "rm", "-f", "slow", "quick")
}

// TestHugeLine: one line of 100 MB is logged and read back whole, by an engine
// and a supervisor that stay small.
func TestHugeLine(t *testing.T) {
	e := engine(t)
	cli := e.Davit()
	n := name(t, cli)
	const size = 100_000_000
	cli.OK(t, "run", "-d", "--name", n, "--log-driver", "local", "--log-opt", "max-size=-1", "busybox", "sh", "-c",
		fmt.Sprintf(`busybox head -c %d /dev/zero | busybox tr '\0' x; echo; busybox sleep 100`, size))
	before := peak(t, e.Pid())
	var out string
	enginetest.Eventually(t, 60*time.Second, func() error {
		if out = cli.OK(t, "logs", "--tail", "1", n); strings.TrimLeft(out, "x") != "" || len(out) != size%16384 {
			return fmt.Errorf("the last piece has %d bytes", len(out))
		}
		return nil
	})
	if out = cli.Run(t, "logs", n).Stdout; len(out) != size+1 || strings.Trim(out, "x") != "\n" {
		t.Errorf("%d bytes", len(out))
	}
	pid, err := strconv.Atoi(cli.OK(t, "inspect", "-f", "{{.State.Pid}}", n))
	if err != nil {
		t.Fatal(err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	shim, err := strconv.Atoi(strings.Fields(rest)[1])
	if err != nil {
		t.Fatal(err)
	}
	if p := peak(t, shim); p > 24<<10 {
		t.Errorf("the supervisor took %d KiB at its peak", p)
	}
	if p := peak(t, e.Pid()); p > before+48<<10 {
		t.Errorf("the engine took %d KiB at its peak, %d before", p, before)
	}
}

// peak is the most memory that a process has had, in KiB.
func peak(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib
}
