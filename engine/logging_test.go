package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/runtime/logfile"
)

// TestLogSurvivesItsDriver: a container whose log driver has changed keeps its
// log, and goes on with it in the other format.
func TestLogSurvivesItsDriver(t *testing.T) {
	store, err := record.Open(filepath.Join(t.TempDir(), "containers"))
	if err != nil {
		t.Fatal(err)
	}
	c := rec("ab", "x", nil)
	if err := os.MkdirAll(store.Dir(c.ID), 0o700); err != nil {
		t.Fatal(err)
	}
	l := &logging{store: store}
	read := func() string {
		t.Helper()
		var out strings.Builder
		if err := l.copy(context.Background(), c, LogsOptions{Stdout: true, Stderr: true}, nil, true, &out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	written := ""
	for _, run := range []struct {
		driver string
		format logfile.Format
		text   string
	}{
		{"json-file", logfile.JSON, "one\n"}, {"json-file", logfile.JSON, "two\n"}, {"local", logfile.Local, "three\n"}, {"syslog", logfile.Local, "four\n"}, {"json-file", logfile.JSON, "five\n"},
	} {
		c.HostConfig.LogConfig.Type = run.driver
		if got := read(); got != written {
			t.Errorf("before the start with %s: %q, want %q", run.driver, got, written)
		}
		if err := l.take(c); err != nil {
			t.Fatal(err)
		}
		w, err := logfile.Open(l.path(c), logfile.Options{Format: run.format, MaxFile: 5})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Write(logfile.Stdout, []byte(run.text)), w.Close()); err != nil {
			t.Fatal(err)
		}
		written += run.text
		if got := read(); got != written {
			t.Errorf("with %s: %q, want %q", run.driver, got, written)
		}
	}
}

// TestLinesOnceBegun: a line that came in parts has one time, whatever was
// written between.
func TestLinesOnceBegun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w, err := logfile.Open(path, logfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	long := strings.Repeat("x", logfile.PartSize)
	if err := errors.Join(w.Write(logfile.Stdout, []byte(long)), w.Write(logfile.Stderr, []byte("err\n")), w.Write(logfile.Stdout, []byte("rest\nnext\n"))); err != nil {
		t.Fatal(err)
	}
	store, err := record.Open(filepath.Join(t.TempDir(), "containers"))
	if err != nil {
		t.Fatal(err)
	}
	c := rec("ab", "x", nil)
	l := &logging{store: store}
	if err := os.MkdirAll(store.Dir(c.ID), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, l.path(c)); err != nil {
		t.Fatal(err)
	}
	for _, merge := range []bool{false, true} {
		var out strings.Builder
		if err := l.copy(context.Background(), c, LogsOptions{Stdout: true, Stderr: true, Timestamps: true, Merge: merge}, nil, false, &out); err != nil {
			t.Fatal(err)
		}
		var streams [3]string
		frames := 0
		for rest := out.String(); rest != ""; frames++ {
			n := int(rest[4])<<24 | int(rest[5])<<16 | int(rest[6])<<8 | int(rest[7])
			streams[rest[0]] += rest[8 : 8+n]
			rest = rest[8+n:]
		}
		if got := streams[1]; strings.Count(got, "Z ") != 2 || !strings.Contains(got, long+"rest\n") || strings.Count(streams[2], "Z err\n") != 1 {
			t.Errorf("merge %v: stdout %q, stderr %q", merge, got[len(got)-100:], streams[2])
		}
		if merge != (frames == 3) {
			t.Errorf("merge %v: %d frames", merge, frames)
		}
	}
}
