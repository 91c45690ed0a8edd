package compat

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// TestPythonSDK works through Docker's SDK for Python, as packaged by Debian.
func TestPythonSDK(t *testing.T) {
	enginetest.NeedRoot(t)
	const python = "/usr/bin/python3" // Debian's own: the one that sees its packages
	if out, err := exec.Command(python, "-c", "import docker").CombinedOutput(); err != nil {
		t.Skipf("needs python3-docker (make setup installs it): %s", out)
	}
	e := enginetest.Start(t, enginetest.Config{})
	e.Busybox(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "testdata/sdk.py", e.Registry)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+e.Host(), "HOME="+e.Root)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
