package engine

import (
	"context"
	"slices"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/errs"
)

// waiter is a client that waits for a container to end or to be removed.
type waiter struct {
	condition container.WaitCondition
	answer    chan container.WaitResponse // capacity 1
}

// Wait returns a channel that gives one answer when the condition holds, and
// is then closed. It is closed without an answer when ctx ends first.
func (e *Engine) Wait(ctx context.Context, ref string, condition container.WaitCondition) (<-chan container.WaitResponse, error) {
	switch condition {
	case "":
		condition = container.WaitConditionNotRunning
	case container.WaitConditionNotRunning, container.WaitConditionNextExit, container.WaitConditionRemoved:
	default:
		return nil, errs.New(errs.InvalidParameter, "invalid condition: %q", condition)
	}
	c, err := e.table.find(ref)
	if err != nil {
		return nil, err
	}
	w := waiter{condition, make(chan container.WaitResponse, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := container.WaitResponse{StatusCode: int64(c.rec.State.ExitCode)}
	if c.gone || condition == container.WaitConditionNotRunning && !c.rec.State.Active() {
		w.answer <- now
		close(w.answer)
		return w.answer, nil
	}
	c.waiting = append(c.waiting, w)
	context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if i := slices.Index(c.waiting, w); i >= 0 {
			c.waiting = slices.Delete(c.waiting, i, i+1)
			close(w.answer)
		}
	})
	return w.answer, nil
}

// answer tells those whose condition holds: an exit is what not-running and
// next-exit wait for, a removal ends every wait.
func (c *ctr) answer(what container.WaitCondition, with container.WaitResponse) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = slices.DeleteFunc(c.waiting, func(w waiter) bool {
		if w.condition == container.WaitConditionRemoved && what != container.WaitConditionRemoved {
			return false
		}
		w.answer <- with
		close(w.answer)
		return true
	})
}
