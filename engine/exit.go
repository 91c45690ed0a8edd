package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/runtime/cgroup"
	"github.com/davit-engine/davit/runtime/pidfd"
	"github.com/davit-engine/davit/runtime/wire"
)

// keeper looks after containers that run, and takes them away when they are
// done.
type keeper struct {
	*core
	reviver *reviver // what comes after an end
	mounts  *mounter // what containers have mounted
	checker *checker // the health of what runs
	usher   *usher   // what has to run before
	joiner  *joiner  // the networks of what runs
}

// watch follows a run until its shim has gone.
func (k *keeper) watch(c *ctr, r *run) {
	exited := false
	for ev := range r.shim.Events() {
		switch {
		case ev.Detached != nil:
			k.detached(c, ev.Detached.Exec)
		case ev.ExecExited != nil:
			if x, err := k.execs.find(ev.ExecExited.ID); err == nil {
				k.execEnded(x, *ev.ExecExited)
			}
		case ev.Exited != nil && !exited:
			exited = true
			k.ended(c, r, *ev.Exited)
		}
	}
	_ = r.shim.Close()
	if k.closing() {
		return
	}
	if !exited {
		k.ended(c, r, k.lost(c.id, r.state))
	}
	if err := k.clear(c.id, r.state); err != nil {
		k.log.Error("clearing up after a container", "container", c.id, "error", err)
	}
	close(r.ended)
}

// ended records that the container's process is no more, and tells everybody
// who waits for it.
func (k *keeper) ended(c *ctr, r *run, x wire.Exit) {
	c.verb <- struct{}{}
	defer c.disown()
	c.mu.Lock()
	if c.run != r {
		c.mu.Unlock()
		return
	}
	rec := *c.rec
	c.mu.Unlock()
	c.endChecks(r)
	rec.State.Pid, rec.State.ExitCode, rec.State.OOMKilled = 0, x.ExitCode, x.OOMKilled
	rec.State.Error, rec.State.FinishedAt = x.Error, x.ExitedAt.UTC()
	rec.State.ManuallyStopped = rec.State.ManuallyStopped || r.manual.Load()
	lasted := max(0, rec.State.FinishedAt.Sub(rec.State.StartedAt))
	again, wait := k.reviver.ended(c, &rec, rec.State.ManuallyStopped, lasted)
	old := rec
	rec.Endpoints = nil
	c.mu.Lock()
	c.rec, c.run, c.cooling = &rec, nil, r.ended
	c.mu.Unlock()
	k.endExecs(c, x.ExitedAt)

	k.naming.ended(&old)
	k.quitNetwork(c, &old)
	k.mounts.ended(&rec)
	remove := rec.HostConfig.AutoRemove && !r.again.Load()
	if !remove {
		if err := k.persist(c, false); err != nil {
			k.log.Error("recording an exit", "container", c.id, "error", err)
		}
	}
	if x.OOMKilled {
		k.publish(&rec, events.ActionOOM, nil)
	}
	k.nets.tell(&rec, events.ActionDisconnect)
	k.publish(&rec, events.ActionDie, map[string]string{
		"exitCode":     strconv.Itoa(x.ExitCode),
		"execDuration": strconv.FormatInt(int64(lasted.Seconds()), 10),
	})
	close(r.exited)
	c.answer(container.WaitConditionNextExit, container.WaitResponse{StatusCode: int64(x.ExitCode)})
	switch {
	case remove:
		k.removeEnded(c)
	case again:
		k.reviver.after(c, wait)
	}
}

// lost finds out how a container ended whose shim is gone without a word: by
// its exit record, or else by ending it now.
func (k *keeper) lost(id string, s wire.State) wire.Exit {
	var x wire.Exit
	err := readJSON(filepath.Join(k.runDir(id), "exit.json"), &x)
	if err == nil {
		return x
	}
	if !errors.Is(err, fs.ErrNotExist) {
		k.log.Error("reading an exit record", "container", id, "error", err)
	}
	k.log.Error("a container's shim was lost: the container is ended", "container", id, "shim", s.ShimPid, "pid", s.Pid)
	if err := kill(s.Pid, s.PidStart); err != nil {
		k.log.Error("ending a container without its shim", "container", id, "error", err)
	}
	return wire.Exit{ID: id, ExitCode: 128 + int(unix.SIGKILL), Signal: int(unix.SIGKILL), ExitedAt: time.Now(),
		Error: "the process that looked after the container (davit-shim) was killed, so the container was ended"}
}

// clear removes what a shim that ended well has removed already: the cgroup,
// with whatever still runs in it, and the run directory.
func (k *keeper) clear(id string, s wire.State) error {
	for late := time.Now().Add(killPatience); wire.Held(k.runDir(id)) && time.Now().Before(late) && !k.closing(); {
		time.Sleep(time.Millisecond) // the shim is about to
	}
	var errs []error
	for _, dir := range s.Cgroup {
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		group := cgroup.Open(s.Cgroup)
		errs = append(errs, group.Kill(), group.Remove())
		break
	}
	return errors.Join(append(errs, os.RemoveAll(k.runDir(id)))...)
}

// kill ends the process pid if it is still the one that started at start
// (field 22 of /proc/PID/stat), and waits until it is gone, 10 s at most.
func kill(pid int, start uint64) error {
	if pid <= 0 {
		return nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if now, err := wire.StartTime(pid); err != nil || now != start {
		return nil // another process has the number by now, or none
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("killing process %d: %w", pid, err)
	}
	ended, err := pidfd.Ended(fd, 10*time.Second)
	if err != nil {
		return fmt.Errorf("waiting for process %d: %w", pid, err)
	}
	if !ended {
		return fmt.Errorf("process %d does not end", pid)
	}
	return nil
}

func readJSON(path string, to any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, to)
}
