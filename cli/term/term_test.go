package term

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/moby/moby/api/types/jsonstream"
)

func message(id, status string, current, total int64) jsonstream.Message {
	m := jsonstream.Message{ID: id, Status: status}
	if current+total > 0 {
		m.Progress = &jsonstream.Progress{Current: current, Total: total}
	}
	return m
}

func TestProgressPlain(t *testing.T) {
	var out bytes.Buffer
	p := NewProgress(NewOutput(&out, false), time.Now)
	for _, m := range []jsonstream.Message{
		message("latest", "Pulling from library/x", 0, 0),
		message("abc", "Pulling fs layer", 0, 0),
		message("abc", "Downloading", 1, 10),
		message("abc", "Downloading", 10, 10),
		message("abc", "Pull complete", 0, 0),
		message("", "Digest: sha256:1", 0, 0),
		{Stream: "raw text\n"},
	} {
		if err := p.Show(m); err != nil {
			t.Fatal(err)
		}
	}
	want := "latest: Pulling from library/x\nabc: Pulling fs layer\nabc: Pull complete\nDigest: sha256:1\nraw text\n"
	if out.String() != want {
		t.Errorf("got %q", out.String())
	}
}

// screen is a small terminal: it knows the sequences that Progress uses.
func screen(text string) []string {
	lines, row := []string{""}, 0
	for text != "" {
		var n, used int
		switch {
		case strings.HasPrefix(text, "\x1b[2K"):
			lines[row], used = "", 4
		case strings.HasPrefix(text, "\x1b["):
			end := strings.IndexAny(text, "AB")
			for _, c := range text[2:end] {
				n = n*10 + int(c-'0')
			}
			if text[end] == 'A' {
				n = -n
			}
			row, used = row+n, end+1
		case text[0] == '\n':
			row, used = row+1, 1
			if row == len(lines) {
				lines = append(lines, "")
			}
		case text[0] == '\r':
			used = 1
		default:
			used = strings.IndexAny(text+"\x1b", "\x1b\r\n")
			lines[row] += text[:used]
		}
		text = text[used:]
	}
	return lines
}

