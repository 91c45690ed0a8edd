package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// TestManyStopped starts an engine that has 2,000 containers which do not run.
// It takes 0.1 s on a calm machine, and may take far longer on a busy one: make
// bench has the figures.
func TestManyStopped(t *testing.T) {
	const count = 2000
	e := enginetest.Start(t, enginetest.Config{Quiet: true})
	e.Busybox(t)
	cli := e.Davit()
	cli.OK(t, "run", "--name", "seed", "busybox", "true")
	id := inspect(t, cli, "seed").ID
	if _, err := enginetest.Bounce(e, func() error { return enginetest.Multiply(e, id, count-1) }); err != nil {
		t.Fatal(err)
	}
	ready, err := enginetest.Bounce(e, func() error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if ready > 3*time.Second {
		t.Errorf("the engine took %v to start", ready)
	}
	begin := time.Now()
	if n := len(strings.Fields(cli.OK(t, "ps", "-aq"))); n != count {
		t.Errorf("%d containers, want %d", n, count)
	}
	t.Logf("ready after %v, listed in %v", ready, time.Since(begin))
	if s := inspect(t, cli, fmt.Sprintf("seed-%d", count-2)).State; s.Status != "exited" {
		t.Errorf("the last one: %+v", s)
	}
	// One by one they would take long to remove.
	if _, err := enginetest.Bounce(e, func() error { return os.RemoveAll(filepath.Join(e.Data, "containers")) }); err != nil {
		t.Fatal(err)
	}
}
