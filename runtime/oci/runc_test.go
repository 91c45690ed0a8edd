package oci

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// The same commands give the same statuses and outputs as runc's, and where
// containerd or Podman look for words in a message, the same words.
func TestAgainstRunc(t *testing.T) {
	ours := newHost(t)
	program, err := exec.LookPath("runc")
	if err != nil {
		t.Skip("needs Debian's runc")
	}
	theirs := *ours
	spec, linux := *ours.spec, *ours.spec.Linux
	linux.CgroupsPath += "-runc"
	spec.Linux = &linux
	theirs.program, theirs.root, theirs.bundle, theirs.spec = program, filepath.Join(t.TempDir(), "runc"), newBundle(t), &spec
	theirs.write()
	t.Cleanup(theirs.deleteAll)
	change := regexp.MustCompile(`"ociVersion": ?"[^"]*"|/tmp/[^"]*|"created":"[^"]*"|"created": "[^"]*"|"pid": ?[1-9][0-9]*|\[[0-9]+\]|[0-9]{4}-[0-9][0-9]-[^ ]*|  [0-9]+ |time="[^"]*"|UID +PID.*\n`)
	for n, step := range []struct {
		command string
		words   string // of the message: both have them
		output  bool   // compare what is printed, but for numbers and times
	}{
		{"state c", "does not exist", false},
		{"create c", "", true},
		{"create c", "already exists", false},
		{"create a/b", "invalid container ID format", false},
		{"create .. ", "invalid container ID format", false},
		{"state c", "", true},
		{"exec c echo hello", "", true},
		{"exec c sh -c cat</proc/self/cgroup|true;echo\t$0 name", "", true},
		{"exec --user 5:6 c id", "", true},
		{"exec -u 5 --additional-gids 7 c id", "", true},
		{"exec --cwd /bin -e A=b c sh -c pwd;echo\t$A", "", true},
		{"exec c false", "", true},
		{"exec c nothing", "executable file not found in $PATH", false},
		{"exec c /nothing", "no such file or directory", false},
		{"exec c /bin", "", false},
		{"exec -d c sleep 1000", "", true},
		{"start c", "", true},
		{"start c", "cannot start an already running container", false},
		{"state c", "", true},
		{"list", "", false},
		{"list -q", "", true},
		{"list --format json", "", true},
		{"list --format yaml", "", false},
		{"pause c", "", true},
		{"state c", "", true},
		{"pause c", "", false},
		{"exec c true", "cannot exec in a paused container", false},
		{"resume c", "", true},
		{"resume c", "container not paused", false},
		{"update --memory 64M --pids-limit 100 c", "", true},
		{"update --memory x c", "", false},
		{"events --stats none", "does not exist", false},
		{"kill c BOGUS", "unknown signal", false},
		{"kill c", "", true},
		{"kill c WINCH", "", true},
		{"kill c 0", "", true},
		{"delete c", "", false},
		{"kill --all c KILL", "", true},
	} {
		a, b := runStep(ours, step.command), runStep(&theirs, step.command)
		if a.status != b.status {
			t.Errorf("%d %s: status %d, %s; runc: %d, %s", n, step.command, a.status, a.stderr, b.status, b.stderr)
		}
		if !strings.Contains(a.stderr, step.words) || !strings.Contains(b.stderr, step.words) {
			t.Errorf("%d %s: not both say %q: %s, runc: %s", n, step.command, step.words, a.stderr, b.stderr)
		}
		x, y := change.ReplaceAllString(strings.TrimSpace(a.stdout), "-"), change.ReplaceAllString(strings.TrimSpace(b.stdout), "-")
		if step.output && x != y {
			t.Errorf("%d %s: %s\nrunc: %s", n, step.command, x, y)
		}
	}
	for _, h := range []*host{ours, &theirs} {
		h.wantStatus("c", "stopped")
	}
	for n, step := range []struct{ command, words string }{
		{"state c", ""}, {"start c", "stopped"}, {"exec c true", "cannot exec in a stopped container"}, {"kill c", "container not running"}, {"kill -a c 9", ""},
		{"pause c", "container not running"}, {"resume c", "container not paused"}, {"events --stats c", "not running"}, {"delete c", ""}, {"delete c", "does not exist"},
		{"delete -f c", ""}, {"state", ""}, {"state a b", ""}, {"nothing", ""}, {"--nothing", "-nothing"}, {"state --nothing c", "-nothing"}, {"run --bundle /nothing c", "no such file or directory"},
		{"list -q", ""}, {"list -f json", ""},
	} {
		a, b := runStep(ours, step.command), runStep(&theirs, step.command)
		if a.status != b.status || !strings.Contains(a.stderr, step.words) || !strings.Contains(b.stderr, step.words) {
			t.Errorf("%d %s: status %d, %s; runc: %d, %s; both with %q", n, step.command, a.status, a.stderr, b.status, b.stderr, step.words)
		}
		if strings.HasPrefix(step.command, "list") && strings.TrimSpace(a.stdout) != strings.TrimSpace(b.stdout) {
			t.Errorf("%d %s: %q, runc: %q", n, step.command, a.stdout, b.stdout)
		}
	}
}

