package attack

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/davit-engine/davit/runtime/program"
	"github.com/davit-engine/davit/runtime/spawn"
	enginetest "github.com/davit-engine/davit/test/engine"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// raceTime is how long the links are flipped.
func raceTime() time.Duration {
	if testing.Short() {
		return 2 * time.Second
	}
	return 30 * time.Second
}

// TestMountTargets: two processes exchange the mount points of a root
// filesystem, and of a directory in it, with links that lead out, while
// containers start on it (CVE-2021-30465, CVE-2023-27561, CVE-2024-45310,
// CVE-2025-31133, CVE-2025-52565, CVE-2025-52881, CVE-2026-41579,
// CVE-2026-47766). A start may fail. Where it does not, everything must be
// mounted where it belongs, the masks must hold, and the host is as before.
func TestMountTargets(t *testing.T) {
	enginetest.NeedRoot(t)
	base := t.TempDir()
	root := filepath.Join(base, "root")
	must(t, os.Mkdir(root, 0o755))
	unpack(t, enginetest.BusyboxTar(t), root)
	volume, outside := filepath.Join(base, "volume"), filepath.Join(base, "outside")
	for _, dir := range []string{volume, outside, filepath.Join(volume, "in"), filepath.Join(root, "vol"), filepath.Join(root, "vol/deep"), filepath.Join(root, "work")} {
		must(t, os.Mkdir(dir, 0o755))
	}
	must(t, os.WriteFile(filepath.Join(base, "hosts"), []byte("bound\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(root, "etc/hosts"), nil, 0o644))
	must(t, os.WriteFile(filepath.Join(outside, "victim"), []byte("untouched"), 0o644))
	before := fingerprint(t, outside)
	stop := make(chan struct{})
	var flippers sync.WaitGroup
	var still sync.RWMutex // held by whoever wants to see the names in their places
	end := sync.OnceFunc(func() { close(stop); flippers.Wait() })
	defer end()
	flip := func(path string, targets ...string) {
		flippers.Go(func() {
			for i, target := range targets {
				must(t, os.Symlink(target, fmt.Sprintf("%s.%d", path, i)))
			}
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				link := fmt.Sprintf("%s.%d", path, i%len(targets))
				still.RLock()
				for range 2 { // there and back
					_ = unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE)
				}
				still.RUnlock()
			}
		})
	}
	up := strings.Repeat("../", 30)
	flip(filepath.Join(root, "vol"), "/", outside, up+outside[1:], "/proc/self/fd", "proc")
	flip(filepath.Join(root, "work"), outside, "/proc/self/cwd", up+outside[1:])
	flip(filepath.Join(root, "etc"), outside, "proc", "/proc/sys")
	flip(filepath.Join(root, "dev"), "/proc", outside, up+"dev", "sys")
	flip(filepath.Join(root, "proc"), outside, "sys", up+"proc")
	flip(filepath.Join(root, "sys"), outside, "dev", up+"sys")

	facts := spawn.DetectFacts()
	var started, refused int
	for late := time.Now().Add(raceTime()); time.Now().Before(late); {
		out, err := start(t, &facts, root, base, &still)
		if err != nil {
			refused++
			continue
		}
		started++
		if problem := judge(out); problem != "" {
			t.Fatalf("%s\n%s", problem, out)
		}
		if after := fingerprint(t, outside); after != before {
			t.Fatalf("the host's files have changed: %s, before: %s", after, before)
		}
	}
	end()
	t.Logf("%d starts, %d refused", started, refused)
	if started == 0 {
		t.Error("no start has succeeded: the race was never run")
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	if strings.Contains(string(mounts), base) {
		t.Errorf("something is mounted on the host:\n%s", mounts)
	}
}

// start runs one container on the shared root and returns what it prints once
// it holds still.
func start(t *testing.T, facts *program.Facts, root, base string, still sync.Locker) (string, error) {
	t.Helper()
	spec := &specs.Spec{
		Process: &specs.Process{
			Args: []string{"/bin/busybox", "sh", "-c", "read go; cat /proc/self/mountinfo; echo ==; cat /proc/interrupts; cat /proc/self/comm; echo x > /proc/sys/kernel/core_pattern; stat -f -c %T /proc"},
			Env:  []string{"PATH=/bin"}, Cwd: "/work/made",
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=755"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"ro"}},
			{Destination: "/vol", Type: "bind", Source: filepath.Join(base, "volume"), Options: []string{"rbind"}},
			{Destination: "/vol/in", Type: "tmpfs", Source: "tmpfs"},
			{Destination: "/etc/hosts", Type: "bind", Source: filepath.Join(base, "hosts"), Options: []string{"bind"}},
		},
		Linux: &specs.Linux{
			Namespaces:    []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.NetworkNamespace}},
			MaskedPaths:   []string{"/proc/interrupts", "/sys/firmware", "/vol/deep"},
			ReadonlyPaths: []string{"/proc/sys", "/proc/irq"},
		},
	}
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	stdin, gate, err := os.Pipe()
	must(t, err)
	defer gate.Close()
	p, err := spawn.Start(&spawn.Request{Spec: spec, Root: program.Root{Dir: root}, Facts: facts, MakeCwd: true, Stdin: stdin, Stdout: w, Stderr: w})
	w.Close()
	stdin.Close()
	if err != nil {
		return "", err
	}
	defer p.PidFD.Close()
	still.Lock()
	defer still.Unlock()
	gate.Close()
	var out strings.Builder
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		out.Write(buf[:n])
		if err != nil {
			break
		}
	}
	_, err = p.Wait()
	must(t, err)
	return out.String(), nil
}

