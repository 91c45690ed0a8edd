package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// shared is the engine that most tests use; private is one whose containers have
// user namespaces of their own.
var (
	shared  lazyEngine
	private = lazyEngine{config: enginetest.Config{Args: []string{"--default-userns", "auto"}}}
)

// lazyEngine is an engine with the image busybox that the first test which
// needs it starts.
type lazyEngine struct {
	config enginetest.Config
	once   sync.Once
	engine *enginetest.Engine
	err    error
}

func (l *lazyEngine) get(t *testing.T) *enginetest.Engine {
	t.Helper()
	enginetest.NeedRoot(t)
	bin := enginetest.Binaries(t)
	l.once.Do(func() { l.engine, l.err = enginetest.New(bin, l.config) })
	if l.err != nil {
		t.Fatalf("starting an engine: %v", l.err)
	}
	l.engine.Busybox(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the engine's log:\n%s", l.engine.LogTail(30))
		}
	})
	return l.engine
}

// engine returns the shared engine.
func engine(t *testing.T) *enginetest.Engine {
	t.Helper()
	return shared.get(t)
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
