package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// shared is the engine that most tests use, with the image busybox.
var shared struct {
	once   sync.Once
	engine *enginetest.Engine
	err    error
}

// engine returns the shared engine.
func engine(t *testing.T) *enginetest.Engine {
	t.Helper()
	enginetest.NeedRoot(t)
	bin := enginetest.Binaries(t)
	shared.once.Do(func() { shared.engine, shared.err = enginetest.New(bin, enginetest.Config{}) })
	if shared.err != nil {
		t.Fatalf("starting the shared engine: %v", shared.err)
	}
	shared.engine.Busybox(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the engine's log:\n%s", shared.engine.LogTail(30))
		}
	})
	return shared.engine
}

// each runs a test once for each command line.
func each(t *testing.T, test func(t *testing.T, cli enginetest.CLI)) {
	t.Helper()
	for _, cli := range engine(t).CLIs(t) {
		t.Run(cli.Name, func(t *testing.T) { test(t, cli) })
	}
}

// name is a container's name of this test's own; the container is removed
// after the test.
func name(t *testing.T, cli enginetest.CLI) string {
	t.Helper()
	n := strings.Map(func(r rune) rune {
		if r == '/' || r == '#' {
			return '-'
		}
		return r
	}, t.Name())
	t.Cleanup(func() { cli.Run(t, "rm", "-f", n) })
	return n
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, e := range []*enginetest.Engine{shared.engine, private.engine} {
		if e == nil {
			continue
		}
		for _, left := range e.Close() {
			fmt.Println("left behind by a shared engine:", left)
			code = 1
		}
	}
	os.Exit(code)
}
