package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// TestPoliciesThroughKills kills the engine while containers end again and
// again and their policies restart them. Each container notices if it runs
// twice at once; none may be forgotten.
func TestPoliciesThroughKills(t *testing.T) {
	e, cli := start(t)
	const count = 8
	kills := 6
	if testing.Short() {
		kills = 3
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	script := `mkdir /go/$0.lock || touch /go/$0.twice; echo run >> /go/$0.runs; sleep 0.0$((RANDOM % 10)); rmdir /go/$0.lock; exit $((RANDOM % 2))`
	for i := range count {
		n := fmt.Sprint("c", i)
		cli.OK(t, "run", "-d", "--name", n, "--restart", []string{"always", "unless-stopped"}[i%2], "--health-cmd", "true", "--health-interval", "20ms",
			"-v", dir+":/go", "busybox", "sh", "-c", script, n)
	}
	for range kills {
		moment := time.NewTimer(time.Duration(50+random.IntN(400)) * time.Millisecond)
		<-moment.C
		e.Kill(t)
		e.Restart(t)
	}
	for i := range count {
		n := fmt.Sprint("c", i)
		if _, err := os.Stat(filepath.Join(dir, n+".twice")); err == nil {
			t.Errorf("%s ran twice at once", n)
		}
		before := runs(t, dir, n)
		cli.OK(t, "restart", "-t", "0", n) // its back-off may be long by now
		enginetest.Eventually(t, 20*time.Second, func() error {
			if now := runs(t, dir, n); now <= before {
				return fmt.Errorf("%s was started %d times and is started no more: %+v", n, now, inspect(t, cli, n).State)
			}
			return nil
		})
	}
	all := make([]string, count)
	for i := range all {
		all[i] = fmt.Sprint("c", i)
	}
	cli.OK(t, append([]string{"stop", "-t", "0"}, all...)...)
	enginetest.Eventually(t, 10*time.Second, func() error {
		if n := len(e.Shims()); n > 0 {
			return fmt.Errorf("%d shims are left", n)
		}
		return nil
	})
	for _, n := range all {
		if s := inspect(t, cli, n).State; s.Status != "exited" {
			t.Errorf("%s was stopped and is %s", n, s.Status)
		}
	}
}

// runs is how often a container has been started, by itself.
func runs(t *testing.T, dir, name string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name+".runs"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}
