package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience is how long one program may take; most take a second.
const patience = 60 * time.Second

// helper is the program that the suite runs inside containers.
const helper = "runtimetest"

// list names the suite's programs that match.
func list(suite string, pattern *regexp.Regexp) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(suite, "bin"))
	if err != nil {
		return nil, err
	}
	var programs []string
	for _, e := range entries {
		if e.Name() != helper && pattern.MatchString(e.Name()) {
			programs = append(programs, e.Name())
		}
	}
	if len(programs) == 0 {
		return nil, fmt.Errorf("no program matches %q", pattern)
	}
	return programs, nil
}

// lane runs programs with one runtime, one after the other.
type lane struct {
	suite, dir string
	runtime    string      // a script in dir that gives the runtime a state directory of its own
	cgroup     *sync.Mutex // held while a program uses the suite's cgroup
}

func newLane(suite, command string, cgroup *sync.Mutex) (*lane, error) {
	path, err := exec.LookPath(command)
	if err != nil {
		return nil, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "davit-oci-")
	if err != nil {
		return nil, err
	}
	l := &lane{suite: suite, dir: dir, runtime: filepath.Join(dir, filepath.Base(command)), cgroup: cgroup}
	// A container with a user namespace of its own reaches its bundle as a stranger.
	err = os.Chmod(dir, 0o755)
	script := fmt.Sprintf("#!/bin/sh\nexec '%s' --root '%s' \"$@\"\n", path, l.state())
	if err := errors.Join(err, os.WriteFile(l.runtime, []byte(script), 0o755), os.Mkdir(filepath.Join(dir, "tmp"), 0o755)); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	// Programs look for these in their working directory; they would copy a link as a link.
	for _, name := range []string{"bin/" + helper, "rootfs-" + runtime.GOARCH + ".tar.gz"} {
		content, err := os.ReadFile(filepath.Join(suite, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(name)), content, 0o755)
		}
		if err != nil {
			os.RemoveAll(dir)
			return nil, err
		}
	}
	return l, nil
}

func (l *lane) state() string { return filepath.Join(l.dir, "state") }

func (l *lane) close() { os.RemoveAll(l.dir) }

func (l *lane) run(programs []string) ([]result, error) {
	results := make([]result, 0, len(programs))
	for _, p := range programs {
		r, err := l.one(p)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, nil
}

// one runs a program and cleans up after it.
func (l *lane) one(program string) (r result, err error) {
	if strings.HasPrefix(program, "linux_cgroups_") || strings.HasPrefix(program, "delete_") {
		l.cgroup.Lock()
		defer l.cgroup.Unlock()
		defer func() { err = errors.Join(err, removeCgroups()) }()
	}
	path, err := filepath.Abs(filepath.Join(l.suite, "bin", program))
	if err != nil {
		return result{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path)
	cmd.Dir = l.dir
	cmd.Env = append(os.Environ(), "RUNTIME="+l.runtime, "TMPDIR="+filepath.Join(l.dir, "tmp"))
	// Some containers have no mount namespace of their own. With this one, what
	// they mount never shows on the host, and is gone when the program is.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // containers may hold the pipe
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	ended := ""
	switch err := cmd.Run(); {
	case ctx.Err() != nil:
		ended = "time-out"
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		ended = err.Error()
	}
	err = l.clean()
	return parse(out.String(), ended), err
}

// clean ends the containers that a program left, and removes its bundles.
func (l *lane) clean() error {
	left, err := os.ReadDir(l.state())
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, e := range left {
		if out, err := exec.Command(l.runtime, "delete", "--force", e.Name()).CombinedOutput(); err != nil {
			return fmt.Errorf("%s delete --force %s: %w: %s", filepath.Base(l.runtime), e.Name(), err, out)
		}
	}
	bundles, err := filepath.Glob(filepath.Join(l.dir, "tmp", "*"))
	for _, b := range bundles {
		err = errors.Join(err, os.RemoveAll(b))
	}
	return err
}

// removeCgroups removes the cgroups with the names that the suite uses, below
// the roots of the hierarchies and below our own cgroups; they are empty, and
// runtimes leave the parent.
func removeCgroups() error {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	hierarchies, err := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	if err != nil {
		return err
	}
	above := map[string]bool{"/sys/fs/cgroup": true}
	for _, h := range hierarchies {
		above[filepath.Dir(h)] = true
		for line := range strings.Lines(string(own)) {
			above[filepath.Join(filepath.Dir(h), strings.SplitN(strings.TrimSpace(line), ":", 3)[2])] = true
		}
	}
	for dir := range above {
		for _, name := range []string{"cgrouptest", "testdir/cgrouptest", "testdir", "davit/testdir/cgrouptest", "davit/testdir"} {
			_ = syscall.Rmdir(filepath.Join(dir, name)) // if it stays, the next program says so
		}
	}
	return nil
}