// judge looks at what a container saw, and returns what is wrong with it.
func judge(out string) string {
	mounts, rest, ok := strings.Cut(out, "==\n")
	if !ok {
		return "it has printed nothing of what it should"
	}
	types := map[string]string{}
	for line := range strings.Lines(mounts) {
		f := strings.Fields(line)
		sep := strings.Index(line, " - ")
		if len(f) < 5 || sep < 0 {
			return "a line of mountinfo that is none"
		}
		types[f[4]] = strings.Fields(line[sep+3:])[0]
	}
	switch {
	case types["/proc"] != "proc":
		return "/proc is not procfs"
	case types["/proc/interrupts"] == "":
		return "/proc/interrupts is not masked"
	case !strings.Contains(rest, "\ncat\n") && !strings.HasPrefix(rest, "cat\n"):
		return "/proc is not its own, or /proc/interrupts is readable"
	case !strings.Contains(rest, "Read-only file system"):
		return "/proc/sys can be written to"
	}
	for target, kind := range types {
		if strings.HasPrefix(target, "/proc/") && kind == "tmpfs" && target != "/proc/interrupts" {
			return "something is mounted on " + target
		}
	}
	return ""
}

// fingerprint is what lies in a directory, with owner, mode and content.
func fingerprint(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		var content []byte
		if info.Mode().IsRegular() {
			content, err = os.ReadFile(path)
		}
		fmt.Fprintf(&b, "%s %s %q; ", path, info.Mode(), content)
		return err
	}))
	return b.String()
}

// TestSharedVolume: the same through the engine, as a user of a host with
// several tenants would: a container flips links in a directory that another
// one is started with.
func TestSharedVolume(t *testing.T) {
	cli := engine(t)
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o777))
	id := cli.OK(t, "run", "-d", "-v", dir+":/vol", "busybox", "sh", "-c",
		"cd /vol; mkdir x; ln -s /proc/self/attr p; ln -s / r; ln -s ../../../../../../../.. u; while :; do for l in p r u; do mv x y; mv -T $l x; mv -T x $l; mv y x; done; done")
	t.Cleanup(func() { cli.Run(t, "rm", "-f", id) })
	var started, refused int
	for end := time.Now().Add(raceTime() / 3); time.Now().Before(end); {
		r := cli.Run(t, "run", "--rm", "-v", dir+":/vol", "--tmpfs", "/vol/x", "busybox", "sh", "-c", "cat /proc/self/comm; grep -v -e ' / / ' /proc/self/mountinfo | cut -d' ' -f5 | grep -e '^/$' -e '^/proc/[0-9]' -e '^/bin' -e '^/etc$'; ls /bin/sh")
		if r.Code != 0 {
			refused++
			continue
		}
		if strings.TrimSpace(r.Stdout) != "cat\n/bin/sh" {
			t.Fatalf("a container started with a flipping mount point sees %q", r.Stdout)
		}
		started++
	}
	t.Logf("%d starts, %d refused", started, refused)
	if started == 0 {
		t.Error("no start has succeeded: the race was never run")
	}
}
