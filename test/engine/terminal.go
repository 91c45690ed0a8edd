package enginetest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// syncBuffer is a buffer that one goroutine fills while others read it.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Terminal is a real terminal (tmux) with a shell in it that types for the
// test and shows what a person would see.
type Terminal struct {
	t      testing.TB
	tmux   string
	socket string
}

// Terminal opens a terminal of 100 by 30 characters in which `davit` and
// `docker` talk to the engine. Its shell's prompts are "host1$", "host2$" and
// so on: one that has not been seen before tells that a command has ended.
func (e *Engine) Terminal(t testing.TB) *Terminal {
	t.Helper()
	tmux := NeedProgram(t, "tmux")
	dir, err := os.MkdirTemp(e.Root, "t")
	if err != nil {
		t.Fatal(err)
	}
	term := &Terminal{t: t, tmux: tmux, socket: filepath.Join(dir, "tmux")}
	rc := filepath.Join(dir, "shellrc")
	if err := os.WriteFile(rc, []byte("PS1='host\\#$ '\nunset PROMPT_COMMAND\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	docker, err := program("docker")
	if err != nil {
		docker = "/nonexistent/docker"
	}
	cmd := exec.Command(term.tmux, "-S", term.socket, "-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", "bash", "--noprofile", "--rcfile", rc, "-i")
	cmd.Env = append(e.Davit().Env, "TERM=xterm", "PATH="+e.Bin+":"+filepath.Dir(docker)+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("starting tmux: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command(term.tmux, "-S", term.socket, "kill-server").Run() }) // it ends with its last shell
	term.WaitFor("host1$")
	return term
}

// Type types a line and presses Enter.
func (term *Terminal) Type(line string) {
	term.t.Helper()
	term.run("send-keys", "-l", line)
	term.Press("Enter")
}

// Press presses keys by tmux's names: "Enter", "C-c", "C-p".
func (term *Terminal) Press(keys ...string) {
	term.t.Helper()
	term.run(append([]string{"send-keys"}, keys...)...)
}

// Resize gives the terminal another size, in characters.
func (term *Terminal) Resize(width, height string) {
	term.t.Helper()
	term.run("resize-window", "-x", width, "-y", height)
}

// Screen is what the terminal shows.
func (term *Terminal) Screen() string {
	term.t.Helper()
	return strings.TrimRight(term.run("capture-pane", "-p"), "\n")
}

// WaitFor waits until the screen shows text.
func (term *Terminal) WaitFor(text string) {
	term.t.Helper()
	Eventually(term.t, 30*time.Second, func() error {
		if s := term.Screen(); !strings.Contains(s, text) {
			return errors.New("no " + text + " on the screen:\n" + s)
		}
		return nil
	})
}

func (term *Terminal) run(args ...string) string {
	term.t.Helper()
	out, err := exec.Command(term.tmux, append([]string{"-S", term.socket}, args...)...).CombinedOutput()
	if err != nil {
		term.t.Fatalf("tmux %v: %v\n%s", args, err, out)
	}
	return string(out)
}
