package engine

import (
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/errs"
)

// Ended execs can be asked about for a while, as many as this at most.
const (
	execsKept = 10 * time.Minute
	maxEnded  = 1000
)

// execStatus is how far an exec got. Each follows the one before it; a start
// that fails leads from starting to ended.
type execStatus uint8

const (
	execCreated execStatus = iota
	execStarting
	execRunning
	execEnded
)

// execution is one exec: what was asked for, and how far it got.
type execution struct {
	id      string
	c       *ctr
	request container.ExecCreateRequest
	keys    []byte        // that detach; empty: the default
	hidden  bool          // the engine's own: whoever made it forgets it
	settled chan struct{} // closed when the start has succeeded or failed
	over    chan struct{} // closed when it has ended, or could not start

	mu       sync.Mutex
	status   execStatus // guarded by mu
	pid      int        // guarded by mu
	exitCode int        // guarded by mu; once ended
	endedAt  time.Time  // guarded by mu; once ended
}

func newExecution(id string, c *ctr, request container.ExecCreateRequest) (*execution, error) {
	x := &execution{id: id, c: c, request: request, keys: []byte{}, settled: make(chan struct{}), over: make(chan struct{})}
	if request.DetachKeys != "" {
		var err error
		if x.keys, err = detachKeys(request.DetachKeys); err != nil {
			return nil, errs.New(errs.InvalidParameter, "Invalid escape keys (%s) provided", request.DetachKeys)
		}
	}
	return x, nil
}

// begin is for the one start that an exec has; Conflict for all others.
func (x *execution) begin() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch x.status {
	case execEnded:
		return errs.New(errs.Conflict, "Error: Exec command %s has already run", x.id)
	case execCreated:
		x.status = execStarting
		return nil
	}
	return errs.New(errs.Conflict, "Error: Exec command %s is already running", x.id)
}

// runs notes that the process was started. It may have ended already.
func (x *execution) runs(pid int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.status == execStarting {
		x.status, x.pid = execRunning, pid
		close(x.settled)
	}
}

// end notes how the process ended, or with which code it could not start. It
// reports whether that is news.
func (x *execution) end(code int, at time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch x.status {
	case execEnded:
		return false
	case execCreated, execStarting:
		close(x.settled)
	}
	x.status, x.pid, x.exitCode, x.endedAt = execEnded, 0, code, at
	close(x.over)
	return true
}

// code is the exit code, 0 as long as there is none.
func (x *execution) code() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.exitCode
}

func (x *execution) is(s execStatus) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.status == s
}

// inspect is what the API shows.
func (x *execution) inspect() container.ExecInspectResponse {
	x.mu.Lock()
	defer x.mu.Unlock()
	r := &x.request
	out := container.ExecInspectResponse{
		ID: x.id, Running: x.status == execStarting || x.status == execRunning, ContainerID: x.c.id, Pid: x.pid, CanRemove: x.status == execEnded,
		OpenStdin: r.AttachStdin, OpenStdout: r.AttachStdout, OpenStderr: r.AttachStderr, DetachKeys: x.keys,
		ProcessConfig: &container.ExecProcessConfig{
			Tty: r.Tty, Entrypoint: r.Cmd[0], Arguments: append([]string{}, r.Cmd[1:]...), Privileged: &r.Privileged, User: r.User,
		},
	}
	if x.status == execEnded {
		code := x.exitCode
		out.ExitCode = &code
	}
	return out
}

// execTable finds execs by ID. The ended ones are forgotten after a while.
// forgotten is called for each, without the lock.
type execTable struct {
	forgotten func(*execution)

	mu    sync.Mutex
	byID  map[string]*execution // guarded by mu
	ended []*execution          // guarded by mu; oldest end first; some are out of byID already
	timer *time.Timer           // guarded by mu; nil while ended is empty
}

func newExecTable(forgotten func(*execution)) *execTable {
	return &execTable{forgotten: forgotten, byID: map[string]*execution{}}
}

func (t *execTable) add(x *execution) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byID[x.id] = x
}

func (t *execTable) drop(x *execution) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, x.id)
}

// find returns an exec by its full ID, or by the beginning of it.
func (t *execTable) find(ref string) (*execution, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if x := t.byID[ref]; x != nil {
		return x, nil
	}
	var found *execution
	for id, x := range t.byID {
		if ref == "" || len(id) < len(ref) || id[:len(ref)] != ref {
			continue
		}
		if found != nil {
			return nil, errs.New(errs.InvalidParameter, "multiple exec instances begin with %s: write more of the ID", ref)
		}
		found = x
	}
	if found == nil {
		return nil, errs.New(errs.NotFound, "No such exec instance: %s", ref)
	}
	return found, nil
}

// of lists a container's execs, in no order.
func (t *execTable) of(c *ctr) (list []*execution) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, x := range t.byID {
		if x.c == c {
			list = append(list, x)
		}
	}
	return list
}

// forgetLater keeps an ended exec for a while.
func (t *execTable) forgetLater(x *execution) {
	t.mu.Lock()
	t.ended = append(t.ended, x)
	old := t.purgeLocked()
	t.mu.Unlock()
	t.tell(old)
}

func (t *execTable) tell(old []*execution) {
	for _, x := range old {
		t.forgotten(x)
	}
}

// purgeLocked takes out what was kept long enough, and comes again when there
// is more.
func (t *execTable) purgeLocked() (old []*execution) {
	now := time.Now()
	for len(t.ended) > 0 && (len(t.ended) > maxEnded || now.Sub(t.ended[0].endedAt) >= execsKept) {
		x := t.ended[0]
		t.ended[0] = nil
		t.ended = t.ended[1:]
		if t.byID[x.id] == x {
			delete(t.byID, x.id)
			old = append(old, x)
		}
	}
	switch {
	case len(t.ended) == 0:
		t.timer = nil
	case t.timer == nil:
		t.timer = time.AfterFunc(execsKept-now.Sub(t.ended[0].endedAt), func() {
			t.mu.Lock()
			t.timer = nil
			old := t.purgeLocked()
			t.mu.Unlock()
			t.tell(old)
		})
	}
	return old
}

// dropOf forgets the execs of a container that is removed.
func (t *execTable) dropOf(c *ctr) {
	for _, x := range t.of(c) {
		t.drop(x)
	}
}
