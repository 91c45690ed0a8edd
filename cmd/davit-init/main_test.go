package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain is the program itself when asked to be.
func TestMain(m *testing.M) {
	if os.Getenv("DAVIT_INIT_TEST") != "" || os.Args[0] == second {
		os.Unsetenv("DAVIT_INIT_TEST")
		main()
	}
	os.Exit(m.Run())
}

func initCommand(args ...string) *exec.Cmd {
	c := exec.Command("/proc/self/exe", args...)
	c.Env = append(os.Environ(), "DAVIT_INIT_TEST=1")
	return c
}

func TestExitStatus(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"sh", "-c", "exit 0"}, 0},
		{[]string{"--", "sh", "-c", "exit 41"}, 41},
		{[]string{"sh", "-c", "kill -9 $$"}, 128 + 9},
		{[]string{"sh", "-c", "kill -TERM $$"}, 128 + 15},
		{[]string{"no-such-command"}, 127},
		{[]string{"/no/such/command"}, 127},
		{[]string{plain}, 126},
		{nil, 2},
	} {
		err := initCommand(c.args...).Run()
		got := 0
		var e *exec.ExitError
		if errors.As(err, &e) {
			got = e.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if got != c.want {
			t.Errorf("%q: exit status %d, want %d", c.args, got, c.want)
		}
	}
}

func TestSignalsReachTheChild(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGQUIT, syscall.SIGWINCH} {
		c := initCommand("sh", "-c", "trap 'echo got; exit 3' TERM INT HUP USR1 QUIT WINCH; echo ready; while :; do sleep 0.02; done")
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if !lines.Scan() || lines.Text() != "ready" {
			t.Fatalf("read %q", lines.Text())
		}
		if err := c.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() || lines.Text() != "got" {
			t.Errorf("%v: read %q", s, lines.Text())
		}
		if err := c.Wait(); c.ProcessState.ExitCode() != 3 {
			t.Errorf("%v: %v", s, err)
		}
	}
}

func TestProcessGroup(t *testing.T) {
	out, err := initCommand("sh", "-c", "cat /proc/$$/stat").Output()
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(out))
	if len(f) < 5 || f[0] != f[4] {
		t.Errorf("the child does not lead its process group: %s", out)
	}
}

// ignored is the line of /proc/self/status that tells which signals this
// process was made to ignore by whoever started it.
func ignored(t *testing.T) string {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "SigIgn:") {
			return line
		}
	}
	t.Fatal("no SigIgn in /proc/self/status")
	return ""
}

func TestTerminal(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminal to be had: %v", err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	var out bytes.Buffer
	for _, c := range []struct {
		args []string
		want int
	}{{[]string{"sh", "-c", "cat /proc/self/stat /proc/self/status; exit 5"}, 5}, {[]string{"no-such-command"}, 127}} {
		out.Reset()
		cmd := initCommand(c.args...)
		cmd.Stdin, cmd.Stdout, cmd.SysProcAttr = slave, &out, &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Run(); cmd.ProcessState.ExitCode() != c.want {
			t.Errorf("%q: %v, want %d", c.args, err, c.want)
		}
		if c.want != 5 {
			continue
		}
		f := strings.Fields(out.String())
		if len(f) < 8 || f[4] != f[7] {
			t.Errorf("the child is not in the foreground: %s", out.String())
		}
		if want := ignored(t); !strings.Contains(out.String(), want) {
			t.Errorf("the child ignores other signals than we do (%s): %s", want, out.String())
		}
	}
}
