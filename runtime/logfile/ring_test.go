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
	"time"

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
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		r.mu.Lock()
		held := r.held
		r.mu.Unlock()
		if held == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes stay in the ring", held)
		}
	}
	if err := errors.Join(r.Write(Stderr, []byte("last\n")), r.End(Stdout), r.End(Stderr), r.Close(), r.Wait(), <-read); err != nil {
		t.Fatal(err)
	}
	lines, told := 0, 0
	for _, l := range strings.Split(strings.TrimSpace(got.String()), "\n") {
		var e struct{ Log string }
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.HasPrefix(e.Log, "xxx"):
			lines++
		case strings.HasPrefix(e.Log, "[davit"):
			var dropped, n int
			if _, err := fmt.Sscanf(e.Log, "[davit: output that was not logged because the log could not be written as fast: %d bytes, %d lines]\n", &dropped, &n); err != nil || dropped != n*1000 {
				t.Errorf("told %q: %v", e.Log, err)
			}
			told += n
		}
	}
	if told != written-lines || told == 0 || lines < size/1000 {
		t.Errorf("%d lines of %d logged; told of %d", lines, written, told)
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
