package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// TestRunOutput runs commands and compares what they print on standard output.
func TestRunOutput(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("from the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	envFile := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(envFile, []byte("# a comment\nFROM_FILE=yes\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string // after run --rm
		want string   // regular expression for the whole of standard output
	}{
		{"echo", []string{"busybox", "echo", "hello"}, `hello`},
		{"arguments stay apart", []string{"busybox", "printf", "%s|", "a b", "", "$c"}, `a b\|\|\$c\|`},
		{"environment", []string{"-e", "A=1", "-e", "B=two words", "busybox", "sh", "-c", "echo $A $B"}, `1 two words`},
		{"environment file", []string{"--env-file", envFile, "busybox", "sh", "-c", "echo $FROM_FILE"}, `yes`},
		{"path and home", []string{"busybox", "sh", "-c", "echo $HOME; which ls"}, `/root\n/bin/ls`},
		{"working directory", []string{"-w", "/tmp/new", "busybox", "pwd"}, `/tmp/new`},
		{"user by number", []string{"-u", "1234:5678", "busybox", "id"}, `uid=1234 gid=5678.*`},
		{"user by name", []string{"-u", "nobody", "busybox", "id", "-un"}, `nobody`},
		{"hostname", []string{"-h", "box", "busybox", "sh", "-c", "hostname; cat /etc/hostname"}, `box\nbox`},
		{"hostname is the short id", []string{"busybox", "hostname"}, `[0-9a-f]{12}`},
		{"entrypoint", []string{"--entrypoint", "echo", "busybox", "one", "two"}, `one two`},
		{"first process", []string{"busybox", "sh", "-c", "echo $$"}, `1`},
		{"first process with init", []string{"--init", "busybox", "sh", "-c", "[ $$ != 1 ] && echo not one"}, `not one`},
		{"no network", []string{"--network", "none", "busybox", "ls", "/sys/class/net"}, `lo`},
		{"bridge network", []string{"busybox", "sh", "-c", "ip -4 -o addr show eth0 | wc -l; ip route | grep -c ^default"}, `1\n1`},
		{"read-only root", []string{"--read-only", "busybox", "sh", "-c", "touch /x 2>/dev/null || echo refused"}, `refused`},
		{"bind", []string{"-v", dir + ":/data", "busybox", "cat", "/data/file"}, `from the host`},
		{"read-only bind", []string{"-v", dir + ":/data:ro", "busybox", "sh", "-c", "touch /data/x 2>/dev/null || echo refused"}, `refused`},
		{"no capabilities", []string{"--cap-drop", "ALL", "busybox", "grep", "CapEff", "/proc/self/status"}, `CapEff:\s0+`},
		{"one capability", []string{"--cap-drop", "ALL", "--cap-add", "CHOWN", "busybox", "grep", "CapEff", "/proc/self/status"}, `CapEff:\s0+1`},
		{"default capabilities", []string{"busybox", "grep", "CapEff", "/proc/self/status"}, `CapEff:\s00000000a80425fb`},
		{"seccomp", []string{"busybox", "grep", "^Seccomp:", "/proc/self/status"}, `Seccomp:\s2`},
		{"open files", []string{"--ulimit", "nofile=100:200", "busybox", "sh", "-c", "ulimit -Sn; ulimit -Hn"}, `100\n200`},
		{"masked path", []string{"busybox", "sh", "-c", "ls -A /sys/firmware | wc -l"}, `0`},
		{"proc/sys is read-only", []string{"busybox", "sh", "-c", "echo x 2>/dev/null >/proc/sys/kernel/hostname || echo refused"}, `refused`},
		{"devices", []string{"busybox", "sh", "-c", "for d in null zero full random urandom tty ptmx stdin pts shm mqueue; do [ -e /dev/$d ] || [ -h /dev/$d ] || echo no $d; done; echo done"}, `done`},
		{"privileged", []string{"--privileged", "busybox", "sh", "-c", "mkdir /m && mount -t tmpfs x /m && echo mounted"}, `mounted`},
		{"stderr is apart", []string{"busybox", "sh", "-c", "echo out; echo err >&2"}, `out`},
	}
	each(t, func(t *testing.T, cli enginetest.CLI) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				out := cli.OK(t, append([]string{"run", "--rm"}, test.args...)...)
				if !regexp.MustCompile(`^(?s:` + test.want + `)$`).MatchString(out) {
					t.Errorf("run %q printed %q, want %q", test.args, out, test.want)
				}
			})
		}
	})
}

