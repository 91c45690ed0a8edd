package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/runtime/wire"
)

// Of each exec that was started there are files in the container's run
// directory, so that an engine that comes later knows it:
//
//	execs/ID.json  what was asked for; the engine's, written before the start
//	execs/ID.exit  how it ended; the shim's
//	execs/ID.done  the same, once an engine has told its subscribers

type execRecord struct{ Request container.ExecCreateRequest }

func (e *core) execFile(x *execution, suffix string) string {
	return filepath.Join(e.runDir(x.c.id), wire.ExecDir, x.id+suffix)
}

// noteExec writes what was asked for.
func (e *core) noteExec(x *execution) error {
	data, err := json.Marshal(execRecord{x.request})
	if err != nil {
		return fmt.Errorf("noting the exec: %w", err)
	}
	path := e.execFile(x, ".json")
	err = os.WriteFile(path, data, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.Mkdir(filepath.Dir(path), 0o700); err == nil || errors.Is(err, fs.ErrExist) {
			err = os.WriteFile(path, data, 0o600)
		}
	}
	if err != nil {
		return fmt.Errorf("noting the exec: %w", err)
	}
	return nil
}

// dropExecFiles removes what noteExec and the shim have written.
func (e *core) dropExecFiles(x *execution) {
	for _, suffix := range []string{".json", ".exit", ".done"} {
		_ = os.Remove(e.execFile(x, suffix))
	}
}

// execEnded records the end of an exec and tells subscribers.
func (e *core) execEnded(x *execution, exit wire.ExecExit) {
	if !x.end(exit.ExitCode, exit.ExitedAt.UTC()) {
		return
	}
	e.publishExec(x, events.ActionExecDie, map[string]string{"exitCode": strconv.Itoa(exit.ExitCode)})
	if x.hidden {
		return
	}
	_ = os.Rename(e.execFile(x, ".exit"), e.execFile(x, ".done")) // if an engine that comes later tells it again, so be it
	e.execs.forgetLater(x)
}

// endExecs ends the execs of a run that is over. The shim has reported them all
// before, unless it was killed, or nobody was there to listen.
func (e *core) endExecs(c *ctr, at time.Time) {
	running := slices.DeleteFunc(e.execs.of(c), func(x *execution) bool { return !x.is(execRunning) })
	e.settleExecs(running, nil, at)
}

// recallExecs learns the execs of a run that began under an earlier engine.
// They count as running until somebody knows better.
func (e *core) recallExecs(c *ctr) (list []*execution) {
	dir := filepath.Join(e.runDir(c.id), wire.ExecDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, d := range entries {
		id, ok := strings.CutSuffix(d.Name(), ".json")
		if !ok {
			continue
		}
		var rec execRecord
		err := readJSON(filepath.Join(dir, d.Name()), &rec)
		var x *execution
		if err == nil && len(rec.Request.Cmd) > 0 {
			x, err = newExecution(id, c, rec.Request)
		}
		if err != nil || x == nil {
			e.log.Warn("an exec's record cannot be read", "container", c.id, "exec", id, "error", err)
			continue
		}
		x.status = execStarting
		var done wire.ExecExit
		if readJSON(e.execFile(x, ".done"), &done) == nil {
			x.end(done.ExitCode, done.ExitedAt.UTC())
			e.execs.add(x)
			e.execs.forgetLater(x)
			continue
		}
		x.runs(0)
		e.execs.add(x)
		list = append(list, x)
	}
	return list
}

// settleExecs finds out about execs that do not run any more, as far as no
// event has told. Those without a record could not be started, or were killed
// with the shim, at the time given.
func (e *core) settleExecs(list []*execution, running []wire.ExecState, at time.Time) {
	pids := make(map[string]int, len(running))
	for _, s := range running {
		pids[s.ID] = s.Pid
	}
	for _, x := range list {
		if pid, ok := pids[x.id]; ok {
			x.mu.Lock()
			if x.status == execRunning {
				x.pid = pid
			}
			x.mu.Unlock()
			continue
		}
		exit := wire.ExecExit{ID: x.id, ExitCode: 128 + int(unix.SIGKILL), Signal: int(unix.SIGKILL), ExitedAt: at}
		if err := readJSON(e.execFile(x, ".exit"), &exit); err != nil && !errors.Is(err, fs.ErrNotExist) {
			e.log.Error("reading an exec's exit record", "container", x.c.id, "exec", x.id, "error", err)
		}
		e.execEnded(x, exit)
	}
}
