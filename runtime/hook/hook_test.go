package hook

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func shell(script string) specs.Hook {
	return specs.Hook{Path: "/bin/sh", Args: []string{"hook", "-c", script}}
}

func TestRun(t *testing.T) {
	t.Setenv("OURS", "1")
	out := filepath.Join(t.TempDir(), "out")
	h := shell(`cat > "$OUT"; env >> "$OUT"; echo $0 >> "$OUT"`)
	h.Env = []string{"OUT=" + out, "PATH=/usr/bin:/bin"}
	if err := Run(context.Background(), h, []byte("{the state}\n")); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(b); !strings.HasPrefix(s, "{the state}\n") || strings.Contains(s, "OURS") || !strings.HasSuffix(s, "hook\n") {
		t.Errorf("the hook saw %q", s)
	}
}

func TestRunEnvironmentIsEmpty(t *testing.T) {
	t.Setenv("OURS", "1")
	if err := Run(context.Background(), shell(`test -z "$OURS"`), nil); err != nil {
		t.Errorf("the caller's environment got in: %v", err)
	}
}

func TestRunFails(t *testing.T) {
	second := 1
	slow := shell("echo waiting; sleep 100 & wait")
	slow.Timeout = &second
	zero := 0
	for _, c := range []struct {
		name string
		hook specs.Hook
		kind errs.Kind
		text string
	}{
		{"status", shell("echo no luck >&2; exit 3"), errs.System, "hook /bin/sh: exit status 3: no luck"},
		{"missing", specs.Hook{Path: "/no/such/hook"}, errs.System, "no such file"},
		{"relative", specs.Hook{Path: "sh"}, errs.InvalidParameter, "must be absolute"},
		{"timeout of nothing", specs.Hook{Path: "/bin/true", Timeout: &zero}, errs.InvalidParameter, "greater than zero"},
		{"too slow", slow, errs.Deadline, "did not end in 1 seconds: waiting"},
	} {
		begun := time.Now()
		err := Run(context.Background(), c.hook, []byte("{}"))
		if err == nil || errs.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v (%v), want %q (%v)", c.name, err, errs.KindOf(err), c.text, c.kind)
		}
		if d := time.Since(begun); d > 10*time.Second {
			t.Errorf("%s: took %v", c.name, d)
		}
	}
}

// A hook that leaves a daemon behind has ended all the same.
func TestRunLeavesChild(t *testing.T) {
	pidfile := filepath.Join(t.TempDir(), "pid")
	h := shell("sleep 100 & echo $! > " + pidfile)
	begun := time.Now()
	err := Run(context.Background(), h, nil)
	if b, readErr := os.ReadFile(pidfile); readErr == nil {
		defer Run(context.Background(), shell("kill "+string(b)), nil)
	}
	if err != nil || time.Since(begun) > 20*time.Second {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
}

func TestRunBoundsOutput(t *testing.T) {
	err := Run(context.Background(), shell("head -c 1000000 /dev/zero | tr '\\0' x; echo end; exit 1"), nil)
	if err == nil || len(err.Error()) > 2*maxOutput || !strings.HasSuffix(err.Error(), "end") {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}
