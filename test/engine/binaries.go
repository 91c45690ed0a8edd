package enginetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Binaries returns the folder that holds davit, davitd, davit-shim and the
// others: $DAVIT_BIN if the caller has built them, else they are built once for
// this test process into bin/ of the source tree, as `make` does.
func Binaries(t testing.TB) string {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatalf("building the binaries: %v", err)
	}
	return dir
}

var built = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("DAVIT_BIN"); dir != "" {
		_, err := os.Stat(filepath.Join(dir, "davitd"))
		return dir, err
	}
	cmd := exec.Command("make", "build")
	cmd.Dir = source()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return filepath.Join(source(), "bin"), nil
})

// source is the root of the source tree: a test runs in its package's folder.
func source() string {
	dir, err := os.Getwd()
	for err == nil && !exists(filepath.Join(dir, "go.mod")) && dir != "/" {
		dir = filepath.Dir(dir)
	}
	return dir
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// NeedRoot skips a test that makes namespaces, mounts or bridges.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: an engine makes namespaces, mounts and a bridge")
	}
}

// NeedProgram skips a test whose peer is not on the machine; `make setup`
// installs all of them.
func NeedProgram(t testing.TB, name string) string {
	t.Helper()
	path, err := program(name)
	if err != nil {
		t.Skipf("needs %s (make setup installs it)", name)
	}
	return path
}

// program finds a peer: on PATH, where setup puts a docker client, or among
// the programs of the system's administrator.
func program(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{filepath.Join(source(), "bin", "tools"), "/usr/sbin", "/sbin"} {
		if p := filepath.Join(dir, name); executable(p) {
			return p, nil
		}
	}
	return "", err
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