func TestProgressLive(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	p := NewProgress(NewOutput(&out, false), func() time.Time { return now })
	p.live, p.size = true, func() (int, int) { return 100, 24 }
	show := func(m jsonstream.Message) {
		t.Helper()
		if err := p.Show(m); err != nil {
			t.Fatal(err)
		}
	}
	show(message("latest", "Pulling from library/x", 0, 0))
	show(message("aaa", "Pulling fs layer", 0, 0))
	show(message("bbb", "Pulling fs layer", 0, 0))
	show(message("aaa", "Downloading", 1e6, 10e6))
	now = now.Add(2 * time.Second)
	show(message("aaa", "Downloading", 5e6, 10e6))
	show(message("bbb", "Download complete", 0, 0))
	got := screen(out.String())
	want := []string{
		"latest: Pulling from library/x",
		"aaa: Downloading [=========================>                        ]      5MB/10MB  2MB/s 3s left",
		"bbb: Download complete",
		"",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	show(message("aaa", "Pull complete", 0, 0))
	show(message("", "Digest: sha256:1", 0, 0))
	got = screen(out.String())
	if got[1] != "aaa: Pull complete" || got[3] != "Digest: sha256:1" {
		t.Errorf("got %q", got)
	}
}

func TestProgressLine(t *testing.T) {
	start := time.Unix(0, 0)
	for _, c := range []struct {
		name    string
		bar     *jsonstream.Progress
		first   int64
		elapsed time.Duration
		width   int
		want    string
	}{
		{"no bar", nil, 0, 0, 80, "id: Downloading"},
		{"begin", &jsonstream.Progress{Current: 0, Total: 100}, 0, 0, 60, "id: Downloading [>                          ]       0B/100B"},
		{"half", &jsonstream.Progress{Current: 50, Total: 100}, 0, 0, 60, "id: Downloading [=============>             ]      50B/100B"},
		{"end", &jsonstream.Progress{Current: 100, Total: 100}, 0, 0, 60, "id: Downloading [===========================]     100B/100B"},
		{"too early for a rate", &jsonstream.Progress{Current: 50, Total: 100}, 0, 400 * time.Millisecond, 40, "id: Downloading      50B/100B"},
		{"resumed: what was there is not counted", &jsonstream.Progress{Current: 60, Total: 100}, 50, 2 * time.Second, 60, "id: Downloading [=======>     ]      60B/100B  5B/s 8s left"},
		{"minutes", &jsonstream.Progress{Current: 1, Total: 121}, 0, time.Second, 60, "id: Downloading [>         ]       1B/121B  1B/s 2m00s left"},
		{"no total", &jsonstream.Progress{Current: 2000}, 0, 0, 80, "id: Downloading      2kB"},
		{"more than the total", &jsonstream.Progress{Current: 200, Total: 100}, 0, 0, 80, "id: Downloading     200B"},
		{"other units", &jsonstream.Progress{Current: 3, Total: 5, Units: "s"}, 0, 0, 30, "id: Downloading 3/5 s"},
		{"counts hidden", &jsonstream.Progress{Current: 5, Total: 10, HideCounts: true}, 0, 0, 40, "id: Downloading [==========>         ] "},
		{"narrow", &jsonstream.Progress{Current: 50, Total: 100}, 0, 0, 20, "id: Downloading   …"},
		{"unknown width", nil, 0, 0, 0, "id: Downloading"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := NewProgress(NewOutput(io.Discard, false), func() time.Time { return start.Add(c.elapsed) })
			got := p.line(&layer{id: "id", status: "Downloading", bar: c.bar, began: start, first: c.first}, c.width)
			if got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestProgressTallerThanTheScreen(t *testing.T) {
	var out bytes.Buffer
	p := NewProgress(NewOutput(&out, false), time.Now)
	p.live, p.size = true, func() (int, int) { return 80, 5 }
	for _, id := range strings.Split("abcdefgh", "") {
		if err := p.Show(message(id, "Waiting", 0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	before := out.Len()
	if err := p.Show(message("a", "Downloading", 0, 0)); err != nil {
		t.Fatal(err)
	}
	if out.Len() != before {
		t.Errorf("a line above the screen was written to: %q", out.String()[before:])
	}
}

func TestEllipsis(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"äöüß", 3, "äö…"}, {"abc", 1, "a"}, {"abc", 0, ""}, {"", 5, ""}} {
		if got := Ellipsis(c.text, c.width); got != c.want {
			t.Errorf("Ellipsis(%q, %d) = %q", c.text, c.width, got)
		}
	}
}

func TestParseKeys(t *testing.T) {
	for keys, want := range map[string]string{
		"ctrl-p,ctrl-q": "\x10\x11", "a": "a", "ctrl-@,x": "\x00x", "ctrl-[": "\x1b", "ctrl-_": "\x1f", "ctrl-\\": "\x1c",
	} {
		if got, err := ParseKeys(keys); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", keys, got, err)
		}
	}
	for _, keys := range []string{"", "ctrl-", "ctrl-P", "ctrl-1", "shift-a", "ctrl-aa", "a,,b"} {
		if got, err := ParseKeys(keys); err == nil {
			t.Errorf("%q gives %q", keys, got)
		}
	}
}

func TestEscape(t *testing.T) {
	keys := []byte{16, 17}
	for _, c := range []struct {
		name, in, out string
		detached      bool
	}{
		{"none", "hello", "hello", false},
		{"at once", "\x10\x11", "", true},
		{"later", "ab\x10\x11cd", "ab", true},
		{"first key alone", "a\x10b", "a\x10b", false},
		{"first key twice", "\x10\x10\x11", "\x10", true},
		{"second key alone", "\x11a", "\x11a", false},
		{"first key at the end", "a\x10", "a\x10", false},
	} {
		for _, slow := range []bool{false, true} {
			var r io.Reader = strings.NewReader(c.in)
			if slow {
				r = iotest.OneByteReader(r)
			}
			got, err := io.ReadAll(Escape(r, keys))
			if string(got) != c.out || (err == ErrDetached) != c.detached {
				t.Errorf("%s (byte by byte: %v): %q, %v", c.name, slow, got, err)
			}
		}
	}
	// A caller's buffer smaller than what was held back.
	got, err := io.ReadAll(iotest.OneByteReader(Escape(strings.NewReader("\x10\x10\x10ab"), keys)))
	if string(got) != "\x10\x10\x10ab" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestStreamsWithoutTerminal(t *testing.T) {
	o := NewOutput(io.Discard, true)
	if w, h := o.Size(); w != 0 || h != 0 || o.IsTerminal() {
		t.Error("a plain writer is no terminal")
	}
	if got := o.Paint("1", "x"); got != "x" {
		t.Errorf("painted %q", got)
	}
	restore, err := NewInput(strings.NewReader("")).MakeRaw()
	if err != nil {
		t.Fatal(err)
	}
	restore()
}
