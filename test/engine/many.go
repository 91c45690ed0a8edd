package enginetest

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Bounce ends the engine as a service manager would, does something while it
// does not run, and starts it again. ready is how long that took, from the
// start of the process to its first answer.
func Bounce(e *Engine, between func() error) (ready time.Duration, err error) {
	if err := e.end(unix.SIGTERM); err != nil {
		return 0, err
	}
	if err := between(); err != nil {
		return 0, err
	}
	begin := time.Now()
	err = e.startDaemon()
	return time.Since(begin), err
}

// Multiply makes count more containers of one that does not run, named after it
// with a number, by copying what the engine has on disk. The engine must not
// run.
func Multiply(e *Engine, id string, count int) error {
	from := filepath.Join(e.Data, "containers", id)
	text, err := os.ReadFile(filepath.Join(from, "container.json"))
	if err != nil {
		return err
	}
	var record map[string]json.RawMessage
	if err := json.Unmarshal(text, &record); err != nil {
		return err
	}
	var name string
	if err := json.Unmarshal(record["Name"], &name); err != nil {
		return err
	}
	for i := range count {
		var raw [32]byte
		_, _ = rand.Read(raw[:]) // never fails
		id := hex.EncodeToString(raw[:])
		dir := filepath.Join(e.Data, "containers", id)
		record["ID"] = json.RawMessage(`"` + id + `"`)
		record["Name"] = json.RawMessage(fmt.Sprintf("%q", fmt.Sprintf("%s-%d", name, i)))
		text, err := json.Marshal(record)
		if err != nil {
			return err
		}
		for _, d := range []string{dir, filepath.Join(dir, "upper"), filepath.Join(dir, "work")} {
			if err := os.Mkdir(d, 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "container.json"), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}
