package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
	"golang.org/x/sys/unix"
)

// script runs one of scripts/ as make does.
func script(t *testing.T, name string, args ...string) enginetest.Result {
	t.Helper()
	enginetest.NeedRoot(t)
	bin := enginetest.Binaries(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(filepath.Dir(bin), "scripts", name), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // the exit code is looked at
	return enginetest.Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
}

// folder is a short path for a private engine, stopped and removed after the test.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "dvu")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		script(t, "down.sh", dir) // it may be down
		os.RemoveAll(dir)
	})
	return dir
}

// tag is the part of names that scripts/lib.sh makes from the folder's path.
func tag(root string) string {
	sum := sha256.Sum256([]byte(root))
	return hex.EncodeToString(sum[:5])
}

// TestUpDown runs two engines side by side with make up's script, and stops
// them one after the other.
func TestUpDown(t *testing.T) {
	enginetest.NeedRoot(t)
	before, err := enginetest.Take()
	if err != nil {
		t.Fatal(err)
	}
	davit := filepath.Join(enginetest.Binaries(t), "davit")
	roots := []string{folder(t), folder(t)}
	var bridges []string
	version := func(root string) error {
		out, err := exec.Command(davit, "-H", "unix://"+root+"/davit.sock", "version").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	for _, root := range roots {
		r := script(t, "up.sh", root)
		if r.Code != 0 || !strings.Contains(r.Stdout, "export DAVIT_HOST=unix://"+root+"/davit.sock") {
			t.Fatalf("up: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
		}
		if err := version(root); err != nil {
			t.Error(err)
		}
		out, err := exec.Command(davit, "-H", "unix://"+root+"/davit.sock", "network", "create", "web").CombinedOutput()
		if err != nil {
			t.Fatalf("network create: %v: %s", err, out)
		}
		bridges = append(bridges, "br-"+string(out[:12]))
	}
	if r := script(t, "up.sh", roots[0]); r.Code == 0 || !strings.Contains(r.Stderr, "already up") {
		t.Errorf("up twice: exit code %d, %s", r.Code, r.Stderr)
	}
	if r := script(t, "down.sh", roots[0]); r.Code != 0 {
		t.Errorf("down: exit code %d, %s", r.Code, r.Stderr)
	}
	if version(roots[0]) == nil {
		t.Error("the first engine answers after down")
	}
	if err := version(roots[1]); err != nil {
		t.Errorf("the second engine does not answer after the first's end: %v", err)
	}
	if r := script(t, "down.sh", roots[0]); r.Code == 0 || !strings.Contains(r.Stderr, "no engine is up") {
		t.Errorf("down twice: exit code %d, %s", r.Code, r.Stderr)
	}

	// A killed engine is cleared away as well.
	text, err := os.ReadFile(filepath.Join(roots[1], "davitd.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if r := script(t, "down.sh", roots[1]); r.Code != 0 {
		t.Errorf("down of a killed engine: exit code %d, %s", r.Code, r.Stderr)
	}
	for _, root := range roots {
		os.RemoveAll(root)
	}
	for _, name := range bridges {
		if _, err := net.InterfaceByName(name); err == nil {
			t.Errorf("the bridge %s of a network is left behind", name)
		}
	}
	enginetest.Eventually(t, 10*time.Second, func() error {
		after, err := enginetest.Take()
		if err != nil {
			return err
		}
		for _, left := range after.Since(before) {
			for _, root := range roots { // other engines may come and go meanwhile
				if strings.Contains(left, root) || strings.Contains(left, tag(root)) {
					return fmt.Errorf("left behind: %s", left)
				}
			}
		}
		return nil
	})
}

// TestDemo runs make demo's script and reads what a person sees.
func TestDemo(t *testing.T) {
	r := script(t, "demo.sh", folder(t))
	if r.Code != 0 {
		t.Fatalf("exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	all := r.Stdout + r.Stderr
	for _, want := range []string{"$ davit run hello-world", "Hello from Davit!", "ms", "DAVIT_HOST=unix://", "docker -H unix://", "make down ROOT="} {
		if !strings.Contains(r.Stdout, want) {
			t.Errorf("no %q in:\n%s", want, all)
		}
	}
	for _, want := range []string{"Unable to find image 'hello-world:latest' locally", "Digest: sha256:"} {
		if strings.Count(all, want) != 1 {
			t.Errorf("want %q once in:\n%s", want, all)
		}
	}
	if n := strings.Count(r.Stdout, "Hello from Davit!"); n != 2 {
		t.Errorf("the message came %d times, want 2", n)
	}
}
