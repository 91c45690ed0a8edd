package event

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"
)

var silent = slog.New(slog.DiscardHandler)

// past returns all events that h has.
func past(h *Hub) []events.Message {
	s := h.Subscribe(time.Unix(1, 0), time.Time{}, nil)
	defer s.Cancel()
	return s.Past
}

func TestHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	const total = 3*Past + 17 // the file is written anew more than once
	published := 0
	for life := 0; published < total; life++ {
		h := Open(path, silent)
		if got := past(h); len(got) != min(published, Past) {
			t.Fatalf("life %d begins with %d events, %d were published", life, len(got), published)
		}
		for range 100 {
			if published < total {
				m := message(fmt.Sprint(published))
				m.Actor.Attributes = map[string]string{"name": "<web>"}
				h.Publish(m)
				published++
			}
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		if n := lines(t, path); n > maxLines+100 {
			t.Fatalf("the file has %d lines", n)
		}
	}
	h := Open(path, silent)
	got := past(h)
	for i, m := range got {
		if want := fmt.Sprint(total - Past + i); string(m.Action) != want || m.Actor.Attributes["name"] != "<web>" || m.Time == 0 || m.Scope != "local" {
			t.Fatalf("event %d of the past is %+v, want %s", i, m, want)
		}
	}
	h.Publish(message("new"))
	if newest := past(h)[Past-1]; newest.Action != "new" || newest.TimeNano < got[Past-1].TimeNano {
		t.Errorf("after a restart: %+v", newest)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
}

func lines(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}

// TestHistoryIsWrittenByItself: without Close, as when the engine is killed.
func TestHistoryIsWrittenByItself(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	h := Open(path, silent)
	h.Publish(message("one"))
	h.Publish(message("two"))
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		again := Open(path, silent)
		if got := actions(past(again)); len(got) == 2 && got[0] == "one" && got[1] == "two" {
			break
		} else if time.Now().After(end) {
			t.Fatalf("the file has %v", got)
		}
	}
	h.Publish(message("three")) // appended now
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if got := actions(past(Open(path, silent))); len(got) != 3 {
		t.Errorf("got %v", got)
	}
}

// TestDamagedHistory reads what a crash or somebody else may have left.
func TestDamagedHistory(t *testing.T) {
	good := `{"Type":"container","Action":"start","Actor":{"ID":"a","Attributes":{}},"scope":"local","time":1,"timeNano":1000000000}` + "\n"
	for name, text := range map[string]string{
		"torn": good + good[:40], "torn in the middle": good[:40] + "\n" + good, "empty lines": "\n\n" + good + "\n", "foreign": "{}\n[1]\nnull\nx\n" + good, "zeros": "\x00\x00\x00\n" + good,
	} {
		path := filepath.Join(t.TempDir(), "events")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		h := Open(path, silent)
		if got := past(h); len(got) != 1 || got[0].Action != "start" {
			t.Errorf("%s: %v", name, got)
		}
		h.Publish(message("next"))
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		if got := past(Open(path, silent)); len(got) != 2 || lines(t, path) != 2 {
			t.Errorf("%s, then written: %v", name, got)
		}
	}
}

// TestHistoryCannotBeWritten: events go on, and the file is made good once it
// can be written.
func TestHistoryCannotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	var told strings.Builder
	h := Open(filepath.Join(dir, "events"), slog.New(slog.NewTextHandler(&told, nil)))
	h.Publish(message("one"))
	h.flush()
	h.Publish(message("two"))
	h.flush()
	if n := strings.Count(told.String(), "keeping the history"); n != 1 {
		t.Errorf("told %d times: %s", n, told.String())
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	h.Publish(message("three"))
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if got := actions(past(Open(filepath.Join(dir, "events"), silent))); len(got) != 3 {
		t.Errorf("got %v", got)
	}
}

// TestHugeEvents: a label of megabytes does not fill the disk.
func TestHugeEvents(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	h := Open(path, silent)
	for i := range 30 {
		m := message(fmt.Sprint(i))
		m.Actor.Attributes = map[string]string{"label": strings.Repeat("x", 1<<20)}
		h.Publish(m)
		h.flush()
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxBytes+2<<20 {
		t.Errorf("the file has %d bytes, %v", info.Size(), err)
	}
	if got := actions(past(Open(path, silent))); len(got) == 0 || got[len(got)-1] != "29" {
		t.Errorf("got %v", got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"Type":"a","timeNano":1}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if kept := decode(text); len(kept) > Past {
			t.Errorf("%d events", len(kept))
		}
	})
}

func BenchmarkPublish(b *testing.B) {
	h := Open(filepath.Join(b.TempDir(), "events"), silent)
	m := message("start")
	m.Actor.Attributes = map[string]string{"name": "web", "image": "nginx"}
	for b.Loop() {
		h.Publish(m)
	}
	_ = h.Close()
}