// TestRunExitCode compares exit codes: the command's own, and those that say
// that it could not run.
func TestRunExitCode(t *testing.T) {
	tests := []struct {
		name string
		args []string
		code int
		text string // in standard error
	}{
		{"success", []string{"busybox", "true"}, 0, ""},
		{"failure", []string{"busybox", "false"}, 1, ""},
		{"the command's own", []string{"busybox", "sh", "-c", "exit 42"}, 42, ""},
		{"terminated", []string{"--init", "busybox", "sh", "-c", "kill -TERM $$"}, 143, ""},
		{"no such command", []string{"busybox", "nosuchcommand"}, 127, "nosuchcommand"},
		{"no such path", []string{"busybox", "/no/such/path"}, 127, "/no/such/path"},
		{"not executable", []string{"busybox", "/etc/passwd"}, 126, "permission denied"},
		{"a folder", []string{"busybox", "/etc"}, 126, "/etc"},
		{"unknown flag", []string{"--nosuchflag", "busybox"}, 125, "nosuchflag"},
		{"unknown user", []string{"-u", "nosuchuser", "busybox", "true"}, 125, "nosuchuser"},
		{"unknown network", []string{"--network", "nosuchnet", "busybox", "true"}, 125, "nosuchnet"},
		{"impossible name", []string{"--name", "a b", "busybox", "true"}, 125, "a b"},
		{"tiny memory", []string{"--memory", "1m", "busybox", "true"}, 125, "6MB"},
	}
	each(t, func(t *testing.T, cli enginetest.CLI) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				if test.name == "a folder" && strings.HasPrefix(cli.OK(t, "version", "--format", "{{.Client.Version}}"), "20.") {
					t.Skip("docker's client of that age says 125")
				}
				cli.Fails(t, test.code, test.text, append([]string{"run", "--rm"}, test.args...)...)
			})
		}
	})
}

// TestRunStdin feeds a container through its standard input and reads all of
// it back: half-close of the client is the container's end of file.
func TestRunStdin(t *testing.T) {
	var input strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&input, "line %d\n", i)
	}
	want := sha256.Sum256([]byte(input.String()))
	each(t, func(t *testing.T, cli enginetest.CLI) {
		r := cli.Feed(t, strings.NewReader(input.String()), "run", "-i", "--rm", "busybox", "cat")
		if r.Code != 0 || sha256.Sum256([]byte(r.Stdout)) != want {
			t.Errorf("exit code %d, %d bytes came back of %d\nstderr: %s", r.Code, len(r.Stdout), input.Len(), r.Stderr)
		}
		r = cli.Feed(t, strings.NewReader("ignored"), "run", "--rm", "busybox", "cat")
		if r.Code != 0 || r.Stdout != "" {
			t.Errorf("without -i: exit code %d, output %q; want 0 and nothing", r.Code, r.Stdout)
		}
	})
}

// TestRunRemoves checks that --rm removes, and that a container without it stays.
func TestRunRemoves(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		gone, kept := name(t, cli)+"-gone", name(t, cli)
		cli.OK(t, "run", "--rm", "--name", gone, "busybox", "true")
		cli.OK(t, "run", "--name", kept, "busybox", "true")
		names := cli.OK(t, "ps", "-a", "--format", "{{.Names}}")
		if strings.Contains(names, gone) || !strings.Contains(names, kept) {
			t.Errorf("ps -a lists %q; want %s and not %s", names, kept, gone)
		}
		cli.Fails(t, 1, "No such container: "+gone, "logs", gone)
	})
}

// TestRunHostMounts checks that a running container's root filesystem is not
// in the host's table of mounts.
func TestRunHostMounts(t *testing.T) {
	e := engine(t)
	cli := e.Davit()
	n := name(t, cli)
	cli.OK(t, "run", "-d", "--name", n, "busybox", "sleep", "1000")
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, e.Root) {
			t.Errorf("the host sees %s", line)
		}
	}
}

// TestRunPulls runs an image that is not there yet.
func TestRunPulls(t *testing.T) {
	e := engine(t)
	e.Publish(t, "pulled:latest", enginetest.BusyboxTar(t), `CMD ["echo", "from the registry"]`)
	each(t, func(t *testing.T, cli enginetest.CLI) {
		cli.Run(t, "rmi", "-f", "pulled")
		r := cli.Run(t, "run", "--rm", "pulled")
		if r.Code != 0 || r.Stdout != "from the registry\n" {
			t.Errorf("exit code %d, stdout %q; want the message alone", r.Code, r.Stdout)
		}
		for _, want := range []string{"Unable to find image 'pulled:latest' locally", "Digest: sha256:", "Status: Downloaded newer image for pulled:latest"} {
			if !strings.Contains(r.Stderr, want) {
				t.Errorf("stderr lacks %q:\n%s", want, r.Stderr)
			}
		}
		r = cli.Run(t, "run", "--rm", "pulled")
		if r.Stdout != "from the registry\n" || r.Stderr != "" {
			t.Errorf("second run: stdout %q, stderr %q; want the message alone", r.Stdout, r.Stderr)
		}
		cli.Fails(t, 125, "No such image", "run", "--rm", "--pull", "never", e.Registry+"/library/nosuchimage")
		cli.Fails(t, 125, "nosuchimage", "run", "--rm", e.Registry+"/library/nosuchimage")
	})
}
