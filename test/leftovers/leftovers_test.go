package leftovers

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// TestNothingLeft writes down what the host holds if $DAVIT_LEFTOVERS names a
// file that does not exist yet, and compares with that file if it does.
func TestNothingLeft(t *testing.T) {
	file := os.Getenv("DAVIT_LEFTOVERS")
	if file == "" {
		t.Skip("DAVIT_LEFTOVERS names no file: make test sets it, before and after the other tests")
	}
	enginetest.NeedRoot(t)
	now, err := enginetest.Take()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = json.Marshal(now)
		if err == nil {
			err = os.WriteFile(file, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	} else if err != nil {
		t.Fatal(err)
	}
	var before enginetest.Snapshot
	if err := json.Unmarshal(text, &before); err != nil {
		t.Fatal(err)
	}
	// The kernel removes dead namespaces in the background, one after the other.
	left := now.Since(before)
	for deadline := time.Now().Add(10 * time.Second); len(left) > 0 && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if now, err = enginetest.Take(); err != nil {
			t.Fatal(err)
		}
		left = now.Since(before)
	}
	if len(left) > 0 {
		t.Errorf("the tests left %d things on the host:\n%s", len(left), strings.Join(left, "\n"))
	}
}