// runStep runs one line; a tab in a word stands for a space.
func runStep(h *host, line string) result {
	words := strings.Split(strings.TrimSpace(line), " ")
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], "\t", " ")
	}
	return h.run(words...)
}

// A detached container's exit codes and the last line of the log are what
// containerd reads.
func TestLog(t *testing.T) {
	h := newHost(t)
	log := filepath.Join(t.TempDir(), "log.json")
	r := h.run("--log", log, "--log-format", "json", "--debug", "--systemd-cgroup=false", "--criu", "x", "--rootless=auto", "start", "c1")
	if r.status != 1 || r.stderr != "container does not exist: c1\n" {
		t.Errorf("%+v", r)
	}
	b, err := exec.Command("tail", "-n", "1", log).Output()
	if err != nil {
		t.Fatal(err)
	}
	var line struct{ Level, Msg, Time string }
	if err := json.Unmarshal(b, &line); err != nil || line.Level != "error" || line.Msg != "container does not exist: c1" || line.Time == "" {
		t.Errorf("%s: %v", b, err)
	}
	h.fails(1, "--log-format", "--log-format", "yaml", "list")
}

func TestSpecCommand(t *testing.T) {
	h := newHost(t)
	for _, args := range [][]string{nil, {"--rootless"}} {
		dir := t.TempDir()
		h.ok(append([]string{"spec", "--bundle", dir}, args...)...)
		h.fails(1, "exists", append([]string{"spec", "--bundle", dir}, args...)...)
		b, err := readBundle(dir)
		if err != nil || b.spec.Version != specs.Version {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestPlan(t *testing.T) {
	h := newHost(t)
	if got := h.ok("plan"); !strings.Contains(got, "execve(") || !strings.Contains(got, `"sleep"`) {
		t.Errorf("%s", got)
	}
}

func TestFeatures(t *testing.T) {
	h := newHost(t)
	var f struct {
		OCIVersionMin, OCIVersionMax string
		Hooks, MountOptions          []string
		Linux                        struct {
			Namespaces, Capabilities []string
			Seccomp                  struct{ Actions, Operators, Archs, KnownFlags []string }
		}
	}
	if err := json.Unmarshal([]byte(h.ok("features")), &f); err != nil {
		t.Fatal(err)
	}
	if f.OCIVersionMax != specs.Version || len(f.Hooks) != 6 || len(f.MountOptions) < 40 || len(f.Linux.Namespaces) != 8 || len(f.Linux.Capabilities) < 41 ||
		len(f.Linux.Seccomp.Actions) < 8 || len(f.Linux.Seccomp.Operators) != 7 || len(f.Linux.Seccomp.Archs) == 0 || len(f.Linux.Seccomp.KnownFlags) == 0 {
		t.Errorf("%+v", f)
	}
}
