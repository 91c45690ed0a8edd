package attack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// victim is a container of davit-runtime's whose first process is the attacker.
type victim struct {
	*testing.T
	program, root, bundle, id string
}

// attacker starts a container that runs args, with what Docker gives by
// default and the capabilities in more.
func attacker(t *testing.T, prepare func(rootfs string), more []string, args ...string) *victim {
	t.Helper()
	enginetest.NeedRoot(t)
	v := &victim{T: t, program: filepath.Join(enginetest.Binaries(t), "davit-runtime"), root: filepath.Join(t.TempDir(), "state"), bundle: t.TempDir(),
		id: "attacker"}
	rootfs := filepath.Join(v.bundle, "rootfs")
	must(t, os.Mkdir(rootfs, 0o755))
	unpack(t, enginetest.BusyboxTar(t), rootfs)
	program, err := os.ReadFile(hostile(t))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(rootfs, "hostile"), program, 0o755))
	prepare(rootfs)

	v.ok("spec", "--bundle", v.bundle)
	config := filepath.Join(v.bundle, "config.json")
	var spec specs.Spec
	b, err := os.ReadFile(config)
	must(t, err)
	must(t, json.Unmarshal(b, &spec))
	caps := append([]string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP",
		"CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"}, more...)
	spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
	spec.Process.Args, spec.Process.Terminal = args, false
	spec.Root.Readonly = false
	spec.Linux.CgroupsPath = "/davit-attack/" + strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))
	b, err = json.Marshal(&spec)
	must(t, err)
	must(t, os.WriteFile(config, b, 0o644))

	t.Cleanup(func() {
		v.run("delete", "--force", v.id)
		groups, _ := filepath.Glob("/sys/fs/cgroup/*/davit-attack")
		for _, g := range append(groups, "/sys/fs/cgroup/davit-attack") {
			_ = os.Remove(g) // of these tests alone, and empty by now
		}
	})
	v.ok("create", "--bundle", v.bundle, v.id)
	v.ok("start", v.id)
	return v
}

type answer struct {
	code        int
	out, stderr string
}

// run calls davit-runtime, which must answer in time.
func (v *victim) run(args ...string) answer {
	v.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	dir := v.TempDir()
	// Files, since what runs in the container would keep a pipe open.
	out, err := os.Create(filepath.Join(dir, "out"))
	must(v, err)
	defer out.Close()
	stderr, err := os.Create(filepath.Join(dir, "err"))
	must(v, err)
	defer stderr.Close()
	cmd := exec.CommandContext(ctx, v.program, append([]string{"--root", v.root}, args...)...)
	cmd.Stdout, cmd.Stderr = out, stderr
	err = cmd.Run()
	if ctx.Err() != nil {
		v.Fatalf("davit-runtime %v does not end", args)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		v.Fatal(err)
	}
	a := answer{code: cmd.ProcessState.ExitCode()}
	for path, text := range map[string]*string{out.Name(): &a.out, stderr.Name(): &a.stderr} {
		b, err := os.ReadFile(path)
		must(v, err)
		*text = string(b)
	}
	return a
}

func (v *victim) ok(args ...string) string {
	v.Helper()
	a := v.run(args...)
	if a.code != 0 {
		v.Fatalf("davit-runtime %v: %d: %s%s", args, a.code, a.out, a.stderr)
	}
	return a.out
}

func nothing(string) {}

// TestExecDescriptors: the same by exec: its working directory and its
// descriptors (CVE-2024-21626, CVE-2016-9962).
func TestExecDescriptors(t *testing.T) {
	v := attacker(t, nothing, nil, "sleep", "1000")
	if out := v.ok("exec", v.id, "/hostile", "fds"); len(strings.Split(strings.TrimSpace(out), "\n")) != 3 {
		t.Errorf("exec's descriptors: %q, want 0, 1 and 2 only", out)
	}
	for fd := range 24 {
		for _, dir := range []string{"/proc/self/fd/%d", "/proc/self/fd/%d/../..", "/proc/1/fd/%d"} {
			cwd := fmt.Sprintf(dir, fd)
			if a := v.run("exec", "--cwd", cwd, v.id, "sh", "-c", "cd ../../../../../../../..; ls | tr '\\n' ' '"); a.code == 0 && !strings.HasPrefix(a.out, "bin dev etc") {
				t.Errorf("exec --cwd %s led outside: %s", cwd, a.out)
			}
		}
	}
}

// TestExecOwnExecutable: the first process waits for exec to run what it was
// born from (CVE-2019-5736, in the form in which it was found).
func TestExecOwnExecutable(t *testing.T) {
	v := attacker(t, func(rootfs string) {
		must(t, os.WriteFile(filepath.Join(rootfs, "script"), []byte("#!/proc/self/exe\n"), 0o755))
		must(t, os.Symlink("/proc/self/exe", filepath.Join(rootfs, "link")))
	}, []string{"CAP_SYS_PTRACE"}, "sh", "-c", "exec /hostile executables > /tmp/found")
	found := filepath.Join(v.bundle, "rootfs/tmp/found")
	enginetest.Eventually(t, 10*time.Second, func() error {
		if b, _ := os.ReadFile(found); !bytes.Contains(b, []byte("looking")) {
			return errors.New("it does not look yet")
		}
		return nil
	})
	before, err := os.ReadFile(v.program)
	must(t, err)
	for range 10 {
		for _, command := range []string{"/proc/self/exe", "/script", "/link"} {
			v.run("exec", "--detach", v.id, command)
			v.run("exec", v.id, command)
		}
	}
	must(t, os.WriteFile(filepath.Join(v.bundle, "rootfs/tmp/enough"), nil, 0o644))
	enginetest.Eventually(t, 10*time.Second, func() error {
		if b, _ := os.ReadFile(found); !bytes.Contains(b, []byte("done")) {
			return errors.New("it still looks")
		}
		return nil
	})
	b, err := os.ReadFile(found)
	must(t, err)
	if bytes.Contains(b, []byte("writable")) {
		t.Errorf("an executable of the host could be opened for writing:\n%s", b)
	}
	after, err := os.ReadFile(v.program)
	must(t, err)
	if !bytes.Equal(before, after) {
		t.Fatal("davit-runtime was overwritten")
	}
}

