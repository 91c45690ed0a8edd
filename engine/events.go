package engine

import (
	"context"
	"time"

	"github.com/davit-engine/davit/event"
)

// Events subscribes to what happens. With both times zero there is no past.
func (e *Engine) Events(_ context.Context, since, until time.Time, filters map[string]map[string]bool) (EventStream, error) {
	match, err := event.ParseFilter(filters)
	if err != nil {
		return EventStream{}, err
	}
	s := e.cfg.Events.Subscribe(since, until, match)
	return EventStream{Past: s.Past, Live: s.Live, Overrun: s.Overrun, Cancel: s.Cancel}, nil
}
