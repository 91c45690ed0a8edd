package ship

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/davit-engine/davit/logs/driver"
	"github.com/davit-engine/davit/runtime/logfile"
)

// source is a container's log.
type source struct {
	t    *testing.T
	path string
	w    *logfile.Writer
	done chan struct{}
}

func newSource(t *testing.T, o logfile.Options) *source {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c-local.log")
	o.Format = logfile.Local
	w, err := logfile.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(w.Close(), w.Wait()) })
	return &source{t: t, path: path, w: w, done: make(chan struct{})}
}

func (s *source) write(stream logfile.Stream, text string) {
	s.t.Helper()
	if err := s.w.Write(stream, []byte(text)); err != nil {
		s.t.Fatal(err)
	}
}

// count writes lines from, from+1 ... to-1.
func (s *source) count(from, to int) {
	s.t.Helper()
	for i := from; i < to; i++ {
		s.write(logfile.Stdout, fmt.Sprintf("line %d\n", i))
	}
}

var info = &driver.Info{
	ID: strings.Repeat("0123456789ab", 6)[:64], Name: "web", ImageID: "sha256:feed", ImageName: "busybox", Command: []string{"sh", "-c", "x"},
	Created: time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC), Env: []string{"A=1"}, Labels: map[string]string{"l": "v"}, Daemon: "docker", Hostname: "host",
}

// config is that of a shipment of s.
func (s *source) config(name string, opts map[string]string) Config {
	s.t.Helper()
	settings, err := driver.Parse(name, opts)
	if err != nil {
		s.t.Fatal(err)
	}
	return Config{Path: s.path, Settings: &settings, Info: info, Done: s.done, Outage: func(error) {}}
}

// running is a shipment under way.
type running struct {
	t      *testing.T
	ship   *Shipment
	cancel context.CancelFunc
	result chan error
}

func run(t *testing.T, c Config) *running {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	r := &running{t, s, cancel, make(chan error, 1)}
	t.Cleanup(cancel)
	go func() { r.result <- s.Run(ctx) }()
	return r
}

// finish waits until everything is sent.
func (r *running) finish() {
	r.t.Helper()
	if err := <-r.result; err != nil {
		r.t.Fatal(err)
	}
}

// stop ends it as the engine's end does.
func (r *running) stop() {
	r.t.Helper()
	r.cancel()
	if err := <-r.result; err != nil && !errors.Is(err, context.Canceled) {
		r.t.Fatal(err)
	}
}

// inbox collects what a server got.
type inbox struct {
	mu  sync.Mutex
	got []string // guarded by mu
}

func (b *inbox) add(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got = append(b.got, s)
}

func (b *inbox) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.got...)
}

// await waits for n messages.
func (b *inbox) await(t *testing.T, n int) []string {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		got := b.all()
		if len(got) >= n {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d messages of %d: %.1000q", len(got), n, got)
		}
	}
}

// awaitLast waits for line n.
func (b *inbox) awaitLast(t *testing.T, n int) []string {
	t.Helper()
	want := fmt.Sprintf("line %d", n)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		got := b.all()
		if len(got) > 0 && strings.HasSuffix(strings.TrimSuffix(got[len(got)-1], "\n"), want) {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d messages, the last is %q, want %s", len(got), got[max(0, len(got)-1):], want)
		}
	}
}

// complete checks that lines 0 to n-1 came, in order but for repetitions.
func complete(t *testing.T, got []string, n int) {
	t.Helper()
	next, repeated := 0, 0
	for k, m := range got {
		var i int
		at := strings.Index(m, "line ")
		if at < 0 {
			continue
		}
		if _, err := fmt.Sscanf(m[at:], "line %d", &i); err != nil {
			t.Fatalf("%q: %v", m, err)
		}
		switch {
		case i == next:
			next++
		case i < next:
			repeated++
		default:
			t.Fatalf("line %d comes where %d should, after %q", i, next, got[max(0, k-5):k])
		}
	}
	if next != n {
		t.Errorf("%d lines, want %d", next, n)
	}
	t.Logf("%d lines, %d repeated", next, repeated)
}
