package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/moby/moby/api/types/events"
)

const (
	// writeDelay is how long an event waits for others to be written with. A
	// `run` makes half a dozen; they cost one write together.
	writeDelay = 50 * time.Millisecond
	// maxLines and maxBytes are what the file grows to before it is written anew
	// with the events that are kept.
	maxLines = 2 * Past
	maxBytes = 8 << 20
)

// history is the file that holds the past: a JSON object per line. It is
// appended to without a sync, so a killed engine loses the last moment and the
// host's power loss a few seconds, and nothing before.
type history struct {
	path  string
	log   *slog.Logger
	file  *os.File // nil: the file has to be written anew
	lines int      // in the file
	bytes int64    // in the file
	sick  bool     // the last write failed, and that was told
}

// load reads the newest events. A torn or foreign line is left out.
func (h *history) load() []events.Message {
	f, err := os.Open(h.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		h.log.Warn("reading the history of events", "error", err)
		return nil
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 2*maxBytes {
		_, _ = f.Seek(-2*maxBytes, io.SeekEnd) // more than a file of ours ever holds
	}
	text, err := io.ReadAll(io.LimitReader(f, 2*maxBytes))
	if err != nil {
		h.log.Warn("reading the history of events", "error", err)
	}
	return decode(text)
}

// decode returns the events of the last lines, oldest first.
func decode(text []byte) []events.Message {
	var kept []events.Message
	for line := range bytes.Lines(text) {
		var m events.Message
		if json.Unmarshal(line, &m) == nil && m.Type != "" && m.TimeNano > 0 {
			kept = append(kept, m)
		}
	}
	return kept[max(0, len(kept)-Past):]
}

// noteLocked has m written in a moment.
func (h *Hub) noteLocked(m events.Message) {
	if len(h.pending) == Past { // the disk stands still: keep what the ring keeps
		h.pending = slices.Delete(h.pending, 0, 1)
	}
	h.pending = append(h.pending, m)
	if !h.armed {
		h.armed = true
		time.AfterFunc(writeDelay, h.flush)
	}
}

// flush writes what is pending.
func (h *Hub) flush() {
	h.writing.Lock()
	defer h.writing.Unlock()
	if h.history == nil {
		return
	}
	anew := h.history.full()
	h.mu.Lock()
	batch := h.pending
	h.pending, h.armed = nil, false
	if anew && len(batch) > 0 {
		batch = h.keptLocked()
	}
	h.mu.Unlock()
	if len(batch) > 0 {
		h.history.write(batch, anew)
	}
}

// full reports whether the next write has to begin a new file, of all events
// that are kept.
func (h *history) full() bool { return h.file == nil || h.lines > maxLines || h.bytes > maxBytes }

// write appends the events, or puts a new file with them in the old one's place.
func (h *history) write(batch []events.Message, anew bool) {
	text, lines := encode(batch)
	var err error
	if anew {
		err = h.replace(text)
	} else if _, err = h.file.Write(text); err != nil {
		_ = h.close() // half a line may be there
	}
	if err != nil {
		if !h.sick {
			h.log.Warn("keeping the history of events: those of now will be missing after a restart", "error", err)
		}
		h.sick = true
		return
	}
	h.sick = false
	h.lines, h.bytes = h.lines+lines, h.bytes+int64(len(text))
}

// encode returns the newest events that fit into half of maxBytes as lines,
// oldest first.
func encode(batch []events.Message) (text []byte, count int) {
	var lines [][]byte
	size := 0
	for _, m := range slices.Backward(batch) {
		line, err := json.Marshal(m)
		if err != nil || size+len(line) > maxBytes/2 {
			break
		}
		lines = append(lines, append(line, '\n'))
		size += len(line) + 1
	}
	slices.Reverse(lines)
	return bytes.Join(lines, nil), len(lines)
}

// replace writes a new file; one that cannot be written leaves the old one.
func (h *history) replace(text []byte) (err error) {
	_ = h.close()
	tmp := h.path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(tmp)
		}
	}()
	if _, err := f.Write(text); err != nil {
		return fmt.Errorf("writing %s: %w", tmp, err)
	}
	if err := os.Rename(tmp, h.path); err != nil {
		return err
	}
	h.file, h.lines, h.bytes = f, 0, 0
	return nil
}

func (h *history) close() error {
	if h == nil || h.file == nil {
		return nil
	}
	f := h.file
	h.file = nil
	return f.Close()
}
