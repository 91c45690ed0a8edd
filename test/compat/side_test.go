package compat

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
	"golang.org/x/sys/unix"
)

var (
	update  = flag.Bool("update", false, "record what Docker answers, which needs Debian's docker.io")
	differs = flag.Bool("differs", false, "record where Davit's answers differ; the reasons are to be filled in")
)

// TestSideBySide types the same commands into Docker's client, once with
// Docker's engine behind it and once with Davit's, and compares what is printed
// and the exit codes.
//
// testdata/side holds scripts, one command a line after "$ ". What Docker
// answered stands in NAME.docker, recorded with -update. Where Davit is right to
// answer otherwise, NAME.differs holds the command, the reason, and Davit's
// answer; -differs writes it but for the reasons. Any other difference is a defect.
func TestSideBySide(t *testing.T) {
	enginetest.NeedRoot(t)
	scripts, err := filepath.Glob("testdata/side/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	var docker *side
	if *update {
		docker = dockerSide(t)
	}
	e := enginetest.Start(t, enginetest.Config{})
	davit := newSide(t, "davit", e.Host())
	for _, path := range scripts {
		name := strings.TrimSuffix(filepath.Base(path), ".txt")
		t.Run(name, func(t *testing.T) {
			script, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			commands := commandsOf(string(script))
			golden := strings.TrimSuffix(path, ".txt") + ".docker"
			if docker != nil {
				writeAnswers(t, golden, commands, docker.run(t, commands), nil)
			}
			want := readAnswers(t, golden)
			known := strings.TrimSuffix(path, ".txt") + ".differs"
			right, reasons := readAnswers(t, known), readReasons(t, known)
			got := davit.run(t, commands)
			different := answers{}
			for _, c := range commands {
				switch expected, listed := right[c]; {
				case want[c] == "":
					t.Errorf("%s\nhas no recorded answer of Docker's (-update)", c)
				case got[c] == want[c]:
					if listed && !*differs {
						t.Errorf("%s\nis listed as different and is not: %s", c, reasons[c])
					}
				default:
					different[c] = got[c]
					if listed && reasons[c] == "" {
						t.Errorf("%s\nhas no reason in %s", c, known)
					}
					if !*differs && (!listed || expected != got[c]) {
						t.Errorf("%s\nDavit answers\n%sDocker answers\n%s", c, got[c], want[c])
					}
				}
			}
			if *differs {
				writeAnswers(t, known, commands, different, reasons)
			}
		})
	}
}

// answers are what commands printed, with their exit codes, by command.
type answers map[string]string

// commandsOf reads a script. A command that stands in it again is told apart
// by a trailing comment, which the shell does not see as anything.
func commandsOf(script string) []string {
	var list []string
	for line := range strings.Lines(script) {
		if c, ok := strings.CutPrefix(strings.TrimSpace(line), "$ "); ok {
			for again := 2; slices.Contains(list, c); again++ {
				c, _, _ = strings.Cut(c, " #")
				c = fmt.Sprintf("%s #%d", c, again)
			}
			list = append(list, c)
		}
	}
	return list
}

// readAnswers reads blocks of a command after "$ ", reasons after "! ", and the
// lines of the answer. A file that is missing is empty.
func readAnswers(t *testing.T, path string) answers {
	t.Helper()
	list := answers{}
	command := ""
	for line := range strings.Lines(readText(t, path)) {
		if c, ok := strings.CutPrefix(line, "$ "); ok {
			command = strings.TrimSpace(c)
			list[command] = ""
		} else if line != "\n" && !strings.HasPrefix(line, "! ") {
			list[command] += line
		}
	}
	return list
}

func readReasons(t *testing.T, path string) map[string]string {
	t.Helper()
	list := map[string]string{}
	command := ""
	for line := range strings.Lines(readText(t, path)) {
		if c, ok := strings.CutPrefix(line, "$ "); ok {
			command = strings.TrimSpace(c)
		} else if r, ok := strings.CutPrefix(line, "! "); ok {
			list[command] = strings.TrimSpace(r)
		}
	}
	return list
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

// writeAnswers writes those of the commands that have an answer in list.
func writeAnswers(t *testing.T, path string, commands []string, list answers, reasons map[string]string) {
	t.Helper()
	var out strings.Builder
	for _, c := range commands {
		if list[c] == "" {
			continue
		}
		fmt.Fprintf(&out, "$ %s\n", c)
		if reasons != nil {
			fmt.Fprintf(&out, "! %s\n", reasons[c])
		}
		out.WriteString(list[c] + "\n")
	}
	if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// side is a docker client with an engine behind it.
type side struct {
	name  string
	env   []string
	enter []string // what runs a command in the engine's network namespace, where that is not the test's
}

// newSide gives an engine the image that the scripts use.
func newSide(t *testing.T, name, host string) *side {
	t.Helper()
	client := enginetest.NeedProgram(t, "docker")
	s := &side{name: name, env: []string{
		"DOCKER_HOST=" + host, "HOME=" + t.TempDir(), "LC_ALL=C", "NO_COLOR=1", "DOCKER_CLI_HINTS=false",
		"PATH=" + filepath.Dir(client) + ":/usr/sbin:/usr/bin:/sbin:/bin",
	}}
	cmd := exec.Command(client, "import", "-c", `CMD ["sh"]`, "-c", "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "-", "busybox:latest")
	cmd.Env, cmd.Stdin = s.env, bytes.NewReader(enginetest.BusyboxTar(t))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: importing the image: %v: %s", name, err, out)
	}
	return s
}

// run types the commands into a shell of their own each, in one folder.
func (s *side) run(t *testing.T, commands []string) answers {
	t.Helper()
	list, dir := answers{}, t.TempDir()
	for _, c := range commands {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		words := append(slices.Clone(s.enter), "bash", "-c", c)
		cmd := exec.CommandContext(ctx, words[0], words[1:]...)
		var stdout, stderr bytes.Buffer
		cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = s.env, dir, &stdout, &stderr, 2*time.Second
		err := cmd.Run()
		cancel()
		if ctx.Err() == context.DeadlineExceeded {
			t.Errorf("%s: %s did not end", s.name, c)
		} else if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Errorf("%s: %s: %v", s.name, c, err)
		}
		list[c] = block("", stdout.String()) + block("2> ", stderr.String()) + fmt.Sprintf("[%d]\n", cmd.ProcessState.ExitCode())
		list[c] = normalise(strings.ReplaceAll(list[c], dir, "<dir>"))
	}
	return list
}

// block is text with something before each line; empty lines are left out.
func block(prefix, text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\r\n "); line != "" {
			out.WriteString(prefix + line + "\n")
		}
	}
	return out.String()
}

