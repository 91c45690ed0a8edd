package logfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRing writes to a log that takes nothing for a while: a pipe.
func TestRing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	w, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	const size = 100_000
	r := NewRing(w, size)
	line := bytes.Repeat([]byte("x"), 999)
	written := 0
	for range 2000 { // much more than pipe and ring hold; none of it waits
		if err := r.Write(Stdout, append(line, '\n')); err != nil {
			t.Fatal(err)
		}
		written++
	}
	var got strings.Builder
	read := make(chan error, 1)
	go func() {
		buf := make([]byte, 1<<16)
		for !strings.Contains(got.String(), `"last\n"`) {
			n, err := pipe.Read(buf)
			if err != nil {
				read <- err
				return
			}
			got.Write(buf[:n])
		}
		read <- nil
	}()
	for {
		r.mu.Lock()
		drained := r.held == 0
		r.mu.Unlock()
		if drained {
			break
		}
	}
	if err := errors.Join(r.Write(Stderr, []byte("last\n")), r.End(Stdout), r.End(Stderr), r.Close(), r.Wait(), <-read); err != nil {
		t.Fatal(err)
	}
	lines, told := 0, ""
	for _, l := range strings.Split(strings.TrimSpace(got.String()), "\n") {
		var e struct{ Log string }
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.HasPrefix(e.Log, "xxx"):
			lines++
		case strings.HasPrefix(e.Log, "[davit"):
			told = e.Log
		}
	}
	dropped := written - lines
	want := fmt.Sprintf("[davit: output that was not logged because the log could not be written as fast: %d bytes, %d lines]\n", dropped*1000, dropped)
	if told != want || dropped == 0 || lines < size/1000 {
		t.Errorf("%d lines of %d logged; told %q, want %q", lines, written, told, want)
	}
}

func TestRingTakesOnePieceAlways(t *testing.T) {
	w, path := open(t, Options{})
	r := NewRing(w, 1)
	if err := errors.Join(r.Write(Stdout, []byte("a longer line\nunfinished")), r.End(Stdout), r.Close()); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); strings.Count(got, "\n") != 2 || !strings.Contains(got, "unfinished") {
		t.Errorf("got %q", got)
	}
}
