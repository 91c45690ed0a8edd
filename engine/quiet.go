package engine

import (
	"sync"
	"time"
)

// quietTime is how long nobody must have started a container before what the
// next one needs is made: making it takes a processor that the container that
// was started could use.
const quietTime = 15 * time.Millisecond

// quiet calls a function when there is time for it.
type quiet struct {
	do func()

	mu    sync.Mutex
	timer *time.Timer // guarded by mu; nil before the first call of soon
	over  bool        // guarded by mu
}

// soon calls do when it was not called again for quietTime.
func (q *quiet) soon() {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.over:
	case q.timer == nil:
		q.timer = time.AfterFunc(quietTime, q.do)
	default:
		q.timer.Reset(quietTime)
	}
}

// stop calls do no more.
func (q *quiet) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.over = true
	if q.timer != nil {
		q.timer.Stop()
	}
}
