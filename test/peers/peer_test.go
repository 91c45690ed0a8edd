package peers

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// image is the name of the image that the tests use: busybox, and no more.
const image = "docker.io/library/davit-peers:1"

// peer is a private instance of an engine.
type peer struct {
	enginetest.CLI
	dir     string // everything that it writes
	runtime string // davit-runtime, or $DAVIT_PEERS_RUNTIME, to see what another does
	state   string // where davit-runtime keeps its containers here
	group   string // the name of the cgroup above all containers' cgroups
}

// newPeer makes the folder of an instance. At its end nothing of it is left:
// no process that names the folder, no mount below it, no cgroup, no container
// of davit-runtime.
func newPeer(t *testing.T, name string) *peer {
	t.Helper()
	enginetest.NeedRoot(t)
	dir, err := os.MkdirTemp("", "davit-peers-"+name+"-")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{dir: dir, runtime: os.Getenv("DAVIT_PEERS_RUNTIME"), state: filepath.Join(dir, "runtime"), group: filepath.Base(dir)}
	if p.runtime == "" {
		p.runtime = filepath.Join(enginetest.Binaries(t), "davit-runtime")
	}
	t.Cleanup(func() {
		enginetest.Eventually(t, patience, func() error { return p.left() })
		for _, g := range p.groups() { // runtimes leave what they made above a container's
			if err := os.Remove(g); err != nil {
				t.Error(err)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return p
}

// left is an error if something of the instance is still there.
func (p *peer) left() error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, " "+p.dir+"/") {
			return fmt.Errorf("a mount is left: %s", line)
		}
	}
	for _, pid := range p.processes() {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil {
			return fmt.Errorf("process %d is left: %s", pid, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	for _, g := range p.groups() {
		below, err := filepath.Glob(g + "/*/cgroup.procs")
		if err != nil {
			return err
		}
		for _, b := range below {
			b = filepath.Dir(b)
			if filepath.Base(b) == "conmon" && os.Remove(b) == nil { // Podman's own, empty
				continue
			}
			return fmt.Errorf("a cgroup is left: %s", b)
		}
	}
	return filepath.WalkDir(p.state, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			err = fmt.Errorf("davit-runtime still has %s", path)
		} else if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	})
}

// groups are the directories of the cgroup above the containers'.
func (p *peer) groups() []string {
	v1, _ := filepath.Glob("/sys/fs/cgroup/*/" + p.group) // the patterns are good ones
	v2, _ := filepath.Glob("/sys/fs/cgroup/" + p.group)
	return append(v1, v2...)
}

// processes are those whose arguments name the folder.
func (p *peer) processes() (pids []int) {
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil
	}
	for _, name := range names {
		line, err := os.ReadFile(name)
		if err == nil && bytes.Contains(line, []byte(p.dir)) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name))) // the pattern is of digits
			pids = append(pids, pid)
		}
	}
	return pids
}

// script makes a program in the folder that runs another, there, with arguments
// first.
func (p *peer) script(t *testing.T, program string, args ...string) string {
	t.Helper()
	path := filepath.Join(p.dir, filepath.Base(program)+".sh")
	text := "#!/bin/sh\ncd '" + p.dir + "'\nexec " + program
	for _, a := range args {
		text += " '" + a + "'"
	}
	if err := os.WriteFile(path, []byte(text+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// daemon starts a server and waits until ready succeeds; at the end it is
// asked to end.
func (p *peer) daemon(t *testing.T, ready func() error, program string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(p.dir, filepath.Base(program)+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		cmd.Wait()
		kill.Stop()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name()) // it helps where it is there
			t.Logf("the log of %s:\n%s", filepath.Base(program), text[max(0, len(text)-8000):])
		}
	})
	enginetest.Eventually(t, patience, ready)
}

// archive writes the image in the format of `docker save`.
func (p *peer) archive(t *testing.T) string {
	t.Helper()
	layer := enginetest.BusyboxTar(t)
	sum := func(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }
	marshal := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	config := marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Cmd": []string{"sh"}, "Env": []string{"PATH=/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + sum(layer)}},
	})
	manifest := marshal([]any{map[string]any{"Config": sum(config) + ".json", "RepoTags": []string{image}, "Layers": []string{"layer.tar"}}})
	f, err := os.Create(filepath.Join(p.dir, "image.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := tar.NewWriter(f)
	for _, file := range []struct {
		name    string
		content []byte
	}{{"layer.tar", layer}, {sum(config) + ".json", config}, {"manifest.json", manifest}} {
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: file.name, Mode: 0o644, Size: int64(len(file.content))})
		if err == nil {
			_, err = w.Write(file.content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// inTerminal runs a command in a terminal of its own and returns what it shows.
func (p *peer) inTerminal(t *testing.T, args ...string) string {
	t.Helper()
	quoted := []string{}
	for _, a := range append([]string{p.Path}, args...) {
		quoted = append(quoted, "'"+a+"'")
	}
	cmd := exec.Command(enginetest.NeedProgram(t, "script"), "-qec", strings.Join(quoted, " "), "/dev/null")
	cmd.Env = p.Env
	stdin, err := cmd.StdinPipe() // an end of input would end the session
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v in a terminal: %v\n%s", args, err, out)
	}
	return strings.ReplaceAll(string(out), "\r", "")
}

// together does f for each of n containers at the same time.
func together(n int, f func(id string)) {
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { f("many" + strconv.Itoa(i)) })
	}
	wait.Wait()
}

// contains fails the test unless all of want are in got.
func contains(t *testing.T, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("%q is missing from %q", w, got)
		}
	}
}

// memoryLimit reads a container's own limit of memory, on v1 and v2.
const memoryLimit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null || true"