// TestExecTerminal: what stands where the container's terminals should be is
// not what it seems: a FIFO that blocks, a file, a link out, another device
// (CVE-2025-52565). exec must refuse at once.
func TestExecTerminal(t *testing.T) {
	for name, plant := range map[string]string{
		"fifo":      "mkfifo /dev/pts/ptmx",
		"file":      "echo > /dev/pts/ptmx",
		"link":      "ln -s /proc/self/fd/0 /dev/pts/ptmx",
		"device":    "mknod /dev/pts/ptmx c 1 3",
		"directory": "mkdir /dev/pts/ptmx",
		"nothing":   "true",
		"swapped":   "rmdir /dev/pts; ln -s /proc /dev/pts",
	} {
		t.Run(name, func(t *testing.T) {
			v := attacker(t, nothing, []string{"CAP_SYS_ADMIN"}, "sh", "-c", "umount /dev/pts && { "+plant+"; }; echo > /tmp/planted; sleep 1000")
			enginetest.Eventually(t, 10*time.Second, func() error {
				_, err := os.Stat(filepath.Join(v.bundle, "rootfs/tmp/planted"))
				return err
			})
			// A foreground exec with a terminal takes ours, so it needs one: script
			// is not everywhere, a console socket is.
			socket := filepath.Join(t.TempDir(), "console")
			listener := listen(t, socket)
			defer listener.Close()
			if a := v.run("exec", "--tty", "--console-socket", socket, v.id, "tty"); a.code == 0 {
				t.Errorf("exec --tty succeeded on a %s: %s", name, a.out)
			}
		})
	}
}

// TestExecUserFiles: exec reads nothing that can block or mislead it
// (CVE-2026-47262's class).
func TestExecUserFiles(t *testing.T) {
	v := attacker(t, func(rootfs string) {
		for _, name := range []string{"passwd", "group"} {
			must(t, os.Remove(filepath.Join(rootfs, "etc", name)))
		}
	}, nil, "sh", "-c", "mkfifo /etc/passwd /etc/group; sleep 1000")
	enginetest.Eventually(t, 10*time.Second, func() error {
		_, err := os.Lstat(filepath.Join(v.bundle, "rootfs/etc/group"))
		return err
	})
	begin := time.Now()
	v.run("exec", "--user", "0", v.id, "true")
	v.run("exec", "--user", "1000:1000", v.id, "true")
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("exec took %s", took)
	}
}

// TestExecIsNotSeen: while exec enters, nobody inside can look into it, through
// /proc or by tracing (CVE-2016-9962).
func TestExecIsNotSeen(t *testing.T) {
	v := attacker(t, nothing, nil, "sh", "-c", "exec /hostile watch > /tmp/seen")
	seen := filepath.Join(v.bundle, "rootfs/tmp/seen")
	enginetest.Eventually(t, 10*time.Second, func() error {
		if b, _ := os.ReadFile(seen); !bytes.Contains(b, []byte("looking")) {
			return errors.New("it does not look yet")
		}
		return nil
	})
	for range 60 {
		v.ok("exec", v.id, "true")
	}
	must(t, os.WriteFile(filepath.Join(v.bundle, "rootfs/tmp/enough"), nil, 0o644))
	enginetest.Eventually(t, 10*time.Second, func() error {
		if b, _ := os.ReadFile(seen); !bytes.Contains(b, []byte("done")) {
			return errors.New("it still looks")
		}
		return nil
	})
	b, err := os.ReadFile(seen)
	must(t, err)
	if !bytes.Contains(b, []byte("exe /bin/busybox")) {
		t.Errorf("the watcher has seen no process of exec: %s", b)
	}
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, "davit") || strings.Contains(line, "/ns/") || strings.Contains(line, v.bundle) {
			t.Errorf("inside is seen: %s", line)
		}
	}
}

// TestExecCapabilities: exec gives what was asked for, and nothing inheritable
// with it (CVE-2022-29162).
func TestExecCapabilities(t *testing.T) {
	v := attacker(t, nothing, nil, "sleep", "1000")
	for _, args := range [][]string{nil, {"--cap", "CAP_NET_ADMIN"}, {"--user", "1000"}} {
		out := v.ok(append(append([]string{"exec"}, args...), v.id, "cat", "/proc/self/status")...)
		for line := range strings.Lines(out) {
			key, value, _ := strings.Cut(line, ":")
			if key == "CapInh" && strings.Trim(value, "0 \t\n") != "" {
				t.Errorf("exec %v: inheritable capabilities: %s", args, value)
			}
		}
	}
}