// variable is what differs from one run to the next.
var variable = []struct {
	pattern *regexp.Regexp
	word    string
}{
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "<id>"},
	{regexp.MustCompile(`\b[0-9a-f]{12}\b`), "<short id>"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`), "<time>"},
	{regexp.MustCompile(`(Less than a second|About a minute|About an hour|\d+ (second|minute|hour)s?)( ago)?`), "<while>"},
	{regexp.MustCompile(`\b\d+(\.\d+)?[kKMG]?i?B\b`), "<size>"},
	{regexp.MustCompile(`/tmp/d[kv]\d+/`), "<engine>/"},
}

func normalise(text string) string {
	for _, v := range variable {
		text = v.pattern.ReplaceAllString(text, v.word)
	}
	return text
}

// dockerSide runs Debian's dockerd, with everything of its own.
func dockerSide(t *testing.T) *side {
	t.Helper()
	dockerd := enginetest.NeedProgram(t, "dockerd")
	enginetest.NeedProgram(t, "containerd")
	dir, err := os.MkdirTemp("/tmp", "dk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Unmount(dir+"/exec/netns/default", unix.MNT_DETACH) // which dockerd leaves
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	// Its firewall is a real one, in a network of its own.
	const inside = `ip link set lo up && ip link add dvside0 type bridge && ip addr add 10.213.77.1/24 dev dvside0 && ip link set dvside0 up && exec "$@"`
	config := filepath.Join(dir, "daemon.json")
	if err := os.WriteFile(config, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	host := "unix://" + dir + "/docker.sock"
	cmd := exec.Command("unshare", "--net", "sh", "-c", inside, "sh", dockerd, "--host", host, "--data-root", dir+"/data", "--exec-root", dir+"/exec", "--pidfile", dir+"/pid", "--config-file", config,
		"--bridge", "dvside0", "--exec-opt", "native.cgroupdriver=cgroupfs")
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	log, err := os.Create(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait() // it ends in a moment, and how does not matter
	})
	enginetest.Eventually(t, 30*time.Second, func() error {
		_, err := os.Stat(dir + "/docker.sock")
		return err
	})
	s := newSide(t, "docker", host)
	s.enter = []string{"nsenter", "--net=/proc/" + strconv.Itoa(cmd.Process.Pid) + "/ns/net"}
	return s
}
