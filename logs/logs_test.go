package logs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/runtime/jsonlog"
)

var epoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// write makes a log of lines 0 to n-1, a second apart, odd ones on stderr.
func write(t testing.TB, n int, o jsonlog.Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c-json.log")
	at := epoch
	o.Now = func() time.Time { return at }
	w, err := jsonlog.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		at = epoch.Add(time.Duration(i) * time.Second)
		if err := w.Write(jsonlog.Stream(i%2), fmt.Appendf(nil, "%d\n", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), w.Wait()); err != nil {
		t.Fatal(err)
	}
	return path
}

// collect reads all, as one string of lines without their newlines.
func collect(t testing.TB, path string, o Options) string {
	t.Helper()
	var got []string
	err := Read(context.Background(), path, o, func(e Entry) error {
		got = append(got, strings.TrimSuffix(string(e.Line), "\n"))
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return strings.Join(got, " ")
}

func count(from, to int) string {
	var s []string
	for i := from; i < to; i++ {
		s = append(s, fmt.Sprint(i))
	}
	return strings.Join(s, " ")
}

func TestChoices(t *testing.T) {
	all := Options{Stdout: true, Stderr: true, Tail: -1}
	for _, rotation := range []struct {
		name string
		o    jsonlog.Options
	}{
		{"one file", jsonlog.Options{}},
		{"rotated", jsonlog.Options{MaxSize: 1000, MaxFile: 99}},
		{"compressed", jsonlog.Options{MaxSize: 1000, MaxFile: 99, Compress: true}},
	} {
		path := write(t, 100, rotation.o)
		for _, c := range []struct {
			name   string
			change func(*Options)
			want   string
		}{
			{"all", func(*Options) {}, count(0, 100)},
			{"nothing of the end", func(o *Options) { o.Tail = 0 }, ""},
			{"the last", func(o *Options) { o.Tail = 1 }, "99"},
			{"tail", func(o *Options) { o.Tail = 37 }, count(63, 100)},
			{"tail over all", func(o *Options) { o.Tail = 1000 }, count(0, 100)},
			{"exactly all", func(o *Options) { o.Tail = 100 }, count(0, 100)},
			{"all but one", func(o *Options) { o.Tail = 99 }, count(1, 100)},
			{"stderr", func(o *Options) { o.Stdout = false; o.Tail = 5 }, "95 97 99"},
			{"stdout", func(o *Options) { o.Stderr = false; o.Tail = 4 }, "96 98"},
			{"no stream", func(o *Options) { o.Stdout, o.Stderr = false, false }, ""},
			{"since", func(o *Options) { o.Since = epoch.Add(90 * time.Second) }, count(90, 100)},
			{"until", func(o *Options) { o.Until = epoch.Add(9 * time.Second) }, count(0, 10)},
			{"between", func(o *Options) {
				o.Since, o.Until = epoch.Add(40*time.Second), epoch.Add(42500*time.Millisecond)
			}, "40 41 42"},
			{"tail before since", func(o *Options) { o.Tail, o.Since = 10, epoch.Add(95*time.Second) }, count(95, 100)},
		} {
			o := all
			c.change(&o)
			if got := collect(t, path, o); got != c.want {
				t.Errorf("%s, %s: got %s", rotation.name, c.name, got)
			}
		}
	}
}

func TestNoLog(t *testing.T) {
	if got := collect(t, filepath.Join(t.TempDir(), "none"), Options{Stdout: true, Stderr: true, Tail: -1}); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestEntryHasAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	now := time.Date(2024, 2, 3, 4, 5, 6, 789000000, time.UTC)
	w, err := jsonlog.Open(path, jsonlog.Options{Attrs: map[string]string{"a": `,"time":"`, "b": "é\n"}, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	const text = "tab\t\"quoted\" <&> \\ é \u2028 \U0001F600 \x00\n"
	if err := errors.Join(w.Write(jsonlog.Stderr, []byte(text+"open")), w.End(jsonlog.Stderr)); err != nil {
		t.Fatal(err)
	}
	var got []Entry
	err = Read(context.Background(), path, Options{Stdout: true, Stderr: true, Tail: -1}, func(e Entry) error {
		e.Line = []byte(string(e.Line))
		got = append(got, e)
		return nil
	})
	if err != nil || len(got) != 2 {
		t.Fatalf("%v, %v", got, err)
	}
	if e := got[0]; e.Stream != "stderr" || !e.Time.Equal(now) || string(e.Line) != text || e.Attrs["a"] != `,"time":"` || e.Attrs["b"] != "é\n" {
		t.Errorf("got %q", e)
	}
	if string(got[1].Line) != "open" {
		t.Errorf("unfinished line: %q", got[1].Line)
	}
}

func TestWhatIsNoEntryIsSkipped(t *testing.T) {
	entry := func(s string) string {
		return `{"log":"` + s + `\n","stream":"stdout","time":"2024-01-01T00:00:00Z"}` + "\n"
	}
	for name, junk := range map[string]string{
		"half an entry":   `{"log":"ha` + "\n",
		"zeros":           strings.Repeat("\x00", 5000) + "\n",
		"empty lines":     "\n\n",
		"text":            "hello\n",
		"another object":  `{"a":1}` + "\n",
		"bad time":        `{"log":"x\n","stream":"stdout","time":"yesterday"}` + "\n",
		"a huge line":     strings.Repeat("x", 3*maxLine) + "\n",
		"an array":        "[]\n",
		"half at the end": "",
	} {
		path := filepath.Join(t.TempDir(), "log")
		content := entry("a") + junk + entry("b") + entry("c") + `{"log":"end`
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		o := Options{Stdout: true, Stderr: true, Tail: -1}
		if got := collect(t, path, o); got != "a b c" {
			t.Errorf("%s: got %s", name, got)
		}
		if o.Tail = 2; collect(t, path, o) != "b c" {
			t.Errorf("%s: tail differs", name)
		}
	}
}

func TestForeignOrderAndSpaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	line := `{ "stream":"stdout", "time":"2024-01-01T01:00:00+01:00", "log":"\u0041\ud83d\ude00\ud83d\/\n" }` + "\n"
	if err := os.WriteFile(path, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := collect(t, path, Options{Stdout: true, Tail: -1, Until: epoch}); got != "A\U0001F600\ufffd/" {
		t.Errorf("got %q", got)
	}
}

func TestDamagedArchives(t *testing.T) {
	path := write(t, 100, jsonlog.Options{MaxSize: 1000, MaxFile: 99, Compress: true})
	whole := collect(t, path, Options{Stdout: true, Stderr: true, Tail: -1})
	for name, damage := range map[string]func([]byte) []byte{
		"cut off": func(b []byte) []byte { return b[:len(b)-len(b)/3] },
		"empty":   func([]byte) []byte { return nil },
		"garbage": func([]byte) []byte { return []byte("no gzip at all") },
		"flipped": func(b []byte) []byte { b[len(b)/2] ^= 0xff; b[len(b)/2+1] ^= 0xff; return b },
	} {
		archive := path + ".3.gz"
		old, err := os.ReadFile(archive)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(archive, damage([]byte(string(old))), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, tail := range []int{-1, 95} {
			got := collect(t, path, Options{Stdout: true, Stderr: true, Tail: tail})
			if got == whole || !strings.HasSuffix(got, count(70, 100)) {
				t.Errorf("%s, tail %d: got %s", name, tail, got)
			}
		}
		if err := os.WriteFile(archive, old, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEmitsError(t *testing.T) {
	path := write(t, 10, jsonlog.Options{})
	want := errors.New("client has gone")
	n := 0
	err := Read(context.Background(), path, Options{Stdout: true, Stderr: true, Tail: -1, Follow: true}, func(Entry) error {
		if n++; n == 3 {
			return want
		}
		return nil
	})
	if err != want || n != 3 {
		t.Errorf("got %v after %d", err, n)
	}
}

// TestFollow writes and rotates while somebody reads.
func TestFollow(t *testing.T) {
	for _, c := range []struct {
		name string
		o    jsonlog.Options
	}{
		{"one file", jsonlog.Options{}},
		{"rotated", jsonlog.Options{MaxSize: 20_000, MaxFile: 500}},
		{"compressed", jsonlog.Options{MaxSize: 20_000, MaxFile: 500, Compress: true}},
		{"only the newest kept", jsonlog.Options{MaxSize: 1 << 20, MaxFile: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			const lines = 5000
			done := make(chan struct{})
			halfway := make(chan struct{})
			written := make(chan error, 1)
			go func() {
				defer close(done)
				w, err := jsonlog.Open(path, c.o)
				for i := 0; i < lines && err == nil; i++ {
					err = w.Write(jsonlog.Stdout, fmt.Appendf(nil, "%d\n", i))
					if i == lines/2 {
						<-halfway // the reader has come that far
					}
				}
				written <- errors.Join(err, w.Close(), w.Wait())
			}()
			next := 0
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			err := Read(ctx, path, Options{Stdout: true, Tail: -1, Follow: true, Done: done}, func(e Entry) error {
				if string(e.Line) != fmt.Sprintln(next) {
					return fmt.Errorf("got %q, want %d", e.Line, next)
				}
				if next == lines/2 {
					close(halfway)
				}
				next++
				return nil
			})
			if err != nil || next != lines {
				t.Errorf("%d lines, %v", next, err)
			}
			if err := <-written; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFollowEnds(t *testing.T) {
	path := write(t, 3, jsonlog.Options{})
	emit := func(Entry) error { return nil }
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := Read(ctx, path, Options{Tail: 0, Follow: true}, emit); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("context: %v", err)
	}
	if err := Read(context.Background(), path, Options{Tail: 0, Follow: true, Until: time.Now().Add(20 * time.Millisecond)}, emit); err != nil {
		t.Errorf("until: %v", err)
	}
	done := make(chan struct{})
	close(done)
	if err := Read(context.Background(), path, Options{Tail: -1, Follow: true, Done: done}, emit); err != nil {
		t.Errorf("done: %v", err)
	}
}

// TestFollowWithoutLog: the log appears later.
func TestFollowWithoutLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	done := make(chan struct{})
	var got []string
	finished := make(chan error, 1)
	go func() {
		finished <- Read(context.Background(), path, Options{Stdout: true, Tail: -1, Follow: true, Done: done}, func(e Entry) error {
			if got = append(got, strings.TrimSpace(string(e.Line))); len(got) == 2 {
				close(done)
			}
			return nil
		})
	}()
	w, err := jsonlog.Open(path, jsonlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Write(jsonlog.Stdout, []byte("a\nb\n")); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-finished:
		if err != nil || strings.Join(got, " ") != "a b" {
			t.Errorf("got %v, %v", got, err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the reader waits for ever")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"log":"a\n","stream":"stdout","time":"2024-01-01T00:00:00Z"}`))
	f.Add([]byte(`{"log":"\u003c\ud83d\ude00\ufffd\"","stream":"stderr","attrs":{"a":"b"},"time":"2024-01-01T00:00:00.123456789Z"}`))
	f.Add([]byte(`{"log":"half`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var d decoder
		var e Entry
		if !d.fast(line, &e) {
			return
		}
		var want struct {
			Log, Stream string
			Attrs       map[string]string
			Time        time.Time
		}
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatalf("%q: read as %q, json says %v", line, e.Line, err)
		}
		if want.Log != string(e.Line) || want.Stream != e.Stream || !want.Time.Equal(e.Time) || len(want.Attrs) != len(e.Attrs) {
			t.Errorf("%q: got %q, want %q", line, e, want)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	path := filepath.Join(b.TempDir(), "log")
	w, err := jsonlog.Open(path, jsonlog.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	const lines = 100_000
	for range lines / 100 {
		if err := w.Write(jsonlog.Stdout, []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", 100))); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		n := 0
		err := Read(context.Background(), path, Options{Stdout: true, Tail: -1}, func(Entry) error { n++; return nil })
		if err != nil || n != lines {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(lines)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}
