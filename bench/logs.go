package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

const (
	linesImage = "davit-bench-lines"
	logLines   = 1_000_000
)

// logs measures how fast output is logged and read again, beside Debian's
// Docker, which it starts.
func logs(e *enginetest.Engine, work string, runs int) error {
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(work, "lines"), "./bench/lines")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building lines: %w\n%s", err, out)
	}
	sides := []*logSide{{name: "davit", host: e.Host(), clients: map[string][]string{"davit logs": {filepath.Join(e.Bin, "davit")}, "docker logs": {"docker"}}}}
	if peer, end, err := startDockerd(nil, "--bridge", "none", "--iptables=false", "--ip6tables=false"); err != nil {
		fmt.Printf("- Debian's docker: not measured: %v\n", err)
	} else {
		defer end()
		sides = append(sides, &logSide{name: "Debian's docker", host: peer, clients: map[string][]string{"docker logs": {"docker"}}})
	}
	for _, s := range sides {
		defer s.clean()
		if err := s.load(work); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		s.figures = map[string]*sample{}
	}
	// What they keep is the same but for the last kind, which is Davit's default.
	kinds := []struct {
		title string
		opts  []string
		only  string
	}{
		{"json-file", []string{"--log-driver", "json-file"}, "Debian's docker"},
		{"json-file", []string{"--log-driver", "json-file", "--log-opt", "max-size=-1"}, "davit"},
		{"local", []string{"--log-driver", "local", "--log-opt", "max-size=1g", "--log-opt", "max-file=2", "--log-opt", "compress=false"}, ""},
		{"json-file, 20 MB, compressed", []string{"--log-opt", "max-size=20m", "--log-opt", "max-file=5", "--log-opt", "compress=true"}, ""},
	}
	for range max(3, runs/6) {
		for _, k := range kinds {
			for _, s := range sides {
				if k.only != "" && k.only != s.name {
					continue
				}
				if err := s.measure(k.title, k.opts, !strings.Contains(k.title, "compressed")); err != nil {
					return fmt.Errorf("%s, %s: %w", s.name, k.title, err)
				}
			}
		}
	}
	printLogs(sides)
	return nil
}

func printLogs(sides []*logSide) {
	fmt.Printf("\n## Logs\n\n%d lines of 100 bytes, in seconds: median, and the fastest.\n\n| |", logLines)
	for _, s := range sides {
		fmt.Printf(" %s |", s.name)
	}
	fmt.Printf(" times faster |\n|---|%s---|\n", strings.Repeat("---|", len(sides)))
	for _, row := range []string{
		"json-file: write", "json-file: read, API", "json-file: docker logs", "json-file: davit logs",
		"local: write", "local: read, API", "local: docker logs", "local: davit logs", "json-file, 20 MB, compressed: write",
	} {
		fmt.Printf("| %s |", row)
		for _, s := range sides {
			fmt.Printf(" %s |", seconds(s.figures[row]))
		}
		if len(sides) > 1 && sides[1].figures[row] != nil {
			theirs, ours := sides[1].figures[row], sides[0].figures[row]
			fmt.Printf(" %.1f (%.1f)", theirs.median()/ours.median(), slices.Min(*theirs)/slices.Min(*ours))
		}
		fmt.Println(" |")
	}
}

// seconds prints a sample's median, with the fastest beside it.
func seconds(s *sample) string {
	if s == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f (%.2f)", s.median()/1000, slices.Min(*s)/1000)
}

// logSide is an engine whose logs are measured.
type logSide struct {
	name    string
	host    string
	clients map[string][]string // what reads logs, by its title
	figures map[string]*sample
}

func (s *logSide) docker(args ...string) *exec.Cmd {
	return exec.Command("docker", append([]string{"-H", s.host}, args...)...)
}

func (s *logSide) load(work string) error {
	load := exec.Command("sh", "-c", `tar -C "$0" -c lines | docker -H "$1" import -c 'CMD ["/lines"]' - "$2"`, work, s.host, linesImage)
	if out, err := load.CombinedOutput(); err != nil {
		return fmt.Errorf("importing the image: %w: %s", err, out)
	}
	return nil
}

func (s *logSide) clean() {
	_ = s.docker("rm", "-f", linesImage).Run() // a container of that name is there after an error only
	_ = s.docker("rmi", "-f", linesImage).Run()
}

// measure logs once, and reads in each way.
func (s *logSide) measure(kind string, opts []string, read bool) error {
	defer func() { _ = s.docker("rm", "-f", linesImage).Run() }() // the next run says so
	run := s.docker(append(append([]string{"run", "-d", "--name", linesImage, "--network", "none"}, opts...), linesImage)...)
	if _, err := timed(run); err != nil {
		return err
	}
	if out, err := s.docker("wait", linesImage).CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "0" {
		return fmt.Errorf("lines ended with %s, %w", out, err)
	}
	out, err := s.docker("inspect", "-f", "{{.State.StartedAt}} {{.State.FinishedAt}}", linesImage).Output()
	if err != nil {
		return err
	}
	var from, to time.Time
	if times := strings.Fields(string(out)); len(times) == 2 {
		from, _ = time.Parse(time.RFC3339Nano, times[0])
		to, err = time.Parse(time.RFC3339Nano, times[1])
	}
	if err != nil || !to.After(from) {
		return fmt.Errorf("times %s: %w", out, err)
	}
	s.note(kind+": write", to.Sub(from))
	if !read {
		return nil
	}
	begin := time.Now()
	n, err := s.read()
	if err != nil || n != logLines*108 { // each line has a frame
		return fmt.Errorf("%d bytes read: %w", n, err)
	}
	s.note(kind+": read, API", time.Since(begin))
	for title, argv := range s.clients {
		cmd := exec.Command(argv[0], append(argv[1:len(argv):len(argv)], "-H", s.host, "logs", linesImage)...)
		cmd.Stdout = io.Discard
		took, err := timed(cmd)
		if err != nil {
			return err
		}
		s.note(kind+": "+title, took)
	}
	return nil
}

func (s *logSide) note(row string, took time.Duration) {
	if s.figures[row] == nil {
		s.figures[row] = &sample{}
	}
	s.figures[row].add(took)
}

// read counts the bytes of the log as the API sends it.
func (s *logSide) read() (int64, error) {
	socket, err := url.Parse(s.host)
	if err != nil {
		return 0, err
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket.Path)
	}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("http://engine/v1.41/containers/" + linesImage + "/logs?stdout=1&stderr=1")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, make([]byte, 1<<16))
}

// startDockerd runs the machine's dockerd with everything of its own, by the
// command in, if that is not empty.
func startDockerd(in []string, args ...string) (host string, end func(), err error) {
	dockerd, err := exec.LookPath("dockerd")
	if err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp("/tmp", "dk")
	if err != nil {
		return "", nil, err
	}
	config := filepath.Join(dir, "daemon.json")
	if err := os.WriteFile(config, []byte("{}"), 0o600); err != nil {
		return "", nil, err
	}
	socket := filepath.Join(dir, "docker.sock")
	argv := slices.Concat(in, []string{dockerd, "--host", "unix://" + socket, "--data-root", dir + "/data", "--exec-root", dir + "/exec", "--pidfile", dir + "/pid",
		"--config-file", config, "--exec-opt", "native.cgroupdriver=cgroupfs"}, args)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	end = func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait() // it ends in a moment, and how does not matter
		_ = os.RemoveAll(dir)
	}
	for range 300 {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
			return "unix://" + socket, end, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	end()
	return "", nil, fmt.Errorf("dockerd does not listen after 30 s")
}
