package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/davit-engine/davit/errs"
)

// Waiting is the engine's promise to say how a container ends. Containers
// outlive engines: where the engine is replaced while a client waits, the next
// one is asked.
type Waiting struct {
	answer io.ReadCloser
	err    error // why there is no answer

	ctx       context.Context
	of        Containers
	id        string
	condition container.WaitCondition
	since     time.Time
}

// Wait asks how a container ends. It returns when the engine has
// understood: an end after that is not missed. An error comes with the result.
func (c Containers) Wait(ctx context.Context, id string, condition container.WaitCondition) *Waiting {
	w := &Waiting{ctx: ctx, of: c, id: id, condition: condition, since: time.Now()}
	w.ask()
	return w
}

func (w *Waiting) ask() {
	at, err := containerPath(w.id, "/wait")
	if err != nil {
		w.err = err
		return
	}
	query := url.Values{}
	set(query, "condition", string(w.condition))
	w.answer, w.err = w.of.api.stream(w.ctx, request{method: http.MethodPost, path: at, query: query})
}

// maxWaitText bounds what is shown of an answer that is no JSON.
const maxWaitText = 2 << 10

// Result waits for the end. It may be called once.
func (w *Waiting) Result() (result container.WaitResponse, err error) {
	if w.err != nil {
		return result, w.err
	}
	if result, err = w.read(); broken(err) {
		return w.again(err)
	}
	return result, err
}

// read reads the answer that was asked for last.
func (w *Waiting) read() (result container.WaitResponse, err error) {
	defer w.answer.Close()
	// The value counts, not the end of the stream behind it.
	decoder := json.NewDecoder(w.answer)
	err = decoder.Decode(&result)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		// The status was sent long ago, so a proxy that gives up can only write into the answer.
		text, _ := io.ReadAll(io.LimitReader(io.MultiReader(decoder.Buffered(), w.answer), maxWaitText))
		err = errors.New(string(text))
	}
	return result, err
}

// broken reports whether an answer has ended before it had begun.
func broken(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

// How long the next engine is waited for, how often it is tried, and how often
// an answer may break in a row: that is no engine.
const (
	enginePatience = 10 * time.Second
	engineRetry    = 100 * time.Millisecond
	maxBroken      = 3
)

// again asks the next engine, after an answer that broke with cause.
func (w *Waiting) again(cause error) (result container.WaitResponse, err error) {
	if w.condition == container.WaitConditionNextExit {
		w.condition = container.WaitConditionNotRunning // it may have ended in between
	}
	end, breaks := time.Now().Add(enginePatience), 1
	for breaks < maxBroken {
		select {
		case <-time.After(engineRetry):
		case <-w.ctx.Done():
			return result, w.ctx.Err()
		}
		asked := time.Now()
		w.ask()
		switch {
		case errs.Is(w.err, errs.Unavailable) && asked.Before(end):
			continue
		case errs.Is(w.err, errs.NotFound) && w.condition == container.WaitConditionRemoved:
			return w.remembered(w.err)
		case w.err != nil:
			return result, w.err
		}
		if result, err = w.read(); !broken(err) {
			return result, err
		}
		if breaks++; time.Since(asked) > time.Second { // that engine was replaced as well
			end, breaks = time.Now().Add(enginePatience), 1
		}
		cause = err
	}
	return result, cause
}

// remembered finds out from the past how a container ended that is gone.
func (w *Waiting) remembered(cause error) (result container.WaitResponse, err error) {
	filters := Filters{}
	filters.Add("container", w.id)
	filters.Add("event", "die")
	stamp := func(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }
	err = cause
	_ = w.of.api.Events(w.ctx, EventsOptions{Since: stamp(w.since), Until: stamp(time.Now()), Filters: filters}, func(m events.Message) error {
		code, bad := strconv.ParseInt(m.Actor.Attributes["exitCode"], 10, 64)
		if bad == nil {
			result.StatusCode, err = code, nil
		}
		return nil
	}) // its end is the end of the past; without an event the cause stands
	return result, err
}
