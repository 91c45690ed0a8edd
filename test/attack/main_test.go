package attack

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// shared is the engine that all tests use, with the images busybox and hostile.
var shared struct {
	once   sync.Once
	engine *enginetest.Engine
	err    error
}

// engine returns the command line of the shared engine. Its image "hostile" is
// busybox with /hostile.
func engine(t *testing.T) enginetest.CLI {
	t.Helper()
	enginetest.NeedRoot(t)
	bin := enginetest.Binaries(t)
	shared.once.Do(func() { shared.engine, shared.err = enginetest.New(bin, enginetest.Config{}) })
	if shared.err != nil {
		t.Fatalf("starting the shared engine: %v", shared.err)
	}
	e := shared.engine
	e.Busybox(t)
	load(t, e, "hostile", func(dir string) {
		program, err := os.ReadFile(hostile(t))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, "hostile"), program, 0o755))
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the engine's log:\n%s", e.LogTail(30))
		}
	})
	return e.Davit()
}

// hostile builds the attacking program once and returns its path.
func hostile(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var scratch string // removed at the end; set by TestMain

var built = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("DAVIT_PROGRAMS"); dir != "" { // make vmtest: there is no compiler
		return filepath.Join(dir, "hostile"), nil
	}
	path := filepath.Join(scratch, "hostile")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./hostile")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building hostile: %w\n%s", err, out)
	}
	return path, nil
})

// load makes an image of busybox's files and what change does to them.
func load(t testing.TB, e *enginetest.Engine, name string, change func(dir string)) {
	t.Helper()
	if e.Davit().Run(t, "image", "inspect", name).Code == 0 {
		return
	}
	dir := t.TempDir()
	unpack(t, enginetest.BusyboxTar(t), dir)
	change(dir)
	tar := exec.Command("tar", "-C", dir, "--numeric-owner", "--owner=0", "--group=0", "-c", ".")
	stream, err := tar.StdoutPipe()
	must(t, err)
	must(t, tar.Start())
	if r := e.Davit().Feed(t, stream, "import", "-c", `CMD ["sh"]`, "-", name); r.Code != 0 {
		t.Fatalf("importing %s: %s%s", name, r.Stdout, r.Stderr)
	}
	must(t, tar.Wait())
}

func unpack(t testing.TB, archive []byte, dir string) {
	t.Helper()
	tar := exec.Command("tar", "-C", dir, "-x")
	tar.Stdin = strings.NewReader(string(archive))
	if out, err := tar.CombinedOutput(); err != nil {
		t.Fatalf("unpacking: %v\n%s", err, out)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// results reads hostile's lines "what: result".
func results(output string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(output) {
		if what, result, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			m[what] = result
		}
	}
	return m
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "davit-attack-")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	scratch = dir
	code := m.Run()
	if shared.engine != nil {
		for _, left := range shared.engine.Close() {
			fmt.Println("left behind by the shared engine:", left)
			code = 1
		}
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// listen makes a unix socket that takes whatever comes.
func listen(t testing.TB, path string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	must(t, err)
	return l
}
