package compat

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// TestDebianRegistry pushes to and pulls from a registry that is not ours.
func TestDebianRegistry(t *testing.T) {
	enginetest.NeedRoot(t)
	program := enginetest.NeedProgram(t, "docker-registry")
	addr := foreignRegistry(t, program)
	e := enginetest.Start(t, enginetest.Config{})
	e.Busybox(t)
	for _, cli := range e.CLIs(t) {
		name := addr + "/some/where/" + cli.Name + ":tag"
		cli.OK(t, "tag", "busybox", name)
		if out := cli.OK(t, "push", name); !strings.Contains(out, "digest: sha256:") {
			t.Errorf("push: %s", out)
		}
		cli.OK(t, "rmi", name)
		cli.OK(t, "pull", name)
		if out := cli.OK(t, "run", "--rm", name, "echo", "back"); out != "back" {
			t.Errorf("run: %q", out)
		}
		cli.OK(t, "rmi", name)
	}
}

func foreignRegistry(t *testing.T, program string) string {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %s/data}}\nhttp: {addr: %q}\nlog: {level: error}\n", dir, addr)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has nothing to save
		_ = cmd.Wait()
	})
	enginetest.Eventually(t, 20*time.Second, func() error {
		response, err := http.Get("http://" + addr + "/v2/")
		if err != nil {
			return err
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	})
	return addr
}

// TestSkopeo reads what the engine pushed, and writes what the engine pulls.
func TestSkopeo(t *testing.T) {
	enginetest.NeedRoot(t)
	skopeo := enginetest.NeedProgram(t, "skopeo")
	e := enginetest.Start(t, enginetest.Config{})
	e.Busybox(t)
	cli := e.Davit()
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(skopeo, append([]string{"--insecure-policy"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("skopeo %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	ours := "docker://" + e.Registry + "/library/busybox:latest"
	if out := run("inspect", "--tls-verify=false", ours); !strings.Contains(out, `"Os": "linux"`) {
		t.Errorf("inspect: %s", out)
	}
	// Through an OCI layout on disk, and as Docker's older manifest.
	layout := "oci:" + filepath.Join(t.TempDir(), "layout") + ":latest"
	run("copy", "--src-tls-verify=false", ours, layout)
	for _, format := range []string{"oci", "v2s2"} {
		name := e.Registry + "/skopeo/" + format + ":1"
		run("copy", "--dest-tls-verify=false", "--format", format, layout, "docker://"+name)
		cli.OK(t, "pull", name)
		if out := cli.OK(t, "run", "--rm", name, "echo", "from", format); out != "from "+format {
			t.Errorf("run: %q", out)
		}
		cli.OK(t, "rmi", name)
	}
	// What we save, and what skopeo writes of it in both forms of archives.
	dir := t.TempDir()
	saved := filepath.Join(dir, "saved.tar")
	cli.OK(t, "save", "-o", saved, "busybox")
	for _, form := range []string{"docker-archive", "oci-archive"} {
		name := "by-" + form + ":1"
		archive := filepath.Join(dir, form+".tar")
		run("copy", "docker-archive:"+saved, form+":"+archive+":"+name)
		if out := cli.OK(t, "load", "-i", archive); out != "Loaded image: "+name {
			t.Errorf("load: %q", out)
		}
		if out := cli.OK(t, "run", "--rm", name, "echo", "from", form); out != "from "+form {
			t.Errorf("run: %q", out)
		}
		cli.OK(t, "rmi", name)
	}
}
