package logfile

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// clock gives a time that grows by a second each time it is asked.
func clock() func() time.Time {
	t := time.Date(2024, 5, 6, 7, 8, 9, 120000000, time.UTC)
	return func() time.Time { t = t.Add(time.Second); return t }
}

func open(t *testing.T, o Options) (*Writer, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c-json.log")
	if o.Now == nil {
		o.Now = clock()
	}
	w, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w, path
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestEntries(t *testing.T) {
	w, path := open(t, Options{Attrs: map[string]string{"b": "<2>", "a": "1"}})
	for _, c := range []struct {
		stream Stream
		text   string
	}{
		{Stdout, "hello\n"},
		{Stderr, "half a "},
		{Stdout, "\n\ttab \"quoted\" \\ <b>&amp; \r\x00\x7f é \xff\xc3 \u2028\n"},
		{Stderr, "line\nand no end"},
	} {
		if err := w.Write(c.stream, []byte(c.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.End(Stdout), w.End(Stderr)); err != nil {
		t.Fatal(err)
	}
	const attrs = `"attrs":{"a":"1","b":"\u003c2\u003e"},`
	want := `{"log":"hello\n","stream":"stdout",` + attrs + `"time":"2024-05-06T07:08:10.12Z"}
{"log":"\n","stream":"stdout",` + attrs + `"time":"2024-05-06T07:08:12.12Z"}
{"log":"\u0009tab \"quoted\" \\ \u003cb\u003e\u0026amp; \r\u0000` + "\x7f" + ` é \ufffd\ufffd \u2028\n","stream":"stdout",` + attrs + `"time":"2024-05-06T07:08:12.12Z"}
{"log":"half a line\n","stream":"stderr",` + attrs + `"time":"2024-05-06T07:08:13.12Z"}
{"log":"and no end","stream":"stderr",` + attrs + `"time":"2024-05-06T07:08:14.12Z"}
`
	if got := read(t, path); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestLongLinesAreCut(t *testing.T) {
	for _, c := range []struct {
		length int
		want   []int // length of each entry's text, newline included
	}{
		{PartSize - 1, []int{PartSize}},
		{PartSize, []int{PartSize, 1}},
		{PartSize + 1, []int{PartSize, 2}},
		{3*PartSize + 7, []int{PartSize, PartSize, PartSize, 8}},
	} {
		for _, chunk := range []int{1 << 20, 1000, PartSize, PartSize - 1} {
			w, path := open(t, Options{})
			text := []byte(strings.Repeat("x", c.length) + "\nnext\n")
			for len(text) > 0 {
				n := min(chunk, len(text))
				if err := w.Write(Stdout, text[:n]); err != nil {
					t.Fatal(err)
				}
				text = text[n:]
			}
			var got []int
			var times []string
			for _, l := range strings.Split(strings.TrimSpace(read(t, path)), "\n") {
				var e struct{ Log, Time string }
				if err := json.Unmarshal([]byte(l), &e); err != nil {
					t.Fatal(err)
				}
				got, times = append(got, len(e.Log)), append(times, e.Time)
			}
			if want := append(c.want, 5); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%d bytes in chunks of %d: entries of %v, want %v", c.length, chunk, got, want)
			}
			for i := range c.want {
				if times[i] != times[0] {
					t.Errorf("%d bytes in chunks of %d: part %d has another time", c.length, chunk, i)
				}
			}
		}
	}
}

func TestRotation(t *testing.T) {
	for _, c := range []struct {
		files    int
		compress bool
		want     map[string]string // suffix -> lines
	}{
		{0, false, map[string]string{"": "8 9"}},
		{1, true, map[string]string{"": "8 9"}},
		{2, false, map[string]string{"": "8 9", ".1": "6 7"}},
		{4, false, map[string]string{"": "8 9", ".1": "6 7", ".2": "4 5", ".3": "2 3"}},
		{3, true, map[string]string{"": "8 9", ".1.gz": "6 7", ".2.gz": "4 5"}},
		{9, false, map[string]string{"": "8 9", ".1": "6 7", ".2": "4 5", ".3": "2 3", ".4": "0 1"}},
	} {
		t.Run(fmt.Sprintf("%d files, compress %v", c.files, c.compress), func(t *testing.T) {
			w, path := open(t, Options{MaxSize: 100, MaxFile: c.files, Compress: c.compress})
			var all []byte
			for i := range 10 {
				all = fmt.Appendf(all, "%d\n", i)
			}
			if err := w.Write(Stdout, all); err != nil {
				t.Fatal(err)
			}
			if err := w.Wait(); err != nil {
				t.Fatal(err)
			}
			entries, err := os.ReadDir(filepath.Dir(path))
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, e := range entries {
				suffix := strings.TrimPrefix(e.Name(), filepath.Base(path))
				text := read(t, filepath.Join(filepath.Dir(path), e.Name()))
				if strings.HasSuffix(suffix, ".gz") {
					text = unzip(t, text)
				}
				var lines []string
				for _, l := range strings.Split(strings.TrimSpace(text), "\n") {
					var e struct{ Log string }
					if err := json.Unmarshal([]byte(l), &e); err != nil {
						t.Fatal(err)
					}
					lines = append(lines, strings.TrimSpace(e.Log))
				}
				got[suffix] = strings.Join(lines, " ")
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func unzip(t *testing.T, s string) string {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(s))
	if err != nil {
		t.Fatal(err)
	}
	var last LastTime
	if err := json.Unmarshal(z.Extra, &last); err != nil || last.LastTime.IsZero() {
		t.Errorf("header %q: %v", z.Extra, err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestOpenAfterCrashInMidEntry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte(`{"log":"whole\n"}`+"\n"+`{"log":"ha`), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := Open(path, Options{Now: clock()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Write(Stdout, []byte("after\n")); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(read(t, path), "\n")
	if len(lines) != 4 || lines[1] != `{"log":"ha` || !strings.HasPrefix(lines[2], `{"log":"after\n",`) {
		t.Errorf("got %q", lines)
	}
}

// TestDiskFull fills a small tmpfs.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a tmpfs needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("mounting a tmpfs: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	path := filepath.Join(dir, "log")
	w, err := Open(path, Options{Now: clock()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	line := []byte(strings.Repeat("x", 999) + "\n")
	for err == nil {
		err = w.Write(Stdout, line)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if !strings.HasSuffix(read(t, path), "}\n") {
		t.Error("the log ends in half an entry")
	}
	if err := os.Truncate(path, 0); err != nil { // somebody makes room
		t.Fatal(err)
	}
	if err := w.Write(Stdout, []byte("again\n")); err != nil {
		t.Fatal(err)
	}
	got := strings.TrimLeft(read(t, path), "\n")
	told, after, _ := strings.Cut(got, "\n")
	if !strings.HasPrefix(told, `{"log":"[davit: lines of output that were not logged: 1 (no space left on device)]\n","stream":"stderr"`) || !strings.HasPrefix(after, `{"log":"again\n"`) {
		t.Errorf("after the disk was full: %q", got)
	}
}

// TestLocal holds the bytes of the Local format, and what a later writer goes on from.
func TestLocal(t *testing.T) {
	w, path := open(t, Options{Format: Local, MaxSize: 60, MaxFile: 3, Attrs: map[string]string{"k": "v"}})
	if err := errors.Join(w.Write(Stdout, []byte("one\nhalf ")), w.Write(Stderr, []byte("two\n")), w.Write(Stdout, []byte("a line")), w.End(Stdout)); err != nil {
		t.Fatal(err)
	}
	const attrs = "\x32\x06\x0a\x01k\x12\x01v"
	at := clock()
	var times []string
	for range 4 {
		times = append(times, string(binary.AppendUvarint(nil, uint64(at().UnixNano()))))
	}
	for name, want := range map[string]string{
		".1": "\x00\x00\x00\x1f\x0a\x06stdout\x10" + times[0] + "\x1a\x03one" + attrs + "\x00\x00\x00\x1f" +
			"\x00\x00\x00\x1f\x0a\x06stderr\x10" + times[1] + "\x1a\x03two" + attrs + "\x00\x00\x00\x1f",
		"": "\x00\x00\x00\x2c\x0a\x06stdout\x10" + times[3] + "\xa0\x06\x4e\x1a\x0bhalf a line\x20\x01" + attrs + "\x00\x00\x00\x2c",
	} {
		if got := read(t, path+name); got != want {
			t.Errorf("log%s:\n got %q\nwant %q", name, got, want)
		}
	}
	next, err := Open(path, Options{Format: Local, Now: clock()})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if next.base != 78 || next.torn {
		t.Errorf("opened again: base %d, torn %v", next.base, next.torn)
	}
}

// TestFormatChanges: no file has two formats.
func TestFormatChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for i, format := range []Format{JSON, Local, Local, JSON, JSON} {
		w, err := Open(path, Options{Format: format, MaxFile: 5, Now: clock()})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Write(Stdout, fmt.Appendf(nil, "%d\n", i)), w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]struct {
		format  Format
		entries int
	}{"": {JSON, 2}, ".1": {Local, 2}, ".2": {JSON, 1}} {
		text := []byte(read(t, path+name))
		format, known := Detect(text)
		size, entries := (&encoder{format: want.format}).whole(text)
		if !known || format != want.format || entries != want.entries || size != len(text) {
			t.Errorf("log%s: format %d (%v), %d entries", name, format, known, entries)
		}
	}
}

// TestWritingDoesNotWaitForCompression fills many files at once; at the end
// all but the current one are compressed, whatever they were called meanwhile.
func TestWritingDoesNotWaitForCompression(t *testing.T) {
	for _, format := range []Format{JSON, Local} {
		w, path := open(t, Options{Format: format, MaxSize: 200 << 10, MaxFile: 5, Compress: true, Now: time.Now})
		chunk := []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", 300))
		for range 200 {
			if err := w.Write(Stdout, chunk); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Wait(); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, strings.TrimPrefix(e.Name(), filepath.Base(path)))
		}
		if got := strings.Join(names, " "); got != " .1.gz .2.gz .3.gz .4.gz" {
			t.Errorf("got %s", got)
		}
	}
}

func FuzzLocalHead(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x1b\x0a\x06stdout\x10\x01\xa0\x06\x4e\x1a\x03one"))
	f.Fuzz(func(t *testing.T, p []byte) {
		_, _ = Detect(p)
		_ = BaseOf(p)
		if size, _ := wholeLocal(p); size > len(p) {
			t.Errorf("%q: %d bytes", p, size)
		}
	})
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte("a\n"), []byte("b"), true)
	f.Add([]byte("\xff\u2028<>&"), []byte("\x00\t"), false)
	f.Fuzz(func(t *testing.T, head, tail []byte, newline bool) {
		e := entry{stream: Stderr, newline: newline, stamp: stamp{text: []byte("2024-01-02T03:04:05Z")}}
		line := appendJSON(nil, head, tail, nil, &e)
		var got struct{ Log, Stream string }
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		want := ""
		for _, part := range [][]byte{head, tail} {
			want += string([]rune(string(part))) // each bad byte becomes U+FFFD
		}
		if newline {
			want += "\n"
		}
		if got.Log != want || got.Stream != "stderr" || bytes.IndexByte(line, '\n') != len(line)-1 {
			t.Errorf("%q, %q: %q holds %q", head, tail, line, got.Log)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	for i, length := range []int{20, 100, 1000, 20, 100, 1000} {
		format, called := JSON, "json"
		if i >= 3 {
			format, called = Local, "local"
		}
		b.Run(fmt.Sprintf("%s, lines of %d bytes", called, length), func(b *testing.B) {
			w, err := Open(filepath.Join(b.TempDir(), "log"), Options{Format: format, MaxSize: 64 << 20})
			if err != nil {
				b.Fatal(err)
			}
			defer w.Close()
			line := strings.Repeat("x", length-1) + "\n"
			chunk := []byte(strings.Repeat(line, 32<<10/length))
			lines := len(chunk) / length
			b.SetBytes(int64(len(chunk)))
			b.ReportAllocs()
			for b.Loop() {
				if err := w.Write(Stdout, chunk); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(lines)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}
