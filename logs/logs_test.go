package logs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/runtime/logfile"
)

var epoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// write makes a log of lines 0 to n-1, a second apart, odd ones on stderr.
func write(t testing.TB, n int, o logfile.Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c-json.log")
	at := epoch
	o.Now = func() time.Time { return at }
	w, err := logfile.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		at = epoch.Add(time.Duration(i) * time.Second)
		if err := w.Write(logfile.Stream(i%2), fmt.Appendf(nil, "%d\n", i)); err != nil {
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
	err := Read(context.Background(), path, o, func(e *Entry) error {
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
		o    logfile.Options
	}{
		{"one file", logfile.Options{}},
		{"rotated", logfile.Options{MaxSize: 1000, MaxFile: 99}},
		{"compressed", logfile.Options{MaxSize: 1000, MaxFile: 99, Compress: true}},
		{"local, one file", logfile.Options{Format: logfile.Local}},
		{"local, rotated", logfile.Options{Format: logfile.Local, MaxSize: 500, MaxFile: 99}},
		{"local, compressed", logfile.Options{Format: logfile.Local, MaxSize: 500, MaxFile: 99, Compress: true}},
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
	for _, format := range []logfile.Format{logfile.JSON, logfile.Local} {
		path := filepath.Join(t.TempDir(), "log")
		now := time.Date(2024, 2, 3, 4, 5, 6, 789000000, time.UTC)
		w, err := logfile.Open(path, logfile.Options{Format: format, Attrs: map[string]string{"a": `,"time":"`, "b": "é\n"}, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		const text = "tab\t\"quoted\" <&> \\ é \u2028 \U0001F600 \x00\n"
		const binary = "\xff\xc3 \xed\xa0\x80\n"
		if err := errors.Join(w.Write(logfile.Stderr, []byte(text+"\n"+binary+"open")), w.End(logfile.Stderr)); err != nil {
			t.Fatal(err)
		}
		var got []Entry
		err = Read(context.Background(), path, Options{Stdout: true, Stderr: true, Tail: -1}, func(e *Entry) error {
			e.Line = []byte(string(e.Line))
			got = append(got, *e)
			return nil
		})
		if err != nil || len(got) != 4 {
			t.Fatalf("%v, %v", got, err)
		}
		if e := got[0]; e.Stream != "stderr" || !e.Time.Equal(now) || string(e.Line) != text || e.Attrs["a"] != `,"time":"` || e.Attrs["b"] != "é\n" {
			t.Errorf("got %+v", e)
		}
		want := binary
		if format == logfile.JSON { // which can hold text only
			want = "\ufffd\ufffd \ufffd\ufffd\ufffd\n"
		}
		if string(got[1].Line) != "\n" || string(got[2].Line) != want || string(got[3].Line) != "open" {
			t.Errorf("empty line %q, binary line %q, unfinished line %q", got[1].Line, got[2].Line, got[3].Line)
		}
	}
}

// TestDamage reads logs with something else among their entries: they are read
// on after it, and say so.
func TestDamage(t *testing.T) {
	entry := func(s string) string {
		return `{"log":"` + s + `\n","stream":"stdout","time":"2024-01-01T00:00:00Z"}` + "\n"
	}
	for name, c := range map[string]struct {
		junk string
		told int
	}{
		"half an entry":           {`{"log":"ha` + "\n", 11},
		"half an entry and whole": {`{"log":"ha` + entry("a2"), 10},
		"zeros":                   {strings.Repeat("\x00", 5000) + "\n", 5001},
		"zeros and an entry":      {strings.Repeat("\x00", 5000) + entry("a2"), 5000},
		"empty lines":             {"\n\n", 0},
		"text":                    {"hello\n", 6},
		"another object":          {`{"a":1}` + "\n", 8},
		"bad time":                {`{"log":"x\n","stream":"stdout","time":"yesterday"}` + "\n", 51},
		"a huge line":             {strings.Repeat("x", 3*maxLine) + "\n", 3*maxLine + 1},
		"an array":                {"[]\n", 3},
	} {
		path := filepath.Join(t.TempDir(), "log")
		content := entry("a") + c.junk + entry("b") + entry("c") + `{"log":"end`
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		want := "a b c"
		if c.told > 0 {
			want = fmt.Sprintf("a [davit: %d bytes of the log are damaged] b c", c.told)
			if strings.Contains(c.junk, "a2") {
				want = strings.Replace(want, "] b", "] a2 b", 1)
			}
		}
		o := Options{Stdout: true, Stderr: true, Tail: -1}
		if got := collect(t, path, o); got != want {
			t.Errorf("%s: got %s", name, got)
		}
		if o.Tail = 2; collect(t, path, o) != "b c" {
			t.Errorf("%s: tail differs", name)
		}
	}
}

// TestDamageLocal is TestDamage for the other format.
func TestDamageLocal(t *testing.T) {
	whole, err := os.ReadFile(write(t, 20, logfile.Options{Format: logfile.Local}))
	if err != nil {
		t.Fatal(err)
	}
	each := len(whole) / 20
	if each*10+each*10 != len(whole)-10 { // ten of them are a byte longer
		t.Fatalf("%d bytes", len(whole))
	}
	cut := each * 5
	head := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(head, append(make([]byte, 5000), whole[each:]...), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := collect(t, head, Options{Stdout: true, Stderr: true, Tail: -1}); got != "[davit: 5000 bytes of the log are damaged] "+count(1, 20) {
		t.Errorf("zeros at the beginning: %.300s", got)
	}
	for name, c := range map[string]struct {
		junk   string
		leaves string
	}{
		"zeros":          {strings.Repeat("\x00", 70_000), "4 [davit: 70000 bytes of the log are damaged] 5"},
		"half an entry":  {string(whole[:each-7]), fmt.Sprintf("4 [davit: %d bytes of the log are damaged] 5", each-7)},
		"only a length":  {"\x00\x00\x00\x20", "4 [davit: 4 bytes of the log are damaged] 5"},
		"a long length":  {"\x00\x0f\x00\x20\x0a\x06stdoutxxxxxxxxxx", "4 [davit: 22 bytes of the log are damaged] 5"},
		"text":           {strings.Repeat("some text\n", 10_000), "4 [davit: 100000 bytes of the log are damaged] 5"},
		"many marks":     {strings.Repeat("\x00\x00\x00\x09\x0a\x06std", 1000), "4 [davit: 9000 bytes of the log are damaged] 5"},
		"nothing at all": {"", "4 5"},
	} {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, []byte(string(whole[:cut])+c.junk+string(whole[cut:])), 0o600); err != nil {
			t.Fatal(err)
		}
		want := count(0, 4) + " " + c.leaves + " " + count(6, 20)
		if strings.HasPrefix(name, "a long length") {
			// It is believed until there is as much; then all of it is looked at.
			pad := write(t, 40_000, logfile.Options{Format: logfile.Local})
			more, err := os.ReadFile(pad)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(string(whole[:cut])+c.junk+string(whole[cut:])+string(more)), 0o600); err != nil {
				t.Fatal(err)
			}
			want += " " + count(0, 40_000)
		}
		o := Options{Stdout: true, Stderr: true, Tail: -1}
		if got := collect(t, path, o); got != want {
			t.Errorf("%s: got %.300s", name, got)
		}
		for tail, want := range map[int]string{3: count(17, 20), 15: count(5, 20), 18: count(2, 4) + " " + c.leaves + " " + count(6, 20)} {
			o.Tail = tail
			if got := collect(t, path, o); !strings.HasPrefix(name, "a long") && got != want {
				t.Errorf("%s, tail %d: got %.300s", name, tail, got)
			}
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
	path := write(t, 100, logfile.Options{MaxSize: 1000, MaxFile: 99, Compress: true})
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
			if got == whole || !strings.HasSuffix(got, count(70, 100)) || tail < 0 && !strings.Contains(got, "[davit: an archive of the log is damaged]") {
				t.Errorf("%s, tail %d: got %s", name, tail, got)
			}
		}
		if err := os.WriteFile(archive, old, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEmitsError(t *testing.T) {
	path := write(t, 10, logfile.Options{})
	want := errors.New("client has gone")
	n := 0
	err := Read(context.Background(), path, Options{Stdout: true, Stderr: true, Tail: -1, Follow: true}, func(*Entry) error {
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
		o    logfile.Options
	}{
		{"one file", logfile.Options{}},
		{"rotated", logfile.Options{MaxSize: 20_000, MaxFile: 500}},
		{"compressed", logfile.Options{MaxSize: 20_000, MaxFile: 500, Compress: true}},
		{"only the newest kept", logfile.Options{MaxSize: 1 << 20, MaxFile: 1}},
		{"local", logfile.Options{Format: logfile.Local}},
		{"local, rotated", logfile.Options{Format: logfile.Local, MaxSize: 10_000, MaxFile: 500}},
		{"local, compressed", logfile.Options{Format: logfile.Local, MaxSize: 10_000, MaxFile: 500, Compress: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			const lines = 5000
			done := make(chan struct{})
			halfway := make(chan struct{})
			written := make(chan error, 1)
			go func() {
				defer close(done)
				w, err := logfile.Open(path, c.o)
				for i := 0; i < lines && err == nil; i++ {
					err = w.Write(logfile.Stdout, fmt.Appendf(nil, "%04d\n", i)) // files have the same size, too
					if i == lines/2 {
						<-halfway // the reader has come that far
					}
				}
				written <- errors.Join(err, w.Close(), w.Wait())
			}()
			next := 0
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			err := Read(ctx, path, Options{Stdout: true, Tail: -1, Follow: true, Done: done}, func(e *Entry) error {
				if string(e.Line) != fmt.Sprintf("%04d\n", next) {
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
	path := write(t, 3, logfile.Options{})
	emit := func(*Entry) error { return nil }
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
		finished <- Read(context.Background(), path, Options{Stdout: true, Tail: -1, Follow: true, Done: done}, func(e *Entry) error {
			if got = append(got, strings.TrimSpace(string(e.Line))); len(got) == 2 {
				close(done)
			}
			return nil
		})
	}()
	w, err := logfile.Open(path, logfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Write(logfile.Stdout, []byte("a\nb\n")); err != nil {
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
		if !d.fast(bytes.Clone(line), &e) {
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
			t.Errorf("%q: got %+v, want %+v", line, e, want)
		}
	})
}

func FuzzLocal(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x1b\x0a\x06stdout\x10\x01\x1a\x03one\x20\x01\x32\x06\x0a\x01k\x12\x01v\x00\x00\x00\x1b"))
	f.Add([]byte("\x00\x00\x00\x10\x0a\x06stdout\x10\x01\xa0\x06\x4e\x1a\x01o\x00\x00\x00\x10"))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, append([]byte("\x00\x00\x00\x0d\x0a\x06stdout\x1a\x03one\x00\x00\x00\x0d"), content...), 0o600); err != nil {
			t.Fatal(err)
		}
		all := 0
		for _, tail := range []int{-1, 1 << 30} {
			n := 0
			err := Read(context.Background(), path, Options{Stdout: true, Stderr: true, Tail: tail}, func(e *Entry) error {
				if !strings.HasPrefix(string(e.Line), "[davit:") {
					n++
				}
				return nil
			})
			if err != nil || n == 0 || tail > 0 && n != all {
				t.Errorf("tail %d: %d entries, %d before, %v", tail, n, all, err)
			}
			all = n
		}
	})
}

func BenchmarkRead(b *testing.B) {
	b.Run("json", func(b *testing.B) { benchmarkRead(b, logfile.JSON) })
	b.Run("local", func(b *testing.B) { benchmarkRead(b, logfile.Local) })
}

func benchmarkRead(b *testing.B, format logfile.Format) {
	path := filepath.Join(b.TempDir(), "log")
	w, err := logfile.Open(path, logfile.Options{Format: format})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	const lines = 100_000
	for range lines / 100 {
		if err := w.Write(logfile.Stdout, []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", 100))); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		n := 0
		err := Read(context.Background(), path, Options{Stdout: true, Tail: -1}, func(*Entry) error { n++; return nil })
		if err != nil || n != lines {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(lines)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}
