package spawn

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// held is what this process holds of the kernel's things.
type held struct{ fds, children, mounts int }

func holding(t *testing.T) held {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	children := 0
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	must(t, err)
	for _, f := range tasks {
		if b, err := os.ReadFile(f); err == nil { // a thread may have ended
			children += len(strings.Fields(string(b)))
		}
	}
	mounts := 0
	for line := range strings.Lines(read(t, "/proc/self/mountinfo")) { // others mount as well
		if f := strings.Fields(line); len(f) > 4 && f[4] == "/" || strings.Contains(line, t.Name()) {
			mounts++
		}
	}
	return held{len(fds), children, mounts}
}

// TestNothingLeaks starts many containers, good and bad, some at once.
func TestNothingLeaks(t *testing.T) {
	needRoot(t)
	dir := layer(t)
	src := t.TempDir()
	one := func(i int) error {
		r := &Request{Spec: dockerSpec("true"), Root: overlay(t, dir)}
		r.Spec.Mounts = append(r.Spec.Mounts, specs.Mount{Type: "bind", Source: src, Destination: "/v", Options: []string{"rbind"}})
		want := 0
		switch i % 7 {
		case 1:
			r.Spec.Process.Args[0], want = "nothing", 127
		case 2:
			r.Spec.Process.Terminal = true
		case 3:
			r.Spec.Mounts, want = append(r.Spec.Mounts, specs.Mount{Type: "nofs", Destination: "/x"}), 128
		case 4:
			r.Spec.Linux.Namespaces[3].Path = "/proc/self/ns/pid"
		case 5:
			inUsers(r)
		case 6:
			inUsers(r)
			r.Spec.Process.Args[0], want = "nothing", 127
		}
		p, err := Start(r)
		var e *Error
		if errors.As(err, &e) && e.ExitCode == want {
			return nil
		}
		if err != nil {
			return err
		}
		p.PidFD.Close()
		if p.Console != nil {
			p.Console.Close()
		}
		s, err := p.Wait()
		if err == nil && s != 0 && !s.Signaled() { // the terminal's end may come as a hang-up
			err = errors.New("failed")
		}
		return err
	}
	for i := range 7 {
		must(t, one(i)) // what Go and the runtime open once
	}
	before := holding(t)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 50 {
				if err := one(i + worker); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	deadline := time.Now().Add(5 * time.Second)
	for holding(t) != before {
		if time.Now().After(deadline) {
			t.Fatalf("before %+v, after 200 starts %+v", before, holding(t))
		}
		time.Sleep(time.Millisecond) // between two looks, not instead of one
	}
}

// TestDeathOfTheCaller kills the test's helper process while its container
// runs: the container must not live on.
func TestDeathOfTheCaller(t *testing.T) {
	needRoot(t)
	if os.Getenv("DAVIT_SPAWN_HELPER") != "" {
		p, err := Start(&Request{Spec: dockerSpec("sleep", "60"), Root: overlay(t, layer(t))})
		must(t, err)
		must(t, os.WriteFile(os.Getenv("DAVIT_SPAWN_HELPER"), []byte{byte(p.Pid), byte(p.Pid >> 8), byte(p.Pid >> 16)}, 0o600))
		must(t, os.Rename(os.Getenv("DAVIT_SPAWN_HELPER"), os.Getenv("DAVIT_SPAWN_HELPER")+".done"))
		_, err = p.Wait()
		must(t, err)
		return
	}
	name := filepath.Join(t.TempDir(), "pid")
	helper, err := os.StartProcess("/proc/self/exe", []string{"spawn.test", "-test.run=^TestDeathOfTheCaller$"}, &os.ProcAttr{Env: append(os.Environ(), "DAVIT_SPAWN_HELPER="+name, "TMPDIR="+filepath.Dir(name))}) // it cannot clean up
	must(t, err)
	deadline := time.Now().Add(20 * time.Second)
	var pid []byte
	for pid, err = os.ReadFile(name + ".done"); err != nil; pid, err = os.ReadFile(name + ".done") {
		if time.Now().After(deadline) {
			t.Fatal("the helper does not start")
		}
		time.Sleep(time.Millisecond) // between two looks
	}
	fd, err := unix.PidfdOpen(int(pid[0])|int(pid[1])<<8|int(pid[2])<<16, 0)
	must(t, err)
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	defer pidfd.Close()
	must(t, helper.Kill())
	_, err = helper.Wait()
	must(t, err)
	poll(t, "the container ends with its supervisor", func() bool { return ended(pidfd) })
}
